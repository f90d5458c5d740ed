# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from drimbox.application import STOP_SECONDS, Application
from drimbox.clock import SystemClock
from drimbox.config import parse_config
from drimbox.dmp_client import Exchange
from drimbox.errors import ConfigurationError, StoreError
from drimbox.schema import exchanges, reports
from tests import dmp_data as d
from tests import guard_data as g
from tests.core_data import FakeDmp, report
from tests.orthanc_double import FakePort
from tests.reports_data import STUDY

SECRET = "k" * 43
PASSWORD = "operator-password"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "secret").chmod(0o600)
    (tmp_path / "root.pem").write_bytes(g.root().pem())
    return tmp_path


@dataclass
class Running:
    """An application on a temporary folder, and how to talk to it."""

    app: Application
    port: FakePort
    socket: Path

    def ask(self, path: str, face: str = "admin", secret: str = SECRET, **headers: str) -> tuple[int, str]:
        given = {"Host": "x", "Connection": "close", "X-Drimbox-Proxy": secret, "X-Drimbox-Face": face, **headers}
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(5)
            link.connect(str(self.socket))
            lines = "".join(f"{k}: {v}\r\n" for k, v in given.items())
            link.sendall(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
            out = b""
            while piece := link.recv(65536):
                out += piece
        head, _, body = out.decode().partition("\r\n\r\n")
        return int(head.split()[1]), body

    def send(self, message: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.mllp_port()), timeout=5) as link:
            link.sendall(b"\x0b" + message + b"\x1c\r")
            answer = b""
            while b"\x1c" not in answer:
                piece = link.recv(65536)
                assert piece, "closed without an acknowledgement"
                answer += piece
        return answer

    def mllp_port(self) -> int:
        assert self.app._mllp is not None
        return self.app._mllp.port


Build = Callable[..., Running]


@pytest.fixture
def build(folder: Path) -> Iterator[Build]:
    made: list[Application] = []

    def make(changes: dict[str, Any] | None = None, port: FakePort | None = None, **orthanc: Any) -> Running:
        raw: dict[str, Any] = {
            "DataFolder": str(folder / "data"),
            "Http": {"Socket": str(folder / "s.sock"), "ProxySecretFile": str(folder / "secret"), "Threads": 4},
            "Mllp": {"Port": 0},
            "Outbox": {"PollSeconds": 0.05},
            "Wado": {"Root": "https://db.example.test/wado-rs"},
            "Whitelist": {"TrustFile": str(folder / "root.pem")},
        }
        for key, value in (changes or {}).items():
            raw[key] = raw.get(key, {}) | value if isinstance(value, dict) else value
        orthanc = {"StorageDirectory": str(folder / "orthanc"), "RegisteredUsers": {"admin": PASSWORD}} | orthanc
        app = Application(port := port or FakePort(STUDY), parse_config(raw), orthanc, SystemClock())
        made.append(app)
        return Running(app, port, folder / "s.sock")

    yield make
    for app in made:
        app.stop()


def threads() -> set[str]:
    return {t.name for t in threading.enumerate() if t.name.startswith(("drimbox", "mllp"))}


def until(true: Callable[[], Any], seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.02)


def test_started_it_answers_and_stopped_it_leaves_nothing(build: Build) -> None:
    running = build()
    assert threads() == set(), "nothing runs before the start"
    running.app.start()
    assert {"drimbox-outbox", "drimbox-ticker", "drimbox-http", "mllp"} <= threads()
    assert running.ask("/health")[0] == 200
    started = time.monotonic()
    running.app.stop()
    assert time.monotonic() - started < 5
    assert threads() == set()
    assert not running.socket.exists()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", running.mllp_port()), timeout=1)


def test_a_report_over_the_wire_is_published_by_the_worker(build: Build) -> None:
    running = build()
    dmp = FakeDmp()
    publisher = running.app.worker._publisher
    object.__setattr__(publisher._d, "dmp", dmp)
    running.app.start()
    assert b"MSA|AA|M0001" in running.send(report(STUDY))
    until(lambda: len(dmp.entries) == 1)
    until(lambda: any(e["kind"] == "kos-published" for e in running.app.journal.latest()))
    with running.app.store.read() as connection:
        (kept,) = connection.execute(sa.select(exchanges)).mappings()
    assert (kept["action"], kept["status"], kept["request"]) == ("publish", 200, b"<request/>")


