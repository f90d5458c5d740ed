# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every variant of an imaging report's header is read, or refused with its reason."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drimbox.cda import MAXIMUM_STUDIES, describe_report, read_report
from drimbox.cda_nodes import instant
from drimbox.cda_people import responsible_structure
from drimbox.errors import DocumentError
from drimbox.hl7_verdicts import WARNINGS
from drimbox.records import CdaReport, Code, Identifier, Organization, Professional
from tests.reports_data import AUTHOR, DOCTOR, INS, LEGAL, ORDER, REPLACES, STRUCTURE, STUDY, Cda, study_act

TYPES = ("18748-4",)


def read(**parts: str) -> CdaReport:
    return read_report(Cda(**parts).xml(), TYPES)


def reason(document: bytes) -> str:
    with pytest.raises(DocumentError) as caught:
        read_report(document, TYPES)
    return caught.value.reason


def test_a_complete_report_gives_every_field() -> None:
    report = read()
    assert report.id == Identifier("1.2.250.1.999.7.3.42")
    assert report.code == Code("18748-4", "2.16.840.1.113883.6.1", "CR d’imagerie médicale")
    assert report.title == "IRM du rachis"
    assert report.effective_time == datetime(2026, 3, 1, 10, 0, tzinfo=UTC)
    assert report.confidentiality == Code("N", "2.16.840.1.113883.5.25", "Normal")
    assert (report.language, report.version, report.level, report.replaces) == ("fr-FR", 1, 1, None)
    assert report.set_id == Identifier("9B5F2A60-0000-4000-8000-00000000C0DE")
    assert report.facility_type == Code("SA08", "1.2.250.1.71.4.2.4", "Cabinet de groupe")
    assert report.study_uids() == (STUDY,)
    assert report.warnings == ()
    patient = report.patient
    assert patient is not None
    assert (patient.ins, patient.ins_oid) == (INS, "1.2.250.1.213.1.4.10")
    assert (patient.birth_family, patient.birth_given, patient.birth_givens) == ("MARTINEAU", "ZOÉ", "ZOÉ LINE")
    assert (patient.used_family, patient.used_given) == ("DURANÇON", "LINE")
    assert (patient.birth_date, patient.sex, patient.birth_place) == ("19870915", "F", "77288")
    assert patient.local_ids == (Identifier("1.2.250.1.999.7.4", "IPP77"),)
    order = report.orders[0]
    assert order.placer == Identifier("1.2.250.1.999.7.6", "OPN7")
    assert order.accession == Identifier("1.2.250.1.999.7.5", "ACN7")
    act = report.acts[0]
    assert act.code == Code("24566-2", "2.16.840.1.113883.6.1", "RM Rachis")
    assert act.ccam == Code("LHQN001", "1.2.250.1.213.2.5", "Remnographie")
    assert act.modalities == (Code("MR", "1.2.840.10008.2.16.4", "IRM"),)
    assert act.regions == (Code("421060004", "2.16.840.1.113883.6.96", "colonne vertébrale"),)
    assert (act.start, act.stop) == (
        datetime(2026, 3, 1, 8, 30, tzinfo=UTC),
        datetime(2026, 3, 1, 9, 0, tzinfo=UTC),
    )
    assert act.practice_setting == Code("AMBULATOIRE", "1.2.250.1.213.1.1.4.9", "Ambulatoire")
    structure = Organization(Identifier("1.2.250.1.71.4.2.2", STRUCTURE), "Imagerie du Port")
    assert act.performer is not None
    assert act.performer.organization == structure
    assert report.custodian == structure
    assert report.authors == (
        Professional(
            Identifier("1.2.250.1.71.4.2.1", DOCTOR),
            "LENOIR",
            "Ada",
            Code("G15_10/SM44", "1.2.250.1.213.1.1.4.5", "Radio-diagnostic"),
            "Radiologue",
            structure,
        ),
    )
    assert report.legal_authenticator == replace(report.authors[0], specialty=None, role="")


