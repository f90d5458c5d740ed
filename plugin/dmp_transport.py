# SPDX-License-Identifier: AGPL-3.0-or-later
"""HTTPS with the structure's certificate: one request, one answer, and whether the request had left.

TLS >= 1.2, the DMP's authorities alone, no redirect, no proxy but the configured one, a fresh connection
for each request (a reused one that the server has just closed would leave an unknown outcome).
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import RequestException
from urllib3.exceptions import HTTPError

from drimbox.config import DmpSection
from drimbox.errors import (
    ConfigurationError,
    NationalServiceError,
    OutcomeUnknown,
    ServiceRefused,
    ServiceUnavailable,
)

_CHUNK: Final = 64 * 1024
_CONNECT_SECONDS: Final = 10.0
# reasons of OpenSSL that a new try cannot cure
_TLS_REFUSALS: Final = (
    "CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED", "HANDSHAKE_FAILURE", "PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL",
    "INSUFFICIENT_SECURITY", "NO_SHARED_CIPHER", "DECRYPT_ERROR",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    def content_type(self) -> str:
        """Content-Type or ""."""
        return self.headers.get("content-type", "")


class Transport(Protocol):
    """What the DMP client asks of HTTP."""

    def post(self, url: str, headers: Mapping[str, str], body: bytes, timeout: float) -> Response:
        """Post and give the answer, whatever its status.

        Raises `ServiceUnavailable` where the request did not leave whole, `ServiceRefused` (scope
        configuration) where TLS refuses, `OutcomeUnknown` where the answer was lost.
        """
        ...


class RequestsTransport:
    """Transport on requests; safe for several threads, each call having its own connection."""

    def __init__(self, settings: DmpSection) -> None:
        """Prepare TLS.  Raises `ConfigurationError` where a file is missing or unfit."""
        self._context = _tls_context(settings)
        self._trust = str(settings.trust_file)
        self._proxy = settings.proxy
        self._maximum = settings.maximum_answer_bytes

    def post(self, url: str, headers: Mapping[str, str], body: bytes, timeout: float) -> Response:
        """See `Transport.post`; `timeout` bounds each wait and, doubled, the whole answer."""
        upload = _Upload(body)
        sent = {**headers, "Connection": "close", "Accept-Encoding": "identity", "User-Agent": "orthanc-drimbox"}
        try:
            with self._session() as session:
                answer = session.post(
                    url,
                    data=upload,
                    headers=sent,
                    timeout=(min(_CONNECT_SECONDS, timeout), timeout),
                    allow_redirects=False,
                    stream=True,
                )
                with answer:
                    content = self._read(answer, time.monotonic() + 2 * timeout)
                    names = {name.lower(): value for name, value in answer.headers.items()}
                    return Response(answer.status_code, names, content)
        except (RequestException, HTTPError, OSError) as error:
            raise _sort(error, upload.left) from error

    def _session(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False
        # a path, never True: True would add the system's authorities to ours
        session.verify = self._trust
        if self._proxy:
            session.proxies = {"https": self._proxy}
        session.mount("https://", _Adapter(self._context))
        return session

    def _read(self, answer: requests.Response, deadline: float) -> bytes:
        pieces: list[bytes] = []
        size = 0
        # read1 gives what has come; read would wait for a whole chunk and never see the deadline
        while piece := answer.raw.read1(_CHUNK, decode_content=False):
            size += len(piece)
            if size > self._maximum:
                raise OutcomeUnknown(f"answer longer than {self._maximum} bytes", reason="answer-too-large")
            if time.monotonic() > deadline:
                raise OutcomeUnknown("the answer never ends", reason="answer-too-slow")
            pieces.append(piece)
        return b"".join(pieces)


class _Adapter(HTTPAdapter):
    """An adapter with our TLS context and without retries."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Give our context to direct connections."""
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Give our context to connections through a proxy."""
        return super().proxy_manager_for(proxy, ssl_context=self._context, **kwargs)


class _Upload:
    """A body that knows whether its last piece was handed to the socket.

    A server cannot have processed a request of which it misses the end.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0
        self.left = False

    def __len__(self) -> int:
        return len(self._data)

    def __iter__(self) -> Iterator[bytes]:
        while piece := self.read(_CHUNK):
            yield piece

    def read(self, size: int = -1) -> bytes:
        """Next piece; an empty body has left at once."""
        end = len(self._data) if size < 0 else self._position + size
        piece = self._data[self._position : end]
        self._position += len(piece)
        self.left = self._position >= len(self._data)
        return piece


def _tls_context(settings: DmpSection) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(settings.trust_file)
    except (OSError, TypeError) as error:
        raise ConfigurationError(f"DrimBox.Dmp.TrustFile cannot be used ({error})") from error
    try:
        context.load_cert_chain(str(settings.client_certificate), str(settings.client_key), password=_no_password)
    except OSError as error:
        raise ConfigurationError(f"DrimBox.Dmp.ClientCertificate or ClientKey cannot be used ({error})") from error
    return context


def _no_password() -> str:
    # without it OpenSSL would ask on the terminal
    return ""


def _sort(error: BaseException, left: bool) -> NationalServiceError:
    """The error that a failure of the connection means; `left`: the body was handed over whole."""
    tls = next((e for e in _chain(error) if isinstance(e, ssl.SSLError)), None)
    kind = type(error).__name__
    if tls is not None and _refused_by_tls(tls):
        return ServiceRefused(
            f"TLS: {tls.reason or type(tls).__name__}",
            code=f"TLS-{tls.reason or 'REFUSED'}",
            scope="configuration",
            public="La connexion sécurisée au DMP est refusée : certificat de la structure ou autorités "
            "de confiance à vérifier (Dmp.ClientCertificate, Dmp.TrustFile).",
        )
    if left:
        return OutcomeUnknown(f"the answer was lost ({kind})", code="CONNECTION")
    return ServiceUnavailable(
        f"the DMP cannot be reached ({kind})",
        code="CONNECTION",
        public="Le DMP est injoignable : un nouvel essai est programmé.",
    )


def _refused_by_tls(error: ssl.SSLError) -> bool:
    if isinstance(error, ssl.SSLCertVerificationError):
        return True
    reason = (error.reason or "").upper()
    return any(word in reason for word in _TLS_REFUSALS)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, its causes and the errors among its arguments, each once."""
    waiting: list[Any] = [error]
    seen: set[int] = set()
    while waiting:
        current = waiting.pop()
        if not isinstance(current, BaseException) or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        waiting += [current.__cause__, current.__context__, getattr(current, "reason", None), *current.args]
