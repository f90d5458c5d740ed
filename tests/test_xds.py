# SPDX-License-Identifier: AGPL-3.0-or-later
"""ebRIM metadata of a published KOS."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from lxml import etree

from drimbox import xds, xds_codes, xds_query
from drimbox.config import DmpSection
from drimbox.errors import DocumentError
from drimbox.records import Code, Identifier, Organization, Professional, Restrictions, StudyContent
from drimbox.xds import Submission, build_status_update, build_submission_objects, withdrawal
from drimbox.xds_formats import (
    clean,
    cx,
    escape,
    patient_id,
    reference,
    same_structure,
    source_patient_id,
    source_patient_info,
    study_reference,
    xcn,
    xon,
)
from tests.dmp_data import (
    CENTRE,
    DCM,
    ENTRY,
    LOINC,
    NOW,
    OTHER_STUDY,
    RADIOLOGIST,
    REMOTE,
    SENDER,
    SETTINGS,
    SNOMED,
    STRUCTURE,
    STUDY,
    TRAITS,
    act,
    check_golden,
    manifest,
    pretty,
    report,
    series,
    submission,
)

RIM = "{urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0}"


def build(one: Submission, settings: DmpSection = SETTINGS) -> etree._Element:
    return build_submission_objects(one, settings, signature_size=4321, signature_hash="ab" * 20)


def by_id(root: etree._Element, identifier: str) -> etree._Element:
    (found,) = root.xpath("//*[@id=$id]", id=identifier)
    return found


def slots(element: etree._Element, name: str) -> list[str]:
    return [v.text or "" for v in element.iterfind(f"{RIM}Slot[@name='{name}']/{RIM}ValueList/{RIM}Value")]


def classified(element: etree._Element, scheme: str) -> list[tuple[str, str, str]]:
    found = element.iterfind(f"{RIM}Classification[@classificationScheme='{scheme}']")
    label = f"{RIM}Name/{RIM}LocalizedString"
    return [(c.get("nodeRepresentation", ""), *slots(c, "codingScheme"), c.find(label).get("value")) for c in found]


def author(element: etree._Element, scheme: str) -> dict[str, list[str]]:
    (found,) = element.iterfind(f"{RIM}Classification[@classificationScheme='{scheme}']")
    names = ("authorPerson", "authorInstitution", "authorRole", "authorSpecialty")
    return {name: slots(found, name) for name in names}


def kos_of(one: Submission, settings: DmpSection = SETTINGS) -> etree._Element:
    return by_id(build(one, settings), "DocumentKOS")


def events(one: Submission, settings: DmpSection = SETTINGS) -> list[tuple[str, str]]:
    return [(c, s) for c, s, _ in classified(kos_of(one, settings), xds_codes.DOC_EVENT)]


# whole messages, reviewed


@pytest.mark.parametrize(
    ("file", "one"),
    [
        ("publish.xml", submission()),
        (
            "replace_with_visibility.xml",
            submission(
                replaces_entry_uuid=ENTRY,
                restrictions=Restrictions(True, False, True, changed=True),
            ),
        ),
        ("publish_minimal.xml", submission(
            sender=None, patient_class="",
            report=report(authors=(), legal_authenticator=None, facility_type=None, language="",
                          acts=(act(code=None, ccam=None, regions=(), start=None, stop=None, practice_setting=None),)),
            manifest=manifest(accession=None, placer_order=None, traits=replace(TRAITS, local_ids=(), birth_place="")),
        )),
    ],
)  # fmt: skip
def test_the_message_is_the_reviewed_one(file: str, one: Submission) -> None:
    check_golden(file, pretty(build(one)))


def test_the_withdrawal_is_the_reviewed_one() -> None:
    update = withdrawal(submission(), SETTINGS, entry_uuid=ENTRY, submission_uid="1.2.3.8.9", submitted_at=NOW)
    check_golden("withdraw.xml", pretty(build_status_update(update, SETTINGS)))


def test_the_reference_query_is_the_reviewed_one() -> None:
    check_golden("get_documents.xml", pretty(xds_query.get_documents("1.2.3.8.1")))


# structure


def test_every_object_has_its_children_in_the_order_of_the_schema() -> None:
    order = ["Slot", "Name", "Description", "VersionInfo", "Classification", "ExternalIdentifier"]
    root = build(submission(replaces_entry_uuid=ENTRY))
    objects = list(root[0])
    expected = ["RegistryPackage", *["ExtrinsicObject"] * 2, *["Association"] * 4]
    assert [etree.QName(o).localname for o in objects] == expected
    for element in root.iter(
        f"{RIM}RegistryPackage", f"{RIM}ExtrinsicObject", f"{RIM}Classification", f"{RIM}Association"
    ):
        ranks = [order.index(etree.QName(child).localname) for child in element]
        assert ranks == sorted(ranks)


def test_every_id_is_unique_and_every_link_leads_somewhere() -> None:
    root = build(submission())
    ids = root.xpath("//@id")
    assert len(ids) == len(set(ids))
    for link in root.xpath("//@classifiedObject | //@registryObject | //@sourceObject | //@targetObject"):
        assert link in ids


def test_the_associations_say_what_is_member_and_what_signs() -> None:
    root = build(submission())
    found = [(a.get("associationType"), a.get("sourceObject"), a.get("targetObject"), slots(a, "SubmissionSetStatus"))
             for a in root.iter(f"{RIM}Association")]  # fmt: skip
    assert found == [
        ("urn:oasis:names:tc:ebxml-regrep:AssociationType:HasMember", "SubmissionSet01", "DocumentKOS", ["Original"]),
        ("urn:oasis:names:tc:ebxml-regrep:AssociationType:HasMember", "SubmissionSet01", "Signature01", ["Original"]),
        ("urn:ihe:iti:2007:AssociationType:signs", "Signature01", "SubmissionSet01", ["Original"]),
    ]


def test_a_replacement_names_the_entry_of_the_registry() -> None:
    root = build(submission(replaces_entry_uuid=ENTRY))
    last = list(root.iter(f"{RIM}Association"))[-1]
    assert last.get("associationType") == "urn:ihe:iti:2007:AssociationType:RPLC"
    assert (last.get("sourceObject"), last.get("targetObject")) == ("DocumentKOS", ENTRY)


# who


def test_the_author_is_the_one_of_our_structure_not_the_first() -> None:
    person = author(kos_of(submission()), xds_codes.DOC_AUTHOR)
    assert person["authorPerson"] == ["800000000001^DURAND^Luc^^^^^^&1.2.250.1.71.4.2.1&ISO^D^^^IDNPS"]
    assert person["authorSpecialty"] == ["G15_10/SM44^Médecin - Radio-diagnostic (SM)^1.2.250.1.213.1.1.4.5"]


def test_the_legal_authenticator_of_our_structure_comes_before_an_author_of_another() -> None:
    one = submission(report=report(authors=(REMOTE,)))
    assert author(kos_of(one), xds_codes.DOC_AUTHOR)["authorPerson"][0].startswith("800000000001^")


def test_the_first_author_stands_where_none_is_ours() -> None:
    one = submission(report=report(authors=(REMOTE,), legal_authenticator=None))
    found = author(kos_of(one), xds_codes.DOC_AUTHOR)
    assert found["authorPerson"][0].startswith("800000000002^")
    assert found["authorInstitution"] == [
        f"Centre d'imagerie des Forêts^^^^^&1.2.250.1.71.4.2.2&ISO^IDNST^^^{STRUCTURE}"
    ]


def test_every_institution_is_the_structure_of_the_certificate() -> None:
    root = build(submission(sender=replace(SENDER, organization=Organization(Identifier("1.2", "9"), "Autre"))))
    values = {v for c in root.iter(f"{RIM}Classification") for v in slots(c, "authorInstitution")}
    assert values == {f"Centre d'imagerie des Forêts^^^^^&1.2.250.1.71.4.2.2&ISO^IDNST^^^{STRUCTURE}"}


def test_the_structure_takes_its_name_from_the_report_where_the_configuration_gives_none() -> None:
    unnamed = SETTINGS.model_copy(update={"structure_name": ""})
    short = Organization(Identifier("1.2.250.1.71.4.2.2", STRUCTURE[1:]), "Nom du compte rendu")
    one = submission(report=report(authors=(replace(RADIOLOGIST, organization=short),), legal_authenticator=None,
                                   acts=(act(performer=None),), custodian=None))  # fmt: skip
    assert author(kos_of(one, unnamed), xds_codes.DOC_AUTHOR)["authorInstitution"][0].startswith("Nom du compte rendu^")


def test_the_submission_set_is_by_the_sender() -> None:
    found = author(by_id(build(submission()), "SubmissionSet01"), xds_codes.SET_AUTHOR)
    assert found["authorPerson"][0].startswith("800000000003^PETIT^")
    assert found["authorRole"] == ["Médecin"]


@pytest.mark.parametrize("sender", [None, Professional(None, "SANS", "Numéro")])
def test_the_submission_set_falls_back_on_the_entry_s_author(sender: Professional | None) -> None:
    found = author(by_id(build(submission(sender=sender)), "SubmissionSet01"), xds_codes.SET_AUTHOR)
    assert found["authorPerson"][0].startswith("800000000001^DURAND^")


def test_the_device_is_author_where_configured() -> None:
    settings = SETTINGS.model_copy(update={"author": "device"})
    found = author(kos_of(submission(), settings), xds_codes.DOC_AUTHOR)
    expected = f"{STRUCTURE}/drimbox^orthanc-drimbox^^^^^^^&1.2.250.1.71.4.2.1&ISO^U^^^EI"
    assert found["authorPerson"] == [expected]
    assert found["authorSpecialty"] == []


# what


def test_only_the_acts_of_this_study_count() -> None:
    found = events(submission())
    assert found == [
        ("24727-0", LOINC),
        ("ACQK001", "1.2.250.1.213.2.5"),
        ("CT", DCM),
        ("PT", DCM),
        ("774007", SNOMED),
    ]


def test_modalities_are_those_of_the_images_even_where_the_report_says_otherwise() -> None:
    told = act(modalities=(Code("RM", DCM),))
    one = submission(report=report(acts=(told,)),
                     manifest=manifest(study=StudyContent(STUDY, "o", (series("MR", 1), series("KO", 2)))))  # fmt: skip
    assert [c for c, s in events(one) if s == DCM] == ["MR"]


def test_the_report_s_modality_serves_where_the_images_have_none_known() -> None:
    told = act(modalities=(Code("RM", DCM), Code("MR", DCM), Code("XX", DCM)))
    one = submission(report=report(acts=(told,)), manifest=manifest(study=StudyContent(STUDY, "o", (series("OT", 1),))))
    assert [c for c, s in events(one) if s == DCM] == ["MR"]


def test_older_coding_schemes_are_a_setting() -> None:
    settings = SETTINGS.model_copy(update={"event_code_schemes": "value-sets"})
    found = events(submission(), settings)
    assert ("CT", "1.2.250.1.213.1.1.5.618") in found
    assert ("774007", "1.2.250.1.213.1.1.5.695") in found


def test_a_code_told_twice_is_written_once() -> None:
    one = submission(report=report(acts=(act(), act())))
    assert len(events(one)) == len(set(events(one))) == 5


@pytest.mark.parametrize(
    ("restrictions", "expected"),
    [
        (Restrictions(), ["N"]),
        (Restrictions(masked_to_professionals=True), ["N", "MASQUE_PS"]),
        (
            Restrictions(True, True, True),
            ["N", "MASQUE_PS", "INVISIBLE_PATIENT", "INVISIBLE_REPRESENTANTS_LEGAUX"],
        ),
        (Restrictions(secret_connection=True, changed=True), ["N"]),
    ],
)
def test_the_report_s_confidentiality_comes_first_then_the_flags(
    restrictions: Restrictions, expected: list[str]
) -> None:
    found = classified(kos_of(submission(restrictions=restrictions)), xds_codes.DOC_CONFIDENTIALITY)
    assert [c for c, _, _ in found] == expected
    assert found[0][1] == "2.16.840.1.113883.5.25"
    assert {s for _, s, _ in found[1:]} <= {"1.2.250.1.213.1.1.4.13"}


@pytest.mark.parametrize(("code", "written"), [("R", "R"), ("V", "V"), ("L", "N"), ("U", "N")])
def test_confidentialities_outside_the_value_set_become_normal(code: str, written: str) -> None:
    one = submission(report=report(confidentiality=Code(code, "2.16.840.1.113883.5.25")))
    assert classified(kos_of(one), xds_codes.DOC_CONFIDENTIALITY)[0][0] == written


def test_an_unknown_confidentiality_is_not_sent() -> None:
    with pytest.raises(DocumentError) as caught:
        build(submission(report=report(confidentiality=Code("SECRET", "1.2"))))
    assert caught.value.reason == "confidentiality-unknown"


@pytest.mark.parametrize(("patient_class", "code"), [("I", "03"), ("O", "07"), ("R", "19"), ("N", "97"), ("E", "07"),
                                                     ("i ", "03"), ("", "07"), ("P", "07")])  # fmt: skip
def test_the_content_type_follows_the_patient_s_class(patient_class: str, code: str) -> None:
    package = by_id(build(submission(patient_class=patient_class)), "SubmissionSet01")
    ((found, scheme, _),) = classified(package, xds_codes.SET_CONTENT_TYPE)
    assert (found, scheme) == (code, "1.2.250.1.213.2.2")


def test_a_configured_content_type_wins() -> None:
    settings = SETTINGS.model_copy(update={"content_type_code": "04"})
    package = by_id(build(submission(), settings), "SubmissionSet01")
    assert classified(package, xds_codes.SET_CONTENT_TYPE) == [("04", "1.2.250.1.213.2.2", "Hospitalisation de Jour")]


def test_the_facility_is_the_sector_of_the_structure_where_the_report_gives_none() -> None:
    found = classified(kos_of(submission(report=report(facility_type=None))), xds_codes.DOC_FACILITY)
    assert [(c, s) for c, s, _ in found] == [("SA07", "1.2.250.1.71.4.2.4")]


def test_a_report_without_practice_setting_needs_a_configured_one() -> None:
    one = submission(report=report(acts=(act(practice_setting=None),)))
    assert classified(kos_of(one), xds_codes.DOC_PRACTICE) == [("AMBULATOIRE", "1.2.250.1.213.1.1.4.9", "Ambulatoire")]
    with pytest.raises(DocumentError) as caught:
        kos_of(one, SETTINGS.model_copy(update={"practice_setting": ""}))
    assert "Dmp.PracticeSetting" in caught.value.public


# when


def test_times_are_utc_whatever_their_zone() -> None:
    paris = timezone(timedelta(hours=1))
    started = datetime(2026, 1, 4, 9, 22, tzinfo=paris)
    one = submission(
        report=report(acts=(act(start=started, stop=None),)),
        submitted_at=datetime(2026, 1, 5, 0, 30, tzinfo=paris),
        manifest=manifest(created_at=datetime(2026, 1, 5, 0, 10, tzinfo=paris)),
    )
    entry = kos_of(one)
    assert slots(entry, "serviceStartTime") == ["20260104082200"]
    assert slots(entry, "serviceStopTime") == []
    assert slots(entry, "creationTime") == ["20260104231000"]
    assert slots(by_id(build(one), "SubmissionSet01"), "submissionTime") == ["20260104233000"]
    assert slots(entry, "submissionTime") == []


def test_the_principal_act_gives_the_time_that_this_study_s_act_lacks() -> None:
    principal = act(OTHER_STUDY, start=datetime(2026, 11, 1, tzinfo=UTC), stop=None)
    one = submission(report=report(acts=(principal, act(start=None, stop=None))))
    assert slots(kos_of(one), "serviceStartTime") == ["20261101000000"]


@pytest.mark.parametrize(
    ("date", "time", "expected"),
    [
        ("20260701", "101500.123", ["20260701081500"]),
        ("20261101", "", ["20261031230000"]),
        ("", "", []),
        ("2026", "", []),
    ],
)
def test_the_images_give_the_time_where_the_report_gives_none(date: str, time: str, expected: list[str]) -> None:
    study = replace(manifest().study, study_date=date, study_time=time)
    one = submission(report=report(acts=(act(start=None, stop=None),)), manifest=manifest(study=study))
    assert slots(kos_of(one), "serviceStartTime") == expected


# identifiers


def test_the_references_are_those_of_this_study() -> None:
    assert slots(kos_of(submission()), "urn:ihe:iti:xds:2013:referenceIdList") == [
        "ACC900^^^&1.2.3.4.7&ISO^urn:ihe:iti:xds:2013:accession",
        f"{STUDY}^^^&1.2.3.4.5.6&ISO^urn:ihe:iti:xds:2016:studyInstanceUID",
        "OPN900^^^&1.2.3.4.6&ISO^urn:ihe:iti:xds:2013:order",
    ]


def test_a_study_reference_may_go_without_authority() -> None:
    assert study_reference("1.2.3", "") == "1.2.3^^^^urn:ihe:iti:xds:2016:studyInstanceUID"
    assert reference(Identifier("1.2.9"), "k") == "1.2.9^^^^k"


def test_the_patient_is_the_ins_and_the_source_identifier_the_local_one() -> None:
    entry = kos_of(submission())
    assert slots(entry, "sourcePatientId") == ["IPP900^^^&1.2.3.4.5&ISO^PI"]
    assert slots(entry, "sourcePatientInfo") == [
        "PID-5|ESSAI-HUIT^ZÉLIE^^^^^L", "PID-7|19600518", "PID-8|F", "PID-11|^^^^^^BDL^^88154",
    ]  # fmt: skip
    identifiers = {e.get("identificationScheme"): e.get("value") for e in entry.iterfind(f"{RIM}ExternalIdentifier")}
    assert identifiers == {
        xds_codes.DOC_PATIENT_ID: "260058815400233^^^&1.2.250.1.213.1.4.10&ISO^NH",
        xds_codes.DOC_UNIQUE_ID: "1.2.3.8.1",
    }


def test_without_a_local_identifier_the_ins_stands_as_source() -> None:
    assert source_patient_id(replace(TRAITS, local_ids=(Identifier("1.2.3"),))) == patient_id(TRAITS)


def test_unknown_traits_are_left_out_and_odd_sexes_become_unknown() -> None:
    assert source_patient_info(replace(TRAITS, birth_family="", birth_date="", sex="UN", birth_place="")) == (
        "PID-8|U",
    )


# formats


def test_delimiters_in_a_name_are_escaped() -> None:
    assert escape("A^B&C|D~E\\F") == "A\\S\\B\\T\\C\\F\\D\\R\\E\\E\\F"
    assert clean("a\x00b\r\nc\ud800") == "a b c"
    assert "\\S\\" in cx("1^2", "1.2", "PI")


def test_a_hostile_name_makes_no_second_component_and_stays_writable() -> None:
    person = replace(RADIOLOGIST, family="DUR^AND\x01" + "é" * 500)
    value = xcn(person)
    assert value.count("^") == xcn(RADIOLOGIST).count("^")
    assert len(value) < 256
    build(submission(report=report(authors=(person,))))


@pytest.mark.parametrize(
    ("person", "expected"),
    [
        (Professional(Identifier("1.2.250.1.71.4.2.1", "1990000001/77"), "LOCAL", "Id"),
         "1990000001/77^LOCAL^Id^^^^^^&1.2.250.1.71.4.2.1&ISO^D^^^EI"),
        (Professional(Identifier("1.2.250.1.71.4.2.1", "D1"), "MAKER", device="SCANNER"),
         "D1^SCANNER^MAKER^^^^^^&1.2.250.1.71.4.2.1&ISO^U^^^EI"),
        (Professional(Identifier("1.9.9"), "OID", "Only"), "1.9.9^OID^Only^^^^^^&1.2.250.1.71.4.2.1&ISO^D^^^IDNPS"),
        (Professional(None, "NOBODY"), "^NOBODY^^^^^^^&1.2.250.1.71.4.2.1&ISO^D^^^IDNPS"),
    ],
)  # fmt: skip
def test_persons_and_devices_have_their_own_form(person: Professional, expected: str) -> None:
    assert xcn(person) == expected


def test_a_long_structure_name_is_cut_and_its_number_is_not() -> None:
    value = xon(replace(CENTRE, name="x" * 999))
    assert len(value) <= 256
    assert value.endswith(f"^{STRUCTURE}")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("1990000001", "1990000001", True), ("990000001", "1990000001", True), ("1990000001", "990000001", True),
     ("", "", False), ("0000001", "1990000001", False), ("2990000001", "1990000001", False)],
)  # fmt: skip
def test_structures_are_compared_with_or_without_type_digit(one: str, other: str, same: bool) -> None:
    assert same_structure(one, other) is same


# withdrawal and query


def test_a_withdrawal_changes_the_status_and_carries_no_document() -> None:
    one = submission(restrictions=Restrictions(secret_connection=True))
    update = withdrawal(one, SETTINGS, entry_uuid=ENTRY, submission_uid="1.2.3.8.9", submitted_at=NOW)
    assert update.secret_connection
    root = build_status_update(update, SETTINGS)
    assert root.tag == "{urn:oasis:names:tc:ebxml-regrep:xsd:lcm:3.0}SubmitObjectsRequest"
    assert list(root.iter(f"{RIM}ExtrinsicObject")) == []
    (change,) = root.iter(f"{RIM}Association")
    assert (change.get("sourceObject"), change.get("targetObject")) == ("SubmissionSet01", ENTRY)
    assert slots(change, "OriginalStatus") == ["urn:oasis:names:tc:ebxml-regrep:StatusType:Approved"]
    assert slots(change, "NewStatus") == ["urn:asip:ci-sis:2010:StatusType:Deleted"]
    assert xds.SET_ID in root.xpath("//@id")


def test_quotes_in_a_query_are_doubled() -> None:
    assert xds_query.quoted("O'Neil") == "'O''Neil'"
    assert xds_query.listed(["a", "b'"]) == "('a','b''')"


def test_references_are_read_whatever_their_form() -> None:
    rim = "urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0"
    text = (
        f'<q xmlns:r="{rim}"><r:RegistryObjectList><r:ObjectRef id="urn:uuid:1"/><r:ExtrinsicObject id="urn:uuid:2"/>'
        f'<r:ObjectRef id="urn:uuid:1"/><r:Association id="urn:uuid:3"/><r:ObjectRef/></r:RegistryObjectList></q>'
    )
    assert xds_query.read_references(etree.fromstring(text)) == ("urn:uuid:1", "urn:uuid:2")
    assert xds_query.read_references(etree.fromstring("<q/>")) == ()
    assert xds_query.read_status(etree.fromstring('<q status="Success"/>')) == ""