@pytest.mark.parametrize(
    ("before", "encoding"),
    [
        ("", "utf-8"),
        ("\ufeff", "utf-8"),
        ("\r\n \ufeff<?xml version='1.0'?>\r\n", "utf-8"),
        ('<?xml version="1.0" encoding="iso-8859-1"?>', "iso-8859-1"),
    ],
)
def test_declarations_marks_and_encodings(before: str, encoding: str) -> None:
    cda = Cda(before=before, code='<code code="18748-4" displayName="CR"/>')
    report = read_report(cda.xml(encoding), TYPES)
    assert report.patient is not None
    assert report.patient.used_family == "DURANÇON"


def test_line_ends_of_windows_and_comments_inside_text() -> None:
    cda = Cda(title="<title>IRM <!-- x -->du\n rachis<?pi y?> !</title>")
    assert read_report(cda.xml().replace(b"\n", b"\r\n"), TYPES).title == "IRM du rachis !"


# --- patient --------------------------------------------------------------------------------------

_BR = '<family qualifier="BR">AB</family>'


@pytest.mark.parametrize(
    ("name", "family", "given", "givens", "used"),
    [
        (_BR + '<given>C D</given><given qualifier="BR">C</given>', "AB", "C", "C D", ""),
        (_BR + '<given qualifier="BR">C</given>', "AB", "C", "C", ""),
        ('<given qualifier="BR">C</given><given>C</given><family qualifier="SP">S</family>' + _BR, "AB", "C", "C", ""),
        ('<family qualifier="SP">S</family><given>C D</given>', "S", "C", "C D", ""),
        ("<family>P</family><given>C</given>", "P", "C", "C", ""),
        ('<family qualifier="BR CL">AB</family><given qualifier="BR">C</given>', "AB", "C", "C", "AB"),
        ('<family qualifier="CL">U</family>', "", "", "", "U"),
        ('<family nullFlavor="UNK"/><given nullFlavor="UNK"/>', "", "", "", ""),
    ],
)
def test_names_are_taken_by_qualifier(name: str, family: str, given: str, givens: str, used: str) -> None:
    patient = read(name=name).patient
    assert patient is not None
    assert (patient.birth_family, patient.birth_given, patient.birth_givens) == (family, given, givens)
    assert patient.used_family == used


@pytest.mark.parametrize("oid", ["8", "9", "10", "11"])
def test_the_ins_is_taken_by_oid_never_by_position(oid: str) -> None:
    ids = f'<id root="1.9" extension="IPP"/><id root="1.2.250.1.213.1.4.{oid}" extension="{INS}"/><id root="1.8"/>'
    ids += '<id root="1.2.250.1.213.1.4.2" extension="INS-C"/>'
    patient = read(ids=ids).patient
    assert patient is not None
    assert (patient.ins, patient.ins_oid) == (INS, f"1.2.250.1.213.1.4.{oid}")
    assert patient.local_ids == (Identifier("1.9", "IPP"),)


def test_a_patient_without_local_identifier_is_read() -> None:
    patient = read(ids=f'<id root="1.2.250.1.213.1.4.8" extension="{INS}"/>').patient
    assert patient is not None
    assert patient.local_ids == ()


@pytest.mark.parametrize("ids", ["", '<id root="1.9" extension="IPP"/>', '<id root="1.2.250.1.213.1.4.8"/>'])
def test_a_report_without_ins_has_no_patient_and_says_so(ids: str) -> None:
    report = read(ids=ids)
    assert report.patient is None
    assert "ins-missing" in report.warnings


def test_two_different_ins_in_one_report_are_refused() -> None:
    two = f'<id root="1.2.250.1.213.1.4.8" extension="{INS}"/><id root="1.2.250.1.213.1.4.9" extension="1"/>'
    assert reason(Cda(ids=two).xml()) == "several-patients"
    other = b'<recordTarget><patientRole><id root="1.2.250.1.213.1.4.8" extension="2"/></patientRole></recordTarget>'
    second = Cda().xml().replace(b"</recordTarget>", b"</recordTarget>" + other)
    assert reason(second) == "several-patients"


