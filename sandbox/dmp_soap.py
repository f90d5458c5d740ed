# SPDX-License-Identifier: AGPL-3.0-or-later
"""SOAP 1.2 with WS-Addressing as the DMP wants it: read a request, write answers and faults."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from urllib.parse import urlsplit

from lxml import etree

from sandbox.common import Answer
from sandbox.dmp_codes import ANONYMOUS, NS, PATH_PREFIX, q
from sandbox.dmp_errors import WSA_INVALID, WSA_MISSING, Problem, SoapFault
from sandbox.dmp_mime import SOAP, Package, write_package

Element = etree._Element
_URN_UUID = re.compile(r"urn:uuid:[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
FAULT_ACTION = "http://www.w3.org/2005/08/addressing/fault"


@dataclass(frozen=True)
class Message:
    """A request whose envelope and addressing are right."""

    envelope: Element
    action: str
    message_id: str
    security: Element
    body: Element
    package: Package


def parse_xml(data: bytes, check: str = "xml") -> Element:
    """Parse untrusted XML: no DTD, no entity, no network, UTF-8.  Raises `SoapFault`."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError):
        raise SoapFault(check, "XML illisible.") from None
    info = root.getroottree().docinfo
    if info.internalDTD is not None or info.doctype:
        raise SoapFault("xml-doctype", "Déclaration DOCTYPE interdite.")
    if (info.encoding or "UTF-8").upper() != "UTF-8":
        raise SoapFault("xml-encoding", "Le XML doit être en UTF-8.")
    return root


def peek(data: bytes) -> tuple[str, str]:
    """Action and MessageID of an envelope, without any check (journal and fault injection only)."""
    try:
        root = parse_xml(data)
    except SoapFault:
        return "", ""
    texts = (root.findtext(f"{q('env:Header')}/{q(name)}") or "" for name in ("wsa:Action", "wsa:MessageID"))
    action, message_id = (text.strip() for text in texts)
    return action, message_id


def read_message(package: Package, service: str) -> Message:
    """Check envelope, addressing headers and security header of a request to ``service``.  Raises `SoapFault`."""
    envelope = parse_xml(package.xml)
    if envelope.tag != q("env:Envelope"):
        raise SoapFault("soap-version", "L'enveloppe n'est pas en SOAP 1.2.", subcode="", code="VersionMismatch")
    header, body = _only(envelope, "env:Header", "soap-header"), _only(envelope, "env:Body", "soap-body")
    if len(list(body.iterchildren("*"))) != 1:
        raise SoapFault("soap-body", "Le corps doit avoir un seul élément.")
    message_id = _addressing(header, "wsa:MessageID")
    if not _URN_UUID.fullmatch(message_id):
        raise SoapFault("wsa-message-id", "MessageID doit être urn:uuid: suivi d'un UUID.", WSA_INVALID)
    action = _addressing(header, "wsa:Action", must_understand=True)
    if package.action != action:
        raise SoapFault("wsa-action-mismatch", "Le paramètre action du type de contenu diffère de Action.", WSA_INVALID)
    _check_to(_addressing(header, "wsa:To", may_be_empty=True), service)
    _check_reply_to(header)
    _check_understood(header)
    security = _only(header, "wsse:Security", "wsse-security")
    return Message(envelope, action, message_id, security, next(body.iterchildren("*")), package)


def _only(parent: Element, name: str, check: str) -> Element:
    found = parent.findall(q(name))
    if len(found) != 1:
        raise SoapFault(check, f"{name} doit être présent une fois.")
    return found[0]


def _addressing(header: Element, name: str, *, must_understand: bool = False, may_be_empty: bool = False) -> str:
    found = header.findall(q(name))
    label = name.partition(":")[2]
    if not found:
        reason = f"A required header representing a Message Addressing Property is not present ({label})."
        raise SoapFault(f"wsa-missing-{label}", reason, WSA_MISSING)
    text = (found[0].text or "").strip()
    if len(found) > 1 or (not text and not may_be_empty):
        raise SoapFault(f"wsa-invalid-{label}", f"En-tête {label} en double ou vide.", WSA_INVALID)
    if must_understand:
        _require_must_understand(found[0], label)
    return text


