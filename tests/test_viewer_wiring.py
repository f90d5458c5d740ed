# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from drimbox.config import DrimboxConfig, PscSection, ViewerSection
from drimbox.errors import ServiceUnavailable
from drimbox.records import Identifier, Restrictions
from drimbox.schema import kos
from drimbox.session_store import DatabaseSessionStore
from drimbox.viewer_wiring import ArchivedExams, build_viewer
from tests import guard_data as g
from tests.core_data import OTHER_STUDY, Core, FakeDmp
from tests.reports_data import DOCUMENT_ROOT, INS, STUDY, Message


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    made = Core(tmp_path, dmp=FakeDmp())
    made.receive(Message().flagged(MASQUE_PS="Y").raw())
    yield made
    made.close()


def test_an_exam_that_was_published_is_given_with_what_the_door_asks(core: Core) -> None:
    core.run()
    exam = ArchivedExams(core.archive).viewable(STUDY)
    assert exam is not None
    assert (exam.study_uid, exam.state, exam.traits.ins) == (STUDY, "live", INS)
    assert exam.report_ids == (Identifier(DOCUMENT_ROOT),)
    assert exam.accession == Identifier("1.2.250.1.999.7.5", "ACN7")
    assert (exam.description, exam.study_date) == ("Scanner crâne", "20260102")
    assert exam.restrictions == Restrictions(masked_to_professionals=True)


def test_an_unknown_exam_is_none(core: Core) -> None:
    exams = ArchivedExams(core.archive)
    assert exams.viewable(OTHER_STUDY) is None
    assert not exams.still_viewable(OTHER_STUDY)


def test_an_exam_is_viewable_only_while_its_manifest_is_live(core: Core, tmp_path: Path) -> None:
    exams = ArchivedExams(core.archive)
    core.deps.dmp.before = [ServiceUnavailable("down")]  # type: ignore[union-attr]
    core.run()
    exam = exams.viewable(STUDY)
    assert exam is not None
    assert (exam.state, exams.still_viewable(STUDY)) == ("pending", False)
    core.clock.advance(3600)
    core.run()
    assert exams.still_viewable(STUDY)
    with core.store.write() as connection:
        connection.execute(sa.update(kos).values(state="withdrawn"))
    assert not exams.still_viewable(STUDY)
    exam = exams.viewable(STUDY)
    assert exam is not None
    assert exam.state == "withdrawn"


def test_an_archived_manifest_without_its_submission_has_no_restriction_of_its_own(core: Core) -> None:
    core.run()
    with core.store.write() as connection:
        connection.execute(sa.text("UPDATE submissions SET submission = ''"))
    exam = ArchivedExams(core.archive).viewable(STUDY)
    assert exam is not None
    assert exam.restrictions == Restrictions()


def test_the_face_is_built_on_the_database_and_forgets_old_sessions(core: Core) -> None:
    config = DrimboxConfig(
        sandbox=True,
        psc=PscSection(issuer=g.ISSUER, client_id="c"),
        viewer=ViewerSection(public_url="https://vi.example.test"),
    )
    parts = build_viewer(config, core.store, core.archive, core.journal, core.clock, lambda _path: b"[]")
    sessions = DatabaseSessionStore(core.store)
    sessions.put("old", "{}", core.clock.now())
    parts.purge()
    assert sessions.get("old") is None
    assert not parts.orthanc_rule("/dicom-web/studies", "GET", {}, {}), "without a session nothing is reachable"
    answer = parts.app.test_client().get("/nothing", base_url="https://vi.example.test")
    assert answer.status_code == 404
