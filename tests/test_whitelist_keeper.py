# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

import gzip
import http.server
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from drimbox import whitelist_keeper
from drimbox.config import WhitelistSection
from drimbox.errors import ConfigurationError, ServiceUnavailable, StoreError
from drimbox.journal import Journal
from drimbox.schema import whitelists
from drimbox.store import Store, sqlite_url
from drimbox.whitelist_keeper import WhitelistKeeper, http_fetch, load_trust
from tests import guard_data as g
from tests.conftest import FakeClock

ONE_PEER = {9: g.LISTED_DN}


class Publisher:
    """Gives what it holds; an exception is raised."""

    def __init__(self, data: bytes | Exception) -> None:
        self.data = data
        self.asked = 0

    def __call__(self) -> bytes:
        self.asked += 1
        if isinstance(self.data, Exception):
            raise self.data
        return self.data


@pytest.fixture
def settings(tmp_path: Path) -> WhitelistSection:
    (tmp_path / "root.pem").write_bytes(g.root().pem())
    return WhitelistSection(trust_file=tmp_path / "root.pem")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(sqlite_url(tmp_path))
    yield made
    made.close()


@pytest.fixture
def publisher() -> Publisher:
    return Publisher(g.sign())


@pytest.fixture
def keeper(store: Store, clock: FakeClock, settings: WhitelistSection, publisher: Publisher) -> WhitelistKeeper:
    return made(store, clock, settings, publisher)


def made(
    store: Store, clock: FakeClock, settings: WhitelistSection, fetch: Callable[[], bytes] | None
) -> WhitelistKeeper:
    return WhitelistKeeper(store, Journal(store, clock), clock, settings, fetch)


def peers(keeper: WhitelistKeeper) -> int | None:
    found = keeper.current()
    return None if found is None else len(found.peers)


def told(store: Store) -> list[tuple[str, str, str]]:
    return [(e["severity"], e["reason"], e["text"]) for e in reversed(Journal(store, FakeClock()).latest())]


def kept(store: Store) -> int:
    with store.read() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(whitelists)).scalar() or 0)


def test_at_first_there_is_none(keeper: WhitelistKeeper) -> None:
    keeper.load()
    assert keeper.current() is None


def test_a_valid_list_replaces_the_one_in_force(keeper: WhitelistKeeper, publisher: Publisher, store: Store) -> None:
    keeper.refresh()
    assert peers(keeper) == 2
    publisher.data = g.sign(g.unsigned(ONE_PEER))
    keeper.refresh()
    assert peers(keeper) == 1
    assert told(store) == [
        ("info", "replaced", "Liste blanche vérifiée : 2 DRIMbox."),
        ("info", "replaced", "Liste blanche vérifiée : 1 DRIMbox."),
    ]
    assert kept(store) == 2


def test_the_same_list_again_changes_and_tells_nothing(keeper: WhitelistKeeper, store: Store) -> None:
    keeper.refresh()
    keeper.refresh()
    assert kept(store) == len(told(store)) == 1


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"<html>maintenance</html>", "format-unexpected"),
        (g.unsigned().encode(), "signature-missing"),
        (b"", "xml-not-wellformed"),
        (ServiceUnavailable("HTTP 503"), "service-unavailable"),
    ],
)
def test_what_is_not_valid_leaves_the_list_in_force_and_is_told_once(
    keeper: WhitelistKeeper, publisher: Publisher, store: Store, bad: bytes | Exception, reason: str
) -> None:
    keeper.refresh()
    publisher.data = bad
    for _ in range(3):
        keeper.refresh()
    assert peers(keeper) == 2
    assert kept(store) == 1
    errors = [t for t in told(store) if t[0] == "error"]
    assert len(errors) == 1
    assert errors[0][1] == reason
    assert errors[0][2].startswith("Liste blanche : ")


def test_a_byte_changed_in_the_content_is_refused(keeper: WhitelistKeeper, publisher: Publisher) -> None:
    assert isinstance(publisher.data, bytes)
    publisher.data = publisher.data.replace(b"db9.example.test", b"db8.example.test")
    keeper.refresh()
    assert keeper.current() is None


def test_another_failure_or_a_failure_after_a_success_is_told_again(
    keeper: WhitelistKeeper, publisher: Publisher, store: Store
) -> None:
    good = publisher.data
    for data in (b"<a/>", ServiceUnavailable("down"), ServiceUnavailable("down"), good, good, ServiceUnavailable("x")):
        publisher.data = data
        keeper.refresh()
    reasons = [t[1] for t in told(store)]
    assert reasons == ["format-unexpected", "service-unavailable", "replaced", "service-unavailable"]


def test_a_restart_takes_the_last_list_up_and_verifies_it_again(
    keeper: WhitelistKeeper, publisher: Publisher, store: Store, clock: FakeClock, settings: WhitelistSection
) -> None:
    keeper.refresh()
    publisher.data = g.sign(g.unsigned(ONE_PEER))
    keeper.refresh()
    again = made(store, clock, settings, None)
    again.load()
    assert peers(again) == 1
    again.refresh()
    assert peers(again) == 1, "without a publisher the kept list stays"

    with store.write() as connection:
        connection.execute(sa.update(whitelists).values(data=g.sign().replace(b"db9", b"db6")))
    changed = made(store, clock, settings, None)
    changed.load()
    assert changed.current() is None, "what lies in the database proves nothing"