def test_a_refused_message_is_answered_and_kept(build: Build) -> None:
    running = build()
    running.app.start()
    assert b"MSA|AE|" in running.send(report(STUDY, processing_id="T"))
    with running.app.store.read() as connection:
        assert connection.execute(sa.select(reports.c.state)).scalar() == "refused"


def test_exchanges_of_the_dmp_are_kept_for_the_operator(build: Build) -> None:
    running = build()
    running.app.start()
    running.send(report(STUDY))
    running.app._keep_exchange(1, Exchange("urn:uuid:1", "a", "https://x", b"<e/>", 500, b"no"))
    with running.app.store.read() as connection:
        (row,) = connection.execute(sa.select(exchanges)).mappings()
    assert (row["submission_id"], row["message_id"], row["status"], row["answer"]) == (1, "urn:uuid:1", 500, b"no")


def test_only_the_faces_that_are_configured_are_served(build: Build) -> None:
    running = build()
    running.app.start()
    assert running.ask("/health", "admin")[0] == 200
    for face in ("db", "vi", "conso", "other", ""):
        assert running.ask("/health", face)[0] == 403
    assert running.ask("/health", "admin", secret="x" * 43)[0] == 403
    assert set(running.app._faces()) == {"admin"}


@pytest.mark.parametrize(
    ("changes", "faces"),
    [
        ({"Psc": {"Issuer": g.ISSUER, "ClientId": "c"}}, {"admin", "db"}),
        ({"Psc": {"Issuer": g.ISSUER, "ClientId": "c"}, "Wado": {"Enabled": False}}, {"admin"}),
        ({"Psc": {"Issuer": g.ISSUER, "ClientId": "c"}, "Wado": {"Root": ""}}, {"admin"}),
        (
            {"Psc": {"Issuer": g.ISSUER, "ClientId": "c"}, "Viewer": {"PublicUrl": "https://vi.example.test"}},
            {"admin", "db", "vi"},
        ),
        ({"Viewer": {"PublicUrl": "https://vi.example.test"}}, {"admin"}),
    ],
)
def test_a_face_needs_what_it_works_with(build: Build, changes: dict[str, Any], faces: set[str]) -> None:
    assert set(build(changes).app._faces()) == faces


def test_the_db_face_lives_under_its_own_path_and_refuses_strangers(build: Build) -> None:
    running = build({"Psc": {"Issuer": g.ISSUER, "ClientId": "c"}})
    running.app.start()
    status, body = running.ask(f"/wado-rs/studies/{STUDY}", "db")
    assert (status, json.loads(body)["reason"]) == (403, "certificate-missing")
    assert running.ask(f"/studies/{STUDY}", "db")[0] == 404
    assert running.ask("/drimbox/journal", "db")[0] == 404
    assert {(r["face"], r["outcome"]) for r in running.app.journal.verdicts()} == {("db", "denied")}


def test_the_listener_is_absent_where_it_is_not_wanted(build: Build) -> None:
    running = build({"Mllp": {"Enabled": False}})
    running.app.start()
    assert "mllp" not in threads()
    assert running.app._mllp is None


def test_orthancs_own_routes_are_for_operators_through_nginx(build: Build) -> None:
    admit = build(RegisteredUsers={"admin": PASSWORD, "drimbox-viewer": "v"}).app.admit
    basic = {"authorization": "Basic YWRtaW46eA=="}
    through = {"x-drimbox-proxy": SECRET, "x-drimbox-face": "admin"}
    assert admit("/system", "GET", through | basic, {})
    assert not admit("/system", "GET", basic, {})
    assert not admit("/system", "GET", through, {})
    viewer = {"authorization": "Basic ZHJpbWJveC12aWV3ZXI6dg=="}
    assert not admit("/system", "GET", through | viewer, {}), "nginx's own user for the viewer is no operator"
    assert not admit("/system", "GET", through | basic | {"x-drimbox-face": "vi"}, {})


def basic(password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"admin:{password}".encode()).decode()}


