# SPDX-License-Identifier: AGPL-3.0-or-later
"""The WADO-RS door over Flask's client: the whole table, the multipart answer, the files behind it."""

from __future__ import annotations

import email
import email.policy
import hashlib
import json
import os
import socket
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.test import EnvironBuilder, TestResponse
from werkzeug.wrappers import Response

from drimbox.certificates import check_lists
from drimbox.config import WadoSection
from drimbox.errors import DrimboxError, ServiceUnavailable
from drimbox.journal import AuditRecord
from drimbox.tokens import TokenVerifier
from drimbox.wado_files import OrthancFiles, StoredInstance
from drimbox.wado_guard import ACTORS, OUTCOMES, ROUTES
from drimbox.wado_rs import Health, WadoDeps, create_blueprint
from drimbox.wado_stream import CHUNK, Delivery, MultipartAnswer, PartStream, StreamBroken
from tests import guard_data as g
from tests.conftest import FakeClock
from tests.test_tokens import Psc

JPEGLS, EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
ACCEPT = ",".join(
    f'multipart/related; type="application/dicom";transfer-syntax={uid};q={q};boundary=**'
    for uid, q in [
        ("1.2.840.10008.1.2.4.70", "0.9"),
        (JPEGLS, "0.8"),
        ("1.2.840.10008.1.2.4.50", "0"),
        (EXPLICIT, "0.4"),
    ]
)


