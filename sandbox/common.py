# SPDX-License-Identifier: AGPL-3.0-or-later
"""Common ground of the stand-ins: banner, refusal of production names, a small HTTPS server.

A stand-in is a function from `Request` to `Answer`; `serve` puts it behind TLS (or plain HTTP on a
loopback port).  Standard library only, so that every stand-in starts fast and can cut connections at will.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

SIMULATOR_HEADER = "X-Simulator"
SIMULATOR_NAME = "DRIMbox sandbox"
MAX_BODY = 256 * 1024 * 1024

PRODUCTION_SUFFIXES = (
    "gouv.fr", "dmp.fr", "mesimagesmedicales.fr", "monespacesante.fr", "asipsante.fr", "ameli.fr",
    "sesam-vitale.fr", "mssante.fr", "ans.fr",
)  # fmt: skip


class ProductionName(ValueError):
    """A stand-in was asked to answer under the name of a national service."""


def refuse_production(*names: str) -> None:
    """Raise `ProductionName` where a host name or URL belongs to a national service (sub-domains included)."""
    for name in names:
        host = (urlsplit(name).hostname or "") if "://" in name else name.rsplit(":", 1)[0] if ":" in name else name
        bare = host.strip("[]").rstrip(".").lower()
        if any(bare == suffix or bare.endswith("." + suffix) for suffix in PRODUCTION_SUFFIXES):
            raise ProductionName(f"Le simulateur refuse le nom de production « {host} ».")


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address stays on this machine."""
    bare = host.strip("[]").lower()
    if bare == "localhost":
        return True
    try:
        return ipaddress.ip_address(bare).is_loopback
    except ValueError:
        return False


def banner(service: str, *lines: str) -> str:
    """Text for the terminal: which national service is imitated, and that it is not the real one."""
    head = f"*** SIMULATEUR {service} — bac à sable, données fictives uniquement ***"
    return "\n".join([head, *(f"    {line}" for line in lines)])


@dataclass(frozen=True)
class Request:
    """One request as received; ``peer`` is the client certificate in DER, ``raw`` every byte of head and body."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Message
    body: bytes
    peer: bytes | None
    raw: bytes
    client: str = ""

    def param(self, name: str) -> str | None:
        """First query parameter of that name."""
        return next((value for key, value in self.query if key == name), None)

    def header(self, name: str) -> str:
        """A header's value, empty where absent."""
        return str(self.headers.get(name) or "")

    def form(self) -> tuple[tuple[str, str], ...]:
        """Fields of an ``application/x-www-form-urlencoded`` body."""
        return tuple(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))


@dataclass(frozen=True)
class Answer:
    """What to send back.

    ``delay``: seconds to wait first.  ``cut_after``: bytes of the body to send before the connection is cut
    (the announced Content-Length stays whole).  ``drop``: cut without any answer.
    """

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()
    delay: float = 0.0
    cut_after: int | None = None
    drop: bool = False
    extra: Mapping[str, str] = field(default_factory=dict)


App = Callable[[Request], Answer]
Sent = Callable[[Request, Answer, bytes], None]


class _Tee:
    """A reader that remembers what went through it since `restart`."""

    def __init__(self, inner: BufferedIOBase) -> None:
        self._inner, self._kept = inner, bytearray()

    def restart(self) -> None:
        self._kept.clear()

    @property
    def kept(self) -> bytes:
        return bytes(self._kept)

    def read(self, size: int = -1) -> bytes:
        data = self._inner.read(size)
        self._kept += data
        return data

    def readline(self, size: int = -1) -> bytes:
        data = self._inner.readline(size)
        self._kept += data
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _BadBody(Exception):
    """The request's body cannot be read; carries the status to answer."""