def _require_must_understand(element: Element, label: str) -> None:
    if element.get(q("env:mustUnderstand")) not in ("1", "true"):
        raise SoapFault("wsa-must-understand", f"{label} doit porter mustUnderstand.", WSA_INVALID)


def _check_to(to: str, service: str) -> None:
    if to and urlsplit(to).path != PATH_PREFIX + service:
        raise SoapFault("wsa-to", "To ne désigne pas ce service.", WSA_INVALID)


def _check_reply_to(header: Element) -> None:
    found = header.findall(q("wsa:ReplyTo"))
    if not found:
        reason = "A required header representing a Message Addressing Property is not present (ReplyTo)."
        raise SoapFault("wsa-missing-ReplyTo", reason, WSA_MISSING)
    if len(found) > 1 or (found[0].findtext(q("wsa:Address")) or "").strip() != ANONYMOUS:
        raise SoapFault("wsa-invalid-ReplyTo", "ReplyTo doit être anonyme.", WSA_INVALID)
    _require_must_understand(found[0], "ReplyTo")


def _check_understood(header: Element) -> None:
    known = {q("wsse:Security"), *(q(f"wsa:{name}") for name in ("MessageID", "To", "ReplyTo", "Action", "From"))}
    for child in header.iterchildren("*"):
        if child.tag not in known and child.get(q("env:mustUnderstand")) in ("1", "true"):
            raise SoapFault("soap-must-understand", "En-tête non compris.", subcode="", code="MustUnderstand")


# --- writing -----------------------------------------------------------------------------------------------------


def make(name: str, /, *children: Element, text: str | None = None, nsmap: dict[str, str] | None = None,
         **attributes: str) -> Element:  # fmt: skip
    """An element with a prefix of `NS`, its text, attributes and children."""
    prefix = name.partition(":")[0]
    element = etree.Element(q(name), attributes, nsmap=nsmap or {prefix: NS[prefix]})
    element.text = text
    element.extend(children)
    return element


def envelope(action: str, relates_to: str, body: Element) -> bytes:
    """A whole answer envelope."""
    header = make(
        "env:Header",
        make("wsa:Action", text=action),
        make("wsa:MessageID", text=f"urn:uuid:{uuid.uuid4()}"),
        make("wsa:To", text=ANONYMOUS),
    )
    if relates_to:
        header.append(make("wsa:RelatesTo", text=relates_to))
    root = make("env:Envelope", header, make("env:Body", body))
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8")


def reply(action: str, relates_to: str, body: Element, *, multipart: bool, status: int = 200,
          parts: dict[str, tuple[str, bytes]] | None = None) -> Answer:  # fmt: skip
    """An HTTP answer, plain or MTOM."""
    xml = envelope(action, relates_to, body)
    if multipart:
        content_type, data = write_package(xml, action, parts)
        return Answer(status, data, content_type)
    return Answer(status, xml, f'{SOAP}; charset=UTF-8; action="{action}"')


def fault_reply(fault: SoapFault, relates_to: str, *, multipart: bool) -> Answer:
    """A fault, HTTP 500; its detail names the check of the stand-in that refused."""
    code = make("env:Code", make("env:Value", text=f"env:{fault.code}"))
    if fault.subcode:
        prefix = fault.subcode.partition(":")[0]
        nsmap: dict[str, str] = {"env": NS["env"], prefix: NS[prefix]}
        value = make("env:Value", text=fault.subcode, nsmap=nsmap)
        code.append(make("env:Subcode", value))
    text = make("env:Text", text=fault.reason)
    text.set("{http://www.w3.org/XML/1998/namespace}lang", "fr")
    detail = make("env:Detail", make("sim:Check", text=fault.check))
    body = make("env:Fault", code, make("env:Reason", text), detail)
    return reply(FAULT_ACTION, relates_to, body, multipart=multipart, status=500)


def error_list(problems: tuple[Problem, ...], severity: str) -> Element:
    """``rs:RegistryErrorList``; ``location`` names the check of the stand-in."""
    worst = "Error" if any(not p.warning for p in problems) else "Warning"
    errors = [
        make("rs:RegistryError", errorCode=p.code, codeContext=p.context, location=p.check,
             severity=severity + ("Warning" if p.warning else "Error"))
        for p in problems
    ]  # fmt: skip
    return make("rs:RegistryErrorList", *errors, highestSeverity=severity + worst)