class Orthanc:
    """What the locator needs of Orthanc, with files on disk; answers shaped as Orthanc 1.12.7's."""

    def __init__(self, storage: Path) -> None:
        self.storage = storage
        self.rows: list[dict[str, Any]] = []
        self.series: list[str] = []
        self.files: dict[str, bytes] = {}
        self.finds: list[Mapping[str, Any]] = []

    def add(
        self, series: str, uid: str, data: bytes, *, number: str = "", syntax: str = JPEGLS, compressed: bool = False,
        on_disk: bool = True,
    ) -> Path:  # fmt: skip
        uuid = hashlib.md5(uid.encode()).hexdigest()
        path = self.storage / uuid[0:2] / uuid[2:4] / uuid
        if on_disk:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data[: len(data) // 2] if compressed else data)
        attachment = {
            "CompressedMD5": "b" if compressed else "a",
            "CompressedSize": len(data) // 2 if compressed else len(data),
            "ContentType": 1,
            "UncompressedMD5": "a",
            "UncompressedSize": len(data),
            "Uuid": uuid,
        }
        tags = {"SOPInstanceUID": uid} | ({"InstanceNumber": number} if number else {})
        self.rows.append(
            {
                "ID": f"orthanc-{uid}",
                "Type": "Instance",
                "MainDicomTags": tags,
                "Metadata": {"TransferSyntax": syntax},
                "Attachments": [{"ContentType": 4, "Uuid": "x"}, attachment],
            }
        )
        self.series.append(series)
        self.files[f"orthanc-{uid}"] = data
        return path

    def find(self, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        self.finds.append(body)
        query = body["Query"]
        rows = zip(self.rows, self.series, strict=True)
        return [
            row
            for row, series in rows
            if query.get("SeriesInstanceUID", series) == series
            and query.get("SOPInstanceUID") in (None, row["MainDicomTags"].get("SOPInstanceUID"))
        ]

    def fetch(self, orthanc_id: str) -> bytes:
        return self.files[orthanc_id]


class World:
    """The door, and everything behind it."""

    def __init__(self, storage: Path, scene: g.Scene | None = None, **settings: Any) -> None:
        self.scene = scene or g.scene("holder")
        self.orthanc = Orthanc(storage)
        self.audits: list[AuditRecord] = []
        self.health = Health(True, {"DRIMbox": True, "PACS": True})
        self.locator = OrthancFiles(self.orthanc.find, storage, self.orthanc.fetch)
        self.psc = Psc(self.scene.psc)  # type: ignore[arg-type]
        self.archive = g.MemoryArchive(*self.scene.manifests)
        clock = FakeClock(g.NOW)
        deps = WadoDeps(
            whitelist=lambda: self.scene.whitelist,
            tokens=TokenVerifier(g.PSC, g.Keys(), self.psc, clock),
            archive=self.archive,
            locator=self.locator,
            audit=self.audits.append,
            health=lambda: self.health,
            clock=clock,
            settings=WadoSection.model_validate({"Root": "https://db1.example.test/wado-rs"} | settings),
            revocations=lambda: check_lists([g.crl(*self.scene.revoked)], [g.authority().certificate]),
        )
        self.app = Flask(__name__)
        self.app.testing = True
        self.app.register_blueprint(create_blueprint(deps), url_prefix="/wado-rs")

    def client(self) -> FlaskClient:
        return self.app.test_client()

    def fill(self) -> World:
        for number, uid in enumerate(g.INSTANCES, 1):
            self.orthanc.add(g.SERIES, uid, f"image {number} ".encode() * 200, number=str(number))
        self.orthanc.add(g.OTHER_SERIES, g.OTHER_INSTANCES[0], b"report", number="1", syntax=EXPLICIT)
        return self

    def headers(self, accept: Sequence[str]) -> list[tuple[str, str]]:
        scene = self.scene
        found = [("X-Drimbox-Client-Verify", scene.verify), ("X-Drimbox-Client-Cert", scene.certificate)]
        found += [("KOS-SOPInstanceUID", value) for value in scene.kos]
        found += [("Accept", value) for value in accept]
        return found if scene.authorization is None else [*found, ("Authorization", scene.authorization)]

    def ask(
        self, route: str = "series", *, accept: Sequence[str] = (ACCEPT,), path: str = "", **rest: Any
    ) -> TestResponse:
        return self.client().open(
            f"/wado-rs{path or self.scene.path(route)}",
            method=rest.pop("method", self.scene.method),
            headers=self.headers(accept),
            **rest,
        )


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path).fill()


def parts(response: Response) -> list[tuple[dict[str, str], bytes]]:
    """Read a multipart answer by the standard library."""
    head = f"Content-Type: {response.headers['Content-Type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + response.data, policy=email.policy.HTTP)
    return [(dict(p.items()), p.get_payload(decode=True)) for p in message.iter_parts()]  # type: ignore[misc]


def told(response: Response) -> dict[str, Any]:
    """The JSON of a refusal, or of the health."""
    found: dict[str, Any] = json.loads(response.data)
    return found


# --- the table -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("actor", [a.name for a in ACTORS])
@pytest.mark.parametrize("route", ROUTES)
def test_the_door_does_what_the_table_says_and_audits_it_once(route: str, actor: str, tmp_path: Path) -> None:
    status, reason = OUTCOMES[(route, actor)]  # type: ignore[index]
    world = World(tmp_path, g.scene(actor, route)).fill()
    with world.ask(route) as response:
        body = response.data
        assert response.status_code == status
    if route == "health":
        assert world.audits == []
        return
    (record,) = world.audits
    assert (record.face, record.route, record.reason) == ("db", route, reason)
    assert (record.outcome, record.facts["status"]) == ("denied" if reason else "allowed", status)
    if reason:
        answer = json.loads(body)
        assert answer["reason"] == reason
        assert answer["message"]
        assert response.headers["Content-Type"] == "application/json"
        assert response.headers["Cache-Control"] == "no-store"
        assert ("WWW-Authenticate" in response.headers) == (status == 401)
        assert ("Retry-After" in response.headers) == (status == 503)
        assert ("Allow" in response.headers) == (status == 405)


@pytest.mark.parametrize("actor", [a.name for a in ACTORS if a.reason])
def test_no_audit_record_holds_a_token(actor: str, tmp_path: Path) -> None:
    world = World(tmp_path, g.scene(actor)).fill()
    world.ask().close()
    text = repr(world.audits)
    assert "eyJ" not in text
    assert g.claims()["jti"] not in text


def test_an_unlisted_peer_costs_neither_psc_nor_the_archive(tmp_path: Path) -> None:
    world = World(tmp_path, g.scene("peer that is not listed")).fill()
    world.ask().close()
    assert (world.psc.calls, world.archive.asked, world.orthanc.finds) == (0, 0, [])


def test_the_missing_token_is_told_without_an_error_word(tmp_path: Path) -> None:
    for actor, expected in (("no token", "Bearer"), ("token that has expired", 'Bearer error="invalid_token"')):
        with World(tmp_path, g.scene(actor)).ask() as response:
            assert response.headers["WWW-Authenticate"] == expected


def test_a_mistake_of_ours_is_a_500_that_is_audited(world: World) -> None:
    def broken(_: Mapping[str, Any]) -> list[dict[str, Any]]:
        raise ZeroDivisionError

    world.locator._find = broken
    with world.ask() as response:
        assert (response.status_code, told(response)["reason"]) == (500, "internal-error")
    assert [(r.outcome, r.reason) for r in world.audits] == [("denied", "internal-error")]


def test_a_pacs_that_fails_is_told_and_audited(world: World) -> None:
    def down(_: Mapping[str, Any]) -> list[dict[str, Any]]:
        raise ServiceUnavailable("PACS")

    world.locator._find = down
    with world.ask() as response:
        assert response.status_code == 503
    assert [r.reason for r in world.audits] == ["service-unavailable"]


# --- G3, G4 over HTTP ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/studies", "/studies/", f"/studies/{g.STUDY}/", f"/studies//{g.STUDY}", f"//studies/{g.STUDY}",
        f"/studies/{g.STUDY}%2Fseries", f"/studies/{g.STUDY}/../{g.STUDY}", f"/studies/{g.STUDY}%00",
        f"/studies/{g.STUDY}.", f"/studies/{g.STUDY}%0d%0a", f"/studies/{'1' * 65}", "/studies/%D9%A1",
        f"/STUDIES/{g.STUDY}", f"/studies/{g.STUDY}/series/{g.SERIES}/", f"/studies/{g.STUDY};x=1",
        f"/studies/{g.STUDY}/series/{g.SERIES}/instances/{g.INSTANCES[0]}/frames/1", "/q/health", "/%2e%2e/system",
        f"/studies/{g.STUDY}*", f"/studies/{g.STUDY}%3F", f"/studies/{g.STUDY}%5C1.2", "/%0a",
    ],
)  # fmt: skip
def test_no_other_path_serves_anything(world: World, path: str) -> None:
    with world.ask(path=path) as response:
        assert response.status_code in (400, 404)
        assert told(response)["reason"] in ("route-unknown", "uid-malformed", "study-unknown")
    assert len(world.audits) == 1


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_other_methods_are_told_which_ones_exist(world: World, method: str) -> None:
    with world.ask(method=method) as response:
        assert (response.status_code, response.headers["Allow"]) == (405, "GET, HEAD")


