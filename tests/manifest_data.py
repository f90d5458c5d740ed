# SPDX-License-Identifier: AGPL-3.0-or-later
"""Invented reports, studies and manifests; recorded answers of Orthanc 1.12.7 on invented instances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from drimbox import kos
from drimbox.config import ManifestSection
from drimbox.records import (
    STRUCTURE_OID,
    Act,
    CdaReport,
    Code,
    Identifier,
    InstanceRef,
    Manifest,
    Order,
    Organization,
    Professional,
    SeriesRef,
    StudyContent,
    Traits,
)

STUDY = "1.2.3.900"
OTHER_STUDY = "1.2.3.901"
CT = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
KEY_NOTE = "1.2.840.10008.5.1.4.1.1.88.59"
ECG = "1.2.840.10008.5.1.4.1.1.9.1.1"
INS_OID = "1.2.250.1.213.1.4.10"
ROOT = "https://db1.example/wado-rs"
NOW = datetime(2026, 7, 14, 8, 30, 15, 250_000, tzinfo=UTC)
SETTINGS = ManifestSection()

TRAITS = Traits(
    ins="260058815400233",
    ins_oid=INS_OID,
    birth_family="ESSAI-HUIT",
    birth_given="ZÉLIE",
    birth_givens="ZÉLIE ANNE",
    used_family="EXEMPLE",
    used_given="ZÉLIE",
    birth_date="19600518",
    sex="F",
    birth_place="88154",
    local_ids=(Identifier("1.2.3.4.5", "IPP900"),),
)
CENTRE = Organization(Identifier(STRUCTURE_OID, "1990000001"), "Centre d'imagerie des Forêts")
RADIOLOGIST = Professional(Identifier("1.2.250.1.71.4.2.1", "800000000001"), "DURAND", "Luc", organization=CENTRE)


def order(number: str) -> Order:
    return Order(Identifier("1.2.3.4.6", f"OPN{number}"), Identifier("1.2.3.4.7", f"ACC{number}"))


def act(study_uid: str = STUDY) -> Act:
    return Act(study_uid, code=Code("24727-0", "2.16.840.1.113883.6.1", "Scanner du crâne"), performer=RADIOLOGIST)


def report(**changes: Any) -> CdaReport:
    base = CdaReport(
        id=Identifier("1.2.3.4.8.1"),
        code=Code("18748-4", "2.16.840.1.113883.6.1"),
        title="Compte-rendu d'imagerie",
        effective_time=NOW,
        confidentiality=Code("N", "2.16.840.1.113883.5.25"),
        language="fr-FR",
        patient=TRAITS,
        authors=(RADIOLOGIST,),
        legal_authenticator=RADIOLOGIST,
        custodian=Organization(Identifier(STRUCTURE_OID, "1990000009"), "Groupement"),
        orders=(order("900"),),
        acts=(act(),),
        facility_type=None,
    )
    return replace(base, **changes)


def series(number: int, modality: str, sop_class: str, count: int, description: str = "", **changes: Any) -> SeriesRef:
    uid = f"{STUDY}.{number}"
    instances = tuple(InstanceRef(sop_class, f"{uid}.{i}", i) for i in range(1, count + 1))
    return replace(SeriesRef(uid, modality, instances, description, number), **changes)


def study(**changes: Any) -> StudyContent:
    base = StudyContent(
        study_uid=STUDY,
        orthanc_id="5513e323-15c5d8f1-a4aabcc1-62f8147e-5c104dc6",
        series=(
            series(1, "CT", CT, 3, "Crâne sans injection"),
            replace(series(2, "MR", ENHANCED_MR, 1), instances=(InstanceRef(ENHANCED_MR, f"{STUDY}.2.1", None, 12),)),
            series(3, "KO", KEY_NOTE, 1, "Images clés"),
            series(4, "ECG", ECG, 1),
        ),
        patient_id="IPP900",
        accession="ACC900",
        study_date="20260713",
        study_time="101500",
        description="Scanner crâne",
        referring_physician="MARTIN^Anne",
        study_id="S900",
    )
    return replace(base, **changes)


def large_study(count: int) -> StudyContent:
    """Four series of equal size, with UIDs as long as real ones."""
    root = "1.2.826.0.1.3680043.8.498.45787841905188114249811227841"
    all_series = tuple(
        SeriesRef(f"{root}.{s}", "CT", tuple(InstanceRef(CT, f"{root}.{s}.{i}", i) for i in range(count // 4)), "", s)
        for s in range(1, 5)
    )
    return study(series=all_series)


def manifest(of: StudyContent | None = None, **changes: Any) -> Manifest:
    base = kos.build_manifest(
        report(),
        of or study(),
        act=act(),
        order=order("900"),
        settings=SETTINGS,
        retrieve_root=ROOT,
        sop_instance_uid="2.25.1001",
        series_uid="2.25.1000",
        instance_number=1,
        created_at=NOW,
    )
    return replace(base, **changes)


# --- what Orthanc 1.12.7 answered to POST /tools/find (main keys; ids and UIDs of invented instances)

_STUDY_ID = "5513e323-15c5d8f1-a4aabcc1-62f8147e-5c104dc6"
_CT_ID = "6877b253-3f27eadc-66f5dbdb-4c6d7e4f-044c4074"
_KO_ID = "981dff1d-6b9b3840-128a097f-0282dff9-e9f32288"
_MR_ID = "a4157ce6-07479512-972b3dd8-7299412b-09db7d2c"


def _instance(orthanc_id: str, parent: str, sop_class: str, **tags: str) -> dict[str, Any]:
    metadata = {"IndexInSeries": tags["InstanceNumber"]} if "InstanceNumber" in tags else {}
    metadata |= {
        "HttpUsername": "",
        "Origin": "RestApi",
        "ReceptionDate": "20261121T120312",
        "RemoteAET": "",
        "RemoteIP": "127.0.0.1",
        "SopClassUid": sop_class,
        "TransferSyntax": "1.2.840.10008.1.2.1",
    }
    return {"ID": orthanc_id, "MainDicomTags": tags, "Metadata": metadata, "ParentSeries": parent, "Type": "Instance"}


def _series(orthanc_id: str, **tags: str) -> dict[str, Any]:
    return {"ID": orthanc_id, "MainDicomTags": tags, "Type": "Series"}


ORTHANC_ANSWERS: dict[str, list[dict[str, Any]]] = {
    "Study": [
        {
            "ID": _STUDY_ID,
            "MainDicomTags": {
                "AccessionNumber": "ACC900",
                "ReferringPhysicianName": "DOC^ANNE",
                "StudyDate": "20260102",
                "StudyDescription": "Scanner crâne",
                "StudyID": "S900",
                "StudyInstanceUID": STUDY,
                "StudyTime": "101500",
            },
            "PatientMainDicomTags": {
                "PatientBirthDate": "19800101",
                "PatientID": "IPP900",
                "PatientName": "EXEMPLE^ZOE",
                "PatientSex": "F",
            },
            "Type": "Study",
        }
    ],
    "Series": [
        _series(
            _CT_ID,
            BodyPartExamined="HEAD",
            Modality="CT",
            SeriesDescription="Crâne sans injection",
            SeriesInstanceUID=f"{STUDY}.1",
            SeriesNumber="3",
        ),
        _series(_KO_ID, Modality="KO", SeriesInstanceUID=f"{STUDY}.3", SeriesNumber="59"),
        _series(_MR_ID, Modality="MR", SeriesInstanceUID=f"{STUDY}.2"),
    ],
    "Instance": [
        _instance(
            "08c60518-b31e29e9-415f5b29-a032f898-4caaa524",
            _CT_ID,
            CT,
            InstanceNumber="2",
            SOPInstanceUID=f"{STUDY}.1.2",
        ),
        _instance(
            "159a4b4f-819b126e-2fc4dca5-78f98bc7-ce9f594f",
            _MR_ID,
            ENHANCED_MR,
            NumberOfFrames="12",
            SOPInstanceUID=f"{STUDY}.2.1",
        ),
        _instance(
            "c4fe6df1-8de7a837-17ca102f-a85906a7-aed86b0f",
            _KO_ID,
            KEY_NOTE,
            InstanceNumber="1",
            SOPInstanceUID=f"{STUDY}.3.1",
        ),
        _instance(
            "ddcd990d-cb524ccc-46d5ec22-aa250399-8dffb707",
            _CT_ID,
            CT,
            InstanceNumber="1",
            SOPInstanceUID=f"{STUDY}.1.1",
        ),
    ],
}


def orthanc_find(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Answer as Orthanc did, for the study of the recording."""
    found = ORTHANC_ANSWERS[body["Level"]] if body["Query"] == {"StudyInstanceUID": STUDY} else []
    return found[body.get("Since", 0) :]
