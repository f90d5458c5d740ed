# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from drimbox.archive import Archive
from drimbox.records import Identifier, Manifest
from drimbox.schema import kos, submissions
from drimbox.store import Store
from tests.core_data import Core, FakeDmp, report
from tests.manifest_data import STUDY, manifest
from tests.reports_data import STUDY as REPORTED


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    made = Core(tmp_path, dmp=FakeDmp())
    for control_id in ("A", "B"):
        made.receive(report(control_id=control_id))
    yield made
    made.close()


@pytest.fixture
def archive(core: Core) -> Archive:
    return core.archive


def report_id(store: Store, control_id: str = "A") -> str:
    with store.read() as connection:
        query = sa.text("SELECT id FROM reports WHERE control_id = :c")
        return str(connection.execute(query, {"c": control_id}).scalar())


def keep(core: Core, of: Manifest, *, live: bool = False, control_id: str = "A", data: bytes = b"DICM") -> None:
    with core.store.write() as connection:
        core.archive.add(connection, of, data, report_id(core.store, control_id))
        if live:
            core.archive.publish(connection, of.sop_instance_uid)


def version(number: int) -> Manifest:
    return manifest(sop_instance_uid=f"2.25.100{number}", instance_number=number)


def test_an_unknown_study_or_kos_is_none(archive: Archive) -> None:
    assert archive.of_study("1.2.3") is None
    assert archive.head_of_study("1.2.3") is None
    assert archive.by_uid("1.2.3") is None
    assert archive.state_of("1.2.3") is None
    assert archive.document_ids("1.2.3") == ()
    assert archive.submission_of("1.2.3") == ""
    with pytest.raises(KeyError):
        archive.data("1.2.3")


def test_a_version_is_given_back_as_it_was_kept(core: Core, archive: Archive) -> None:
    keep(core, version(1), data=b"\0DICM\xff")
    found = archive.by_uid("2.25.1001")
    assert found is not None
    assert found.manifest == version(1)
    assert (found.state, found.version, found.study_uid) == ("pending", 1, STUDY)
    assert found.created_at == version(1).created_at
    assert found.report_id == report_id(core.store)
    assert archive.data("2.25.1001") == b"\0DICM\xff"
    assert archive.of_study(STUDY) == found


def test_versions_are_numbered_and_share_their_series(core: Core, archive: Archive) -> None:
    with core.store.read() as connection:
        assert archive.next_version(connection, STUDY) == (1, None)
    keep(core, version(1))
    with core.store.read() as connection:
        assert archive.next_version(connection, STUDY) == (2, version(1).series_uid)
        assert archive.next_version(connection, REPORTED) == (1, None)
    with pytest.raises(sa.exc.IntegrityError):
        keep(core, replace(version(1), sop_instance_uid="2.25.77"))


def test_publishing_a_version_supersedes_the_one_in_force_and_touches_no_other_study(
    core: Core, archive: Archive
) -> None:
    other = manifest(sop_instance_uid="2.25.5", study=replace(version(1).study, study_uid="1.2.3.999"))
    keep(core, other, live=True)
    keep(core, version(1), live=True)
    keep(core, version(2))
    assert archive.head_of_study(STUDY) == ("2.25.1001", "live"), "a version that waits is not in force"
    with core.store.write() as connection:
        archive.publish(connection, "2.25.1002")
    assert [archive.state_of(f"2.25.100{n}") for n in (1, 2)] == ["superseded", "live"]
    assert archive.head_of_study(STUDY) == ("2.25.1002", "live")
    assert archive.state_of("2.25.5") == "live"


def test_publishing_twice_leaves_the_version_in_force(core: Core, archive: Archive) -> None:
    keep(core, version(1), live=True)
    with core.store.write() as connection:
        archive.publish(connection, "2.25.1001")
    assert archive.state_of("2.25.1001") == "live"


def test_without_a_version_in_force_the_latest_speaks_for_the_study(core: Core, archive: Archive) -> None:
    keep(core, version(1))
    keep(core, version(2))
    assert archive.head_of_study(STUDY) == ("2.25.1002", "pending")
    found = archive.of_study(STUDY)
    assert found is not None
    assert found.sop_instance_uid == "2.25.1002"
    keep(core, version(3))
    with core.store.write() as connection:
        archive.publish(connection, "2.25.1001")
    found = archive.of_study(STUDY)
    assert found is not None
    assert (found.version, found.state) == (1, "live")


def test_the_reports_of_a_study_are_told_latest_first_and_once(core: Core, archive: Archive) -> None:
    with core.store.write() as connection:
        connection.execute(sa.text("UPDATE reports SET document_id = '1.2.3^7' WHERE control_id = 'B'"))
    keep(core, version(1))
    keep(core, version(2))
    keep(core, version(3), control_id="B")
    assert archive.document_ids(STUDY) == (Identifier("1.2.3", "7"), Identifier("1.2.250.1.999.7.3.42"))


def test_the_submission_of_a_version_is_found(core: Core, archive: Archive) -> None:
    core.run()
    (first, second) = core.rows(submissions)
    assert archive.submission_of(first["kos_uid"]) == first["submission"]
    assert archive.submission_of(second["kos_uid"]) == second["submission"]
    assert archive.head_of_study(REPORTED) == (second["kos_uid"], "live")


def test_what_is_searched_for_is_kept_beside_the_document(core: Core) -> None:
    keep(core, version(1))
    (row,) = core.rows(kos)
    assert (row["ins"], row["accession"], row["report_id"]) == ("260058815400233", "ACC900", report_id(core.store))
    keep(core, replace(version(2), accession=None))
    assert core.rows(kos)[1]["accession"] == ""
