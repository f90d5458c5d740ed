# SPDX-License-Identifier: AGPL-3.0-or-later
"""A message of the RIS or the PACS, read to its end or refused with the right acknowledgement.

Source: CI-SIS "Transmission de document(s) CDA en HL7v2" 2.1 (ORU^R01, MDM^T02/T04/T10) and HL7 v2.5.1
(OMI^O23).  The decisions that the guide leaves open are in `hl7_verdicts` and in `Messages`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from drimbox.config import MessagesSection
from drimbox.errors import MessageError
from drimbox.hl7_action import decide_action, replaced_document
from drimbox.hl7_fields import STANDARD, Fields, Segment, split, split_header
from drimbox.hl7_patient import compare, qualification, read_pid
from drimbox.hl7_payload import read_payload
from drimbox.hl7_restrictions import read_restrictions
from drimbox.hl7_sender import read_sender, structure_warning
from drimbox.hl7_verdicts import refusal, warning
from drimbox.records import Action, CdaReport, Identifier, ReportMessage

EVENTS: Final = {"ORU": ("R01",), "MDM": ("T02", "T04", "T10"), "OMI": ("O23",)}
PROFILE: Final = "CISIS_CDA_HL7_V"
_OTHER_PROFILES: Final = ("CISIS_CDA_HL7_LPS",)
_LONGEST: Final = 1000  # of a header field copied into an acknowledgement


@dataclass(frozen=True, slots=True)
class MessageHeader:
    """MSH for the acknowledgement and the journal; "" where unreadable, fields as they came."""

    control_id: str = ""
    message_type: str = ""
    event: str = ""
    version: str = ""
    charset: str = ""
    sending_application: str = ""
    sending_facility: str = ""
    receiving_application: str = ""
    receiving_facility: str = ""
    processing_id: str = ""
    separators: str = STANDARD


@dataclass(frozen=True, slots=True)
class StudyUpdate:
    """An OMI^O23: the PACS tells that a study changed; an invitation to look at it again.

    `accessions` (IPC-1, OBR-18) serve where no study UID is given; their root is "" where unknown.
    """

    control_id: str
    sending_application: str
    sending_facility: str
    message_type: str
    version: str
    processing_id: str
    order_control: str
    order_status: str
    study_uids: tuple[str, ...]
    accessions: tuple[Identifier, ...]
    warnings: tuple[str, ...] = ()


def peek_header(raw: bytes) -> MessageHeader:
    """Read MSH at the beginning of a message, whole or cut.  Never raises."""
    msh = split_header(raw)
    if msh is None:
        return MessageHeader()

    def field(number: int) -> str:
        return "".join(c for c in msh.whole(number)[:_LONGEST] if c.isprintable())

    return MessageHeader(
        control_id=field(10),
        message_type=msh.text(9, 1)[:16],
        event=msh.text(9, 2)[:16],
        version=field(12),
        charset=msh.text(18)[:32],
        sending_application=field(3),
        sending_facility=field(4),
        receiving_application=field(5),
        receiving_facility=field(6),
        processing_id=field(11),
        separators=msh.separators,
    )


def read_message(raw: bytes, settings: MessagesSection) -> ReportMessage | StudyUpdate:
    """Read a message.

    Raises `MessageError`, with the acknowledgement's codes, for every reason of `hl7_verdicts.REFUSALS`.
    """
    fields = split(raw)
    header = peek_header(raw)
    msh = fields.segments[0]
    _check_header(header, msh, settings)
    told = _charset_warning(fields)
    if header.message_type == "OMI":
        return _read_update(fields, header, msh, told)
    return _read_report_message(fields, header, msh, settings, told)


def _check_header(header: MessageHeader, msh: Segment, settings: MessagesSection) -> None:
    if not header.control_id:
        raise refusal("control-id-missing", "MSH-10 is empty", "MSH^1^10")
    if header.message_type not in EVENTS:
        raise refusal("message-type", f"message type {header.message_type!r}", "MSH^1^9^1^1")
    if header.event not in EVENTS[header.message_type]:
        raise refusal("message-event", f"event {header.event!r} of {header.message_type}", "MSH^1^9^1^2")
    if msh.text(11) not in settings.processing_ids:
        raise refusal("processing-id", f"MSH-11 {msh.text(11)[:8]!r}", "MSH^1^11")
    if msh.text(12) not in settings.versions:
        raise refusal("version", f"MSH-12 {msh.text(12)[:16]!r}", "MSH^1^12")
    if any(p.startswith(_OTHER_PROFILES) for p in _profiles(msh)):
        raise refusal("profile-not-for-drimbox", f"MSH-21 {_profiles(msh)[0][:32]!r}", "MSH^1^21")


def _profiles(msh: Segment) -> list[str]:
    return [p for n in msh.repetitions(21) if (p := msh.text(21, 2, repetition=n))]


def _charset_warning(fields: Fields) -> tuple[str, ...]:
    """Warn of a charset told wrong, where it matters (the text is not plain ASCII)."""
    told_utf8 = fields.declared.upper() in ("", "UNICODE UTF-8", "UTF-8", "UNICODE")
    if fields.ascii or told_utf8 == (fields.encoding == "utf-8"):
        return ()
    return (warning("charset-differs", f"{fields.declared[:16] or 'none'}, read as {fields.encoding}"),)


def _profile_warning(msh: Segment) -> tuple[str, ...]:
    profiles = _profiles(msh)
    if not profiles:
        return (warning("profile-missing"),)
    if any(p.startswith(PROFILE) for p in profiles):
        return ()
    return (warning("profile-unexpected", profiles[0][:32]),)


def _read_report_message(
    fields: Fields, header: MessageHeader, msh: Segment, settings: MessagesSection, told: tuple[str, ...]
) -> ReportMessage:
    pid = fields.first("PID")
    if pid is None:
        raise refusal("pid-missing", "no PID", "PID")
    payload = read_payload(fields, settings.document_types)
    report = payload.report
    action, action_warnings = decide_action(
        fields, header.event, payload.status, payload.number, strict=settings.strict_order_control
    )
    if report.patient is None:
        raise refusal("ins-missing", "the document carries no INS", f"OBX^{payload.number}^5")
    traits = read_pid(pid)
    patient_warnings = compare(traits, report.patient)
    replaces, replaces_warnings = replaced_document(fields, report, action, strict=settings.strict_order_control)
    restrictions, restriction_warnings = read_restrictions(
        fields, settings.missing_restrictions, harmless=action is Action.WITHDRAW
    )
    if restrictions.changed and action is Action.CREATE:
        restriction_warnings += (warning("restriction-change-unexpected"),)
    sender = read_sender(fields, payload.number)
    visit = fields.first("PV1")
    return ReportMessage(
        control_id=header.control_id,
        sending_application=header.sending_application,
        sending_facility=header.sending_facility,
        message_type=f"{header.message_type}^{header.event}",
        version=msh.text(12),
        processing_id=msh.text(11),
        action=action,
        restrictions=restrictions,
        sender=sender,
        patient_class=visit.text(2) if visit else "",
        pid=traits,
        document=payload.document,
        report=replace(report, replaces=replaces),
        warnings=(
            *told,
            *_profile_warning(msh),
            *payload.warnings,
            *action_warnings,
            *(() if visit else (warning("visit-missing"),)),
            *qualification(pid, traits, settings.qualified_statuses),
            *patient_warnings,
            *replaces_warnings,
            *restriction_warnings,
            *structure_warning(report, sender),
            *report.warnings,
        ),
    )


def _read_update(fields: Fields, header: MessageHeader, msh: Segment, told: tuple[str, ...]) -> StudyUpdate:
    """Read an OMI^O23, whose patient and order segments are optional."""
    steps, requests = fields.all("IPC"), fields.all("OBR")
    studies = dict.fromkeys(uid for s in steps if (uid := s.text(3)) and len(uid) <= 64)
    numbers = [_accession(s, 1) for s in steps] + [_accession(s, 18) for s in requests]
    accessions = dict.fromkeys(n for n in numbers if n is not None)
    if not studies and not accessions:
        if not steps:
            raise refusal("study-segment-missing", "no IPC and no accession number", "IPC")
        raise refusal("study-field-missing", "neither IPC-3 nor IPC-1", "IPC^1^3")
    order = fields.first("ORC")
    return StudyUpdate(
        control_id=header.control_id,
        sending_application=header.sending_application,
        sending_facility=header.sending_facility,
        message_type=f"{header.message_type}^{header.event}",
        version=msh.text(12),
        processing_id=msh.text(11),
        order_control=order.text(1) if order else "",
        order_status=order.text(5) if order else "",
        study_uids=tuple(studies),
        accessions=tuple(accessions),
        warnings=told,
    )


def _accession(segment: Segment, field: int) -> Identifier | None:
    number = segment.text(field)
    return Identifier(segment.text(field, 3) or segment.text(field, 2), number) if number else None


def describe_message(raw: bytes, settings: MessagesSection) -> dict[str, Any]:
    """Say what the product would make of a message, ready for JSON; nothing is stored.

    Keys: ack, error, action, studies, restrictions, patient, document, orders, warnings, message.
    """
    header = peek_header(raw)
    shown: dict[str, Any] = {
        "ack": "AA",
        "error": None,
        "action": None,
        "studies": [],
        "restrictions": [],
        "patient": None,
        "document": None,
        "orders": [],
        "warnings": [],
        "message": {
            "control_id": header.control_id,
            "type": f"{header.message_type}^{header.event}".strip("^"),
            "version": header.version,
            "charset": header.charset,
            "sender": f"{header.sending_application}|{header.sending_facility}".strip("|"),
        },
    }
    try:
        message = read_message(raw, settings)
    except MessageError as error:
        return shown | {"ack": error.ack, "error": describe_error(error)}
    if isinstance(message, StudyUpdate):
        return shown | {
            "studies": list(message.study_uids),
            "orders": [{"placer": None, "accession": asdict(a)} for a in message.accessions],
            "warnings": list(message.warnings),
        }
    return shown | {
        "action": message.action.value,
        "studies": list(message.report.study_uids()),
        "restrictions": list(message.restrictions.codes()),
        "message": shown["message"]
        | {
            "secret_connection": message.restrictions.secret_connection,
            "for_dmp": message.restrictions.for_dmp,
            "restrictions_changed": message.restrictions.changed,
        },
        "patient": asdict(message.report.patient) if message.report.patient else None,
        "document": _describe_document(message.report),
        "orders": [asdict(order) for order in message.report.orders],
        "warnings": list(message.warnings),
    }


def describe_error(error: MessageError) -> dict[str, Any]:
    """Describe a refusal for JSON; `text` is the operator's sentence, `detail` the technical one."""
    return {
        "code": error.code,
        "application_code": error.application_code,
        "location": error.location,
        "reason": error.reason,
        "text": error.public,
        "detail": error.detail,
    }


def _describe_document(report: CdaReport) -> dict[str, Any]:
    return {
        "id": report.id.joined(),
        "set_id": report.set_id.joined() if report.set_id else None,
        "version": report.version,
        "replaces": report.replaces.joined() if report.replaces else None,
        "level": report.level,
        "code": report.code.code,
        "title": report.title,
    }