class Handler(BaseHTTPRequestHandler):
    """Reads a whole request, calls the server's app, writes the answer in one piece."""

    protocol_version = "HTTP/1.1"
    server_version = "DRIMbox-sandbox"
    sys_version = ""
    timeout = 120
    server: Server

    def setup(self) -> None:
        """Record what comes in."""
        super().setup()
        self._tee = _Tee(self.rfile)
        self.rfile = cast("Any", self._tee)

    def handle_one_request(self) -> None:
        """One request; a peer that breaks the connection is no event here."""
        self._tee.restart()
        try:
            super().handle_one_request()
        except (ConnectionError, ssl.SSLError, TimeoutError):
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: paths may hold identities."""

    def _read_body(self) -> bytes:
        if "chunked" in (self.headers.get("Transfer-Encoding") or "").lower():
            return self._read_chunks()
        text = self.headers.get("Content-Length") or "0"
        if not text.isascii() or not text.isdigit():
            raise _BadBody(HTTPStatus.BAD_REQUEST)
        if int(text) > MAX_BODY:
            raise _BadBody(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        body = self.rfile.read(int(text))
        if len(body) != int(text):
            raise ConnectionError("short body")
        return body

    def _read_chunks(self) -> bytes:
        out = bytearray()
        while True:
            try:
                size = int(self.rfile.readline(100).split(b";")[0].strip() or b"x", 16)
            except ValueError:
                raise _BadBody(HTTPStatus.BAD_REQUEST) from None
            if size < 0 or len(out) + size > MAX_BODY:
                raise _BadBody(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            if size == 0:
                while self.rfile.readline(65536).strip():
                    pass
                return bytes(out)
            out += self.rfile.read(size)
            self.rfile.readline(10)

    def _peer(self) -> bytes | None:
        return self.connection.getpeercert(True) if isinstance(self.connection, ssl.SSLSocket) else None

    def _dispatch(self) -> None:
        try:
            refuse_production(self.headers.get("Host") or "")
            body = self._read_body()
        except ProductionName as error:
            self.close_connection = True
            self._write(Answer(HTTPStatus.MISDIRECTED_REQUEST, str(error).encode()))
            return
        except _BadBody as error:
            self.close_connection = True
            self._write(Answer(int(error.args[0]), b"body refused"))
            return
        parts = urlsplit(self.path)
        request = Request(
            method=self.command,
            path=parts.path,
            query=tuple(parse_qsl(parts.query, keep_blank_values=True)),
            headers=self.headers,
            body=body,
            peer=self._peer(),
            raw=self._tee.kept,
            client=str(self.client_address[0]) if self.client_address else "",
        )
        answer = _answer(self.server.app, request)
        wire = self._write(answer)
        if self.server.sent is not None:
            self.server.sent(request, answer, wire)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = do_PATCH = _dispatch  # noqa: N815

    def _write(self, answer: Answer) -> bytes:
        """Send the answer; give the bytes that it would be on the wire."""
        if answer.delay:
            time.sleep(answer.delay)
        reason = HTTPStatus(answer.status).phrase if answer.status in HTTPStatus._value2member_map_ else ""
        fields = [("Date", self.date_time_string()), (SIMULATOR_HEADER, SIMULATOR_NAME), *answer.headers]
        if answer.body or answer.status not in (204, 304):
            fields += [("Content-Type", answer.content_type), ("Content-Length", str(len(answer.body)))]
        cut = answer.drop or answer.cut_after is not None
        if cut or self.close_connection:
            self.close_connection = True
            fields.append(("Connection", "close"))
        lines = [f"HTTP/1.1 {answer.status} {reason}", *(f"{name}: {_clean(value)}" for name, value in fields)]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
        whole = head + (b"" if self.command == "HEAD" else answer.body)
        if answer.drop:
            self._cut()
            return b""
        self.wfile.write(whole if answer.cut_after is None else whole[: len(head) + answer.cut_after])
        self.wfile.flush()
        if cut:
            self._cut()
        return whole

    def _cut(self) -> None:
        """End the connection without the farewell of TLS, as a broken network does."""
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return


def _clean(value: str) -> str:
    return value.replace("\r", " ").replace("\n", " ")


def _answer(app: App, request: Request) -> Answer:
    """Edge of every stand-in: a defect is an HTTP 500 and a trace on the terminal, never a silent cut."""
    try:
        return app(request)
    except Exception:  # noqa: BLE001
        traceback.print_exc()
        return Answer(HTTPStatus.INTERNAL_SERVER_ERROR, "Défaut du simulateur.".encode())


class Server(ThreadingHTTPServer):
    """One stand-in on one port.  The TLS handshake runs in the connection's own thread.

    ``admit`` may refuse a connection before anything is read (a service that is down); ``sent`` is told of each
    exchange after the answer left.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], app: App, context: ssl.SSLContext | None = None) -> None:
        refuse_production(address[0])
        self.app, self.context = app, context
        self.admit: Callable[[], bool] | None = None
        self.sent: Sent | None = None
        self._thread: threading.Thread | None = None
        super().__init__(address, Handler)

    @property
    def port(self) -> int:
        """The port really bound (useful where 0 was asked)."""
        return int(self.server_address[1])

    def server_bind(self) -> None:
        """Bind without the name lookup of the base class (it can stall for seconds)."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        socket.socket.bind(self.socket, self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Handshake, then serve the connection."""
        if self.admit is not None and not self.admit():
            return
        if self.context is None:
            Handler(request, client_address, self)
            return
        request.settimeout(20)
        try:
            wrapped = self.context.wrap_socket(request, server_side=True)
        except (ssl.SSLError, OSError):
            return
        try:
            Handler(wrapped, client_address, self)
        finally:
            wrapped.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A broken connection is silent; anything else is a defect of the stand-in and is shown."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, ssl.SSLError, TimeoutError)):
            super().handle_error(request, client_address)

    def start(self) -> Server:
        """Serve in a daemon thread."""
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop serving and close the port."""
        if self._thread is not None:
            self.shutdown()
            self._thread.join(5)
        self.server_close()


def server_context(cert: Path, key: Path, *, client_ca: Path | None = None, crl: Path | None = None,
                   client_optional: bool = False) -> ssl.SSLContext:  # fmt: skip
    """A TLS 1.2+ server context.

    With ``client_ca`` (PEM bundle) a client certificate is required, or only asked for with ``client_optional``;
    ``crl`` (PEM bundle, one for each CA of the chain) refuses revoked ones.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(cert, key)
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_OPTIONAL if client_optional else ssl.CERT_REQUIRED
        if crl is not None:
            context.load_verify_locations(crl)
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    return context


def serve(app: App, *, host: str = "127.0.0.1", port: int = 0, context: ssl.SSLContext | None = None) -> Server:
    """Bind and start a stand-in in a daemon thread; ``.port`` tells where, ``.stop()`` ends it.

    Raises `ProductionName` for a national host name, `ValueError` for plain HTTP away from loopback.
    """
    if context is None and not is_loopback(host):
        raise ValueError(f"Sans TLS, le simulateur n'écoute que sur la boucle locale (pas sur « {host} »).")
    return Server((host, port), app, context).start()
