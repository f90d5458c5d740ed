# SPDX-License-Identifier: AGPL-3.0-or-later
"""The national face of the DMP stand-in: from an HTTP request to its answer, with journal and injected faults."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from cryptography import x509
from lxml import etree

from sandbox import dmp_codes as c
from sandbox.common import Answer, Request
from sandbox.dmp_call import Call, demand, demand_patient
from sandbox.dmp_errors import INVALID_CERTIFICATE, NOT_IMPLEMENTED, WSA_ACTION, Problem, Refused, SoapFault, refuse
from sandbox.dmp_faults import ACTIONS, Faults, Injected
from sandbox.dmp_mime import Package, read_package
from sandbox.dmp_patients import existence_answer, read_existence, state_of
from sandbox.dmp_publish import publish, read_provided, unique_id
from sandbox.dmp_query import failed, search
from sandbox.dmp_retrieve import retrieve
from sandbox.dmp_rights import Transaction
from sandbox.dmp_soap import Message, error_list, fault_reply, make, peek, read_message, reply
from sandbox.dmp_store import Store
from sandbox.dmp_trust import Trust
from sandbox.dmp_update import update
from sandbox.dmp_vihf import Rules, read_vihf

Element = etree._Element
Parts = dict[str, tuple[str, bytes]]
# Service: actions; then answer action of each.
SERVICES = {
    "repository": ("ITI-41", "ITI-43"),
    "registry": ("ITI-18", "ITI-57"),
    "patients": ("TD0.2",),
    "habilitations": (),
    "patientCertif": (),
}
ANSWER_ACTIONS = {
    "ITI-41": "urn:ihe:iti:2007:ProvideAndRegisterDocumentSet-bResponse",
    "ITI-43": "urn:ihe:iti:2007:RetrieveDocumentSetResponse",
    "ITI-18": "urn:ihe:iti:2007:RegistryStoredQueryResponse",
    "ITI-57": "urn:ihe:iti:2010:UpdateDocumentSet-Response",
    "TD0.2": "urn:hl7-org:v3:PRPA_IN201308UV02",
}
PROCESS_FIRST = frozenset({"slow", "answer-lost", "truncated", "partial-success"})


def utc_now() -> datetime:
    """The machine's clock."""
    return datetime.now(UTC)


@dataclass
class Outcome:
    """How a call ended, for the journal."""

    name: str = "refused"
    detail: str = ""


@dataclass
class DmpApp:
    """The stand-in's state.  Calls are processed one at a time, so that a check and its effect are one."""

    store: Store
    trust: Trust
    rules: Rules = field(default_factory=Rules)
    faults: Faults = field(default_factory=Faults)
    clock: Callable[[], datetime] = utc_now

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Answer:
        """Answer one HTTP request of the national face."""
        service = request.path.removeprefix(c.PATH_PREFIX)
        if not request.path.startswith(c.PATH_PREFIX) or service not in SERVICES:
            return Answer(404, b"Service inconnu du simulateur.")
        if request.method != "POST":
            return Answer(405, b"POST", headers=(("Allow", "POST"),))
        action, message_id = _peeked(request)
        number = self.store.add_exchange(self.clock(), ACTIONS.get(action, action), message_id, request.raw)
        fault = self.faults.take(action)
        outcome = Outcome()
        if fault and fault.kind not in PROCESS_FIRST:
            outcome.name, answer = f"fault:{fault.kind}", _instead(fault, action, message_id, service)
        else:
            with self._lock:
                answer = self._process(request, service, message_id, number, outcome)
            if fault:
                outcome.name += f", fault:{fault.kind}"
                answer = _after(fault, answer, action, message_id, service)
        self.store.end_exchange(number, outcome.name, outcome.detail)
        return replace(answer, extra={"exchange": str(number)})

    def sent(self, _request: Request, answer: Answer, wire: bytes) -> None:
        """Journal what left (called by the server)."""
        number = answer.extra.get("exchange")
        if number:
            self.store.answered(int(number), wire, sent=not answer.drop and answer.cut_after is None)

    def _process(self, request: Request, service: str, message_id: str, number: int, outcome: Outcome) -> Answer:
        multipart = service == "repository"
        try:
            package = read_package(request.headers, request.body)
            message = read_message(package, service)
            short = ACTIONS.get(message.action, "")
            if short not in SERVICES[service]:
                raise _not_here(service, message.action)
            call = self._authenticate(request, message, number)
            body, parts = _transact(call, short, outcome)
        except SoapFault as fault:
            outcome.name, outcome.detail = "fault", fault.check
            return fault_reply(fault, message_id, multipart=multipart)
        return reply(ANSWER_ACTIONS[short], message.message_id, body, multipart=multipart, parts=parts)

    def _authenticate(self, request: Request, message: Message, number: int) -> Call:
        now = self.clock()
        if not self.store.first_seen("message", message.message_id, now):
            raise SoapFault("wsa-replay", "Ce MessageID a déjà servi.", "wsa:InvalidAddressingHeader")
        peer = x509.load_der_x509_certificate(request.peer or b"")
        vihf = read_vihf(message, peer, self.trust, self.rules, now, lambda i: self.store.first_seen("vihf", i, now))
        return Call(message, vihf, self.store, self.trust, self.rules, now, number)


