# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

import io
import shutil
import subprocess
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pydicom
import pytest
from highdicom.ko import KeyObjectSelectionDocument
from pydicom.dataset import Dataset

from drimbox import kos
from drimbox.config import ManifestSection, parse_config
from drimbox.errors import ConfigurationError, DocumentError
from drimbox.kos_writer import institution_name, value_type
from drimbox.records import Act, Code, Identifier, InstanceRef, Manifest, Order, Organization, Professional
from tests.manifest_data import (
    CENTRE,
    CT,
    ECG,
    ENHANCED_MR,
    KEY_NOTE,
    NOW,
    OTHER_STUDY,
    ROOT,
    SETTINGS,
    STUDY,
    TRAITS,
    act,
    large_study,
    manifest,
    order,
    report,
    series,
    study,
)


def written(of: Manifest, settings: ManifestSection = SETTINGS) -> Dataset:
    return pydicom.dcmread(io.BytesIO(kos.write_manifest(of, settings)))


def built(**changes: Any) -> Manifest:
    arguments: dict[str, Any] = {
        "act": act(),
        "order": order("900"),
        "settings": SETTINGS,
        "retrieve_root": ROOT,
        "sop_instance_uid": "2.25.1001",
        "series_uid": "2.25.1000",
        "instance_number": 1,
        "created_at": NOW,
    }
    return kos.build_manifest(changes.pop("report", report()), changes.pop("study", study()), **arguments | changes)


# --- pairing


def test_the_act_of_a_study_is_the_one_that_names_it() -> None:
    two = report(acts=(Act(None), act(OTHER_STUDY), act()))
    assert kos.act_for(two, STUDY) is two.acts[2]


def test_a_study_without_act_is_refused() -> None:
    with pytest.raises(DocumentError) as caught:
        kos.act_for(report(), OTHER_STUDY)
    assert caught.value.reason == "study-not-in-report"


def test_the_order_is_found_by_the_accession_number_of_the_images() -> None:
    two = report(orders=(order("901"), order("900")), acts=(act(OTHER_STUDY), act()))
    assert kos.order_for(two, study(accession="ACC901")) is two.orders[0]


@pytest.mark.parametrize("accession", ["", "unknown"])
def test_the_order_is_found_by_position_where_there_is_one_for_each_study(accession: str) -> None:
    two = report(orders=(order("901"), order("900")), acts=(act(OTHER_STUDY), act(), act(OTHER_STUDY)))
    assert kos.order_for(two, study(accession=accession)) is two.orders[1]


def test_the_first_order_serves_where_the_counts_differ() -> None:
    odd = report(orders=(order("901"),), acts=(act(OTHER_STUDY), act()))
    assert kos.order_for(odd, study(accession="")) is odd.orders[0]
    assert kos.order_for(report(orders=()), study()) is None


# --- identity


def test_images_that_agree_with_the_report_raise_no_warning() -> None:
    assert kos.check_identity(report(), study(), SETTINGS) == ()
    assert kos.check_identity(report(), study(patient_id=TRAITS.ins), SETTINGS) == ()


def test_images_that_differ_are_warned_of_by_default() -> None:
    codes = kos.check_identity(report(), study(accession="X", patient_id="Y"), SETTINGS)
    assert codes == (kos.ACCESSION_MISMATCH, kos.PATIENT_ID_MISMATCH)


@pytest.mark.parametrize(
    ("setting", "field", "reason"),
    [("check_accession", "accession", "accession-mismatch"), ("check_patient_id", "patient_id", "patient-id-mismatch")],
)
def test_images_that_differ_are_refused_or_ignored_as_configured(setting: str, field: str, reason: str) -> None:
    strange = study(**{field: "SECRET-777"})
    with pytest.raises(DocumentError) as caught:
        kos.check_identity(report(), strange, ManifestSection.model_validate({setting: "refuse"}))
    assert caught.value.reason == reason
    assert "SECRET-777" not in str(caught.value)
    assert kos.check_identity(report(), strange, ManifestSection.model_validate({setting: "ignore"})) == ()


def test_an_empty_number_never_agrees() -> None:
    empty = report(orders=(Order(None, Identifier("1.2.3")),), patient=replace(TRAITS, local_ids=(Identifier("1.2"),)))
    assert len(kos.check_identity(empty, study(accession="", patient_id=""), SETTINGS)) == 2
    assert len(kos.check_identity(report(patient=None, orders=()), study(), SETTINGS)) == 2


# --- the model


