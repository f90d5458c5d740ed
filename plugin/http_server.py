# SPDX-License-Identifier: AGPL-3.0-or-later
"""The plugin's own HTTP server: cheroot on a Unix socket that nginx alone reaches (design, decision 6).

One WSGI application for each face, each with its own list of routes; a request without nginx's secret,
or for a face that does not exist, is refused before any of them sees it.
"""

from __future__ import annotations

import hmac
import logging
import os
import stat
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from cheroot.wsgi import Gateway_10, Server

from drimbox.errors import ConfigurationError

log = logging.getLogger(__name__)

FACES = ("db", "vi", "conso", "admin")
SECRET_HEADER = "X-Drimbox-Proxy"  # noqa: S105 (a header's name)
FACE_HEADER = "X-Drimbox-Face"

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
WsgiApp = Callable[[Environ, StartResponse], Iterable[bytes]]


def read_secret(path: Path) -> bytes:
    """Read nginx's secret.  Raises `ConfigurationError` where it is absent, short or readable by others."""
    try:
        mode = path.stat().st_mode
        secret = path.read_bytes().strip()
    except OSError as error:
        raise ConfigurationError(f"DrimBox.Http.ProxySecretFile {path}: {error.strerror}") from error
    if mode & stat.S_IROTH:
        raise ConfigurationError(f"DrimBox.Http.ProxySecretFile {path} is readable by everybody: chmod 640")
    if len(secret) < 32:
        raise ConfigurationError(f"DrimBox.Http.ProxySecretFile {path} holds less than 32 characters")
    return secret


class FaceDispatcher:
    """WSGI middleware: nginx's secret, then the application of the face that nginx names."""

    def __init__(self, secret: bytes, faces: Mapping[str, WsgiApp]) -> None:
        self._secret = secret
        self._faces = dict(faces)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Route one request."""
        given = str(environ.get("HTTP_X_DRIMBOX_PROXY", "")).encode("latin-1", "replace")
        app = self._faces.get(str(environ.get("HTTP_X_DRIMBOX_FACE", "")))
        if not hmac.compare_digest(given, self._secret) or app is None:
            start_response("403 Forbidden", [("Content-Length", "0")])
            return []
        return app(environ, start_response)


class SocketGateway(Gateway_10):
    """Hands the socket to an answer that knows how to send itself (`wado_stream.PartStream.send_to`).

    The kernel then moves the files; cheroot's own buffered writer would copy each byte twice in Python.
    """

    def respond(self) -> None:
        """Run the application and send what it gives."""
        response = self.req.server.wsgi_app(self.env, self.start_response)
        try:
            send_to = getattr(response, "send_to", None)
            if send_to is not None and not self.req.chunked_write:
                self.req.ensure_headers_sent()
                send_to(self.req.conn.socket)
            else:
                for chunk in filter(None, response):
                    self.write(chunk)
        finally:
            self.req.ensure_headers_sent()
            if hasattr(response, "close"):
                response.close()


class _QuietServer(Server):
    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
        # cheroot reports vanished clients here too: nothing that an operator can act on
        log.log(min(level, logging.WARNING), "http: %s", msg, exc_info=traceback)


class HttpServer:
    """Life of the server."""

    def __init__(self, socket: Path, app: WsgiApp, threads: int) -> None:
        self._socket = socket
        self._server = _QuietServer(
            str(socket),
            app,
            numthreads=threads,
            server_name="drimbox",
            request_queue_size=128,
            timeout=60,
            shutdown_timeout=3,
        )
        self._server.gateway = SocketGateway
        # Bodies of our own routes are small forms; anything larger is refused before it is read.
        self._server.max_request_body_size = 1024 * 1024
        self._server.max_request_header_size = 64 * 1024
        self._thread = threading.Thread(target=self._serve, name="drimbox-http", daemon=True)

    def start(self) -> None:
        """Bind, then serve.  Raises `ConfigurationError` where the socket cannot be made."""
        self._socket.unlink(missing_ok=True)
        old = os.umask(0o117)  # srw-rw----
        try:
            self._server.prepare()
        except OSError as error:
            raise ConfigurationError(f"DrimBox.Http.Socket {self._socket}: {error}") from error
        finally:
            os.umask(old)
        self._thread.start()

    def stop(self) -> None:
        """Close; downloads under way end."""
        self._server.stop()
        self._thread.join(4)
        self._socket.unlink(missing_ok=True)

    def _serve(self) -> None:
        try:
            self._server.serve()
        except Exception:
            log.exception("HTTP server")
