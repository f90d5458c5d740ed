# SPDX-License-Identifier: AGPL-3.0-or-later
"""Patients of the DMP stand-in, and TD0.2 (does this patient have a DMP, and may we reach it).

Every INS has an open DMP, but for the few below; the administration port can change any (``POST /patients``).
"""

from __future__ import annotations

import re
import uuid
from datetime import datetime
from enum import StrEnum

from lxml import etree

from sandbox.dmp_codes import INS_ROOTS, NS, q
from sandbox.dmp_errors import SoapFault, refuse
from sandbox.dmp_soap import make
from sandbox.dmp_store import Store

Element = etree._Element
QUERY, ANSWER = "PRPA_IN201307UV02", "PRPA_IN201308UV02"


class PatientState(StrEnum):
    """What the DMP knows of a patient."""

    OPEN = "open"
    CLOSED = "closed"
    UNKNOWN = "unknown"
    OPPOSED = "opposed"


SPECIAL = {
    "199017599990149": PatientState.CLOSED,
    "199017599990248": PatientState.UNKNOWN,
    "199017599990347": PatientState.OPPOSED,
}


def state_of(store: Store, patient: str) -> PatientState:
    """State of a patient given by CX or bare INS."""
    ins = patient.partition("^")[0]
    found = store.patient_state(ins)
    return PatientState(found) if found else SPECIAL.get(ins, PatientState.OPEN)


def check_open(store: Store, patient: str) -> None:
    """Raise `Refused` where nothing can be written for this patient."""
    state = state_of(store, patient)
    if state is PatientState.UNKNOWN:
        raise refuse("XDSUnknownPatientId", "Patient inconnu du DMP.", "patient-unknown")
    if state is PatientState.CLOSED:
        raise refuse("DMPClosed", "Le DMP de ce patient est fermé.", "patient-closed")


def raise_if_opposed(store: Store, patient: str) -> None:
    """Raise `Refused` where the patient forbids consultation."""
    if state_of(store, patient) is PatientState.OPPOSED:
        raise refuse("DMPAccessDenied", "Le patient s'oppose à cet accès.", "patient-opposed")


# --- TD0.2 -------------------------------------------------------------------------------------------------------


def read_existence(request: Element) -> str:
    """The patient (CX) of a PRPA_IN201307UV02.  Raises `SoapFault`."""
    if request.tag != q(f"hl7:{QUERY}"):
        raise _bad("root", f"{QUERY} attendu.")
    if request.get("ITSVersion", "XML_1.0") != "XML_1.0":
        raise _bad("its", "ITSVersion inattendue.")
    _attribute(request, "hl7:id", "root")
    if not re.fullmatch(r"\d{14}.*", _attribute(request, "hl7:creationTime", "value")):
        raise _bad("creationTime", "creationTime mal formé.")
    _one_of(request, "hl7:interactionId", "extension", QUERY)
    _one_of(request, "hl7:processingCode", "code", "D", "P", "T")
    _one_of(request, "hl7:processingModeCode", "code", "T")
    _one_of(request, "hl7:acceptAckCode", "code", "AL")
    device = f"{q('hl7:device')}/{q('hl7:id')}"
    receiver, sender = (request.find(f"{q(n)}/{device}") for n in ("hl7:receiver", "hl7:sender"))
    if receiver is None or receiver.get("root") != "1.2.250.1.213.4.1.1.1":
        raise _bad("receiver", "receiver doit être le DMP (1.2.250.1.213.4.1.1.1).")
    if sender is None or not sender.get("root"):
        raise _bad("sender", "sender absent.")
    process = _required(request, "hl7:controlActProcess")
    _one_of(process, "hl7:reasonCode", "code", "TEST_EXST")
    query = _required(process, "hl7:queryByParameter")
    _attribute(query, "hl7:queryId", "root")
    _one_of(query, "hl7:statusCode", "code", "new")
    identifier = _required(_required(query, "hl7:parameterList"), "hl7:patientIdentifier")
    value = _required(identifier, "hl7:value")
    if (identifier.findtext(q("hl7:semanticsText")) or "").strip() != "Patient.id":
        raise _bad("semanticsText", "semanticsText doit être Patient.id.")
    if value.get("root") not in INS_ROOTS:
        raise _bad("patient", "Patient : racine d'INS attendue.")
    return f"{value.get('extension')}^^^&{value.get('root')}&ISO^NH"