def test_after_a_restart_the_list_that_is_kept_already_is_not_kept_twice(
    keeper: WhitelistKeeper, publisher: Publisher, store: Store, clock: FakeClock, settings: WhitelistSection
) -> None:
    keeper.refresh()
    again = made(store, clock, settings, publisher)
    again.load()
    again.refresh()
    assert kept(store) == 1


def test_another_root_of_trust_makes_the_kept_list_worthless(
    keeper: WhitelistKeeper, store: Store, clock: FakeClock, tmp_path: Path
) -> None:
    keeper.refresh()
    for trust in (None, tmp_path / "other.pem"):
        if trust is not None:
            trust.write_bytes(g.issue(g.name(CN="OTHER"), None, 5, ca=True).pem())
        other = made(store, clock, WhitelistSection(trust_file=trust), None)
        other.load()
        assert other.current() is None


def test_the_list_ends_with_its_signers_certificate(
    keeper: WhitelistKeeper, store: Store, clock: FakeClock, settings: WhitelistSection
) -> None:
    keeper.refresh()
    clock.advance(100 * 86400)
    assert peers(keeper) == 2
    clock.advance(1)
    assert keeper.current() is None
    again = made(store, clock, settings, None)
    again.load()
    assert again.current() is None


def test_a_list_that_cannot_be_kept_is_not_in_force_and_is_tried_again(
    keeper: WhitelistKeeper, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_write() -> Any:
        raise StoreError("disk full")

    with monkeypatch.context() as broken:
        broken.setattr(store, "write", no_write)
        with pytest.raises(StoreError):
            keeper.refresh()
    assert keeper.current() is None
    keeper.refresh()
    assert peers(keeper) == 2
    assert kept(store) == 1


@pytest.mark.parametrize("content", [None, b"no PEM"])
def test_a_trust_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "trust.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"DrimBox\.Whitelist\.TrustFile .*trust\.pem"):
        load_trust(WhitelistSection(trust_file=path))
    assert load_trust(WhitelistSection()) == ()


# --- fetching --------------------------------------------------------------------------------------------------------

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


@contextmanager
def serving(answer: Answer) -> Iterator[str]:
    """A local publisher that answers by a function."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Quiet(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """The client left: that is what some tests are about."""

    server = Quiet(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/list.xml"
    server.shutdown()
    thread.join()
    server.server_close()


def answering(body: bytes, status: int = 200, length: int | None = None, **headers: str) -> Answer:
    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(body)

    return answer


def fetched(answer: Answer, **settings: Any) -> bytes:
    with serving(answer) as url:
        return http_fetch(WhitelistSection(url=url, **settings))()


def test_the_list_is_fetched_as_it_is() -> None:
    asked: list[str] = []

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        asked.append(str(request.headers["Accept-Encoding"]))
        answering(b"<list/>" * 30_000)(request)

    assert fetched(answer) == b"<list/>" * 30_000
    assert asked == ["identity"]


def test_the_bound_is_exact() -> None:
    assert len(fetched(answering(b"x" * 2048), maximum_bytes=2048)) == 2048
    with pytest.raises(ServiceUnavailable, match="larger than 2048 bytes"):
        fetched(answering(b"x" * 2049), maximum_bytes=2048)


def test_an_endless_answer_is_not_read_to_its_end() -> None:
    sent = 0

    def endless(request: http.server.BaseHTTPRequestHandler) -> None:
        nonlocal sent
        request.send_response(200)
        request.end_headers()
        for _ in range(2000):
            sent += request.wfile.write(b"x" * 65536)

    with pytest.raises(ServiceUnavailable, match="larger"):
        fetched(endless, maximum_bytes=65536)
    assert sent < 64 * 1024 * 1024


def test_a_bomb_of_a_compressed_answer_is_refused_unopened() -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    with pytest.raises(ServiceUnavailable, match="compressed"):
        fetched(answering(bomb, Content_Encoding="gzip"))


@pytest.mark.parametrize("status", [204, 301, 302, 304, 404, 500, 503])
def test_only_a_200_is_a_list_and_no_redirection_is_followed(status: int) -> None:
    with pytest.raises(ServiceUnavailable, match=str(status)):
        fetched(answering(b"", status, Location="http://127.0.0.1:9/elsewhere"))


def test_a_body_that_is_cut_is_no_list() -> None:
    with pytest.raises(ServiceUnavailable):
        fetched(answering(b"<list>", length=1000))


def test_a_publisher_that_drips_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whitelist_keeper, "WHOLE_SECONDS", 0.2)
    left = threading.Event()

    def drip(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while not left.wait(0.02):
            request.wfile.write(b"x")

    started = time.monotonic()
    with pytest.raises(ServiceUnavailable, match="took more than"):
        try:
            fetched(drip)
        finally:
            left.set()
    assert time.monotonic() - started < 3


def test_a_silent_publisher_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whitelist_keeper, "WAIT_SECONDS", 0.1)
    left = threading.Event()

    def silent(_request: http.server.BaseHTTPRequestHandler) -> None:
        left.wait(5)

    with pytest.raises(ServiceUnavailable, match="does not answer"):
        try:
            fetched(silent)
        finally:
            left.set()


def test_nobody_listening_is_unavailable() -> None:
    with pytest.raises(ServiceUnavailable, match="does not answer: ConnectionError"):
        http_fetch(WhitelistSection(url="http://127.0.0.1:9/list.xml"))()


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert fetched(answering(b"<list/>")) == b"<list/>"
