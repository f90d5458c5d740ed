# SPDX-License-Identifier: AGPL-3.0-or-later
"""The official samples of reports and messages are read right."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from drimbox.cda import read_report
from drimbox.cda_people import responsible_structure
from drimbox.config import MessagesSection
from drimbox.errors import MessageError
from drimbox.hl7_ack import acknowledge
from drimbox.hl7_fields import split
from drimbox.hl7_message import StudyUpdate, peek_header, read_message
from drimbox.records import INS_OIDS, Action, ReportMessage

pytestmark = pytest.mark.official

SETTINGS = MessagesSection(processing_ids=("P", "T"))
STRICT = MessagesSection(processing_ids=("P", "T"), strict_order_control=True)
IMAGING = [
    ("message_MDM_CR_Radio_INIT_N1_Base64.er7", Action.CREATE, ("INVISIBLE_PATIENT", "INVISIBLE_REPRESENTANTS_LEGAUX")),
    ("message_MDM_CR_Radio_RPLC_N1.er7", Action.REPLACE, ()),
    ("oru_r01_img_init.hl7", Action.CREATE, ()),
    ("oru_r01_img_rplc_visibility.hl7", Action.REPLACE, ("INVISIBLE_PATIENT",)),
]


def _read(official: Path, name: str, section: MessagesSection = SETTINGS) -> ReportMessage:
    found = read_message((official / "hl7" / name).read_bytes(), section)
    assert isinstance(found, ReportMessage)
    return found


@pytest.mark.parametrize(("name", "action", "restrictions"), IMAGING)
@pytest.mark.parametrize("section", [SETTINGS, STRICT], ids=["lenient", "strict"])
def test_imaging_messages(
    official: Path, name: str, action: Action, restrictions: tuple[str, ...], section: MessagesSection
) -> None:
    message = _read(official, name, section)
    assert message.action is action
    assert message.restrictions.codes() == restrictions
    assert message.restrictions.for_dmp
    assert message.restrictions.changed is (action is Action.REPLACE)
    assert (message.report.replaces is not None) is (action is Action.REPLACE)
    assert len(message.report.study_uids()) == 1
    assert message.report.patient is not None
    assert message.pid is not None
    assert message.report.patient.ins == message.pid.ins
    assert message.report.patient.ins_oid in INS_OIDS
    assert message.sender is not None
    assert message.sender.organization is not None
    allowed = {"sender-structure-differs", "act-code-is-region", "modality-corrected: RM"}
    assert set(message.warnings) <= allowed


def test_the_replacement_names_the_first_document(official: Path) -> None:
    first = _read(official, "message_MDM_CR_Radio_INIT_N1_Base64.er7")
    second = _read(official, "message_MDM_CR_Radio_RPLC_N1.er7")
    assert second.report.replaces == first.report.id
    assert second.control_id == first.control_id  # why MSH-10 alone is no key
    assert _read(official, "oru_r01_img_rplc_visibility.hl7").report.replaces == (
        _read(official, "oru_r01_img_init.hl7").report.id
    )


def test_a_replaced_report_without_creation_zone_is_read_in_french_time(official: Path) -> None:
    report = _read(official, "message_MDM_CR_Radio_RPLC_N1.er7").report
    assert report.effective_time == datetime(2005, 4, 11, 8, 33, 28, tzinfo=UTC)


def test_the_update_of_a_pacs(official: Path) -> None:
    update = read_message((official / "hl7" / "omi_o23_change_XO.hl7").read_bytes(), SETTINGS)
    assert isinstance(update, StudyUpdate)
    assert (update.order_control, update.order_status) == ("XO", "CM")
    assert update.study_uids == ("1.2.250.1.213.4.5.2.1.102",)
    assert [a.extension for a in update.accessions] == ["ACN102"]


def test_a_report_of_biology_is_refused_for_its_type(official: Path) -> None:
    with pytest.raises(MessageError) as caught:
        _read(official, "v2.1_ORU_R01_bio_structure.hl7")
    error = caught.value
    assert (error.reason, error.ack, error.code, error.location) == ("document-type", "AE", 103, "OBX^1^3")


def test_messages_of_test_are_refused_in_production(official: Path) -> None:
    with pytest.raises(MessageError) as caught:
        _read(official, "oru_r01_img_init.hl7", MessagesSection())
    assert (caught.value.ack, caught.value.code) == ("AE", 202)


def test_the_acknowledgement_has_the_form_of_the_official_one(official: Path) -> None:
    header = peek_header((official / "hl7" / "message_MDM_CR_Radio_RPLC_N1.er7").read_bytes())
    ours = split(acknowledge(header, datetime(2021, 6, 6, 7, 32, tzinfo=UTC), "016"))
    theirs = split((official / "hl7" / "ack_T10.er7").read_bytes())
    for mine, his in zip(ours.segments, theirs.segments, strict=True):
        for number in set(range(1, 22)) - {7}:
            assert mine.whole(number) == his.whole(number)


def test_the_report_with_three_studies_and_an_act_that_is_none(official: Path) -> None:
    document = (official / "cda" / "IMG_CR_IMG_2024.01_CDA-R2-Niveau-1.xml").read_bytes()
    report = read_report(document, ("18748-4",))
    assert [u.rpartition(".")[2] for u in report.study_uids()] == ["1876350", "1876351", "1876352"]
    assert report.acts[-1].study_uid is None
    assert [m.code for a in report.acts for m in a.modalities] == ["CT", "CT", "CT"]
    assert [o.accession.extension for o in report.orders if o.accession] == ["105234751"]
    assert (report.version, report.level, report.warnings) == (2, 1, ())
    assert report.patient is not None
    assert report.patient.birth_givens == "DOMINIQUE MARIE-LOUISE"
    assert len(report.patient.local_ids) == 1


def test_the_report_with_two_authors(official: Path) -> None:
    document = (official / "cda" / "transmission_initiale_cr_imagerie.xml").read_bytes()
    report = read_report(document, ("18748-4",))
    numbers = [
        a.organization.identifier.extension for a in report.authors if a.organization and a.organization.identifier
    ]
    assert numbers == ["101235555", "101235554"]
    structure = responsible_structure(report)
    assert structure is not None
    assert structure.identifier is not None
    assert structure.identifier.extension == "101235554"
    assert [m.code for m in report.acts[0].modalities] == ["MR"]
    assert report.warnings == ("modality-corrected: RM",)