@pytest.mark.parametrize(
    ("part", "trait"),
    [("birthplace", "birth_place"), ("birth", "birth_date"), ("sex", "sex"), ("name", "birth_family")],
)
def test_missing_traits_are_told_by_name_only(part: str, trait: str) -> None:
    report = read(**{part: ""})
    told = [w for w in report.warnings if w.startswith("traits-incomplete")]
    assert len(told) == 1
    assert trait in told[0]
    assert "MARTINEAU" not in told[0]


def test_a_birth_time_with_hours_gives_the_date_and_a_null_one_nothing() -> None:
    first, second = read(birth='<birthTime value="19870915120000+0200"/>'), read(birth='<birthTime nullFlavor="UNK"/>')
    assert first.patient is not None
    assert second.patient is not None
    assert (first.patient.birth_date, second.patient.birth_date) == ("19870915", "")


def test_the_guardians_name_is_not_the_patients() -> None:
    patient = read(name="").patient
    assert patient is not None
    assert patient.birth_family == ""


# --- times ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("20210108111700+0100", "2021-01-08T10:17:00+00:00"),
        ("20210108102500", "2021-01-08T09:25:00+00:00"),  # no zone: winter in France
        ("20210708102500", "2021-07-08T08:25:00+00:00"),  # summer
        ("20210409", "2021-04-08T22:00:00+00:00"),
        ("20210409094914.827+0100", "2021-04-09T08:49:14.827000+00:00"),
        ("202104090949", "2021-04-09T07:49:00+00:00"),
        ("2021", "2020-12-31T23:00:00+00:00"),
        ("20210108111700-0430", "2021-01-08T15:47:00+00:00"),
        (" 20210108111700Z", None),
        ("", None),
        ("20210230", None),
        ("20210108256000", None),
        ("20210108111700+9900", None),
        ("00010101", None),
        ("99991231", None),
        ("2021-01-08", None),
        ("２０２１", None),
    ],
)
def test_times_with_and_without_zone(value: str, expected: str | None) -> None:
    read_time = instant(value)
    assert (read_time.astimezone(UTC).isoformat() if read_time else None) == expected


def test_an_unreadable_creation_time_falls_back_on_an_author_with_a_warning() -> None:
    report = read(time='<effectiveTime nullFlavor="UNK"/>')
    assert report.effective_time == datetime(2026, 3, 1, 10, 0, tzinfo=UTC)
    assert report.warnings == ("effective-time-missing",)


def test_a_report_without_any_time_is_refused() -> None:
    unknown = '<time nullFlavor="UNK"/>'
    cda = Cda(time="", authors=f"<author>{unknown}<assignedAuthor/></author>", legal="")
    assert reason(cda.xml()) == "document-time"


# --- acts and orders ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uid", "extension", "expected"),
    [
        (STUDY, None, STUDY),
        (STUDY, "studyInstanceUID", STUDY),
        (STUDY, "12345", None),  # an order number, as imaging requests have there
        ("D52DE737-001D-4031-B571-0A0ED7C42300", None, None),
        ("1.2.250.01.3", None, "1.2.250.01.3"),  # archives hold such UIDs
        ("1." + "2" * 63, None, None),
        ("", None, None),
    ],
)
def test_the_study_uid_rule(uid: str, extension: str | None, expected: str | None) -> None:
    report = read(acts=study_act(uid, extension))
    assert report.acts[0].study_uid == expected
    assert ("study-missing" in report.warnings) is (expected is None)


