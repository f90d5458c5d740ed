# SPDX-License-Identifier: AGPL-3.0-or-later
"""Discovery, key set and introspection of PSC."""

from __future__ import annotations

import http.server
import json
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from drimbox.clock import SystemClock
from drimbox.config import PscSection
from drimbox.errors import NationalServiceError, ServiceRefused, ServiceUnavailable
from drimbox.psc_http import Discovery, HttpIntrospection, Jwks, RequestsTransport, parent_domain
from tests import guard_data as g
from tests.conftest import FakeClock

BASE = f"{g.ISSUER}/protocol/openid-connect"
DOCUMENT: dict[str, Any] = {
    "issuer": g.ISSUER,
    "authorization_endpoint": "https://wallet.psc.example.test/auth",
    "token_endpoint": f"{BASE}/token",
    "userinfo_endpoint": f"{BASE}/userinfo",
    "jwks_uri": f"{BASE}/certs",
    "introspection_endpoint": f"{BASE}/token/introspect",
    "end_session_endpoint": f"{BASE}/logout",
    "mtls_endpoint_aliases": {"introspection_endpoint": "https://mtls.psc.example.test/introspect"},
}


class Web:
    """A `Transport` of fixed answers."""

    def __init__(self, **documents: Any) -> None:
        self.document: Any = DOCUMENT | documents
        self.keys: Any = {"keys": [g.jwk()]}
        self.introspection: Any = {"active": True}
        self.fail = 0
        self.calls: list[tuple[str, Mapping[str, str]]] = []

    def get(self, url: str) -> bytes:
        self.calls.append((url, {}))
        if self.fail:
            self.fail -= 1
            raise ServiceUnavailable("down")
        return json.dumps(self.document if url.endswith("configuration") else self.keys).encode()

    def post_form(self, url: str, fields: Mapping[str, str]) -> bytes:
        self.calls.append((url, fields))
        if self.fail:
            self.fail -= 1
            raise ServiceUnavailable("down")
        return json.dumps(self.introspection).encode()


def discovery(web: Web, clock: FakeClock | None = None, **settings: Any) -> Discovery:
    section = PscSection.model_validate(g.PSC.model_dump() | settings)
    return Discovery(section, web, clock or FakeClock())


def test_discovery_uses_the_realms_own_document_and_keeps_it_an_hour() -> None:
    web, clock = Web(), FakeClock()
    subject = discovery(web, clock)
    assert subject.endpoints().jwks == f"{BASE}/certs"
    assert subject.endpoints().authorization == "https://wallet.psc.example.test/auth"
    assert [url for url, _ in web.calls] == [f"{g.ISSUER}/.well-known/wallet-openid-configuration"]
    clock.advance(3601)
    subject.endpoints()
    assert len(web.calls) == 2


def test_the_mtls_address_is_used_with_a_client_certificate() -> None:
    assert discovery(Web()).endpoints().introspection == f"{BASE}/token/introspect"
    mtls = discovery(Web(), client_certificate="/x.pem").endpoints()
    assert mtls.introspection == "https://mtls.psc.example.test/introspect"
    assert mtls.token == f"{BASE}/token"


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": "https://other.psc.example.test"},
        {"issuer": None},
        {"jwks_uri": None},
        {"jwks_uri": "http://auth.psc.example.test/certs"},
        {"jwks_uri": "https://evil.test/certs"},
        {"jwks_uri": "https://evilpsc.example.test/certs"},
        {"jwks_uri": "https://psc.example.test@evil.test/certs"},
        {"jwks_uri": "https://user@auth.psc.example.test/certs"},
        {"introspection_endpoint": ["https://auth.psc.example.test"]},
    ],
)
def test_a_document_that_points_elsewhere_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ServiceRefused):
        discovery(Web(**changes)).endpoints()


def test_the_trusted_domain_may_be_told() -> None:
    web = Web(jwks_uri="https://keys.example.test/certs")
    assert discovery(web, trusted_domain="example.test").endpoints().jwks == "https://keys.example.test/certs"
    with pytest.raises(ServiceRefused):
        discovery(web, trusted_domain="auth.psc.example.test").endpoints()


def test_without_an_issuer_nothing_is_fetched() -> None:
    web = Web()
    with pytest.raises(ServiceRefused):
        discovery(web, issuer="").endpoints()
    assert web.calls == []


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://auth.bas.psc.esante.gouv.fr/auth", "bas.psc.esante.gouv.fr"),
        ("https://localhost:8443/", "localhost"),
        ("https://127.0.0.1:8443/", "127.0.0.1"),
        ("https://example.test", "example.test"),
    ],
)
def test_the_parent_domain(url: str, expected: str) -> None:
    assert parent_domain(url) == expected


def test_a_failure_is_remembered_for_seconds() -> None:
    web, clock = Web(), FakeClock()
    subject = discovery(web, clock)
    web.fail = 1
    for _ in range(3):
        with pytest.raises(ServiceUnavailable):
            subject.endpoints()
    assert len(web.calls) == 1
    clock.advance(6)
    assert subject.endpoints().issuer == g.ISSUER


def test_an_unknown_key_is_looked_for_again_at_most_once_a_minute() -> None:
    web, clock = Web(), FakeClock()
    subject = Jwks(discovery(web, clock), web, clock)
    assert subject.key("key-1") is not None
    fetched = len(web.calls)
    for _ in range(5):
        assert subject.key("key-2") is None
    assert len(web.calls) == fetched
    web.keys = {"keys": [g.jwk(), g.jwk(kid="key-2")]}
    clock.advance(61)
    assert subject.key("key-2") is not None
    assert len(web.calls) == fetched + 1


