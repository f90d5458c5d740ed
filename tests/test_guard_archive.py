# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from drimbox import guard_archive
from drimbox.archive import ArchivedKos
from drimbox.guard_archive import GuardArchive
from drimbox.records import Manifest
from tests.core_data import Core, report
from tests.manifest_data import STUDY, manifest


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    made = Core(tmp_path)
    made.receive(report())
    yield made
    made.close()


@pytest.fixture
def guard(core: Core) -> GuardArchive:
    return GuardArchive(core.archive)


def keep(core: Core, number: int = 1) -> Manifest:
    made = manifest(sop_instance_uid=f"2.25.100{number}", instance_number=number)
    with core.store.write() as connection:
        core.archive.add(connection, made, b"DICM", core.rows()[0]["report_id"])
    return made


def publish(core: Core, uid: str) -> None:
    with core.store.write() as connection:
        core.archive.publish(connection, uid)


def test_what_is_unknown_is_none(guard: GuardArchive) -> None:
    assert guard.by_study("1.2.3") is None
    assert guard.by_sop_instance("1.2.3") is None


def test_a_manifest_tells_its_instances_by_series(core: Core, guard: GuardArchive) -> None:
    made = keep(core)
    held = guard.by_sop_instance(made.sop_instance_uid)
    assert held is not None
    assert held == guard.by_study(STUDY)
    assert (held.study_uid, held.sop_instance_uid, held.state) == (STUDY, "2.25.1001", "pending")
    assert held.series[f"{STUDY}.1"] == (f"{STUDY}.1.1", f"{STUDY}.1.2", f"{STUDY}.1.3")
    assert held.modalities == {f"{STUDY}.1": "CT", f"{STUDY}.2": "MR", f"{STUDY}.3": "KO", f"{STUDY}.4": "ECG"}


def test_a_change_of_state_is_seen_at_the_next_request(core: Core, guard: GuardArchive) -> None:
    keep(core, 1)
    states: list[str] = []
    for change in (None, "2.25.1001", None, "2.25.1002"):
        if change is None:
            if states:
                keep(core, 2)
        else:
            publish(core, change)
        held = guard.by_sop_instance("2.25.1001")
        assert held is not None
        states.append(held.state)
    assert states == ["pending", "live", "live", "superseded"]
    head = guard.by_study(STUDY)
    assert head is not None
    assert (head.sop_instance_uid, head.state) == ("2.25.1002", "live")


def test_the_document_is_read_once_and_what_is_kept_is_bounded(
    core: Core, guard: GuardArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard_archive, "KEPT", 2)
    for number in (1, 2, 3):
        keep(core, number)
    read: list[str] = []
    original = core.archive.by_uid

    def by_uid(uid: str) -> ArchivedKos | None:
        read.append(uid[-1])
        return original(uid)

    monkeypatch.setattr(core.archive, "by_uid", by_uid)
    for number in (1, 2, 1, 1, 3, 1, 2):
        assert guard.by_sop_instance(f"2.25.100{number}") is not None
    assert read == ["1", "2", "3", "2"], "the least lately asked for is forgotten"


def test_what_a_manifest_references_never_changes_under_another_uid(core: Core, guard: GuardArchive) -> None:
    first = keep(core, 1)
    smaller = replace(first.study, series=first.study.series[:1])
    second = manifest(smaller, sop_instance_uid="2.25.1002", instance_number=2)
    with core.store.write() as connection:
        core.archive.add(connection, second, b"DICM", core.rows()[0]["report_id"])
    held = [guard.by_sop_instance(uid) for uid in ("2.25.1001", "2.25.1002", "2.25.1001")]
    assert [len(h.series) if h else 0 for h in held] == [4, 1, 4]