def test_several_studies_and_an_act_that_is_none_keep_their_order() -> None:
    screening = '<code code="Z13.9" codeSystem="2.16.840.1.113883.6.3" displayName="Dépistage"/>'
    report = read(acts=study_act("1.2.1") + study_act("1.2.2") + study_act("", code=screening, times="<x/>"))
    assert [a.study_uid for a in report.acts] == ["1.2.1", "1.2.2", None]
    assert report.study_uids() == ("1.2.1", "1.2.2")
    assert (report.acts[2].start, report.acts[2].stop) == (None, None)


def test_two_ids_in_one_act_are_two_studies() -> None:
    acts = study_act("1.2.1").replace('<id root="1.2.1"/>', '<id root="1.2.1"/><id root="1.2.2"/>')
    assert read(acts=acts).study_uids() == ("1.2.1", "1.2.2")


def test_a_body_region_under_the_oid_of_ccam_is_a_region() -> None:
    code = '<code code="69536005" codeSystem="1.2.250.1.213.2.5" displayName="Tete"/>'
    report = read(acts=study_act(code=code))
    act = report.acts[0]
    region = Code("69536005", "2.16.840.1.113883.6.96", "Tete")
    assert (act.code, act.regions, act.ccam, act.modalities) == (region, (region,), None, ())
    assert report.warnings == ("act-code-is-region",)


def test_an_act_coded_in_ccam_alone_keeps_it() -> None:
    act = read(acts=study_act(code='<code code="LHQN001" codeSystem="1.2.250.1.215.300.1"/>')).acts[0]
    assert act.ccam == act.code == Code("LHQN001", "1.2.250.1.215.300.1")


def test_an_unknown_code_under_the_oid_of_ccam_is_left_as_it_is() -> None:
    act = read(acts=study_act(code='<code code="RM-X" codeSystem="1.2.250.1.213.2.5"/>')).acts[0]
    assert (act.code, act.ccam, act.regions) == (Code("RM-X", "1.2.250.1.213.2.5"), None, ())


def test_rm_is_read_as_mr() -> None:
    report = read(acts=study_act().replace('code="MR"', 'code="RM"'))
    assert report.acts[0].modalities == (Code("MR", "1.2.840.10008.2.16.4", "IRM"),)
    assert report.warnings == ("modality-corrected: RM",)


def test_a_modality_without_qualifier_is_known_by_its_code_system() -> None:
    code = '<code code="1-2"><translation code="CT" codeSystem="1.2.840.10008.2.16.4"/></code>'
    assert [m.code for m in read(acts=study_act(code=code)).acts[0].modalities] == ["CT"]


def test_act_times_may_be_a_point_or_unreadable() -> None:
    point = read(acts=study_act(times='<effectiveTime value="20260301"/>')).acts[0]
    assert (point.start is not None, point.stop) == (True, None)
    report = read(acts=study_act(times='<effectiveTime><low value="yesterday"/></effectiveTime>'))
    assert report.warnings == ("act-time-unreadable",)


def test_unknown_performers_are_read_as_far_as_they_go() -> None:
    act = study_act().replace(f'<id root="1.2.250.1.71.4.2.1" extension="{DOCTOR}"/>', '<id nullFlavor="UNK"/>')
    act = act.replace("<family>LENOIR</family>", '<family nullFlavor="UNK"/>')
    performer = read(acts=act).acts[0].performer
    assert performer is not None
    assert (performer.identifier, performer.family) == (None, "")
    assert performer.organization is not None


@pytest.mark.parametrize(
    ("orders", "placer", "accession"),
    [
        (ORDER.replace("ps3-20:", ""), "OPN7", Identifier("1.2.250.1.999.7.5", "ACN7")),
        ('<inFulfillmentOf><order><id root="1.2" extension="P"/></order></inFulfillmentOf>', "P", None),
        (
            '<inFulfillmentOf><order><id nullFlavor="UNK"/><ps3-20:accessionNumber extension="A"/></order>'
            "</inFulfillmentOf>",
            None,
            Identifier("", "A"),
        ),
    ],
)
def test_orders_with_parts_missing(orders: str, placer: str | None, accession: Identifier | None) -> None:
    (order,) = read(orders=orders).orders
    assert (order.placer.extension if order.placer else None) == placer
    assert order.accession == accession