def test_the_header_name_is_read_whatever_its_case(world: World) -> None:
    headers = {
        "x-drimbox-client-verify": "SUCCESS",
        "x-drimbox-client-cert": world.scene.certificate,
        "authorization": world.scene.authorization or "",
        "kos-sopinstanceuid": g.KOS,
        "accept": ACCEPT,
    }
    with world.client().get(f"/wado-rs{world.scene.path('series')}", headers=headers) as response:
        assert response.status_code == 200


def test_two_headers_joined_on_the_way_are_still_two(tmp_path: Path) -> None:
    scene = g.scene("holder")
    scene.kos = (f"{g.KOS}, {g.KOS}",)
    with World(tmp_path, scene).fill().ask() as response:
        assert told(response)["reason"] == "kos-header-repeated"


# --- the answer ------------------------------------------------------------------------------------------------------


def test_a_series_comes_whole_in_order_with_its_length(world: World) -> None:
    with world.ask() as response:
        found = parts(response)
        assert response.status_code == 200
        assert int(response.headers["Content-Length"]) == len(response.data)
        assert response.headers["Cache-Control"] == "private, no-store"
        assert response.headers["Content-Type"].startswith('multipart/related; type="application/dicom"')
        assert f"transfer-syntax={JPEGLS}" in response.headers["Content-Type"]
        assert f"\r\nContent-Type: application/dicom;transfer-syntax={JPEGLS}\r\n".encode() in response.data
    assert [body for _, body in found] == [f"image {n} ".encode() * 200 for n in (1, 2, 3)]
    head = found[1][0]
    assert head["Content-ID"] == "<2@drimbox>"
    assert head["Content-Length"] == "1600"
    assert head["Content-Location"] == (
        f"https://db1.example.test/wado-rs/studies/{g.STUDY}/series/{g.SERIES}/instances/{g.INSTANCES[1]}"
    )


