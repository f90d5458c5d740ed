# SPDX-License-Identifier: AGPL-3.0-or-later
"""HTTPS towards the DMP against a real TLS server that misbehaves on demand."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from drimbox.config import DmpSection
from drimbox.dmp_keys import Credential
from drimbox.dmp_transport import RequestsTransport
from drimbox.errors import ConfigurationError, NationalServiceError, OutcomeUnknown, ServiceRefused, ServiceUnavailable
from tests.dmp_data import NOW, STRUCTURE, issue, name, write_pem

YEARS = NOW.replace(year=NOW.year + 30)
LONG_AGO = NOW.replace(year=2020)
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
type Behaviour = Callable[[ssl.SSLSocket, bytes], None]


def lasting(label: str, kind: str, issuer: Credential | None) -> Credential:
    """Certificates valid on the day of the run: OpenSSL reads the machine's clock, not ours."""
    subject = name("AC ESSAI", "0000000000") if kind == "ca" else name(label, STRUCTURE)
    return issue(label, subject, kind=kind, issuer=issuer, begin=LONG_AGO, end=YEARS)


@dataclass
class Pki:
    ca: Credential = field(default_factory=lambda: lasting("ca", "ca", None))

    def files(self, folder: Path) -> DmpSection:
        server, client = (lasting(label, label, self.ca) for label in ("server", "auth"))
        write_pem(folder, "ca", self.ca)
        write_pem(folder, "server", server)
        certificate, key = write_pem(folder, "auth", client)
        return DmpSection(trust_file=folder / "ca.crt", client_certificate=certificate, client_key=key)


@dataclass
class Seen:
    requests: list[bytes] = field(default_factory=list)
    peers: list[bytes | None] = field(default_factory=list)
    connections: int = 0