def test_a_manifest_takes_its_parts_from_report_study_and_act() -> None:
    made = built(retrieve_root=ROOT + "/", instance_number=3)
    assert (made.traits, made.study, made.institution) == (TRAITS, study(), CENTRE)
    assert made.accession == Identifier("1.2.3.4.7", "ACC900")
    assert made.placer_order == Identifier("1.2.3.4.6", "OPN900")
    assert (made.retrieve_root, made.act_label, made.instance_number) == (ROOT, "Scanner du crâne", 3)
    assert made.created_at == NOW.replace(microsecond=0)


def test_the_act_is_named_by_its_ccam_label_where_its_code_has_none() -> None:
    assert built(act=Act(STUDY, code=Code("1", "2"), ccam=Code("ACQH003", "2", "Scanner"))).act_label == "Scanner"
    assert built(act=Act(STUDY)).act_label == ""


def test_the_institution_is_who_made_the_images_else_who_wrote_else_who_keeps() -> None:
    nameless = Professional(None, organization=Organization(None, "Sans numéro"))
    assert built(act=Act(STUDY, performer=nameless)).institution == CENTRE
    kept = built(act=Act(STUDY), report=report(authors=(Professional(None),)))
    assert kept.institution is not None
    assert kept.institution.name == "Groupement"
    alone = built(act=Act(STUDY, performer=nameless), report=report(authors=(), custodian=None))
    assert alone.institution == nameless.organization


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"report": report(patient=None)}, "patient-missing"),
        ({"report": report(patient=replace(TRAITS, ins=""))}, "patient-missing"),
        ({"study": study(series=())}, "study-empty"),
        ({"study": study(series=(series(1, "CT", CT, 0),))}, "study-empty"),
        ({"study": study(series=(series(1, "CT", "", 1),))}, "instance-invalid"),
        ({"study": study(series=(series(1, "CT", CT, 1, series_uid="1.2/../3"),))}, "instance-invalid"),
        ({"study": study(study_uid="x")}, "instance-invalid"),
        ({"order": Order(None, Identifier("1.2", "A" * 17))}, "identifier-too-long"),
        ({"order": Order(Identifier("1.2", "P" * 65), None)}, "identifier-too-long"),
    ],
)
def test_what_cannot_be_written_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(DocumentError) as caught:
        built(**changes)
    assert caught.value.reason == reason


@pytest.mark.parametrize("root", ["", "db1.example", "https://é.example", "https://a b", "https://a\\b", "https://"])
def test_a_root_that_is_no_address_is_a_configuration_error(root: str) -> None:
    with pytest.raises(ConfigurationError, match=r"Wado\.Root"):
        built(retrieve_root=root)


def test_contents_are_compared_by_series_and_instances_alone() -> None:
    one = manifest()
    assert kos.same_content(one, study(description="corrected", accession="ACC2"))
    assert kos.same_content(manifest(study(series=study().series[::-1])), one)
    assert not kos.same_content(one, study(series=study().series[:3]))
    moved = series(1, "CT", CT, 3, series_uid=f"{STUDY}.77")
    assert not kos.same_content(one, study(series=(moved, *study().series[1:])))
    assert not kos.same_content(one, study(study_uid=OTHER_STUDY))


# --- the file


def test_fixed_attributes_are_those_of_the_national_manifest() -> None:
    data = written(manifest())
    assert data.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert data.SOPClassUID == data.file_meta.MediaStorageSOPClassUID == KEY_NOTE
    assert data.SOPInstanceUID == data.file_meta.MediaStorageSOPInstanceUID == "2.25.1001"
    assert (data.Modality, data.SeriesNumber, data.InstanceNumber) == ("KO", 59, 1)
    assert (data.SpecificCharacterSet, data.AccessionNumber) == ("ISO_IR 100", "")
    assert (data.ValueType, data.ContinuityOfContent) == ("CONTAINER", "SEPARATE")
    title = data.ConceptNameCodeSequence[0]
    assert (title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning) == ("113030", "DCM", "MANIFEST")
    assert (data.ContentTemplateSequence[0].MappingResource, data.ContentTemplateSequence[0].TemplateIdentifier) == (
        "DCMR",
        "2010",
    )
    assert len(data.ReferencedPerformedProcedureStepSequence) == 0