def test_a_study_and_an_instance_come_too(world: World) -> None:
    with world.ask("study") as response:
        assert [len(b) for _, b in parts(response)] == [1600, 1600, 1600, 6]
        assert "transfer-syntax" not in response.headers["Content-Type"]
    with world.ask("instance") as response:
        assert [b for _, b in parts(response)] == [b"image 2 " * 200]
    assert [r.facts["objects"] for r in world.audits] == [4, 1]


def test_the_end_of_a_stream_is_audited_with_what_went_out(world: World) -> None:
    with world.ask("study") as response:
        size = len(response.data)
    (record,) = world.audits
    assert record.actor == g.LISTED_DN
    assert record.study_uid == g.STUDY
    facts = record.facts
    assert (facts["objects"], facts["bytes"], facts["complete"]) == (4, size, True)
    assert facts["syntaxes"] == {JPEGLS: 3, EXPLICIT: 1}
    assert facts["modalities"] == {"CT": 3, "SR": 1}
    assert (facts["peer"], facts["subject"], facts["azp"], facts["kos"]) == (
        "9",
        "899700000001",
        "other-drimbox",
        g.KOS,
    )
    json.dumps(dict(facts))


def test_head_gives_the_headers_alone(world: World) -> None:
    with world.ask(method="HEAD") as response:
        assert (response.status_code, response.data) == (200, b"")
        length = int(response.headers["Content-Length"])
    with world.ask() as response:
        assert len(response.data) == length
    assert [(r.facts["method"], r.facts["objects"]) for r in world.audits] == [("HEAD", 0), ("GET", 3)]


def test_images_come_by_instance_number_then_as_in_the_manifest(tmp_path: Path) -> None:
    world = World(tmp_path)
    first, second, third = g.INSTANCES
    world.orthanc.add(g.SERIES, third, b"no number")
    world.orthanc.add(g.SERIES, second, b"number 2", number="2")
    world.orthanc.add(g.SERIES, first, b"number 10", number="10")
    with world.ask() as response:
        assert [b for _, b in parts(response)] == [b"number 2", b"number 10", b"no number"]


@pytest.mark.parametrize(
    ("accept", "status", "reason"),
    [
        ((), 400, "accept-malformed"),
        (("*/*",), 400, "accept-malformed"),
        ((f"transfer-syntax={EXPLICIT}",), 406, "syntax-not-acceptable"),
        ((f"transfer-syntax={JPEGLS};q=0",), 406, "syntax-not-acceptable"),
        ((f"transfer-syntax={JPEGLS};q=0.001",), 200, ""),
        (("transfer-syntax=*",), 200, ""),
        ((f"transfer-syntax={EXPLICIT};q=0.9", f"transfer-syntax={JPEGLS};q=0.1"), 200, ""),
    ],
)
def test_the_syntax_must_be_acceptable(world: World, accept: Sequence[str], status: int, reason: str) -> None:
    with world.ask(accept=accept) as response:
        assert response.status_code == status
        assert (told(response)["reason"] if reason else "") == reason
    assert [r.reason for r in world.audits] == [reason]


def test_what_cannot_be_sent_is_left_out_and_counted(tmp_path: Path) -> None:
    for status in (200, 206):
        world = World(tmp_path, PartialStatus=status)
        world.orthanc.add(g.SERIES, g.INSTANCES[0], b"fine", number="1")
        world.orthanc.add(g.SERIES, g.INSTANCES[1], b"implicit", number="2", syntax=IMPLICIT)
        with world.ask() as response:
            assert response.status_code == status
            assert [b for _, b in parts(response)] == [b"fine"]
        assert world.audits[0].facts["missing"] == 2


