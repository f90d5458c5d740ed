# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drimbox.errors import ConfigurationError
from drimbox.http_server import FaceDispatcher, HttpServer, read_secret

SECRET = "k" * 43


def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"db"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "s.sock"
    made = HttpServer(path, FaceDispatcher(SECRET.encode(), {"db": app}), 4)
    made.start()
    yield path
    made.stop()
    assert not path.exists()


def ask(path: Path, headers: str) -> bytes:
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(5)
        link.connect(str(path))
        link.sendall(f"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n".encode())
        out = b""
        while chunk := link.recv(65536):
            out += chunk
        return out


def test_a_face_answers_to_nginx_alone(server: Path) -> None:
    assert ask(server, f"X-Drimbox-Proxy: {SECRET}\r\nX-Drimbox-Face: db\r\n").endswith(b"\r\n\r\ndb")
    for headers in ("", f"X-Drimbox-Proxy: {SECRET}\r\n", "X-Drimbox-Face: db\r\n",
                    f"X-Drimbox-Proxy: {SECRET[:-1]}\r\nX-Drimbox-Face: db\r\n",
                    f"X-Drimbox-Proxy: {SECRET}\r\nX-Drimbox-Face: vi\r\n"):  # fmt: skip
        assert ask(server, headers).startswith(b"HTTP/1.1 403")


def test_the_socket_is_closed_to_others(server: Path) -> None:
    assert stat.S_IMODE(server.stat().st_mode) == 0o660


def test_stopping_is_quick_with_a_connection_open(tmp_path: Path) -> None:
    made = HttpServer(tmp_path / "s.sock", FaceDispatcher(SECRET.encode(), {"db": app}), 4)
    made.start()
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(str(tmp_path / "s.sock"))
        link.sendall(b"GET / HTTP/1.1\r\n")
        begin = time.monotonic()
        made.stop()
        assert time.monotonic() - begin < 30  # hangs for ever where the server waits for this client


def test_the_secret_must_be_long_and_private(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    with pytest.raises(ConfigurationError, match="ProxySecretFile"):
        read_secret(path)
    path.write_text(SECRET + "\n")
    path.chmod(0o640)
    assert read_secret(path) == SECRET.encode()
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 640"):
        read_secret(path)
    path.write_text("short")
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match="less than 32"):
        read_secret(path)


def test_a_socket_that_cannot_be_made_names_its_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"DrimBox\.Http\.Socket"):
        HttpServer(tmp_path / "absent" / "s.sock", app, 4).start()
