# SPDX-License-Identifier: AGPL-3.0-or-later
"""The common ground of the stand-ins: production names, the small server."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.common import (
    Answer,
    ProductionName,
    Request,
    Server,
    banner,
    is_loopback,
    refuse_production,
    serve,
    server_context,
)

pytest_plugins = ("tests.sandbox.dmp_fixtures",)


@pytest.mark.parametrize(
    "name",
    [
        "lps2.dmp.gouv.fr",
        "DMP.GOUV.FR.",
        "auth.esante.gouv.fr:443",
        "https://app.franceconnect.gouv.fr/api",
        "www.dmp.fr",
        "db3.test.mesimagesmedicales.fr",
    ],
)
def test_national_names_are_refused(name: str) -> None:
    with pytest.raises(ProductionName, match="refuse"):
        refuse_production(name)


@pytest.mark.parametrize(
    "name", ["localhost", "127.0.0.1:9443", "[::1]:9443", "::1", "dmp.gouv.fr.sandbox.test", "notdmp.fr.test", ""]
)
def test_other_names_are_not(name: str) -> None:
    refuse_production(name)


def test_loopback_names_are_known() -> None:
    assert all(is_loopback(name) for name in ("localhost", "127.0.0.1", "127.8.8.8", "[::1]", "::1"))
    assert not any(is_loopback(name) for name in ("0.0.0.0", "192.0.2.1", "sandbox.test", ""))


def test_the_banner_says_simulator() -> None:
    assert banner("PSC", "adresse").splitlines()[0].startswith("*** SIMULATEUR PSC")


def _app(request: Request) -> Answer:
    if request.path == "/crash":
        raise RuntimeError("defect")
    if request.path == "/split":
        return Answer(200, b"", headers=(("X-Test", "a\r\nX-Injected: b"),))
    if request.path == "/cut":
        return Answer(200, b"0123456789", cut_after=4)
    text = f"{request.method} {request.path} {request.param('a')} {request.form()} {len(request.body)}"
    return Answer(200, text.encode())


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = serve(_app)
    yield made
    made.stop()


def ask(server: Server, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), str(answer.headers)
    finally:
        connection.close()


def test_an_app_sees_method_path_query_and_form(server: Server) -> None:
    status, body, headers = ask(server, "POST", "/x?a=%C3%A9&a=2", b"u=1&v=", **{"Content-Type": "text/plain"})
    assert (status, body.decode()) == (200, "POST /x é (('u', '1'), ('v', '')) 6")
    assert "X-Simulator: DRIMbox sandbox" in headers
    assert "Server:" not in headers


def test_a_defect_is_a_500_and_is_shown(server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    assert ask(server, "GET", "/crash")[0] == 500
    assert "RuntimeError: defect" in capfd.readouterr().err


def test_a_header_cannot_be_split(server: Server) -> None:
    _, _, headers = ask(server, "GET", "/split")
    assert "\nX-Injected" not in headers


def test_a_cut_answer_is_seen_as_cut(server: Server) -> None:
    with pytest.raises(http.client.IncompleteRead) as caught:
        ask(server, "GET", "/cut")
    assert caught.value.partial == b"0123"


def test_head_has_no_body_and_national_hosts_are_misdirected(server: Server) -> None:
    assert ask(server, "HEAD", "/x")[:2] == (200, b"")
    assert ask(server, "GET", "/x", None, Host="psc.esante.gouv.fr")[0] == 421


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"Content-Length: -1", b"400"),
        (b"Content-Length: 99999999999", b"413"),
        (b"Transfer-Encoding: chunked\r\n\r\nzz", b"400"),
    ],
)
def test_an_impossible_body_is_refused(server: Server, head: bytes, status: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\n" + head + b"\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 " + status)


def test_plain_http_stays_on_the_loopback() -> None:
    with pytest.raises(ValueError, match="boucle locale"):
        serve(_app, host="0.0.0.0")


def test_a_client_that_never_speaks_tls_holds_nobody_up(pki: Path) -> None:
    made = serve(_app, context=server_context(pki / "public-server.pem", pki / "public-server.key"))
    try:
        with socket.create_connection(("127.0.0.1", made.port), timeout=5):
            connection = http.client.HTTPSConnection("localhost", made.port, timeout=5, context=_trusting(pki))
            connection.request("GET", "/x")
            assert connection.getresponse().status == 200
            connection.close()
    finally:
        made.stop()


def _trusting(pki: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(pki / "public-ca.pem"))
