# SPDX-License-Identifier: AGPL-3.0-or-later
"""The messages that carry a report: MDM (HL7 v2.6) and ORU (v2.5) of the CI-SIS guide "transmission de CDA"."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sandbox.report_model import INS_NIR_TEST, PARIS_WINTER, Action, Ident, Report

INS_NAMES = {
    "1.2.250.1.213.1.4.8": "ASIP-SANTE-INS-NIR",
    "1.2.250.1.213.1.4.9": "ASIP-SANTE-INS-NIA",
    INS_NIR_TEST: "ASIP-SANTE-INS-NIR",
    "1.2.250.1.213.1.4.11": "ASIP-SANTE-INS-NIR",
}
DOCUMENT_TYPE = "18748-4^CR d'imagerie médicale^LN"
# event and status matrix of the guide: MDM event, ORC-1, OBX-11 of the document
MATRIX = {Action.CREATE: ("T02", "NW", "F"), Action.REPLACE: ("T10", "RO", "C"), Action.WITHDRAW: ("T04", "CA", "D")}
# order of section 5: code and label; the value comes from `Restrictions`
METADATA = (
    ("MASQUE_PS", "Masqué aux professionnels de Santé"),
    ("INVISIBLE_PATIENT", "Document Non Visible par le patient"),
    ("INVISIBLE_REP_LEGAUX", "Non visible par les représentants Légaux du patient"),
    ("CONNEXION_SECRETE", "Connexion Secrète"),
    ("MODIF_CONF_CODE", "Modification Confidentiality Code"),
    ("DESTDMP", "Destinataire DMP"),
    ("DESTMSSANTEPS", "Destinataire (Professionnel de Santé, organisation ou BAL applicative)"),
    ("DESTMSSANTEPAT", "Destinataire Patient"),
    ("ACK_RECEPTION", "Accusé de réception"),
    ("ACK_LECTURE_MSS", "Accusé de lecture"),
)


@dataclass(frozen=True, slots=True)
class Restrictions:
    """The codes of MetaDMPMSS that are ``Y``, all others are ``N``; by default the DMP alone is asked."""

    yes: frozenset[str] = frozenset({"DESTDMP"})

    @classmethod
    def of(cls, *codes: str, for_dmp: bool = True) -> Restrictions:
        """Restrictions with these codes at ``Y``; raises ValueError for an unknown one."""
        unknown = set(codes) - {code for code, _ in METADATA}
        if unknown:
            raise ValueError(f"unknown MetaDMPMSS codes: {sorted(unknown)}")
        return cls(frozenset(codes) | ({"DESTDMP"} if for_dmp else set()))


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the message says of itself; `separator` ends segments: CR by the standard, LF in the samples."""

    control_id: str = "C0001"
    sent_at: datetime = datetime(2026, 11, 20, 11, 20, tzinfo=PARIS_WINTER)
    sender: tuple[str, str] = ("RIS-FICTIF", "Centre d'imagerie fictif")
    receiver: tuple[str, str] = ("DRIMBOX", "Centre d'imagerie fictif")
    processing_id: str = "P"
    identity_status: str = "VALI"
    patient_class: str = "O"
    separator: str = "\r"
    charset: str = "UNICODE UTF-8"


