# SPDX-License-Identifier: AGPL-3.0-or-later
"""One appliance with its sandbox for the whole run, and one published exam that many tests look at."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sandbox import demo, exams, story
from sandbox.report_model import Report
from tests.system.appliance import Instance, eventually, state_root

BASE_PORT = 19440


@pytest.fixture(scope="session")
def appliance() -> Iterator[Instance]:
    state = state_root() / "appliance"
    if state.exists():
        Instance(state, BASE_PORT).down()
        shutil.rmtree(state)
    state.mkdir(parents=True)
    made = Instance(state, BASE_PORT)
    made.up()
    yield made
    made.down()


@dataclass
class Published:
    """An exam whose report was sent and whose KOS is in the DMP stand-in."""

    exam: exams.ExamFiles
    report: Report
    kos_uid: str
    message: bytes


def publish(appliance: Instance, name: str, folder: Path) -> Published:
    """Send an exam and its report; wait until the KOS is published."""
    study_uid = f"2.25.{uuid.uuid4().int}"
    exam = exams.make_exam(name, folder, study_uid=study_uid, accession=f"A{uuid.uuid4().hex[:10].upper()}")
    demo.send_images(exam, appliance.facts["ports"]["dicom"])
    report = story.report_of(exam, viewer_root=appliance.facts["urls"]["vi"])
    message = story.message_of(report).hl7
    path = folder / "report.hl7"
    path.write_bytes(message)
    appliance.run("sandbox", "ris", "send", str(path))
    entry = eventually(lambda: appliance.entries(exam.study_uid), "the KOS in the DMP")[0]
    eventually(lambda: any(e["kind"] == "kos-published" for e in appliance.journal(exam.study_uid)), "the journal")
    return Published(exam, report, entry["uniqueId"], message)


@pytest.fixture(scope="session")
def published(appliance: Instance, tmp_path_factory: pytest.TempPathFactory) -> Published:
    return publish(appliance, "ct", tmp_path_factory.mktemp("ct"))


@pytest.fixture(scope="session")
def another(appliance: Instance, tmp_path_factory: pytest.TempPathFactory) -> Published:
    return publish(appliance, "mr", tmp_path_factory.mktemp("mr"))