def test_images_that_have_all_gone_are_a_404(tmp_path: Path) -> None:
    world = World(tmp_path)
    with world.ask() as response:
        assert (response.status_code, told(response)["reason"]) == (404, "images-unavailable")
    assert len(world.audits) == 1


# --- health ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/wado-rs", "/wado-rs/"])
def test_the_root_tells_the_health_to_anybody(world: World, path: str) -> None:
    with world.client().get(path, headers={"Accept": "application/json"}) as response:
        assert response.status_code == 200
        assert told(response) == {
            "status": "UP",
            "checks": [{"name": "DRIMbox", "status": "UP"}, {"name": "PACS", "status": "UP"}],
        }
    world.health = Health(False, {"DRIMbox": True, "PACS": False})
    with world.client().get(path) as response:
        assert (response.status_code, told(response)["status"]) == (503, "DOWN")
        assert told(response)["checks"][1] == {"name": "PACS", "status": "DOWN"}
    with world.client().head(path) as response:
        assert (response.status_code, response.data) == (503, b"")


# --- files -----------------------------------------------------------------------------------------------------------


def test_orthanc_is_asked_once_for_a_series_that_is_complete(world: World) -> None:
    for _ in range(3):
        world.ask().close()
    world.ask("instance").close()
    assert len(world.orthanc.finds) == 1
    assert world.orthanc.finds[0]["Query"] == {"StudyInstanceUID": g.STUDY, "SeriesInstanceUID": g.SERIES}


def test_one_instance_is_asked_for_by_its_own_uid(world: World) -> None:
    world.ask("instance").close()
    assert world.orthanc.finds[0]["Query"]["SOPInstanceUID"] == g.INSTANCES[1]
    with world.ask() as response:
        assert len(parts(response)) == 3


@pytest.mark.parametrize("spoil", ["delete", "truncate", "replace by a folder"])
def test_a_file_that_has_changed_is_asked_for_again(world: World, spoil: str) -> None:
    world.ask().close()
    uuid = world.orthanc.rows[0]["Attachments"][1]["Uuid"]
    path = world.orthanc.storage / uuid[0:2] / uuid[2:4] / uuid
    if spoil == "truncate":
        path.write_bytes(b"x")
    else:
        path.unlink()
    if spoil == "replace by a folder":
        path.mkdir()
    with world.ask() as response:
        assert [b for _, b in parts(response)] == [f"image {n} ".encode() * 200 for n in (1, 2, 3)]
    assert len(world.orthanc.finds) == 2
    world.ask().close()  # what is not read from disk is not remembered
    assert len(world.orthanc.finds) == 3


@pytest.mark.parametrize("how", [{"compressed": True}, {"on_disk": False}])
def test_what_is_not_a_plain_file_is_asked_of_orthanc(tmp_path: Path, how: dict[str, Any]) -> None:
    world = World(tmp_path)
    data = os.urandom(3 * CHUNK + 17)
    world.orthanc.add(g.SERIES, g.INSTANCES[0], data, number="1", **how)
    with world.ask() as response:
        assert [b for _, b in parts(response)] == [data]


def test_a_new_version_of_the_manifest_is_another_memory(world: World) -> None:
    world.ask().close()
    world.scene.kos = ("1.2.250.1.59.9.5",)
    world.archive.manifests = (g.manifest(sop_instance_uid="1.2.250.1.59.9.5", series={g.SERIES: g.INSTANCES[:1]}),)
    with world.ask() as response:
        assert len(parts(response)) == 1
    assert len(world.orthanc.finds) == 2


def test_the_memory_of_manifests_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drimbox.wado_files._CACHED_MANIFESTS", 2)
    for number in range(4):
        world.locator.locate(g.manifest(sop_instance_uid=f"1.{number}"), {g.SERIES: g.INSTANCES})
    assert list(world.locator._cache) == ["1.2", "1.3"]