def test_identity_stands_where_the_national_text_wants_it() -> None:
    data = written(manifest())
    assert (data.PatientName, data.PatientID) == ("ESSAI-HUIT^ZÉLIE", "260058815400233")
    assert (data.PatientBirthDate, data.PatientSex, data.PatientComments) == ("19600518", "F", "88154")
    assert [str(n) for n in data.OtherPatientNames] == ["^ZÉLIE ANNE", "EXEMPLE^ZÉLIE"]
    other = data.OtherPatientIDsSequence[0]
    assert (other.PatientID, other.TypeOfPatientID) == (data.PatientID, "TEXT")
    for item in (data, other):
        assert item.IssuerOfPatientID == "ASIP-SANTE-INS-NIR"
        assert item.IssuerOfPatientIDQualifiersSequence[0].UniversalEntityID == TRAITS.ins_oid
        assert item.IssuerOfPatientIDQualifiersSequence[0].UniversalEntityIDType == "ISO"


def test_an_nia_is_issued_by_its_own_authority() -> None:
    data = written(manifest(traits=replace(TRAITS, ins_oid="1.2.250.1.213.1.4.9")))
    assert data.IssuerOfPatientID == "ASIP-SANTE-INS-NIA"


def test_absent_names_and_birth_place_leave_no_attribute() -> None:
    bare = replace(TRAITS, birth_givens="", used_family="", used_given="", birth_place="", birth_date="1960", sex="?")
    data = written(manifest(traits=bare, institution=None))
    assert "OtherPatientNames" not in data
    assert "PatientComments" not in data
    assert "InstitutionName" not in data
    assert (data.PatientBirthDate, data.PatientSex) == ("", "")


@pytest.mark.parametrize(("sex", "wanted"), [("M", "M"), ("F", "F"), ("UN", "O"), ("U", ""), ("", "")])
def test_sex_is_a_value_that_dicom_knows(sex: str, wanted: str) -> None:
    assert written(manifest(traits=replace(TRAITS, sex=sex))).PatientSex == wanted


def test_the_request_carries_accession_and_placer_order_with_their_authorities() -> None:
    request = written(manifest()).ReferencedRequestSequence[0]
    assert (request.AccessionNumber, request.PlacerOrderNumberImagingServiceRequest) == ("ACC900", "OPN900")
    assert request.IssuerOfAccessionNumberSequence[0].UniversalEntityID == "1.2.3.4.7"
    assert request.OrderPlacerIdentifierSequence[0].UniversalEntityID == "1.2.3.4.6"
    assert request.StudyInstanceUID == STUDY
    assert len(request.ReferencedStudySequence) == len(request.RequestedProcedureCodeSequence) == 0
    for empty in ("RequestedProcedureDescription", "RequestedProcedureID", "FillerOrderNumberImagingServiceRequest"):
        assert request[empty].is_empty


def test_a_report_without_order_leaves_the_request_empty() -> None:
    request = written(built(order=None)).ReferencedRequestSequence[0]
    assert (request.AccessionNumber, request.PlacerOrderNumberImagingServiceRequest) == ("", "")
    assert "IssuerOfAccessionNumberSequence" not in request
    assert "OrderPlacerIdentifierSequence" not in request


def test_the_evidence_lists_every_instance_with_the_address_of_its_series() -> None:
    evidence = written(manifest()).CurrentRequestedProcedureEvidenceSequence
    assert len(evidence) == 1
    assert evidence[0].StudyInstanceUID == STUDY
    listed = evidence[0].ReferencedSeriesSequence
    assert [s.RetrieveURL for s in listed] == [f"{ROOT}/studies/{STUDY}/series/{STUDY}.{n}" for n in (1, 2, 3, 4)]
    assert [len(s.ReferencedSOPSequence) for s in listed] == [3, 1, 1, 1]
    assert [i.InstanceNumber for i in listed[0].ReferencedSOPSequence] == [1, 2, 3]
    assert listed[1].ReferencedSOPSequence[0].NumberOfFrames == 12
    assert "InstanceNumber" not in listed[1].ReferencedSOPSequence[0]
    assert "RetrieveLocationUID" not in listed[0]


def test_an_empty_series_is_not_listed() -> None:
    data = written(manifest(study(series=(series(1, "CT", CT, 1), series(2, "CT", CT, 0)))))
    assert len(data.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence) == 1


def test_details_and_location_follow_the_configuration() -> None:
    settings = ManifestSection(reference_details=False, retrieve_location_uid="1.2.3.4")
    item = written(manifest(), settings).CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert item.RetrieveLocationUID == "1.2.3.4"
    assert "SeriesNumber" not in item
    assert all("InstanceNumber" not in i for i in item.ReferencedSOPSequence)


