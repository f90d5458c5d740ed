# SPDX-License-Identifier: AGPL-3.0-or-later
"""Messages of the RIS and the PACS: what is read, what is warned of, what is refused and how."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drimbox.config import MessagesSection
from drimbox.errors import MessageError
from drimbox.hl7_message import MessageHeader, StudyUpdate, describe_message, peek_header, read_message
from drimbox.hl7_payload import decode_base64
from drimbox.hl7_verdicts import REFUSALS, WARNINGS, refusal, warning, warning_text
from drimbox.records import Action, Identifier, ReportMessage
from tests.reports_data import (
    DOCTOR,
    DOCUMENT_ROOT,
    FLAGS,
    INS,
    PARENT_ROOT,
    REPLACES,
    STRUCTURE,
    STUDY,
    Cda,
    Message,
    encoded,
    mdm_replacement,
    mdm_withdrawal,
    omi,
    oru,
    study_act,
)

LENIENT = MessagesSection()
STRICT = MessagesSection(strict_order_control=True)


def read(message: Message | bytes, section: MessagesSection = LENIENT) -> ReportMessage:
    found = read_message(message if isinstance(message, bytes) else message.raw(), section)
    assert isinstance(found, ReportMessage)
    return found


def refused(message: Message | bytes, section: MessagesSection = LENIENT) -> MessageError:
    with pytest.raises(MessageError) as caught:
        read_message(message if isinstance(message, bytes) else message.raw(), section)
    return caught.value


def verdict(error: MessageError) -> tuple[str, str, int, str]:
    return error.reason, error.ack, error.code, error.application_code


# --- what is read ---------------------------------------------------------------------------------


def test_a_complete_message_gives_every_field_and_no_warning() -> None:
    message = read(Message())
    assert (message.control_id, message.message_type, message.version) == ("M0001", "MDM^T02", "2.6")
    assert (message.sending_application, message.sending_facility) == ("RIS-INV", "SITE-INV")
    assert (message.processing_id, message.patient_class) == ("P", "O")
    assert message.action is Action.CREATE
    assert message.restrictions.codes() == ()
    assert message.restrictions.for_dmp
    assert message.document == Cda().xml()
    assert message.report.study_uids() == (STUDY,)
    assert message.warnings == ()
    pid = message.pid
    assert pid is not None
    assert (pid.ins, pid.ins_oid) == (INS, "1.2.250.1.213.1.4.10")
    assert (pid.birth_family, pid.birth_given, pid.birth_givens) == ("MARTINEAU", "ZOÉ", "ZOÉ LINE")
    assert (pid.used_family, pid.used_given) == ("DURANÇON", "LINE")
    assert (pid.birth_date, pid.sex, pid.birth_place) == ("19870915", "F", "77288")
    assert pid.local_ids == (Identifier("1.2.250.1.999.7.4", "IPP77"),)
    sender = message.sender
    assert sender is not None
    assert sender.identifier == Identifier("1.2.250.1.71.4.2.1", DOCTOR)
    assert (sender.family, sender.given) == ("LENOIR", "Ada")
    assert sender.organization is not None
    assert sender.organization.identifier == Identifier("1.2.250.1.71.4.2.2", STRUCTURE)


@pytest.mark.parametrize(
    ("message", "action", "replaces"),
    [
        (Message(), Action.CREATE, None),
        (mdm_replacement(), Action.REPLACE, PARENT_ROOT),
        (mdm_withdrawal(), Action.WITHDRAW, None),
        (oru("NW"), Action.CREATE, None),
        (oru("RO"), Action.REPLACE, PARENT_ROOT),
        (oru("CA"), Action.WITHDRAW, None),
    ],
    ids=["T02", "T10", "T04", "R01-NW", "R01-RO", "R01-CA"],
)
@pytest.mark.parametrize("section", [LENIENT, STRICT], ids=["lenient", "strict"])
def test_the_action_matrix(message: Message, action: Action, replaces: str | None, section: MessagesSection) -> None:
    found = read(message, section)
    assert found.action is action
    assert (found.report.replaces.root if found.report.replaces else None) == replaces
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("flag", "code"),
    [
        ("MASQUE_PS", "MASQUE_PS"),
        ("INVISIBLE_PATIENT", "INVISIBLE_PATIENT"),
        ("INVISIBLE_REP_LEGAUX", "INVISIBLE_REPRESENTANTS_LEGAUX"),
    ],
)
def test_each_restriction_becomes_its_code(flag: str, code: str) -> None:
    assert read(Message().flagged(**{flag: "Y"})).restrictions.codes() == (code,)


def test_the_other_flags_are_read() -> None:
    flags = read(mdm_replacement().flagged(CONNEXION_SECRETE="Y", MODIF_CONF_CODE="Y", DESTDMP="N")).restrictions
    assert (flags.secret_connection, flags.changed, flags.for_dmp) == (True, True, False)


@pytest.mark.parametrize("alias", ["INVISIBLE_REPRENSANTS_LEGAUX", "INVISIBLE_REPRESENTANTS_LEGAUX"])
def test_old_names_order_and_bare_values_of_the_metadata_are_accepted(alias: str) -> None:
    flags = tuple((alias if n == "INVISIBLE_REP_LEGAUX" else n, "Y") for n in reversed(FLAGS))
    flags = tuple(("MODIF_CONFIDENTIALITYCODE" if n == "MODIF_CONF_CODE" else n, v) for n, v in flags)
    raw = oru("RO", flags=flags).raw().replace(b"^MetaDMPMSS|", b"|").replace(b"Y^^expandedYes-NoIndicator", b" Y ")
    restrictions = read(raw).restrictions
    assert len(restrictions.codes()) == 3
    assert restrictions.changed


def test_the_status_of_metadata_segments_is_never_read() -> None:
    raw = Message(status="D").raw().replace(b"NoIndicator||||||F", b"NoIndicator||||||C")
    assert read(raw).action is Action.WITHDRAW


# --- line ends, charsets, payload -----------------------------------------------------------------


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n", "\n\n"])
def test_any_line_end_gives_the_same_message(end: str) -> None:
    assert read(Message(end=end)) == read(Message())


@pytest.mark.parametrize(
    ("charset", "encoding", "warned"),
    [
        ("UNICODE UTF-8", "utf-8", False),
        ("8859/15", "iso8859-15", False),
        ("", "utf-8", False),
        ("8859/1", "utf-8", True),
        ("UNICODE UTF-8", "iso8859-15", True),
    ],
)
def test_charsets_true_false_and_absent(charset: str, encoding: str, warned: bool) -> None:
    message = read(Message(charset=charset).raw(encoding))
    assert message.pid is not None
    assert message.pid.used_family == "DURANÇON"
    assert any(w.startswith("charset-differs") for w in message.warnings) is warned


def _payload(change: str) -> str:
    text = encoded(Cda().xml() + b" " * 2)
    return {
        "padding missing": text.rstrip("="),
        "wrapped": "\r\n".join(text[i : i + 76] for i in range(0, len(text), 76)),
        "blanks": " " + text[:40] + " \t" + text[40:] + "\u00a0",
        "break escapes": "\\.br\\".join(text[i : i + 76] for i in range(0, len(text), 76)),
        "hexadecimal escapes": "\\X0D0A\\".join(text[i : i + 76] for i in range(0, len(text), 76)),
        "glued escapes": "\\X0D\\X0A\\".join(text[i : i + 76] for i in range(0, len(text), 76)),
    }[change]


@pytest.mark.parametrize(
    "change",
    ["padding missing", "wrapped", "blanks", "break escapes", "hexadecimal escapes", "glued escapes"],
)
def test_base64_that_senders_damage_is_decoded(change: str) -> None:
    message = read(Message(payload="^text^XML^Base64^" + _payload(change)))
    assert message.document == Cda().xml() + b"  "


def test_base64_without_components_is_decoded() -> None:
    assert read(Message(payload=encoded(Cda().xml()))).document == Cda().xml()


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_base64_of_any_bytes_is_decoded_with_or_without_padding(data: bytes) -> None:
    assert decode_base64(encoded(data)) == decode_base64(encoded(data).rstrip("=")) == data


@pytest.mark.parametrize("text", ["A", "AAAAA", "AB=C", "é", "A*BC", "====", "AB\\CD"])
def test_what_is_not_base64_is_none(text: str) -> None:
    assert decode_base64(text) is None


def test_mail_bodies_are_no_documents_and_never_decoded() -> None:
    mail = "OBX|20|ED|CORPSMAIL_PATIENT^x^MetaDMPMSS||^text^XML^Base64^Q||||||F"
    bare = "OBX|21|ED|CORPSMAIL_PS^x||^text^XML^Base64^Q||||||F"
    assert read(Message(extra=(mail, bare))).warnings == ()


# --- two documents --------------------------------------------------------------------------------


def _second(cda: Cda | bytes, status: str = "F") -> str:
    document = cda if isinstance(cda, bytes) else cda.xml()
    return f"OBX|30|ED|18748-4^CR^LN||^TEXT^XML^Base64^{encoded(document)}||||||{status}"


def test_of_two_documents_the_first_is_kept() -> None:
    second = Cda(id='<id root="1.2.9"/>', body="<component><structuredBody/></component>")
    message = read(oru(extra=(_second(second),)))
    assert message.report.id.root == DOCUMENT_ROOT
    assert message.warnings == ("several-documents",)


def test_a_first_document_that_cannot_be_read_leaves_the_second() -> None:
    message = read(oru(payload="^TEXT^XML^Base64^RG9j", extra=(_second(Cda()),)))
    assert message.report.id.root == DOCUMENT_ROOT
    assert message.warnings == ("several-documents", "document-unreadable: OBX 1, document-not-a-cda")


def test_two_documents_of_two_patients_are_refused() -> None:
    other = Cda(ids='<id root="1.2.250.1.213.1.4.10" extension="255017712345600"/>')
    assert verdict(refused(oru(extra=(_second(other),)))) == ("patient-mismatch", "AE", 207, "904")


@pytest.mark.parametrize("second", [_second(Cda(), "D"), _second(Cda(acts=study_act("1.2.3.4")))])
def test_two_documents_that_contradict_each_other_are_refused(second: str) -> None:
    assert verdict(refused(oru(extra=(second,)))) == ("documents-disagree", "AE", 207, "906")


def test_three_documents_are_refused() -> None:
    error = refused(oru(extra=(_second(Cda()), _second(Cda()))))
    assert verdict(error) == ("too-many-documents", "AE", 198, "")


# --- the decision table ---------------------------------------------------------------------------

_OTHER = "255017712345600"


def _without(message: Message, name: str) -> bytes:
    return "".join(s + "\r" for s in message.segments() if not s.startswith(name)).encode()


REFUSED = {
    "no MSH": (b"hello", ("not-hl7", "AR", 199, ""), ""),
    "separators": (b"MSH|^^^^|x", ("header-invalid", "AE", 100, ""), "MSH^1^2"),
    "two messages": (Message().raw() * 2, ("several-messages", "AE", 100, ""), "MSH"),
    "fields": (Message().raw() + b"ZZZ" + b"|" * 300_000, ("message-too-complex", "AE", 199, ""), ""),
    "control id": (Message(control_id=""), ("control-id-missing", "AE", 101, ""), "MSH^1^10"),
    "type": (Message(type="ADT^A01"), ("message-type", "AE", 200, ""), "MSH^1^9^1^1"),
    "no type": (Message(type=""), ("message-type", "AE", 200, ""), "MSH^1^9^1^1"),
    "event": (Message(type="MDM^T01"), ("message-event", "AE", 201, ""), "MSH^1^9^1^2"),
    "event of another type": (Message(type="ORU^T02"), ("message-event", "AE", 201, ""), "MSH^1^9^1^2"),
    "test message": (Message(processing_id="T"), ("processing-id", "AE", 202, ""), "MSH^1^11"),
    "version": (Message(version="2.3.1"), ("version", "AE", 203, ""), "MSH^1^12"),
    "profile": (
        Message(profile="1.1^CISIS_CDA_HL7_LPS"), ("profile-not-for-drimbox", "AE", 200, ""), "MSH^1^21",
    ),
    "no PID": (_without(Message(), "PID"), ("pid-missing", "AE", 100, ""), "PID"),
    "no OBX": (_without(Message(), "OBX"), ("document-segment-missing", "AE", 100, ""), "OBX"),
    "no document": (_without(Message(), "OBX|1|"), ("document-missing", "AE", 101, ""), "OBX^1^5"),
    "empty document": (
        Message(payload="^text^XML^Base64^"), ("document-missing", "AE", 101, ""), "OBX^1^5^1^5",
    ),
    "not base64": (
        Message(payload="^text^XML^Base64^AAAAA"), ("document-not-base64", "AE", 102, ""), "OBX^1^5^1^5",
    ),
    "placeholder": (
        Message(document=b"Document au format CDA niveau 1"), ("document-not-a-cda", "AE", 102, ""), "OBX^1^5^1^5",
    ),
    "XML declaration alone": (
        Message(document=b'<?xml version="1.0"?>'), ("document-not-a-cda", "AE", 102, ""), "OBX^1^5^1^5",
    ),
    "DOCTYPE": (
        Message(document=Cda(before="<!DOCTYPE x>").xml()), ("document-not-a-cda", "AE", 102, ""), "OBX^1^5^1^5",
    ),
    "biology": (
        Message(kind="11502-2^CR bio^LN", document=Cda(code='<code code="11502-2"/>').xml()),
        ("document-type", "AE", 103, ""), "OBX^1^3",
    ),
    "biology, unreadable": (Message(kind="11502-2^CR^LN", document=b"x"), ("document-type", "AE", 103, ""), "OBX^1^3"),
    "status": (Message(status="P"), ("status-unknown", "AE", 103, ""), "OBX^1^11"),
    "no status at all": (oru(status="", order=None), ("status-missing", "AE", 101, ""), "OBX^1^11"),
    "no restriction": (
        Message().flagged(INVISIBLE_PATIENT=""), ("restriction-missing", "AE", 101, ""), "OBX^1^3",
    ),
    "restriction value": (
        Message().flagged(MASQUE_PS="O"), ("restriction-unknown", "AE", 103, ""), "OBX^2^5",
    ),
    "restriction twice": (
        Message(flags=(*Message().flags, ("MASQUE_PS", "Y"))), ("restriction-repeated", "AE", 198, ""), "OBX^8^5",
    ),
    "no INS": (
        Message(document=Cda(ids='<id root="1.2.3" extension="IPP"/>').xml()),
        ("ins-missing", "AE", 207, "903"), "OBX^1^5",
    ),
    "another INS": (
        Message(ids=f"{_OTHER}^^^X&1.2.250.1.213.1.4.10&ISO^INS"), ("patient-mismatch", "AE", 207, "904"), "PID^1^3",
    ),
    "two INS in the document": (
        Message(document=Cda(ids=f'<id root="1.2.250.1.213.1.4.8" extension="{INS}"/>'
                             '<id root="1.2.250.1.213.1.4.9" extension="1"/>').xml()),
        ("patient-mismatch", "AE", 207, "904"), "OBX^1^5",
    ),
    "another birth date": (Message(birth="19870916"), ("patient-mismatch", "AE", 207, "904"), "PID^1^7"),
    "IPC": (_without(Message(), "ZZZ").replace(b"MDM^T02^MDM_T02", b"OMI^O23").replace(b"|2.6|", b"|2.5.1|"),
            ("study-segment-missing", "AE", 100, ""), "IPC"),
    "IPC-3": (omi(studies=[""], accession=""), ("study-field-missing", "AE", 101, ""), "IPC^1^3"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_the_decision_table(case: str) -> None:
    message, expected, location = REFUSED[case]
    error = refused(message)
    assert verdict(error) == expected
    assert error.location == location
    assert error.public == REFUSALS[error.reason].public


STRICTLY_REFUSED = {
    "ORC-1": (Message(order="ORC|CA"), ("action-contradictory", "AE", 207, "906"), "ORC^1^1"),
    "ORC-1 SC": (oru(order="ORC|SC"), ("action-contradictory", "AE", 207, "906"), "ORC^1^1"),
    "event": (Message(type="MDM^T10"), ("action-contradictory", "AE", 207, "906"), "MSH^1^9^1^2"),
    "no ORC": (Message(order=None), ("order-missing", "AE", 100, ""), "ORC"),
    "no parent": (
        mdm_replacement(parent_id="", document=Cda().xml()), ("replaced-document-missing", "AE", 101, ""), "TXA^1^13",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", STRICTLY_REFUSED, ids=str)
def test_contradictions_are_refused_where_the_site_is_strict_and_warned_of_elsewhere(case: str) -> None:
    message, expected, location = STRICTLY_REFUSED[case]
    error = refused(message, STRICT)
    assert verdict(error) == expected
    assert error.location == location
    assert read(message).warnings != ()


def test_every_reason_is_reached_by_a_test() -> None:
    reached = {expected[0] for _, expected, _ in (*REFUSED.values(), *STRICTLY_REFUSED.values())}
    # those of the connection and of two documents have their own tests
    elsewhere = {
        "message-too-large",
        "message-incomplete",
        "internal-error",
        "too-many-documents",
        "documents-disagree",
    }
    assert reached | elsewhere == set(REFUSALS)


# --- leniency -------------------------------------------------------------------------------------

_SOME_PID = f"{INS}^^^X&1.2.250.1.213.1.4.10&ISO^INS"

WARNED = {
    "order-control-differs: SC": oru(order="ORC|SC"),
    "order-control-differs: empty": oru(order="ORC|"),
    "order-control-differs: CA": oru(order="ORC|CA"),
    "event-differs: T10": Message(type="MDM^T10"),
    "order-missing": Message(order=None),
    "status-missing": Message(status=""),
    "visit-missing": Message(visit=None),
    "profile-missing": Message(profile=""),
    "profile-unexpected: IHE_FRANCE-2.11-PAM": Message(profile="2.11^IHE_FRANCE-2.11-PAM"),
    "restriction-missing: MODIF_CONF_CODE, DESTDMP": Message().flagged(MODIF_CONF_CODE="", DESTDMP=""),
    "restriction-change-unexpected": Message().flagged(MODIF_CONF_CODE="Y"),
    "document-code-differs": Message(kind="11502-2^CR bio^LN"),
    "txa-document-differs": Message(document_id="9.9.9"),
    "txa-parent-differs": mdm_replacement(parent_id="9.9.9"),
    "replaced-document-from-txa": mdm_replacement(document=Cda().xml()),
    "replaced-document-missing": oru("RO", document=Cda().xml()),
    "replaced-document-unexpected": Message(document=Cda(related=REPLACES).xml()),
    "identity-not-qualified: PID-32 PROV": Message(reliability="PROV"),
    "identity-not-qualified: PID-32 empty": Message(reliability=""),
    "identity-not-qualified: PID-32 DOUB": Message(reliability="VALI~DOUB"),
    "identity-not-qualified: PID-31 Y": Message(unknown="Y"),
    "identity-not-qualified: no INS in PID-3": Message(ids="IPP77^^^AUT&1.2.250.1.999.7.4&ISO^PI"),
    "pid-without-ins": Message(ids=""),
    "ins-authority-differs": Message(ids=f"{INS}^^^X&1.2.250.1.213.1.4.8&ISO^INS"),
    "ins-format": Message(
        ids="X1^^^X&1.2.250.1.213.1.4.8&ISO^INS",
        document=Cda(ids='<id root="1.2.250.1.213.1.4.8" extension="X1"/>').xml(),
    ),
    "birth-name-differs": Message(names="AUTRE^ZOÉ^ZOÉ^^^^L"),
    "sex-differs": Message(sex="M"),
    "sender-structure-differs": Message(prt=str(Message().prt).replace(STRUCTURE, "990000099")),
    "study-missing": Message(document=Cda(acts="").xml()),
    "confidentiality-restricted: V": Message(
        document=Cda(confidentiality='<confidentialityCode code="V"/>').xml()
    ),
}  # fmt: skip


@pytest.mark.parametrize("expected", WARNED, ids=str)
def test_what_is_tolerated_is_warned_of_by_a_stable_code(expected: str) -> None:
    warnings = read(WARNED[expected]).warnings
    assert expected in warnings
    for told in warnings:
        assert re.fullmatch(r"[a-z0-9-]+(: .+)?", told)
        assert told.partition(":")[0] in WARNINGS
        assert not re.search(f"MARTINEAU|ZOÉ|{INS}", told)


def test_the_status_of_the_document_decides_first() -> None:
    assert read(Message(status="C")).action is Action.REPLACE
    assert read(Message(type="MDM^T04", order="ORC|CA", status="F")).action is Action.CREATE
    assert read(mdm_withdrawal(status="")).action is Action.WITHDRAW
    assert read(oru("CA", status="")).action is Action.WITHDRAW


@pytest.mark.parametrize(
    "told",
    [
        "1.2.3",
        "A1^^1.2.3^ISO",
        "1.2.3.A1^Organisation-Y",
        "1.2.3A1",
        "A1",
    ],
)
def test_txa_is_compared_leniently(told: str) -> None:
    plain = told == "1.2.3"
    document = Cda(id='<id root="1.2.3"/>' if plain else '<id root="1.2.3" extension="A1"/>').xml()
    assert read(Message(document=document, document_id=told)).warnings == ()


@pytest.mark.parametrize("told", ["A1^^1.2.4^ISO", "1.2.4", "A2^^1.2.3^ISO"])
def test_another_document_in_txa_is_warned_of(told: str) -> None:
    document = Cda(id='<id root="1.2.3" extension="A1"/>').xml()
    assert read(Message(document=document, document_id=told)).warnings == ("txa-document-differs",)


def test_the_ins_of_pid_is_taken_by_its_authority_and_older_numbers_are_not_local() -> None:
    ids = f"1^^^X&1.2.3&ISO^INS~2^^^X&1.2.250.1.213.1.4.2&ISO^INS-C~{_SOME_PID}~IPP77^^^AUT&1.2.250.1.999.7.4&ISO^PI"
    pid = read(Message(ids=ids)).pid
    assert pid is not None
    assert pid.ins == INS
    assert pid.local_ids == (Identifier("1.2.250.1.999.7.4", "IPP77"),)


def test_a_parent_named_by_txa_alone_is_kept() -> None:
    found = read(mdm_replacement(document=Cda().xml(), parent_id="A1^^1.2.3^ISO"))
    assert found.report.replaces == Identifier("1.2.3", "A1")


def test_missing_restrictions_may_be_read_as_n_and_never_stop_a_withdrawal() -> None:
    open_ = MessagesSection(missing_restrictions="open")
    bare = replace(Message(), flags=())
    assert read(bare, open_).restrictions.codes() == ()
    assert read(bare, open_).warnings[0].startswith("restriction-missing: MASQUE_PS, ")
    assert read(mdm_withdrawal(flags=())).action is Action.WITHDRAW


def test_an_identity_is_qualified_by_the_configured_statuses() -> None:
    message = Message(reliability="VALI~HOMD")
    assert read(message).warnings == ("identity-not-qualified: PID-32 HOMD",)
    assert read(message, MessagesSection(qualified_statuses=("VALI", "HOMD"))).warnings == ()


def test_processing_ids_versions_and_types_are_configurable() -> None:
    section = MessagesSection(processing_ids=("P", "T"), versions=("2.9",))
    found = read(Message(processing_id="T", version="2.9^FRA^2.11"), section)
    assert (found.processing_id, found.version) == ("T", "2.9")


def test_names_that_differ_by_case_accents_and_hyphens_are_the_same() -> None:
    assert read(Message(names="Martinéau^x^x^^^^L")).warnings == ()


def test_labels_are_never_compared_and_blanks_in_codes_are_stripped() -> None:
    raw = Message(kind="18748-4^CR d’imagerie médicale^LN").raw().replace(b"MetaDMPMSS", b"MetaDMPMSS ")
    raw = raw.replace(b"2.1^CISIS", b"2.1^ CISIS").replace(b"Send by^participation", b"^HL70912")
    assert read(raw).warnings == ()


@pytest.mark.parametrize(
    ("prt", "person", "structure"),
    [
        (None, None, None),
        ("PRT||UC||RCT^^participation|8^A^B", None, None),
        ("PRT||UC||SB|||||||", None, None),
        (f"PRT||UC||SB^^x|8^A^B^^^^^^1.2.3^D|||Org^^^^^^FINEG^^^{STRUCTURE}", "8", STRUCTURE),
    ],
)
def test_senders_of_every_form(prt: str | None, person: str | None, structure: str | None) -> None:
    sender = read(Message(prt=prt)).sender
    assert (sender.identifier.extension if sender and sender.identifier else None) == person
    organization = sender.organization if sender else None
    assert (organization.identifier.extension if organization and organization.identifier else None) == structure


def test_structure_numbers_with_and_without_type_digit_are_the_same() -> None:
    assert read(Message(prt=str(Message().prt).replace(STRUCTURE, STRUCTURE[1:]))).warnings == ()


def test_a_date_that_is_none_in_msh_7_matters_not() -> None:
    assert read(Message().raw().replace(b"20260301111500||MDM", b"283084121661677||MDM")).warnings == ()


def test_a_refusal_never_quotes_the_patient() -> None:
    for message, _, _ in REFUSED.values():
        error = refused(message)
        assert not re.search(f"MARTINEAU|DURAN|{INS}|{_OTHER}|1987", f"{error} {error.public} {error.location}")


# --- OMI ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("control", ["XO", "NW", "CA", "SC"])
def test_an_update_of_the_pacs_is_read_whatever_its_order_control(control: str) -> None:
    update = read_message(omi(control), LENIENT)
    assert isinstance(update, StudyUpdate)
    assert (update.order_control, update.order_status, update.control_id) == (control, "CM", "O0001")
    assert update.study_uids == (STUDY,)
    assert update.accessions == (Identifier("1.2.250.1.999.7.5", "ACN7"),)
    assert (update.message_type, update.version, update.sending_application) == ("OMI^O23", "2.5.1", "PACS-INV")


def test_an_update_names_each_study_once_and_may_name_an_accession_alone() -> None:
    update = read_message(omi(studies=["1.2.1", "1.2.1", "1.2.2"]), LENIENT)
    assert isinstance(update, StudyUpdate)
    assert update.study_uids == ("1.2.1", "1.2.2")
    alone = read_message(omi(studies=[""], accession="ACN9"), LENIENT)
    assert isinstance(alone, StudyUpdate)
    assert (alone.study_uids, alone.accessions) == ((), (Identifier("", "ACN9"),))
    by_obr = read_message(omi(studies=[]).replace(b"24566-2^RM^LN", b"24566-2" + b"|" * 14 + b"ACN8"), LENIENT)
    assert isinstance(by_obr, StudyUpdate)
    assert by_obr.accessions == (Identifier("", "ACN8"),)


def test_an_update_of_another_version_or_mode_is_refused() -> None:
    assert refused(omi(version="2.3")).reason == "version"
    assert refused(omi(processing_id="D")).reason == "processing-id"


# --- header ---------------------------------------------------------------------------------------


def test_the_header_of_a_whole_or_cut_message() -> None:
    expected = MessageHeader(
        "M0001", "MDM", "T02", "2.6", "UNICODE UTF-8", "RIS-INV", "SITE-INV", "DRIMBOX", "SITE-INV", "P"
    )
    raw = Message().raw()
    assert peek_header(raw) == peek_header(raw[:300]) == peek_header(b"\r\n" + raw) == expected


@pytest.mark.parametrize("raw", [b"", b"x", b"MSH", b"MSH|", b"MSH|^~\\&", b"\xff\xfe", b"PID|1"])
def test_a_header_that_cannot_be_read_is_empty(raw: bytes) -> None:
    assert peek_header(raw).control_id == ""


def test_header_fields_keep_components_and_lose_control_characters() -> None:
    header = peek_header(Message(sender="RIS^1.2.3^ISO|SITE\x00\x1b[31m").raw())
    assert (header.sending_application, header.sending_facility) == ("RIS^1.2.3^ISO", "SITE[31m")


# --- description ----------------------------------------------------------------------------------


def test_the_description_of_a_report() -> None:
    shown = json.loads(json.dumps(describe_message(mdm_replacement().flagged(MASQUE_PS="Y").raw(), LENIENT)))
    assert (shown["ack"], shown["error"], shown["action"]) == ("AA", None, "replace")
    assert (shown["studies"], shown["restrictions"], shown["warnings"]) == ([STUDY], ["MASQUE_PS"], [])
    assert shown["patient"]["ins"] == INS
    assert shown["document"]["id"] == DOCUMENT_ROOT
    assert shown["document"]["replaces"] == PARENT_ROOT
    assert shown["document"]["level"] == 1
    assert shown["orders"][0]["accession"] == {"root": "1.2.250.1.999.7.5", "extension": "ACN7"}


def test_the_description_of_a_refusal_and_of_an_update() -> None:
    shown = json.loads(json.dumps(describe_message(Message(processing_id="T").raw(), LENIENT)))
    assert shown["ack"] == "AE"
    assert shown["error"]["code"] == 202
    assert shown["error"]["location"] == "MSH^1^11"
    assert shown["error"]["reason"] == "processing-id"
    assert "MSH-11" in shown["error"]["text"]
    assert shown["action"] is None
    update = json.loads(json.dumps(describe_message(omi(), LENIENT)))
    assert (update["ack"], update["action"], update["studies"]) == ("AA", None, [STUDY])


# --- verdict tables -------------------------------------------------------------------------------


def test_reasons_and_warnings_of_the_sources_are_in_the_tables() -> None:
    folder = Path(__file__).resolve().parent.parent / "plugin"
    sources = "".join(p.read_text("utf-8") for p in (*folder.glob("hl7_*.py"), *folder.glob("mllp.py")))
    assert set(re.findall(r'refusal\(\s*"([a-z0-9-]+)"', sources)) == set(REFUSALS)
    told = set(re.findall(r'warning\(\s*"([a-z0-9-]+)"', sources))
    assert told <= set(WARNINGS)


def test_unknown_names_are_refused_and_sentences_are_french_and_end() -> None:
    with pytest.raises(KeyError):
        refusal("no-such", "")
    with pytest.raises(KeyError):
        warning("no-such")
    for sentence in (*WARNINGS.values(), *(v.public for v in REFUSALS.values())):
        assert sentence.endswith(".")
    assert warning_text("event-differs: T10").endswith("(T10).")
    assert warning_text("visit-missing") == WARNINGS["visit-missing"]
    assert warning_text("something-else: x") == "something-else: x"


# --- abuse ----------------------------------------------------------------------------------------

_WHOLE = replace(mdm_replacement(), document=Cda(related=REPLACES).xml()[:]).raw()


@pytest.mark.parametrize("part", range(0, 64))
def test_truncated_messages_are_read_or_refused(part: int) -> None:
    with suppress(MessageError):
        read_message(_WHOLE[: len(_WHOLE) * part // 64], LENIENT)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(_WHOLE) - 1), st.binary(max_size=4), st.booleans()), min_size=1, max_size=8)
)
def test_mutated_messages_raise_nothing_but_message_errors(changes: list[tuple[int, bytes, bool]]) -> None:
    data = bytearray(_WHOLE)
    for position, new, insert in changes:
        data[position : position + (0 if insert else len(new))] = new
    peek_header(bytes(data))
    json.dumps(describe_message(bytes(data), LENIENT))
    with suppress(MessageError):
        read_message(bytes(data), STRICT)


_SHORT = [s[:60] for s in oru(document=b"x").segments()]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(_SHORT), max_size=8),
    st.text(alphabet="|^~\\&\r\nMSHOBX1ADé˜", max_size=60),
    st.sampled_from(["ORU^R01", "MDM^T02", "OMI^O23", "", "^", "X"]),
)
def test_shuffled_segments_and_strange_text_raise_nothing_but_message_errors(
    segments: list[str], junk: str, kind: str
) -> None:
    header = f"MSH|^~\\&|A|B|C|D|||{kind}|1|P|2.5"
    raw = "\r".join([header, *segments, junk]).encode()
    json.dumps(describe_message(raw, MessagesSection(missing_restrictions="open")))
    peek_header(raw[3:])


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing_but_message_errors(raw: bytes) -> None:
    for data in (raw, b"MSH|^~\\&|" + raw):
        json.dumps(describe_message(data, LENIENT))
