# SPDX-License-Identifier: AGPL-3.0-or-later
"""The official initial MDM message, sent as a RIS does, with and without its study in the PACS."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox import demo, exams
from tests.system.appliance import Instance, eventually

pytestmark = [pytest.mark.official, pytest.mark.system]
STUDY = "1.3.6.1.4.1.5962.99.1.3711725607.829148806.1687338938407.3.0"


def test_the_official_message_is_published_once_its_study_is_there(
    official: Path, appliance: Instance, tmp_path: Path
) -> None:
    message = official / "hl7/message_MDM_CR_Radio_INIT_N1_Base64.er7"
    sent = appliance.run("sandbox", "ris", "send", str(message))
    assert "MSA|AA|015" in sent.stdout
    failed = eventually(lambda: [e for e in appliance.journal(STUDY) if e["severity"] == "error"], "the journal")
    assert failed[0]["reason"] == "study-not-found"
    assert "PACS" in failed[0]["text"]
    assert appliance.entries(STUDY) == []
    exam = exams.make_exam("cr", tmp_path, study_uid=STUDY)
    demo.send_images(exam, appliance.facts["ports"]["dicom"])
    again = appliance.run("sandbox", "ris", "send", str(message))
    assert again.stdout == sent.stdout
    (entry,) = eventually(lambda: appliance.entries(STUDY), "the KOS in the DMP")
    assert entry["confidentialityCodes"] == ["N", "INVISIBLE_PATIENT", "INVISIBLE_REPRESENTANTS_LEGAUX"]
    assert entry["typeCode"] == "IMG-KOS"


def test_the_official_replacement_is_recognised_and_kept(official: Path, appliance: Instance) -> None:
    message = official / "hl7/message_MDM_CR_Radio_RPLC_N1.er7"
    checked = appliance.read("hl7", "check", str(message))
    assert (checked["ack"], checked["action"], checked["studies"]) == ("AA", "replace", [STUDY])
    assert "MSA|AA|015" in appliance.run("sandbox", "ris", "send", str(message)).stdout
    held = [r for r in appliance.operator("/drimbox/outbox") if r["study_uid"] == STUDY and r["action"] == "replace"]
    assert [r["state"] for r in held] == ["held"]