def existence_answer(request: Element, patient: str, state: PatientState, now: datetime) -> Element:
    """PRPA_IN201308UV02 for a patient in some state."""
    ins, root = patient.partition("^")[0], patient.split("&")[1]
    found = state is not PatientState.UNKNOWN
    allowed = "INTERDIT" if state is PatientState.OPPOSED else "VALIDE"
    acknowledgement = _h("acknowledgement", _h("typeCode", code="AA" if found else "AE"))
    request_id = _required(request, "hl7:id")
    message_id = {k: v for k in ("root", "extension") if (v := request_id.get(k))}
    acknowledgement.append(_h("targetMessage", _h("id", **message_id)))
    if state is PatientState.CLOSED:
        detail = _h("acknowledgementDetail", _h("code", code="DMPClosed"), _h("text"))
        detail[-1].text = "Le DMP du patient est fermé."
        acknowledgement.append(detail)
    query = _required(_required(request, "hl7:controlActProcess"), "hl7:queryByParameter")
    query_id = _required(query, "hl7:queryId")
    ack = _h("queryAck", etree.fromstring(etree.tostring(query_id, with_tail=False)),
             _h("queryResponseCode", code="OK" if found else "NF"))  # fmt: skip
    process = _h("controlActProcess", classCode="CACT", moodCode="EVN")
    if found:
        process.append(_subject(ins, root, state))
    process.append(ack)
    return _h(
        ANSWER,
        _h("id", root=str(uuid.uuid4())),
        _h("creationTime", value=now.strftime("%Y%m%d%H%M%S")),
        _h("interactionId", root="2.16.840.1.113883.1.6", extension=ANSWER),
        _attention("AUTORISATION", "1.2.250.1.213.4.1.2.6.1", allowed),
        _attention("STATUT_MT", "1.2.250.1.213.4.1.2.6.3", "false"),
        acknowledgement,
        process,
        ITSVersion="XML_1.0",
    )


def _subject(ins: str, root: str, state: PatientState) -> Element:
    patient = _h(
        "patient",
        _h("id", root=root, extension=ins),
        _h("statusCode", code="terminated" if state is PatientState.CLOSED else "active"),
        _h("patientPerson", _h("name", _h("family"), _h("given"))),
        classCode="PAT",
    )
    name = patient[2][0]
    name[0].text, name[1].text = "PATIENT-DU-BAC-A-SABLE", "FICTIF"
    event = _h("registrationEvent", _h("subject1", patient), classCode="REG", moodCode="EVN")
    return _h("subject", event, typeCode="SUBJ")


def _attention(name: str, root: str, value: str) -> Element:
    word = _h("keyWordText", code=name, codeSystem=root)
    word.text = name
    text = _h("value")
    text.text = value
    return _h("attentionLine", word, text)


def _h(local: str, *children: Element, **attributes: str) -> Element:
    return make(f"hl7:{local}", *children, nsmap={"hl7": NS["hl7"]}, **attributes)


def _bad(check: str, reason: str) -> SoapFault:
    return SoapFault(f"td02-{check}", reason)


def _required(parent: Element, name: str) -> Element:
    found = parent.findall(q(name))
    if len(found) != 1:
        raise _bad(name.partition(":")[2], f"{name} doit être présent une fois.")
    return found[0]


def _attribute(parent: Element, name: str, attribute: str) -> str:
    value = _required(parent, name).get(attribute, "")
    if not value:
        raise _bad(name.partition(":")[2], f"{name} sans {attribute}.")
    return value


def _one_of(parent: Element, name: str, attribute: str, *allowed: str) -> None:
    if _attribute(parent, name, attribute) not in allowed:
        raise _bad(name.partition(":")[2], f"{name} : valeur inattendue.")