def test_a_key_that_is_published_no_more_dies_within_the_hour() -> None:
    web, clock = Web(), FakeClock()
    subject = Jwks(discovery(web, clock), web, clock)
    assert subject.key("key-1") is not None
    web.keys = {"keys": []}
    clock.advance(3601)
    assert subject.key("key-1") is None


@pytest.mark.parametrize("keys", [[], {}, {"keys": {}}, {"keys": "x"}, 3])
def test_a_key_set_that_is_none_is_refused(keys: Any) -> None:
    web = Web()
    web.keys = keys
    with pytest.raises(NationalServiceError):
        Jwks(discovery(web), web, FakeClock()).key("key-1")


def test_keys_that_are_no_good_are_left_out() -> None:
    web = Web()
    web.keys = {"keys": [1, {}, {"kid": 3}, g.jwk(use="enc"), g.jwk(kid="key-9")]}
    subject = Jwks(discovery(web), web, FakeClock())
    assert subject.key("key-1") is None
    assert subject.key("key-9") is not None


def test_introspection_sends_the_form_and_tries_twice() -> None:
    web = Web()
    subject = HttpIntrospection(g.PSC, discovery(web), web)
    assert subject.introspect("t") == {"active": True}
    assert web.calls[-1] == (f"{BASE}/token/introspect", {"token": "t", "client_id": "drimbox-test"})
    web.fail = 1
    assert subject.introspect("t") == {"active": True}
    web.fail = 2
    with pytest.raises(ServiceUnavailable):
        subject.introspect("t")


def test_an_answer_that_is_no_json_is_no_answer() -> None:
    class Html(Web):
        def get(self, url: str) -> bytes:
            return b"<html>"

    with pytest.raises(NationalServiceError):
        discovery(Html()).endpoints()


@pytest.mark.parametrize("body", [[], "active", None, 1])
def test_an_introspection_that_is_no_object_is_no_answer(body: Any) -> None:
    web = Web()
    web.introspection = body
    with pytest.raises(NationalServiceError):
        HttpIntrospection(g.PSC, discovery(web), web).introspect("t")


# --- the real transport, against a TLS server that wants a client certificate ----------------------------------------


class Handler(http.server.BaseHTTPRequestHandler):
    seen: list[tuple[str, bytes]]

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        type(self).seen.append((self.path, self.rfile.read(length)))
        status = {"/redirect": 302, "/busy": 503, "/many": 429, "/no": 401}.get(self.path, 200)
        body = b"x" * 1_100_000 if self.path == "/large" else b'{"active": true}'
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/elsewhere")
        self.send_header("Set-Cookie", "sticky=1; Path=/")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer  # noqa: N815

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def server(folder: Path) -> Iterator[tuple[str, PscSection]]:
    now = SystemClock().now()  # TLS looks at the machine's clock
    life: dict[str, Any] = {"start": now - g.DAY, "end": now + g.DAY}
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    host = g.issue(g.name(CN="localhost"), g.authority(), 5, extensions=[(names, False)], **life)
    client = g.peer(9, **life)
    files = {
        "server.pem": host.pem() + g.authority().pem() + host.key_pem(),
        "client.pem": client.pem() + g.authority().pem(),
        "client.key": client.key_pem(),
        "ca.pem": g.root().pem(),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    context.load_verify_locations(folder / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    handler = type("H", (Handler,), {"seen": []})
    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    web.daemon_threads = True
    web.socket = context.wrap_socket(web.socket, server_side=True)
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    settings = PscSection(
        trust_file=folder / "ca.pem",
        client_certificate=folder / "client.pem",
        client_key=folder / "client.key",
        timeout_seconds=2,
    )
    try:
        yield f"https://localhost:{web.server_address[1]}", settings
    finally:
        web.shutdown()
        web.server_close()
        thread.join()


def test_the_transport_shows_its_certificate_and_bounds_what_it_reads(tmp_path: Path) -> None:
    with server(tmp_path) as (url, settings):
        web = RequestsTransport(settings)
        assert web.get(f"{url}/ok") == b'{"active": true}'
        assert web.post_form(f"{url}/introspect", {"token": "a&b"}) == b'{"active": true}'
        for path in ("/redirect", "/no"):
            with pytest.raises(ServiceRefused):
                web.get(url + path)
        for path in ("/busy", "/many", "/large"):
            with pytest.raises(ServiceUnavailable):
                web.get(url + path)
        assert not web._session.cookies
        web._session.close()


def test_the_transport_fails_closed_without_trust_or_certificate(tmp_path: Path) -> None:
    with server(tmp_path) as (url, settings):
        for changes in ({"client_certificate": None}, {"trust_file": None}):
            web = RequestsTransport(settings.model_copy(update=changes))
            with pytest.raises(ServiceUnavailable):
                web.get(f"{url}/ok")
            web._session.close()


def test_nobody_listening_is_unavailable() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        with pytest.raises(ServiceUnavailable) as caught:
            RequestsTransport(PscSection(timeout_seconds=0.5)).get(f"https://127.0.0.1:{port}/secret-path")
    assert "secret-path" not in str(caught.value)