def test_a_report_may_have_no_order_or_several() -> None:
    assert read(orders="").orders == ()
    assert read(orders="<inFulfillmentOf><order/></inFulfillmentOf>").orders == ()
    assert len(read(orders=ORDER + ORDER.replace("7", "8")).orders) == 2


def test_studies_are_bounded() -> None:
    acts = "".join(study_act(f"1.2.{n}") for n in range(1, MAXIMUM_STUDIES + 2))
    assert reason(Cda(acts=acts).xml()) == "too-many-studies"


# --- people ---------------------------------------------------------------------------------------

_OTHER_AUTHOR = AUTHOR.replace(DOCTOR, "899900000099").replace(STRUCTURE, "1990000099").replace("LENOIR", "PETIT")
_LEGAL_ALONE = LEGAL[: LEGAL.index("<representedOrganization>")] + "</assignedEntity></legalAuthenticator>"


def _number(organization: Organization | None) -> str | None:
    return organization.identifier.extension if organization and organization.identifier else None


def test_two_authors_of_two_structures_are_both_kept() -> None:
    report = read(authors=_OTHER_AUTHOR + AUTHOR)
    assert [a.family for a in report.authors] == ["PETIT", "LENOIR"]
    assert _number(responsible_structure(report)) == STRUCTURE


def test_the_structure_falls_back_on_the_author_who_is_the_same_person() -> None:
    report = read(authors=_OTHER_AUTHOR + AUTHOR, legal=_LEGAL_ALONE)
    assert report.legal_authenticator is not None
    assert report.legal_authenticator.organization is None
    assert _number(responsible_structure(report)) == STRUCTURE


def test_the_structure_falls_back_on_authors_then_sender_then_custodian() -> None:
    nobody = "<author><assignedAuthor><assignedPerson/></assignedAuthor></author>"
    sender = Professional(None, organization=Organization(Identifier("1.2.250.1.71.4.2.2", "SENDER")))
    assert _number(responsible_structure(read(authors=_OTHER_AUTHOR, legal=_LEGAL_ALONE))) == "1990000099"
    alone = read(authors=nobody, legal="", time='<effectiveTime value="2026"/>')
    assert _number(responsible_structure(alone, sender)) == "SENDER"
    assert _number(responsible_structure(alone)) == STRUCTURE


def test_a_device_may_be_author() -> None:
    author = (
        '<author><assignedAuthor><id root="1.2.3" extension="D"/><assignedAuthoringDevice>'
        "<manufacturerModelName>M</manufacturerModelName><softwareName>IA-Rachis</softwareName>"
        "</assignedAuthoringDevice></assignedAuthor></author>"
    )
    (device,) = read(authors=author).authors
    assert (device.device, device.family, device.identifier) == ("IA-Rachis", "", Identifier("1.2.3", "D"))


def test_the_legal_authenticator_is_the_one_who_signed() -> None:
    unsigned = LEGAL.replace('code="S"', 'code="I"').replace("LENOIR", "OTHER")
    report = read(legal=unsigned + LEGAL)
    assert report.legal_authenticator is not None
    assert report.legal_authenticator.family == "LENOIR"
    assert read(legal="").legal_authenticator is None


# --- document -------------------------------------------------------------------------------------


def test_identifiers_with_extension_versions_and_replacement() -> None:
    report = read(id='<id root="1.2.3" extension="A1"/>', version="", related=REPLACES)
    assert report.id.joined() == "1.2.3^A1"
    assert (report.set_id, report.version) == (None, None)
    assert report.replaces == Identifier("1.2.250.1.999.7.3.41")