@contextmanager
def server(
    folder: Path,
    behave: Behaviour,
    *,
    at_once: Callable[[socket.socket], None] | None = None,
    tls12: bool = False,
    trust: str = "ca.crt",
) -> Iterator[tuple[str, Seen]]:
    """One thread; `behave` gets the connection and the request; `at_once` the raw socket before TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    if tls12:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(folder / trust)
    seen = Seen()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            seen.connections += 1
            raw.settimeout(5)
            with raw, suppress(OSError):
                if at_once:
                    at_once(raw)
                    continue
                with context.wrap_socket(raw, server_side=True) as connection:
                    seen.peers.append(connection.getpeercert(True))
                    request = read_request(connection)
                    seen.requests.append(request)
                    behave(connection, request)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"https://localhost:{listener.getsockname()[1]}/x", seen
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def read_request(connection: ssl.SSLSocket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(int(h.split(b":")[1]) for h in head.lower().split(b"\r\n") if h.startswith(b"content-length"))
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def reset(raw: socket.socket) -> None:
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raw.close()


def reply(data: bytes) -> Behaviour:
    return lambda connection, _request: connection.sendall(data)


def post(settings: DmpSection, url: str, body: bytes = b"body", timeout: float = 5) -> bytes:
    return RequestsTransport(settings).post(url, {"Content-Type": "x/y"}, body, timeout).body


def failing(settings: DmpSection, url: str, body: bytes = b"body", timeout: float = 5) -> NationalServiceError:
    with pytest.raises(NationalServiceError) as caught:
        post(settings, url, body, timeout)
    return caught.value


@pytest.fixture
def pki(tmp_path: Path) -> DmpSection:
    return Pki().files(tmp_path)


def test_a_request_arrives_whole_with_the_structure_s_certificate(tmp_path: Path, pki: DmpSection) -> None:
    body = bytes(range(256)) * 2000
    with server(tmp_path, reply(OK)) as (url, seen):
        answer = RequestsTransport(pki).post(url, {"Content-Type": "a/b", "X-Y": "z"}, body, 5)
    assert (answer.status, answer.content_type(), answer.body) == (200, "text/plain", b"ok")
    head, _, received = seen.requests[0].partition(b"\r\n\r\n")
    assert received == body
    assert b"Content-Type: a/b" in head
    assert b"Transfer-Encoding" not in head


def test_each_request_has_its_own_connection(tmp_path: Path, pki: DmpSection) -> None:
    transport = RequestsTransport(pki)
    with server(tmp_path, reply(OK)) as (url, seen):
        for _ in range(2):
            transport.post(url, {}, b"x", 5)
    assert seen.connections == 2


def test_an_empty_answer_and_any_status_are_answers(tmp_path: Path, pki: DmpSection) -> None:
    data = b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 13\r\n\r\n<html></html>"
    with server(tmp_path, reply(data)) as (url, _):
        answer = RequestsTransport(pki).post(url, {}, b"x", 5)
    assert (answer.status, answer.body) == (502, b"<html></html>")


def test_a_redirect_is_not_followed(tmp_path: Path, pki: DmpSection) -> None:
    data = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"
    with server(tmp_path, reply(data)) as (url, seen):
        assert RequestsTransport(pki).post(url, {}, b"x", 5).status == 302
    assert seen.connections == 1


@pytest.mark.parametrize("tls12", [True, False])
def test_a_server_of_another_authority_is_refused(tmp_path: Path, tls12: bool) -> None:
    settings = Pki().files(tmp_path)
    foreign = issue("foreign-ca", name("AC AUTRE", "0000000001"), kind="ca", begin=LONG_AGO, end=YEARS)
    write_pem(tmp_path, "foreign", foreign)
    settings = settings.model_copy(update={"trust_file": tmp_path / "foreign.crt"})
    with server(tmp_path, reply(OK), tls12=tls12) as (url, seen):
        error = failing(settings, url)
    assert isinstance(error, ServiceRefused)
    assert error.scope == "configuration"
    assert seen.requests == []


@pytest.mark.parametrize("tls12", [True, False])
def test_a_client_certificate_that_the_server_does_not_know_is_a_matter_of_configuration(
    tmp_path: Path, pki: DmpSection, tls12: bool
) -> None:
    foreign = issue("foreign-ca", name("AC AUTRE", "0000000001"), kind="ca", begin=LONG_AGO, end=YEARS)
    write_pem(tmp_path, "foreign", foreign)
    with server(tmp_path, reply(OK), tls12=tls12, trust="foreign.crt") as (url, seen):
        error = failing(pki, url)
    assert isinstance(error, ServiceRefused)
    assert error.scope == "configuration"
    assert "certificat" in error.public
    assert seen.requests == []


def test_a_server_of_another_name_is_refused(tmp_path: Path, pki: DmpSection) -> None:
    with server(tmp_path, reply(OK)) as (url, _):
        error = failing(pki, url.replace("localhost", "127.0.0.1"))
    assert isinstance(error, ServiceRefused)


def test_an_old_protocol_is_not_spoken(pki: DmpSection) -> None:
    assert RequestsTransport(pki)._context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_only_the_configured_authorities_are_trusted(tmp_path: Path, pki: DmpSection) -> None:
    transport = RequestsTransport(pki)
    with server(tmp_path, reply(OK)) as (url, _):
        transport.post(url, {}, b"x", 5)
    (only,) = transport._context.get_ca_certs(binary_form=True)
    assert only == lasting_der(tmp_path)


def lasting_der(folder: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert((folder / "ca.crt").read_text())


def test_nobody_listening_means_nothing_was_done(pki: DmpSection) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    error = failing(pki, f"https://localhost:{port}/x")
    assert isinstance(error, ServiceUnavailable)
    assert error.retryable


def test_an_unknown_host_means_nothing_was_done(pki: DmpSection) -> None:
    assert isinstance(failing(pki, "https://absent.invalid/x"), ServiceUnavailable)


def test_a_connection_cut_before_tls_means_nothing_was_done(tmp_path: Path, pki: DmpSection) -> None:
    with server(tmp_path, reply(OK), at_once=reset) as (url, _):
        assert isinstance(failing(pki, url), ServiceUnavailable)


def test_a_server_that_is_no_tls_server_means_nothing_was_done(tmp_path: Path, pki: DmpSection) -> None:
    def plain(raw: socket.socket) -> None:
        raw.recv(10)
        raw.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with server(tmp_path, reply(OK), at_once=plain) as (url, _):
        assert isinstance(failing(pki, url), ServiceUnavailable)


def test_a_silent_handshake_ends(tmp_path: Path, pki: DmpSection) -> None:
    with server(tmp_path, reply(OK), at_once=lambda raw: time.sleep(1)) as (url, _):
        assert isinstance(failing(pki, url, timeout=0.3), ServiceUnavailable)


def test_an_answer_cut_after_the_request_leaves_the_outcome_open(tmp_path: Path, pki: DmpSection) -> None:
    with server(tmp_path, lambda connection, _: reset(connection)) as (url, seen):
        assert isinstance(failing(pki, url), OutcomeUnknown)
    assert len(seen.requests) == 1


def test_a_request_cut_while_it_leaves_means_nothing_was_done(tmp_path: Path, pki: DmpSection) -> None:
    with _early_cut(tmp_path) as url:
        error = failing(pki, url, body=b"x" * 40_000_000, timeout=10)
    assert isinstance(error, ServiceUnavailable)


@contextmanager
def _early_cut(folder: Path) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        raw, _ = listener.accept()
        with suppress(OSError), context.wrap_socket(raw, server_side=True) as connection:
            connection.recv(1000)
            reset(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"https://localhost:{listener.getsockname()[1]}/x"
    thread.join(10)
    listener.close()


def test_a_silent_server_leaves_the_outcome_open(tmp_path: Path, pki: DmpSection) -> None:
    with server(tmp_path, lambda connection, _: time.sleep(1)) as (url, _):
        assert isinstance(failing(pki, url, timeout=0.3), OutcomeUnknown)


def test_an_endless_trickle_ends(tmp_path: Path, pki: DmpSection) -> None:
    def trickle(connection: ssl.SSLSocket, _request: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(30):
            connection.sendall(b"x")
            time.sleep(0.1)

    started = time.monotonic()
    with server(tmp_path, trickle) as (url, _):
        error = failing(pki, url, timeout=0.5)
        assert isinstance(error, OutcomeUnknown)
        assert time.monotonic() - started < 2.5


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
        b"no http at all\r\n\r\n",
        b"",
    ],
)
def test_a_truncated_or_senseless_answer_leaves_the_outcome_open(tmp_path: Path, pki: DmpSection, data: bytes) -> None:
    with server(tmp_path, reply(data)) as (url, _):
        assert isinstance(failing(pki, url), OutcomeUnknown)


def test_a_huge_answer_is_dropped(tmp_path: Path, pki: DmpSection) -> None:
    settings = pki.model_copy(update={"maximum_answer_bytes": 65536})
    data = b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n" + b"x" * 999999
    with server(tmp_path, reply(data)) as (url, _):
        error = failing(settings, url)
    assert isinstance(error, OutcomeUnknown)
    assert error.reason == "answer-too-large"


def test_a_proxy_of_the_environment_is_ignored(
    tmp_path: Path, pki: DmpSection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nonexistent")
    with server(tmp_path, reply(OK)) as (url, _):
        assert post(pki, url) == b"ok"


def test_a_configured_proxy_is_used(tmp_path: Path, pki: DmpSection) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = pki.model_copy(update={"proxy": f"http://127.0.0.1:{port}"})
    with server(tmp_path, reply(OK)) as (url, seen):
        assert isinstance(failing(settings, url), ServiceUnavailable)
    assert seen.connections == 0


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("trust_file", None, "TrustFile"),
        ("trust_file", "absent", "TrustFile"),
        ("client_certificate", "absent", "ClientCertificate"),
        ("client_key", "ca.key", "ClientKey"),
    ],
)
def test_unfit_files_are_named(tmp_path: Path, pki: DmpSection, key: str, value: str | None, named: str) -> None:
    settings = pki.model_copy(update={key: tmp_path / value if value else None})
    with pytest.raises(ConfigurationError) as caught:
        RequestsTransport(settings)
    assert named in caught.value.detail


def test_an_encrypted_key_asks_nobody(tmp_path: Path, pki: DmpSection) -> None:
    key = lasting("auth", "auth", None).key
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    (tmp_path / "auth.key").write_bytes(locked)
    with pytest.raises(ConfigurationError) as caught:
        RequestsTransport(pki)
    assert "ClientKey" in caught.value.detail


def test_the_presented_certificate_is_the_structure_s(tmp_path: Path, pki: DmpSection) -> None:
    with server(tmp_path, reply(OK)) as (url, seen):
        post(pki, url)
    pem = (tmp_path / "auth.crt").read_text()
    assert seen.peers == [ssl.PEM_cert_to_DER_cert(pem)]