def test_the_content_names_each_instance_by_its_kind_then_the_text() -> None:
    content = written(manifest()).ContentSequence
    assert [i.ValueType for i in content] == ["IMAGE"] * 4 + ["COMPOSITE", "WAVEFORM", "TEXT"]
    assert {i.RelationshipType for i in content} == {"CONTAINS"}
    assert [i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for i in content[:-1]] == [
        i.sop_instance_uid for s in study().series for i in s.instances
    ]
    concept = content[-1].ConceptNameCodeSequence[0]
    assert (concept.CodeValue, concept.CodingSchemeDesignator) == ("113012", "DCM")
    assert content[-1].TextValue.splitlines()[:3] == [
        "Examen : Scanner crâne",
        "Acte = Scanner du crâne",
        f"Série-{STUDY}.1 : CT @ : Crâne sans injection",
    ]


@pytest.mark.parametrize(
    ("sop_class", "wanted"),
    [
        (CT, "IMAGE"),
        (ENHANCED_MR, "IMAGE"),
        ("1.2.840.10008.5.1.4.1.1.66.4", "IMAGE"),  # segmentation
        ("1.2.840.10008.5.1.4.1.1.481.2", "IMAGE"),  # RT dose
        ("1.2.840.10008.5.1.4.1.1.6.2", "IMAGE"),  # ultrasound volume
        ("1.2.840.10008.5.1.4.1.1.66.5", "COMPOSITE"),  # surface segmentation
        ("1.2.840.10008.5.1.4.1.1.88.67", "COMPOSITE"),  # radiation dose report
        ("1.2.840.10008.5.1.4.1.1.104.1", "COMPOSITE"),  # encapsulated PDF
        ("1.2.840.10008.5.1.4.1.1.11.1", "COMPOSITE"),  # presentation state
        ("1.2.840.10008.5.1.4.1.1.67", "COMPOSITE"),  # real world value mapping
        (KEY_NOTE, "COMPOSITE"),
        (ECG, "WAVEFORM"),
        ("1.2.840.10008.5.1.4.1.1.9.4.2", "WAVEFORM"),
        ("1.3.12.2.1107.5.9.1", "COMPOSITE"),  # a maker's own class
    ],
)
def test_the_kind_of_a_reference_follows_its_class(sop_class: str, wanted: str) -> None:
    assert value_type(sop_class) == wanted


@pytest.mark.parametrize(
    ("instant", "zone", "wanted"),
    [
        (datetime(2026, 7, 14, 22, 30, 15, tzinfo=UTC), "Europe/Paris", ("20260715", "003015", "+0200")),
        (datetime(2026, 1, 14, 8, 30, 15, tzinfo=UTC), "Europe/Paris", ("20260114", "093015", "+0100")),
        (datetime(2026, 1, 14, 2, 30, 15, tzinfo=UTC), "America/Martinique", ("20260113", "223015", "-0400")),
    ],
)
def test_instants_are_written_in_the_zone_of_the_site_with_its_offset(
    instant: datetime, zone: str, wanted: tuple[str, str, str]
) -> None:
    data = written(manifest(created_at=instant), ManifestSection.model_validate({"time_zone": zone}))
    for prefix in ("InstanceCreation", "Series", "Content"):
        assert (data[f"{prefix}Date"].value, data[f"{prefix}Time"].value, data.TimezoneOffsetFromUTC) == wanted


@pytest.mark.parametrize(
    "changes",
    [
        {"traits": replace(TRAITS, birth_family="CŒUR")},
        {"institution": Organization(None, "Clinique d'Haÿ-les-Roses Ÿ")},
        {"act_label": "Œsophage"},
        {"accession": Identifier("1.2", "AŸ1")},
        {"study": study(series=(series(1, "CT", CT, 1, "œil"),))},
    ],
)
def test_a_text_outside_latin_1_turns_the_file_into_utf_8(changes: dict[str, Any]) -> None:
    data = written(manifest(**changes))
    assert data.SpecificCharacterSet == "ISO_IR 192"
    assert {"œ", "Œ", "Ÿ"} & set(str(data) + data.ContentSequence[-1].TextValue)