def _peeked(request: Request) -> tuple[str, str]:
    """Action and message id of any request, right or wrong."""
    try:
        package = read_package(request.headers, request.body)
    except SoapFault:
        package = Package(b"", {}, "", False)
    action, message_id = peek(package.xml)
    return action or package.action, message_id


def _not_here(service: str, action: str) -> SoapFault:
    if service in ("habilitations", "patientCertif"):
        return SoapFault("not-implemented", "Service non simulé.", NOT_IMPLEMENTED, "Receiver")
    return SoapFault("wsa-action", f"Action inconnue de ce service : {action}.", WSA_ACTION)


def _transact(call: Call, short: str, outcome: Outcome) -> tuple[Element, Parts]:
    """Run the transaction; a refusal becomes the failed form of its answer."""
    parts: Parts = {}
    try:
        if short == "ITI-41":
            body = _publish(call)
        elif short == "ITI-18":
            body = search(call)
        elif short == "ITI-43":
            body, parts = retrieve(call)
        elif short == "ITI-57":
            update(call)
            body = registry_response("Success")
        else:
            body = _existence(call)
    except Refused as refusal:
        outcome.detail = ",".join(p.check for p in refusal.problems if not p.warning)
        return _failure(short, refusal), {}
    outcome.name = "success"
    return body, parts


def _publish(call: Call) -> Element:
    provided = read_provided(call)
    uids = [unique_id(entry) for entry in provided.submission.entries]
    accepted = False
    try:
        warnings = publish(call, provided)
        accepted = True
    finally:
        call.store.add_attempts(uids, call.exchange, accepted=accepted)
    return registry_response("Success", *warnings)


def _existence(call: Call) -> Element:
    patient = read_existence(call.message.body)
    demand(call, Transaction.EXISTENCE)
    demand_patient(call, patient)
    return existence_answer(call.message.body, patient, state_of(call.store, patient), call.now)


def registry_response(status: str, *problems: Problem) -> Element:
    """``rs:RegistryResponse`` with its problems."""
    body = make("rs:RegistryResponse", status=c.RESPONSE_STATUS + status)
    if problems:
        body.append(error_list(problems, c.SEVERITY))
    return body


def _failure(short: str, refusal: Refused, status: str = "Failure") -> Element:
    if short == "ITI-18":
        return failed(error_list(refusal.problems, c.SEVERITY), status)
    body = registry_response(status, *refusal.problems)
    return make("ihe:RetrieveDocumentSetResponse", body) if short == "ITI-43" else body


# --- injected faults -----------------------------------------------------------------------------------------------


def _instead(fault: Injected, action: str, message_id: str, service: str) -> Answer:
    """The answer of a fault that hinders processing."""
    broken = SoapFault("injected", "Faute injectée par le bac à sable.", "", "Receiver")
    expired = SoapFault("injected", "Certificat de signature expiré.", INVALID_CERTIFICATE)
    page = b"<!DOCTYPE html><html><body><h1>502 Bad Gateway</h1><p>SIMULATEUR</p></body></html>"
    simple = {
        "down": lambda: Answer(503, b"", headers=(("Retry-After", "1"),)),
        "cut-before": lambda: Answer(drop=True),
        "html-502": lambda: Answer(502, page, "text/html; charset=utf-8"),
        "http-500": lambda: Answer(500, b""),
        "soap-fault": lambda: fault_reply(broken, message_id, multipart=False),
        "fault-multipart": lambda: fault_reply(broken, message_id, multipart=True),
        "expired-certificate": lambda: fault_reply(expired, message_id, multipart=service == "repository"),
    }
    if fault.kind in simple:
        return simple[fault.kind]()
    code = {"duplicate": "XDSDuplicateUniqueIdInRegistry", "busy": "XDSRepositoryBusy"}
    refusal = refuse(code.get(fault.kind, "XDSSandboxUnknownError"), "Faute injectée par le bac à sable.", "injected")
    return _registry_answer(action, message_id, service, refusal)


def _after(fault: Injected, answer: Answer, action: str, message_id: str, service: str) -> Answer:
    """What a fault makes of the answer of a processed call."""
    if fault.kind == "slow":
        return replace(answer, delay=fault.seconds)
    if fault.kind == "answer-lost":
        return replace(answer, drop=True)
    if fault.kind == "truncated":
        return replace(answer, cut_after=len(answer.body) // 2)
    refusal = refuse("XDSRegistryError", "Faute injectée par le bac à sable.", "injected")
    return _registry_answer(action, message_id, service, refusal, "PartialSuccess")


def _registry_answer(action: str, message_id: str, service: str, refusal: Refused, status: str = "Failure") -> Answer:
    short = ACTIONS.get(action, "ITI-41")
    if short == "TD0.2":  # HL7v3 has no registry error: a fault says it
        broken = SoapFault("injected", refusal.problems[0].context, "", "Receiver")
        return fault_reply(broken, message_id, multipart=False)
    body = _failure(short, refusal, status)
    return reply(ANSWER_ACTIONS[short], message_id, body, multipart=service == "repository")