def test_the_health_tells_of_the_pacs_and_of_the_database(build: Build) -> None:
    running = build()
    running.app.start()
    status, body = running.ask("/health", **basic(PASSWORD))
    assert (status, json.loads(body)["versions"]["orthanc"]) == (200, "1.12.7")
    running.port.down = True
    status, body = running.ask("/health", **basic(PASSWORD))
    found = json.loads(body)
    assert (status, found["status"]) == (503, "DOWN")
    assert {c["name"]: c["status"] for c in found["checks"]} == {"DRIMbox": "UP", "PACS": "DOWN"}
    assert found["checks"][1]["reason"] == "Le PACS n'a pas répondu comme attendu."
    assert found["versions"]["orthanc"] == "inconnue"
    told = running.app._wado_health()
    assert (told.up, told.checks) == (False, {"DRIMbox": True, "PACS": False})


def test_stopped_without_having_started_it_ends_quietly(build: Build) -> None:
    build().app.stop()


def test_stopping_twice_is_stopping_once(build: Build) -> None:
    running = build()
    running.app.start()
    running.app.stop()
    running.app.stop()


def test_a_door_that_cannot_open_closes_the_others(build: Build) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        running = build({"Mllp": {"Port": taken.getsockname()[1]}})
        with pytest.raises(ConfigurationError, match=r"Mllp\.Port"):
            running.app.start()
    assert threads() == set()
    assert not running.socket.exists()


def test_a_publication_that_hangs_does_not_hold_the_stop_back(build: Build) -> None:
    running = build()
    sending, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        sending.set()
        go_on.wait(20)

    dmp = FakeDmp(during=hang)
    object.__setattr__(running.app.worker._publisher._d, "dmp", dmp)
    running.app.start()
    running.send(report(STUDY))
    assert sending.wait(5)
    started = time.monotonic()
    running.app.stop()
    assert time.monotonic() - started < 5
    assert STOP_SECONDS < 5
    go_on.set()
    until(lambda: "drimbox-outbox" not in threads())


def test_what_was_interrupted_is_taken_up_first(build: Build) -> None:
    first = build().app
    assert first._mllp is not None
    first._mllp._handle(report(STUDY), "192.0.2.7:1")
    assert first.outbox.lease(SystemClock().now(), 3600) is not None
    second = build().app
    dmp = FakeDmp()
    object.__setattr__(second.worker._publisher._d, "dmp", dmp)
    second.start()
    until(lambda: len(dmp.entries) == 1)


def test_the_node_keeps_its_name_over_restarts(build: Build, folder: Path) -> None:
    first = build().app.outbox.owner
    assert build().app.outbox.owner == first
    assert len(first) > 12
    assert "\n" not in first
    assert (folder / "data").stat().st_mode & 0o077 == 0


def test_our_data_lies_in_orthancs_storage_by_default(build: Build, folder: Path) -> None:
    build({"DataFolder": None})
    assert (folder / "orthanc" / "drimbox" / "drimbox.db").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Http": {"ProxySecretFile": "/nonexistent"}}, r"DrimBox\.Http\.ProxySecretFile"),
        ({"Whitelist": {"TrustFile": "/nonexistent"}}, r"DrimBox\.Whitelist\.TrustFile"),
        (
            {
                "Dmp": {
                    "Url": d.URL,
                    "StructureId": "1",
                    "HomologationNumber": "1",
                    "SourceId": "1.2",
                    **dict.fromkeys(
                        ("ClientCertificate", "ClientKey", "SignatureCertificate", "SignatureKey", "TrustFile"), "/no"
                    ),
                }
            },
            r"Dmp\.Client",
        ),
    ],
    ids=["secret", "trust", "dmp"],
)
def test_a_file_that_is_missing_refuses_the_start_with_the_key(
    build: Build, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        build(changes)


@pytest.mark.parametrize("url", ["nonsense", "nosuchdatabase://x:p4ssword@h/d"])
def test_an_address_of_no_database_is_refused_without_its_password(build: Build, url: str) -> None:
    with pytest.raises(StoreError, match=r"DrimBox\.StoreUrl") as caught:
        build({"StoreUrl": url})
    assert "p4ssword" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_the_whitelist_is_asked_for_again_each_minute_until_there_is_one(build: Build) -> None:
    running = build()
    asked: list[int] = []
    running.app.whitelist.refresh = lambda: asked.append(1)  # type: ignore[method-assign]
    running.app._insist()
    assert asked == [1]
    running.app.whitelist.current = g.whitelist  # type: ignore[method-assign]
    running.app._insist()
    assert asked == [1]
    assert {job.name for job in running.app._jobs()} == {"whitelist", "whitelist-first"}
