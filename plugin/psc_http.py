# SPDX-License-Identifier: AGPL-3.0-or-later
"""HTTP towards Pro Santé Connect: discovery, published keys, introspection (spec `psc.md`, sections 1 and 6).

Answers are bounded, redirections are not followed, and every address of the discovery document must lie
in the issuer's own domain.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import requests

from drimbox.clock import Clock
from drimbox.config import PscSection
from drimbox.errors import NationalServiceError, ServiceRefused, ServiceUnavailable
from drimbox.http_bounded import FAILURES, PLAIN, read_body

_MAXIMUM: Final = 1024 * 1024
_DISCOVERY_SECONDS: Final = 3600.0
_KEYS_SECONDS: Final = 3600.0
_REFETCH_SECONDS: Final = 60.0
_FAILURE_SECONDS: Final = 5.0


class Transport(Protocol):
    """One HTTP exchange with PSC; the body comes whole and bounded."""

    def get(self, url: str) -> bytes:
        """GET; only a 200 gives a body.  Raises `NationalServiceError`."""
        ...

    def post_form(self, url: str, fields: Mapping[str, str]) -> bytes:
        """POST a form, client authentication included; only a 200 gives a body.  Raises `NationalServiceError`."""
        ...


class RequestsTransport:
    """`Transport` by requests: one session, client certificate (RFC 8705), pinned authorities."""

    def __init__(self, settings: PscSection) -> None:
        self._timeout = settings.timeout_seconds
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))  # no state between calls
        self._session.verify = str(settings.trust_file) if settings.trust_file else True
        if settings.client_certificate and settings.client_key:
            self._session.cert = (str(settings.client_certificate), str(settings.client_key))

    def get(self, url: str) -> bytes:
        """GET; only a 200 gives a body."""
        return self._exchange("GET", url, None)

    def post_form(self, url: str, fields: Mapping[str, str]) -> bytes:
        """POST a form."""
        return self._exchange("POST", url, dict(fields))

    def _exchange(self, method: str, url: str, fields: dict[str, str] | None) -> bytes:
        host = urlsplit(url).hostname
        try:
            with self._session.request(
                method, url, data=fields, timeout=self._timeout, allow_redirects=False, stream=True,
                headers={"Accept": "application/json", **PLAIN},
            ) as answer:  # fmt: skip
                body = read_body(answer, _MAXIMUM, self._timeout * 2)
                status = answer.status_code
        except FAILURES as error:
            raise ServiceUnavailable(f"PSC ({host}): {type(error).__name__}") from error
        if status >= 500 or status == 429:
            raise ServiceUnavailable(f"PSC ({host}): HTTP {status}")
        if status != 200:
            raise ServiceRefused(f"PSC ({host}): HTTP {status}, {len(body)} bytes", scope="configuration")
        return body


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Addresses of the realm."""

    issuer: str
    authorization: str
    token: str
    userinfo: str
    jwks: str
    introspection: str
    end_session: str
    revocation: str = ""
    document: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


class _Kept[T]:
    """A fetched value with an age; a failure is remembered for seconds, lest threads queue up behind a dead host."""

    def __init__(self, fetch: Callable[[], T], seconds: float, clock: Clock) -> None:
        self._fetch = fetch
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._value: tuple[float, T] | None = None
        self._failure: tuple[float, NationalServiceError] | None = None

    def get(self, at_most: float | None = None) -> T:
        """Give the value, fetched again where older than `at_most` seconds.  Raises `NationalServiceError`."""
        with self._lock:
            now = self._clock.monotonic()
            limit = self._seconds if at_most is None else at_most
            if self._value is not None and now - self._value[0] < limit:
                return self._value[1]
            if self._failure is not None and now - self._failure[0] < _FAILURE_SECONDS:
                raise ServiceUnavailable(f"PSC: {self._failure[1].reason}, a moment ago") from self._failure[1]
            try:
                value = self._fetch()
            except NationalServiceError as error:
                self._failure = (now, error)
                raise
            self._value, self._failure = (now, value), None
            return value