def test_only_rplc_relations_replace_and_several_are_told() -> None:
    assert read(related=REPLACES.replace("RPLC", "APND")).replaces is None
    report = read(related=REPLACES + REPLACES.replace(".41", ".40"))
    assert report.replaces == Identifier("1.2.250.1.999.7.3.41")
    assert report.warnings == ("several-replaced",)


def test_a_structured_body_is_level_three() -> None:
    assert read(body="<component><structuredBody/></component>").level == 3


def test_confidentiality_other_than_normal_is_told() -> None:
    assert read(confidentiality='<confidentialityCode code="R"/>').warnings == ("confidentiality-restricted: R",)
    missing = read(confidentiality="")
    assert missing.confidentiality.code == "N"
    assert missing.warnings == ("confidentiality-missing",)


def test_a_report_without_title_takes_the_label_of_its_code() -> None:
    assert read(title="").title == "CR d’imagerie médicale"


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (b"Document au format CDA niveau 1", "xml-not-wellformed"),
        (b'<?xml version="1.0"?>', "xml-not-wellformed"),
        (b"<html/>", "not-a-cda"),
        (b'<ClinicalDocument xmlns="urn:other"/>', "not-a-cda"),
        (Cda(code="").xml(), "document-type"),
        (Cda(code='<code code="11502-2"/>').xml(), "document-type"),
        (Cda(code='<code nullFlavor="UNK" code="18748-4"/>').xml(), "document-type"),
        (Cda(id="").xml(), "document-id"),
        (Cda(before="<!DOCTYPE x>").xml(), "xml-doctype"),
    ],
)
def test_what_is_no_usable_report_is_refused(document: bytes, expected: str) -> None:
    assert reason(document) == expected


def test_accepted_document_types_are_configurable() -> None:
    document = Cda(code='<code code="11502-2"/>').xml()
    assert read_report(document, ("18748-4", "11502-2")).code.code == "11502-2"


def test_the_description_is_json_and_complete() -> None:
    described = json.loads(json.dumps(describe_report(read(related=REPLACES))))
    assert described["studies"] == [STUDY]
    assert described["effective_time"] == "2026-03-01T10:00:00.000Z"
    assert described["replaces"] == {"root": "1.2.250.1.999.7.3.41", "extension": None}
    assert described["acts"][0]["modalities"][0]["code"] == "MR"


# --- abuse ----------------------------------------------------------------------------------------

_WHOLE = Cda(related=REPLACES).xml()


@pytest.mark.parametrize("part", range(0, 64))
def test_truncated_reports_are_refused(part: int) -> None:
    assert reason(_WHOLE[: len(_WHOLE) * part // 64]).startswith("xml-")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(_WHOLE) - 1), st.binary(min_size=0, max_size=3)), min_size=1, max_size=6))
def test_mutated_reports_raise_nothing_but_document_errors(changes: list[tuple[int, bytes]]) -> None:
    data = bytearray(_WHOLE)
    for position, new in changes:
        data[position : position + len(new)] = new
    with suppress(DocumentError):
        report = read_report(bytes(data), TYPES)
        assert report.effective_time.tzinfo is not None
        assert {w.partition(": ")[0] for w in report.warnings} <= set(WARNINGS)


_PARTS = re.findall(
    r"\w+", "id title time version ids name sex birth birthplace authors custodian legal orders acts encounter"
)
_ACT = "<documentationOf><serviceEvent><id/><code/></serviceEvent></documentationOf>"
_JUNK = st.sampled_from(
    [
        "",
        "<id/>",
        "<name/>",
        '<id root=" "/>',
        "<author/>",
        "<order/>",
        "<code/>",
        "<family/>",
        '<time value="x"/>',
        _ACT,
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(_PARTS), st.lists(_JUNK, max_size=3).map("".join), min_size=1, max_size=6))
def test_reports_with_parts_gone_or_strange_raise_nothing_but_document_errors(parts: dict[str, str]) -> None:
    with suppress(DocumentError):
        json.dumps(describe_report(read(**parts)))
