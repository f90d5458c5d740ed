# SPDX-License-Identifier: AGPL-3.0-or-later
"""The sandbox's reports hold every header element of the CI-SIS form, and their messages agree with them."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from pathlib import Path

import pytest
from lxml import etree

from sandbox import report_maker as rm

NS = {"c": "urn:hl7-org:v3", "ps": "urn:dicom-org:ps3-20"}
STUDY = "1.2.250.1.213.4.99.5.1"
REPORT = rm.demo_report(STUDY, "ACN-ESSAI-1", viewer_root="https://vi.essai.example:8443")


def tree(cda: bytes) -> etree._Element:
    return etree.fromstring(cda)


def values(root: etree._Element, path: str) -> list[str]:
    found = root.xpath(path, namespaces=NS)
    assert isinstance(found, list)
    return [str(x.text if isinstance(x, etree._Element) else x) for x in found]


def fields(message: bytes, segment: str, separator: str = "\r") -> list[list[str]]:
    """Fields by HL7 number: index n is field n (MSH excepted, where MSH-n is index n - 1)."""
    lines = message.decode().split(separator)
    return [line.split("|") for line in lines if line.split("|")[0] == segment]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("c:templateId/@root", ["2.16.840.1.113883.2.8.2.1", "1.2.250.1.213.1.1.1.1", "1.3.6.1.4.1.19376.1.2.20"]),
        ("c:id/@root", ["1.2.250.1.213.4.99.4.1.1"]),
        ("c:code/@code", ["18748-4"]),
        ("c:setId/@root", ["1.2.250.1.213.4.99.4.1"]),
        ("c:versionNumber/@value", ["1"]),
        ("c:relatedDocument", []),
        ("c:effectiveTime/@value", ["20261120111700+0100"]),
        ("c:confidentialityCode/@code", ["N"]),
        ("c:languageCode/@code", ["fr-FR"]),
        ("c:recordTarget/c:patientRole/c:id[@root='1.2.250.1.213.1.4.10']/@extension", ["280024523499967"]),
        ("c:recordTarget/c:patientRole/c:id[2]/@extension", ["IPP-ESSAI-1"]),
        ("c:recordTarget//c:name/c:family[@qualifier='BR']", ["ESSAI-DRIMBOX"]),
        ("c:recordTarget//c:name/c:given[@qualifier='BR']", ["CAMILLE"]),
        ("c:recordTarget//c:name/c:given[not(@qualifier)]", ["CAMILLE HELOISE"]),
        ("c:recordTarget//c:name/c:family[@qualifier='CL']", ["ESSAI-DRIMBOX"]),
        ("c:recordTarget//c:administrativeGenderCode/@code", ["F"]),
        ("c:recordTarget//c:birthTime/@value", ["19800229"]),
        ("c:recordTarget//c:birthplace/c:place/c:addr/c:county", ["45234"]),
        ("c:author/c:assignedAuthor/c:id[@root='1.2.250.1.71.4.2.1']/@extension", ["899799999011"]),
        ("c:author//c:assignedPerson/c:name/c:given", ["Hélène"]),
        ("c:author//c:representedOrganization/c:id[@root='1.2.250.1.71.4.2.2']/@extension", ["1750803447"]),
        ("c:custodian//c:representedCustodianOrganization/c:id/@extension", ["1750803447"]),
        ("c:legalAuthenticator[c:signatureCode/@code='S']/c:assignedEntity/c:id/@extension", ["899799999011"]),
        ("c:legalAuthenticator//c:representedOrganization/c:id/@extension", ["1750803447"]),
        ("c:inFulfillmentOf/c:order/ps:accessionNumber/@extension", ["ACN-ESSAI-1"]),
        ("c:inFulfillmentOf/c:order/c:id/@extension", ["OPNACN-ESSAI-1"]),
        ("c:documentationOf/c:serviceEvent/c:id/@root", [STUDY]),
        ("c:documentationOf//c:translation[@codeSystemName='CCAM']/@code", ["ACQH004"]),
        ("c:documentationOf//c:translation[c:qualifier/c:name/@code='121139']/@code", ["CT"]),
        ("c:documentationOf//c:translation[c:qualifier/c:name/@code='39111-0']/@code", ["774007"]),
        ("c:documentationOf/c:serviceEvent/c:effectiveTime/c:low/@value", ["20261120102500+0100"]),
        ("c:documentationOf//c:performer//c:representedOrganization/c:id/@extension", ["1750803447"]),
        ("c:documentationOf//c:standardIndustryClassCode/@code", ["AMBULATOIRE"]),
        ("c:componentOf//c:healthCareFacility/c:code/@code", ["SA08"]),
        ("c:component/c:nonXMLBody/c:text/@mediaType", ["application/pdf"]),
    ],
)
def test_the_header_says_what_a_drimbox_reads(path: str, expected: list[str]) -> None:
    assert values(tree(rm.make_cda(REPORT)), path) == expected


def test_a_report_of_two_studies_and_an_act_without_study() -> None:
    screening = rm.Act(None, rm.Coded("Z13.9", "Dépistage", "2.16.840.1.113883.6.3"), None, None, None)
    cda = tree(rm.make_cda(replace(REPORT, acts=(REPORT.acts[0], rm.Act("1.2.3.4"), screening))))
    assert values(cda, "c:documentationOf/c:serviceEvent/c:id/@root") == [STUDY, "1.2.3.4"]
    assert len(cda.findall("c:documentationOf", NS)) == 3
    assert not cda.findall("c:documentationOf[3]//c:translation", NS)


def test_the_next_version_replaces_the_one_before() -> None:
    second = rm.next_version(REPORT, title="Corrigé")
    cda = tree(rm.make_cda(second))
    assert values(cda, "c:relatedDocument[@typeCode='RPLC']/c:parentDocument/c:id/@root") == [REPORT.document_id.root]
    assert values(cda, "c:versionNumber/@value") == ["2"]
    assert values(cda, "c:setId/@root") == ["1.2.250.1.213.4.99.4.1"]
    assert second.document_id != REPORT.document_id
    assert second.created > REPORT.created


def test_markup_in_a_name_stays_text() -> None:
    report = replace(REPORT, title='A<b>&"c', patient=replace(REPORT.patient, used_family="O'<NEIL>"))
    cda = tree(rm.make_cda(report))
    assert values(cda, "c:title") == ['A<b>&"c']
    assert values(cda, "c:recordTarget//c:family[@qualifier='CL']") == ["O'<NEIL>"]


@pytest.mark.parametrize(
    ("sex", "birth", "place", "order", "expected"),
    [
        ("F", "19800229", "45234", 999, "2800245234999"),
        ("M", "19550814", "99353", 1, "1550899353001"),
        ("F", "19790328", "2A004", 12, "279032A004012"),
        ("M", "19790328", "2B033", 12, "179032B033012"),
    ],
)
def test_the_ins_carries_the_key_of_its_digits(sex: str, birth: str, place: str, order: int, expected: str) -> None:
    value = rm.ins_number(sex, birth, place, order)
    assert (len(value), value[:13]) == (15, expected)
    digits = int(expected.replace("2A", "19").replace("2B", "18"))
    assert (digits + int(value[13:])) % 97 == 0


def test_a_known_ins_of_the_national_samples_has_our_key() -> None:
    assert rm.ins_number("F", "19790328", "51215", 189) == "279035121518989"


def test_the_pdf_is_well_formed_and_links_to_the_viewer() -> None:
    text = values(tree(rm.make_cda(REPORT)), "c:component/c:nonXMLBody/c:text")[0]
    pdf = base64.b64decode(text, validate=True)
    assert pdf.startswith(b"%PDF-1.7")
    start = int(pdf.rsplit(b"startxref\n", 1)[1].split(b"\n")[0])
    assert pdf[start : start + 4] == b"xref"
    offsets = [int(x) for x in re.findall(rb"^(\d{10}) 00000 n $", pdf, re.M)]
    assert offsets
    for number, offset in enumerate(offsets, start=1):
        assert pdf[offset:].startswith(b"%d 0 obj\n" % number)
    length, stream = re.search(rb"/Length (\d+) >>\nstream\n(.*)\nendstream", pdf, re.S).groups()  # type: ignore[union-attr]
    assert int(length) == len(stream)
    assert "Résultat".encode("cp1252") in stream
    title = re.search(rb"/Title <FEFF([0-9A-F]+)>", pdf)
    assert title is not None
    assert bytes.fromhex(title[1].decode()).decode("utf-16-be") == REPORT.title
    link = re.search(rb"/S /URI /URI \(([^)]*)\)", pdf)
    assert link is not None
    assert link[1].decode() == (
        "https://vi.essai.example:8443/IHEInvokeImageDisplay?requestType=STUDY"
        f"&studyUID={STUDY}&Accessionnumber=1.2.250.1.213.4.99.2.ACN-ESSAI-1&idCDA=1.2.250.1.213.4.99.4.1.1"
    )


def test_the_link_joins_root_and_extension_and_escapes() -> None:
    order = rm.Order(rm.Ident("1.2", "P"), rm.Ident("1.3", "A&B 1"))
    report = replace(REPORT, document_id=rm.Ident("1.4", "A71"), orders=(order,))
    assert report.viewer_links()[0].endswith("&Accessionnumber=1.3.A%26B%201&idCDA=1.4_A71")


@pytest.mark.parametrize("kind", ["mdm", "oru"])
def test_the_same_inputs_give_the_same_bytes(kind: str) -> None:
    assert rm.make_message(REPORT, kind=kind) == rm.make_message(REPORT, kind=kind)


SEGMENTS_MDM = ["MSH", "EVN", "PID", "PV1", "ORC", "OBR", "TXA", "OBX", "PRT", *["OBX"] * 10, ""]


@pytest.mark.parametrize(
    ("action", "event", "control", "status"),
    [("create", "T02", "NW", "F"), ("replace", "T10", "RO", "C"), ("withdraw", "T04", "CA", "D")],
)
def test_an_mdm_tells_its_request_three_times_alike(action: str, event: str, control: str, status: str) -> None:
    message = rm.make_message(REPORT, action).hl7
    assert [line.split("|")[0] for line in message.decode().split("\r")] == SEGMENTS_MDM
    msh = fields(message, "MSH")[0]
    assert (msh[8], msh[11], msh[16], msh[17]) == (f"MDM^{event}^MDM_T02", "2.6", "FRA", "UNICODE UTF-8")
    assert msh[20] == "2.1^CISIS_CDA_HL7_V2"
    assert fields(message, "ORC")[0][1] == control
    document = fields(message, "OBX")[0]
    assert document[2:4] == ["ED", "18748-4^CR d'imagerie médicale^LN"]
    assert document[11] == status
    assert document[3] == fields(message, "OBR")[0][4]
    _, kind, xml, encoding, body = document[5].split("^")
    assert (kind, xml, encoding) == ("text", "XML", "Base64")
    assert base64.b64decode(body, validate=True) == rm.make_cda(REPORT)


def test_an_oru_is_of_version_2_5_with_its_structure() -> None:
    message = rm.make_message(REPORT, "replace", kind="oru").hl7
    names = [s for s in SEGMENTS_MDM if s not in {"EVN", "TXA"}]
    assert [line.split("|")[0] for line in message.decode().split("\r")] == names
    msh = fields(message, "MSH")[0]
    assert (msh[8], msh[11]) == ("ORU^R01^ORU_R01", "2.5")
    assert {f[2] for f in fields(message, "OBX")} == {"ED", "CE"}
    assert fields(message, "OBX")[0][11] == "C"


def test_a_replacement_names_the_document_replaced_and_extensions_are_split() -> None:
    second = replace(rm.next_version(REPORT), document_id=rm.Ident("1.2.3", "A^1"), replaces=rm.Ident("1.2.3", "A0"))
    txa = fields(rm.make_message(second, "replace").hl7, "TXA")[0]
    assert (txa[12], txa[13], txa[17]) == ("A\\S\\1^^1.2.3^ISO", "A0^^1.2.3^ISO", "AU")
    assert fields(rm.make_message(second, "withdraw").hl7, "TXA")[0][13] == ""


def test_the_patient_of_the_message_is_the_patient_of_the_document() -> None:
    message = rm.make_message(REPORT).hl7
    pid = fields(message, "PID")[0]
    assert pid[3].split("~")[0] == "280024523499967^^^ASIP-SANTE-INS-NIR&1.2.250.1.213.1.4.10&ISO^INS^^20101207"
    assert pid[3].split("~")[1].split("^")[0] == "IPP-ESSAI-1"
    assert pid[5] == "ESSAI-DRIMBOX^CAMILLE^CAMILLE HELOISE^^^^L"
    assert (pid[7], pid[8], pid[31], pid[32]) == ("19800229", "F", "N", "VALI")
    birthplace = pid[11].split("~")[1].split("^")
    assert (birthplace[6], birthplace[8]) == ("BDL", "45234")


def test_the_sender_is_the_author_for_the_structure() -> None:
    prt = fields(rm.make_message(REPORT).hl7, "PRT")[0]
    person, organization = prt[5].split("^"), prt[8].split("^")
    assert prt[4].split("^")[0] == "SB"
    assert (person[0], person[9], person[12]) == ("899799999011", "D", "IDNPS")
    assert (organization[5], organization[6]) == ("ASIP-SANTE-ST&1.2.250.1.71.4.2.2&ISO", "IDNST")
    assert organization[9] == "1750803447"


def test_the_ten_restrictions_stand_in_order_and_only_those_asked_are_yes() -> None:
    asked = rm.Restrictions.of("MASQUE_PS", "MODIF_CONF_CODE")
    rows = fields(rm.make_message(REPORT, "replace", asked).hl7, "OBX")[1:]
    assert [r[3].split("^")[0] for r in rows] == [
        "MASQUE_PS",
        "INVISIBLE_PATIENT",
        "INVISIBLE_REP_LEGAUX",
        "CONNEXION_SECRETE",
        "MODIF_CONF_CODE",
        "DESTDMP",
        "DESTMSSANTEPS",
        "DESTMSSANTEPAT",
        "ACK_RECEPTION",
        "ACK_LECTURE_MSS",
    ]
    assert [r[1] for r in rows] == [str(i) for i in range(2, 12)]
    assert {r[3].split("^")[2] for r in rows} == {"MetaDMPMSS"}
    assert {r[11] for r in rows} == {"F"}
    yes = {r[3].split("^")[0] for r in rows if r[5] == "Y^^expandedYes-NoIndicator"}
    assert yes == {"MASQUE_PS", "MODIF_CONF_CODE", "DESTDMP"}
    with pytest.raises(ValueError, match="MASQUE"):
        rm.Restrictions.of("MASQUE")


def test_separator_charset_and_delimiters_in_a_field() -> None:
    report = replace(REPORT, structure=replace(REPORT.structure, name="A|B^C&D~E\\F"))
    envelope = rm.Envelope(separator="\n", charset="8859/15")
    message = rm.make_message(report, envelope=envelope).hl7
    assert b"\r" not in message
    text = message.decode("iso8859-15")
    assert "A\\F\\B\\S\\C\\T\\D\\R\\E\\E\\F^^^^^ASIP-SANTE-ST" in text
    assert "médicale" in text


def test_the_command_writes_message_and_document(tmp_path: Path) -> None:
    out, cda = tmp_path / "m.hl7", tmp_path / "c.xml"
    argv = ["--study", STUDY, "--accession", "A1", "--version", "2", "--action", "replace", "--kind", "oru"]
    assert rm.main([*argv, "--out", str(out), "--cda-out", str(cda), "--created", "2026-11-21T10:00:00+01:00"]) == 0
    body = fields(out.read_bytes(), "OBX")[0][5].split("^")[4]
    assert base64.b64decode(body) == cda.read_bytes()
    assert values(tree(cda.read_bytes()), "c:versionNumber/@value") == ["2"]
    assert rm.main([*argv, "--out", str(out), "--created", "2026-11-21T10:00:00"]) == 2


@pytest.mark.official
def test_header_elements_come_in_the_order_of_the_official_sample(official: Path) -> None:
    sample = etree.parse(official / "cda" / "IMG_CR_IMG_2024.01_CDA-R2-Niveau-1.xml").getroot()
    order = list(dict.fromkeys(str(n.tag) for n in sample if isinstance(n.tag, str)))
    ours = list(dict.fromkeys(str(n.tag) for n in tree(rm.make_cda(rm.next_version(REPORT)))))
    assert set(ours) <= set(order)
    assert ours == [tag for tag in order if tag in ours]
    missing = {etree.QName(tag).localname for tag in set(order) - set(ours)}
    assert missing == {"informant", "authenticator", "participant"}, "what a DRIMbox does not read"


@pytest.mark.official
def test_codes_of_the_demonstration_are_in_the_national_value_sets(official: Path) -> None:
    act = REPORT.acts[0]
    assert act.modality is not None
    assert act.region is not None
    for name, coded in (("JDV_ModaliteAcquisition_CISIS", act.modality), ("JDV_RegionAnatomique_CISIS", act.region)):
        concepts = etree.parse(official / "value_sets" / f"{name}.xml").iter("{*}Concept")
        known = {(c.get("code"), c.get("codeSystem"), c.get("displayName")) for c in concepts}
        assert (coded.code, coded.system, coded.display) in known


@pytest.mark.official
@pytest.mark.parametrize(
    ("file", "kind"), [("message_MDM_CR_Radio_INIT_N1_Base64.er7", "mdm"), ("oru_r01_img_init.hl7", "oru")]
)
def test_messages_fill_the_fields_that_the_samples_fill(official: Path, file: str, kind: str) -> None:
    sample = re.split(r"[\r\n]+", (official / "hl7" / file).read_text("utf-8"))
    ours = rm.make_message(REPORT, kind=kind).hl7.decode().split("\r")
    first = {line.split("|")[0]: line.split("|") for line in reversed(sample) if line}
    filled = {line.split("|")[0]: line.split("|") for line in reversed(ours) if line}
    assert set(filled) == set(first)
    allowed = {("EVN", 5), ("PV1", 3), ("TXA", 22), ("PID", 1)}
    for name, row in first.items():
        for number, value in enumerate(row):
            mine = filled[name][number] if number < len(filled[name]) else ""
            assert bool(mine) or not value.strip() or (name, number) in allowed, (name, number)