def test_hostile_and_long_texts_keep_to_their_attribute() -> None:
    nasty = "A\\B\nC^D=E" + "x" * 200
    traits = replace(TRAITS, birth_family=nasty, birth_givens=nasty, used_family=nasty, birth_place="1\\2\n3")
    of = study(description=nasty, referring_physician=nasty, study_id="S" * 17, study_date="20261350", study_time="99")
    data = written(manifest(of, traits=traits, institution=Organization(CENTRE.identifier, nasty), manufacturer=nasty))
    assert str(data.PatientName).startswith("A B C D Ex")
    for name in ("PatientName", "StudyDescription", "InstitutionName", "Manufacturer", "ReferringPhysicianName"):
        assert data[name].VM == 1
        assert len(str(data[name].value)) <= 64
    assert [len(str(n)) for n in data.OtherPatientNames] == [64, 64]
    assert data.InstitutionName.endswith("^^^^^^^^^1990000001")
    assert data.PatientComments == "1 2 3"
    assert (data.StudyID, data.StudyDate, data.StudyTime) == ("", "", "")


def test_the_identifier_of_an_institution_is_never_cut() -> None:
    assert institution_name(Organization(Identifier("1", "499700367909006"), "N" * 80)) == "N" * 40 + (
        "^^^^^^^^^499700367909006"
    )
    assert institution_name(Organization(None, "A^B")) == "A B"


def test_a_study_uid_with_a_leading_zero_is_written_as_the_archive_holds_it() -> None:
    data = kos.write_manifest(manifest(study(study_uid="1.2.03.4")), SETTINGS)
    assert data.count(b"\x0d\x00UI\x08\x001.2.03.4") == 3


def test_the_same_manifest_gives_the_same_bytes() -> None:
    assert kos.write_manifest(manifest(), SETTINGS) == kos.write_manifest(manifest(), SETTINGS)


def test_a_study_of_3000_instances_is_written_in_no_time() -> None:
    of = manifest(large_study(3000))
    begin = time.perf_counter()
    data = kos.write_manifest(of, SETTINGS)
    assert time.perf_counter() - begin < 1
    assert data.count(CT.encode()) == 6000


# --- other programs


def test_highdicom_reads_our_manifest_as_a_key_object_document() -> None:
    of = study(series=study().series[:3])  # highdicom knows no WAVEFORM item
    document = KeyObjectSelectionDocument.from_dataset(written(manifest(of)))
    found = {document.resolve_reference(i.sop_instance_uid) for s in of.series for i in s.instances}
    assert found == {(STUDY, s.series_uid, i.sop_instance_uid) for s in of.series for i in s.instances}
    assert len(document.content.get_references()) == 5


def test_pydicom_writes_the_same_elements_in_the_same_order() -> None:
    data = kos.write_manifest(manifest(), SETTINGS)
    again = io.BytesIO()
    pydicom.dcmread(io.BytesIO(data)).save_as(again, enforce_file_format=True)
    assert again.getvalue() == data


@pytest.mark.skipif(shutil.which("dsrdump") is None, reason="dcmtk is absent")
@pytest.mark.parametrize("family", ["ESSAI", "CŒUR"])
def test_dcmtk_reads_our_manifest_without_complaint(tmp_path: Path, family: str) -> None:
    path = tmp_path / "kos.dcm"
    path.write_bytes(kos.write_manifest(manifest(traits=replace(TRAITS, birth_family=family)), SETTINGS))
    dump = subprocess.run(["dcmdump", "-q", path], capture_output=True, check=True)
    tree = subprocess.run(["dsrdump", path], capture_output=True, check=True)
    assert dump.stderr == b""
    assert tree.stdout.startswith(b"Key Object Selection Document")
    assert tree.stdout.count(b"<contains ") == 7
    assert b"E: " not in tree.stderr
    known_limits = (b"template constraints not yet supported", b"VR checker does not support")
    assert all(any(limit in line for limit in known_limits) for line in tree.stderr.splitlines())


# --- configuration


@pytest.mark.parametrize(
    ("key", "value"),
    [("UidRoot", "1.02"), ("UidRoot", "1." + "1" * 38), ("RetrieveLocationUid", "x"), ("TimeZone", "Mars/Base")],
)
def test_wrong_settings_are_refused_with_their_name(key: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"(?i)DrimBox\.Manifest\.{key}"):
        parse_config({"Manifest": {key: value}})


def test_an_instance_without_number_is_written() -> None:
    of = manifest(study(series=(replace(series(1, "CT", CT, 1), number=None, instances=(InstanceRef(CT, "1.2"),)),)))
    item = written(of).CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert "SeriesNumber" not in item
    assert len(item.ReferencedSOPSequence[0]) == 2