def test_rows_that_orthanc_gives_in_odd_forms_are_left_out(tmp_path: Path) -> None:
    world = World(tmp_path).fill()
    rows = world.orthanc.rows
    rows[0]["Attachments"] = []
    rows[1]["Metadata"] = {}
    rows[2]["MainDicomTags"]["InstanceNumber"] = "x"
    rows.append({"ID": "y", "MainDicomTags": {}})
    world.orthanc.series.append(g.SERIES)
    with world.ask(accept=["transfer-syntax=*"]) as response:
        assert [b for _, b in parts(response)] == [b"image 3 " * 200]


# --- the stream: iterated over as WSGI does, or sent by the kernel ---------------------------------------------------


def instance(path: Path | None, size: int, read: Callable[[], bytes] = bytes, uid: str = "1.2.3") -> StoredInstance:
    return StoredInstance(uid, "1.2", EXPLICIT, size, 1, path, read)


def answer(items: Iterable[StoredInstance]) -> MultipartAnswer:
    return MultipartAnswer(list(items), lambda i: f"/{i.sop_instance_uid}")


def run(made: MultipartAnswer, limit: int | None = None) -> tuple[list[bytes], Delivery]:
    ends: list[Delivery] = []
    stream = made.stream(ends.append)
    chunks: list[bytes] = []
    try:
        for chunk in stream:
            chunks.append(chunk)
            if len(chunks) == limit:
                break
    finally:
        stream.close()
        stream.close()
    (end,) = ends
    return chunks, end


@settings(max_examples=25, deadline=None)
@given(st.lists(st.one_of(st.integers(0, 3000), st.integers(CHUNK - 400, CHUNK + 400), st.just(3 * CHUNK)), max_size=6))
def test_whatever_the_sizes_the_length_is_the_announced_one(sizes: list[int]) -> None:
    data = [bytes([n + 1]) * size for n, size in enumerate(sizes)]
    made = answer(instance(None, len(d), lambda d=d: d, f"1.{n}") for n, d in enumerate(data))  # type: ignore[misc]
    chunks, end = run(made)
    body = b"".join(chunks)
    assert len(body) == made.length
    assert all(type(c) is bytes and len(c) <= CHUNK for c in chunks)
    assert end == Delivery(len(sizes), made.length, complete=True)
    for d in data:
        assert d in body


def test_small_files_are_joined_and_large_ones_cut(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / str(number)).write_bytes(bytes([number]) * 200_000)
    chunks, end = run(answer(instance(tmp_path / str(n), 200_000) for n in range(20)))
    assert [len(c) for c in chunks[:3]] == [CHUNK, CHUNK, CHUNK]
    assert end.objects == 20


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_peer_that_goes_leaves_nothing_open(tmp_path: Path) -> None:
    """G7: a hundred downloads cut at their beginning."""
    (tmp_path / "big").write_bytes(bytes(4 * CHUNK))
    before = open_files()
    for _ in range(100):
        chunks, end = run(answer([instance(tmp_path / "big", 4 * CHUNK)]), limit=2)
        assert (len(chunks), end.complete, end.objects, end.octets) == (2, False, 0, CHUNK)
    assert open_files() == before


def test_a_stream_never_begun_is_reported_too() -> None:
    ends: list[Delivery] = []
    answer([instance(None, 3)]).stream(ends.append).close()
    assert ends == [Delivery(0, 0, complete=False)]


def test_a_file_that_shrinks_under_way_breaks_the_answer(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(3 * CHUNK))
    ends: list[Delivery] = []
    stream = answer([instance(path, 3 * CHUNK)]).stream(ends.append)
    next(stream)
    os.truncate(path, CHUNK)
    with pytest.raises(StreamBroken):
        list(stream)
    stream.close()
    assert [e.complete for e in ends] == [False]


def test_a_file_that_vanished_is_asked_of_orthanc_and_must_have_its_size(tmp_path: Path) -> None:
    chunks, end = run(answer([instance(tmp_path / "gone", 4, lambda: b"DICM")]))
    assert end.complete
    assert b"DICM" in b"".join(chunks)
    (tmp_path / "other").write_bytes(b"other size")
    assert run(answer([instance(tmp_path / "other", 4, lambda: b"DICM")]))[1].complete
    with pytest.raises(StreamBroken):
        run(answer([instance(None, 4, lambda: b"DIC")]))


