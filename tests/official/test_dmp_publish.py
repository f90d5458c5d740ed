# SPDX-License-Identifier: AGPL-3.0-or-later
"""The official reports, from the message to the request that the DMP would get."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from lxml import etree

from drimbox.config import MessagesSection
from drimbox.dmp_client import DmpClient
from drimbox.hl7_message import read_message
from drimbox.mtom import read_multipart
from drimbox.records import Manifest, ManifestIds, ReportMessage, StudyContent
from drimbox.xds import Submission, submission_from_json, submission_to_json
from drimbox.xds_codes import DOC_CONFIDENTIALITY
from tests.conftest import FakeClock
from tests.dmp_data import (
    KOS,
    KOS_UID,
    NOW,
    SERIES_UID,
    SET_UID,
    SETTINGS,
    SIGNATURE_UID,
    RecordingTransport,
    answer,
    counting_uuids,
    registry_response,
    series,
    signer,
)

pytestmark = pytest.mark.official
RIM = "{urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0}"
FILES = ["message_MDM_CR_Radio_INIT_N1_Base64.er7", "oru_r01_img_init.hl7", "oru_r01_img_rplc_visibility.hl7"]


def submission_of(message: ReportMessage, study_uid: str) -> Submission:
    report = message.report
    assert report.patient is not None
    order = report.orders[0] if report.orders else None
    manifest = Manifest(
        sop_instance_uid=KOS_UID,
        series_uid=SERIES_UID,
        instance_number=1,
        created_at=NOW,
        traits=report.patient,
        study=StudyContent(study_uid, "o", (series("MR", 1),)),
        institution=None,
        accession=order.accession if order else None,
        placer_order=order.placer if order else None,
        retrieve_root="https://db1.example/wado-rs",
    )
    return Submission(
        report=report,
        restrictions=message.restrictions,
        sender=message.sender,
        patient_class=message.patient_class,
        manifest=manifest,
        kos_hash=hashlib.sha1(KOS).hexdigest(),
        kos_size=len(KOS),
        ids=ManifestIds(KOS_UID, SERIES_UID, SET_UID, SIGNATURE_UID),
        submitted_at=NOW,
    )


@pytest.mark.parametrize("file", FILES)
def test_an_official_report_makes_a_complete_request(official: Path, clock: FakeClock, file: str) -> None:
    settings = MessagesSection(processing_ids=("P", "T"), missing_restrictions="open")
    message = read_message((official / "hl7" / file).read_bytes(), settings)
    assert isinstance(message, ReportMessage)
    for study_uid in message.report.study_uids():
        one = submission_of(message, study_uid)
        assert submission_from_json(submission_to_json(one)) == one
        transport = RecordingTransport([answer(registry_response())])
        DmpClient(SETTINGS, transport, clock, counting_uuids(), signer=signer()).publish(one, KOS)
        _, headers, body = transport.posted[0]
        root = etree.fromstring(read_multipart(headers["Content-Type"], body)[0].data)
        (entry,) = root.iterfind(f".//{RIM}ExtrinsicObject[@id='DocumentKOS']")
        values = [v.text or "" for v in entry.iter(f"{RIM}Value")]
        assert all(0 < len(v) <= 256 for v in values)
        slots = {s.get("name") for s in entry.iterfind(f"{RIM}Slot")}
        assert {"creationTime", "languageCode", "serviceStartTime", "sourcePatientId", "sourcePatientInfo",
                "legalAuthenticator", "hash", "size", "urn:ihe:iti:xds:2013:referenceIdList"} <= slots  # fmt: skip
        confidentialities = [
            c.get("nodeRepresentation")
            for c in entry.iterfind(f"{RIM}Classification[@classificationScheme='{DOC_CONFIDENTIALITY}']")
        ]
        assert confidentialities == ["N", *message.restrictions.codes()]