class Discovery:
    """The realm's discovery document, kept one hour."""

    def __init__(self, settings: PscSection, transport: Transport, clock: Clock) -> None:
        self._settings = settings
        self._transport = transport
        self._kept = _Kept(self._fetch, _DISCOVERY_SECONDS, clock)

    def endpoints(self) -> Endpoints:
        """Give the addresses, fetched at need.  Raises `NationalServiceError`."""
        return self._kept.get()

    def _fetch(self) -> Endpoints:
        settings = self._settings
        if not settings.issuer:
            raise ServiceRefused("DrimBox.Psc.Issuer is empty", scope="configuration")
        url = settings.discovery_url or f"{settings.issuer}/.well-known/wallet-openid-configuration"
        document = _object(self._transport.get(url))
        if document.get("issuer") != settings.issuer:
            raise ServiceRefused("PSC: the discovery document is another issuer's", scope="configuration")
        return Endpoints(
            issuer=settings.issuer,
            authorization=self._address(document, "authorization_endpoint"),
            token=self._address(document, "token_endpoint", mtls=True),
            userinfo=self._address(document, "userinfo_endpoint"),
            jwks=self._address(document, "jwks_uri"),
            introspection=self._address(document, "introspection_endpoint", mtls=True),
            end_session=self._address(document, "end_session_endpoint"),
            revocation=self._address(document, "revocation_endpoint", mtls=True, required=False),
            document=document,
        )

    def _address(self, document: Mapping[str, Any], name: str, *, mtls: bool = False, required: bool = True) -> str:
        aliases = document.get("mtls_endpoint_aliases")
        value = aliases.get(name) if mtls and self._settings.client_certificate and isinstance(aliases, dict) else None
        value = value or document.get(name)
        if not value and not required:
            return ""
        parts = urlsplit(value) if isinstance(value, str) else urlsplit("")
        if parts.scheme != "https" or not self._within(parts.hostname or "") or parts.username:
            raise ServiceRefused(f"PSC: {name} is absent or outside the issuer's domain", scope="configuration")
        return str(value)

    def _within(self, host: str) -> bool:
        domain = self._settings.trusted_domain.lower().lstrip(".") or parent_domain(self._settings.issuer)
        return host == domain or host.endswith(f".{domain}")


def parent_domain(url: str) -> str:
    """Domain that PSC's hosts share: the host less its first label, the host itself where that is too short."""
    host = urlsplit(url).hostname or ""
    labels = host.split(".")
    return ".".join(labels[1:]) if len(labels) > 2 and not labels[-1].isdigit() else host


class Jwks:
    """The issuer's key set: kept one hour, fetched again for an unknown key at most once a minute."""

    def __init__(self, discovery: Discovery, transport: Transport, clock: Clock) -> None:
        self._discovery = discovery
        self._transport = transport
        self._kept = _Kept(self._fetch, _KEYS_SECONDS, clock)

    def key(self, kid: str) -> Mapping[str, Any] | None:
        """Give the JWK of that identifier, or None.  Raises `NationalServiceError`."""
        found = self._kept.get().get(kid)
        return found if found is not None else self._kept.get(_REFETCH_SECONDS).get(kid)

    def _fetch(self) -> Mapping[str, Mapping[str, Any]]:
        document = _object(self._transport.get(self._discovery.endpoints().jwks))
        entries = document.get("keys")
        if not isinstance(entries, list):
            raise ServiceRefused("PSC: a key set without keys", scope="configuration")
        found: dict[str, Mapping[str, Any]] = {}
        for entry in entries[:64]:
            kid = entry.get("kid") if isinstance(entry, dict) else None
            if isinstance(kid, str) and entry.get("use", "sig") == "sig":
                found[kid] = entry
        return found


class HttpIntrospection:
    """RFC 7662 with ``tls_client_auth``: the client identifier in the form, no secret; one retry."""

    def __init__(self, settings: PscSection, discovery: Discovery, transport: Transport) -> None:
        self._client_id = settings.client_id
        self._discovery = discovery
        self._transport = transport

    def introspect(self, token: str) -> Mapping[str, Any]:
        """Give PSC's answer.  Raises `NationalServiceError`."""
        url = self._discovery.endpoints().introspection
        fields = {"token": token, "client_id": self._client_id}
        try:
            body = self._transport.post_form(url, fields)
        except ServiceUnavailable:
            body = self._transport.post_form(url, fields)
        return _object(body)


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise NationalServiceError("PSC: the answer is no JSON") from error
    if not isinstance(value, dict):
        raise NationalServiceError("PSC: the answer is no JSON object")
    return value