CODECS = {"UNICODE UTF-8": "utf-8", "8859/15": "iso8859-15"}
_ESCAPES = {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\"}


def escaped(text: str) -> str:
    """Text as a field may hold it (HL7 v2 chapter 2, escape sequences)."""
    return "".join(_ESCAPES.get(sign, sign) for sign in text)


def _segment(name: str, fields: dict[int, str]) -> str:
    """A segment from its numbered fields, ended at the last one."""
    last = max(fields)
    return "|".join([name, *(fields.get(i, "") for i in range(1, last + 1))])


def _msh(envelope: Envelope, message: str, version: str) -> str:
    fields = {
        2: escaped(envelope.sender[0]),
        3: escaped(envelope.sender[1]),
        4: escaped(envelope.receiver[0]),
        5: escaped(envelope.receiver[1]),
        6: _when(envelope.sent_at),
        8: message,
        9: escaped(envelope.control_id),
        10: envelope.processing_id,
        11: version,
        16: "FRA",
        17: envelope.charset,
        20: "2.1^CISIS_CDA_HL7_V2",
    }
    return _segment("MSH", {1: "^~\\&", **fields})


def _when(instant: datetime) -> str:
    return instant.strftime("%Y%m%d%H%M%S")


def _pid(report: Report, envelope: Envelope) -> str:
    patient, address = report.patient, report.patient.address
    authority = f"{INS_NAMES.get(patient.ins_oid, 'INS')}&{patient.ins_oid}&ISO"
    identifiers = [f"{patient.ins_value()}^^^{authority}^INS^^20101207"]
    if patient.local_id is not None:
        local = patient.local_id
        identifiers.append(f"{escaped(local.extension or '')}^^^{envelope.sender[0]}&{local.root}&ISO^PI")
    home = f"{escaped(f'{address.number} {address.street}')}^^{escaped(address.city)}^^{address.postcode}^FRA^H"
    name = "^".join(escaped(part) for part in (patient.family, patient.given, patient.givens))
    fields = {
        3: "~".join(identifiers),
        5: f"{name}^^^^L",
        7: patient.birth_date,
        8: patient.sex,
        11: f"{home}~^^^^^^BDL^^{patient.birth_place}",
        18: "DA-ESSAI-1^^^AUT-AFFECTATION&120456789&M^AN",
        31: "N",
        32: envelope.identity_status,
    }
    return _segment("PID", fields)


def _pv1(envelope: Envelope) -> str:
    return _segment("PV1", {1: "1", 2: envelope.patient_class, 19: "VN-ESSAI-1^^^AUT-AFFECTATION&120456789&M^VN"})


def _document_ei(ident: Ident) -> str:
    """TXA-12 and 13: the root alone, or extension, nothing, root, ISO."""
    return ident.root if ident.extension is None else f"{escaped(ident.extension)}^^{ident.root}^ISO"


def _txa(report: Report, action: Action) -> str:
    fields = {1: "1", 2: "18748-4", 3: "TEXT", 4: _when(report.acts[0].start), 12: _document_ei(report.document_id)}
    if action is Action.REPLACE and report.replaces is not None:
        fields[13] = _document_ei(report.replaces)
    return _segment("TXA", {**fields, 17: "AU"})


def _prt(report: Report) -> str:
    author, structure = report.author, report.structure
    person = f"{author.number}^{escaped(author.family)}^{escaped(author.given)}"
    fields = {
        2: "UC",
        4: "SB^Send by^participation",
        5: f"{person}^^^^^^ASIP-SANTE-PS&1.2.250.1.71.4.2.1&ISO^D^^^IDNPS",
        8: f"{escaped(structure.name)}^^^^^ASIP-SANTE-ST&1.2.250.1.71.4.2.2&ISO^IDNST^^^{structure.number}",
    }
    return _segment("PRT", fields)


def _document(cda: bytes, subtype: str, status: str) -> str:
    body = base64.b64encode(cda).decode()
    return _segment("OBX", {1: "1", 2: "ED", 3: DOCUMENT_TYPE, 5: f"^{subtype}^XML^Base64^{body}", 11: status})


def _metadata(restrictions: Restrictions, datatype: str) -> Iterable[str]:
    for number, (code, label) in enumerate(METADATA, start=2):
        value = "Y" if code in restrictions.yes else "N"
        coded = f"{code}^{escaped(label)}^MetaDMPMSS"
        yield _segment("OBX", {1: str(number), 2: datatype, 3: coded, 5: f"{value}^^expandedYes-NoIndicator", 11: "F"})


def _joined(segments: Iterable[str], envelope: Envelope) -> bytes:
    text = envelope.separator.join([*segments, ""])
    return text.encode(CODECS.get(envelope.charset, "utf-8"))


def make_mdm(
    cda: bytes,
    report: Report,
    action: Action | str = Action.CREATE,
    restrictions: Restrictions | None = None,
    envelope: Envelope | None = None,
) -> bytes:
    """MDM^T02, T10 or T04 (structure MDM_T02): MSH EVN PID PV1 ORC OBR TXA, the document with PRT-SB, ten OBX."""
    action, envelope = Action(action), envelope or Envelope()
    event, control, status = MATRIX[action]
    stamp = _when(envelope.sent_at)
    segments = [
        _msh(envelope, f"MDM^{event}^MDM_T02", "2.6"),
        _segment("EVN", {2: stamp, 6: stamp}),
        _pid(report, envelope),
        _pv1(envelope),
        _segment("ORC", {1: control}),
        _segment("OBR", {1: "1", 4: DOCUMENT_TYPE}),
        _txa(report, action),
        _document(cda, "text", status),
        _prt(report),
        *_metadata(restrictions or Restrictions(), "CWE"),
    ]
    return _joined(segments, envelope)


def make_oru(
    cda: bytes,
    report: Report,
    action: Action | str = Action.CREATE,
    restrictions: Restrictions | None = None,
    envelope: Envelope | None = None,
) -> bytes:
    """ORU^R01^ORU_R01: MSH PID PV1 ORC OBR, the document with PRT-SB, ten OBX."""
    action, envelope = Action(action), envelope or Envelope()
    _, control, status = MATRIX[action]
    segments = [
        _msh(envelope, "ORU^R01^ORU_R01", "2.5"),
        _pid(report, envelope),
        _pv1(envelope),
        _segment("ORC", {1: control}),
        _segment("OBR", {1: "1", 4: DOCUMENT_TYPE}),
        _document(cda, "TEXT", status),
        _prt(report),
        *_metadata(restrictions or Restrictions(), "CE"),
    ]
    return _joined(segments, envelope)