def test_a_link_in_the_storage_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"1234")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    chunks, _ = run(answer([instance(tmp_path / "link", 4, lambda: b"DICM")]))
    assert b"1234" not in b"".join(chunks)


def test_an_aborted_download_is_audited_as_such(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.orthanc.add(g.SERIES, g.INSTANCES[0], bytes(5 * CHUNK), number="1")
    with world.ask(buffered=False) as response:
        next(iter(response.response))
    (record,) = world.audits
    assert (record.outcome, record.facts["complete"], record.facts["objects"]) == ("allowed", False, 0)


def test_an_orthanc_that_fails_under_way_breaks_the_answer(tmp_path: Path) -> None:
    def down() -> bytes:
        raise ServiceUnavailable("PACS")

    with pytest.raises(DrimboxError):
        run(answer([instance(None, 4, down)]))


def received(made: MultipartAnswer, limit: int | None = None) -> tuple[bytes, Delivery, BaseException | None]:
    """Send an answer by `send_to`, to a reader that goes away after `limit` bytes."""
    ours, theirs = socket.socketpair()
    ours.settimeout(5)
    got = bytearray()

    def read() -> None:
        with theirs:
            while (limit is None or len(got) < limit) and (data := theirs.recv(65536)):
                got.extend(data)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    ends: list[Delivery] = []
    stream = made.stream(ends.append)
    problem: BaseException | None = None
    try:
        stream.send_to(ours)
    except (OSError, DrimboxError) as error:
        problem = error
    stream.close()
    ours.close()
    thread.join(5)
    (end,) = ends
    return bytes(got), end, problem


def test_the_kernel_sends_the_same_bytes_as_wsgi(tmp_path: Path) -> None:
    items = []
    for number, size in enumerate([0, 1, 300, CHUNK, 2 * CHUNK + 1, 0]):
        (tmp_path / str(number)).write_bytes(os.urandom(size))
        items.append(instance(tmp_path / str(number), size, uid=f"1.{number}"))
    items.append(instance(None, 5, lambda: b"DICOM"))
    made = answer(items)
    body, end, problem = received(made)
    assert problem is None
    assert body == b"".join(run(made)[0])
    assert end == run(made)[1] == Delivery(7, made.length, complete=True)


def test_a_peer_that_goes_from_the_kernel_leaves_nothing_open(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(4 * CHUNK))
    before = open_files()
    for _ in range(30):
        _, end, problem = received(answer([instance(tmp_path / "big", 4 * CHUNK)]), limit=10_000)
        assert isinstance(problem, OSError)
        assert (end.complete, end.objects) == (False, 0)
    assert open_files() == before


def test_the_kernel_way_breaks_on_a_file_that_shrinks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_bytes(bytes(100))
    real = os.fstat

    def shrinks(descriptor: int) -> os.stat_result:
        found = real(descriptor)
        os.truncate(tmp_path / "x", 50)
        return found

    monkeypatch.setattr("drimbox.wado_stream.os.fstat", shrinks)
    _, end, problem = received(answer([instance(tmp_path / "x", 100)]))
    assert isinstance(problem, StreamBroken)
    assert not end.complete


def test_a_reader_that_stalls_is_given_up(tmp_path: Path) -> None:
    """G8, from our side of nginx: the socket's timeout holds."""
    (tmp_path / "big").write_bytes(bytes(4 * CHUNK))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(0.05)
        ends: list[Delivery] = []
        stream = answer([instance(tmp_path / "big", 4 * CHUNK)]).stream(ends.append)
        with pytest.raises(TimeoutError):
            stream.send_to(ours)
        stream.close()
    assert [e.complete for e in ends] == [False]


def test_flask_hands_our_stream_to_the_server_as_it_is(world: World) -> None:
    """Else the server could not see `send_to`."""
    path = f"/wado-rs{world.scene.path('series')}"
    environ = EnvironBuilder(path=path, headers=world.headers([ACCEPT])).get_environ()
    body = world.app.wsgi_app(environ, lambda *_: lambda _: None)
    assert isinstance(body, PartStream)
    body.close()
