# SPDX-License-Identifier: AGPL-3.0-or-later
"""SOAP 1.2 with WS-Addressing: writing the DMP's requests, reading its answers.

Answers are read by content type, not by status (faults come with 500, 400, and inside a multipart).
Every outcome that is no answer becomes an error of `drimbox.errors`.  Source: spec `dmp_soap.md` 1, 3.5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from lxml import etree

from drimbox import dmp_errors
from drimbox.errors import DocumentError, NationalServiceError, OutcomeUnknown, ServiceRefused, ServiceUnavailable
from drimbox.mtom import XOP, Part, content_id_of, include_href, media_type, read_multipart, write_multipart
from drimbox.xml_safe import parse_xml

SOAP: Final = "http://www.w3.org/2003/05/soap-envelope"
SOAP_11: Final = "http://schemas.xmlsoap.org/soap/envelope/"
WSA: Final = "http://www.w3.org/2005/08/addressing"
WSSE: Final = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
ANONYMOUS: Final = f"{WSA}/anonymous"
_ROOT_TYPE: Final = 'application/xop+xml; charset=UTF-8; type="application/soap+xml"; action="{action}"'

_CONFIGURATION_PUBLIC: Final = (
    "Le DMP refuse l'appel (HTTP {status}) : adresse, certificat ou droits de la structure à vérifier."
)


@dataclass(frozen=True, slots=True)
class Request:
    """A request ready to post; `envelope` is the SOAP part alone, for the operator."""

    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    envelope: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """A SOAP answer: the first child of its Body, and the attachments by content-id."""

    element: etree._Element
    attachments: Mapping[str, bytes] = field(repr=False)

    def attachment(self, href: str) -> bytes | None:
        """Bytes that an ``xop:Include`` names, None where absent."""
        content_id = content_id_of(href)
        return None if content_id is None else self.attachments.get(content_id)


def build_request(
    *,
    action: str,
    url: str,
    message_id: str,
    assertion: etree._Element,
    body: etree._Element,
    attachments: Sequence[Part] = (),
    new_boundary: Callable[[], str],
) -> Request:
    """Envelope and HTTP headers; multipart as soon as there is an attachment.

    `message_id` is a full ``urn:uuid:``; `assertion` and `body` are moved into the envelope.
    """
    envelope = _envelope(action, url, message_id, assertion, body)
    if not attachments:
        content_type = f'application/soap+xml; charset=UTF-8; action="{action}"'
        return Request({"Content-Type": content_type}, envelope, envelope)
    root = Part(f"soap.{message_id.rpartition(':')[2]}@drimbox", _ROOT_TYPE.format(action=action), envelope)
    content_type, data = write_multipart([root, *attachments], action=action, new_boundary=new_boundary)
    return Request({"Content-Type": content_type}, data, envelope)


def include(parent: etree._Element, content_id: str) -> None:
    """Put an ``xop:Include`` of a part under `parent`."""
    etree.SubElement(parent, f"{{{XOP}}}Include", href=include_href(content_id), nsmap={"xop": XOP})


def _envelope(action: str, url: str, message_id: str, assertion: etree._Element, body: etree._Element) -> bytes:
    # the envelope declares none of the assertion's namespaces: lxml would rename its prefixes while moving it
    envelope = etree.Element(_soap("Envelope"), nsmap={"soap": SOAP, "wsa": WSA})
    header = etree.SubElement(envelope, _soap("Header"))
    etree.SubElement(header, _wsa("MessageID")).text = message_id
    etree.SubElement(header, _wsa("To")).text = url
    reply = etree.SubElement(header, _wsa("ReplyTo"))
    reply.set(_soap("mustUnderstand"), "true")
    etree.SubElement(reply, _wsa("Address")).text = ANONYMOUS
    act = etree.SubElement(header, _wsa("Action"))
    act.set(_soap("mustUnderstand"), "true")
    act.text = action
    security = etree.SubElement(header, f"{{{WSSE}}}Security", nsmap={"wsse": WSSE})
    security.append(assertion)
    etree.SubElement(envelope, _soap("Body")).append(body)
    return etree.tostring(envelope, encoding="UTF-8", xml_declaration=True)


def read_answer(status: int, content_type: str, body: bytes, *, message_id: str) -> Answer:
    """Read an HTTP answer.

    Raises `ServiceRefused` or `ServiceUnavailable` for a fault of known meaning and for telling HTTP
    statuses, `OutcomeUnknown` where the answer is unreadable, truncated or not to this message.
    """
    try:
        envelope, attachments = _open(content_type, body)
    except DocumentError as error:
        raise _http_error(status, f"{error.reason}: {error.detail}") from error
    related = envelope.findtext(f"{{*}}Header/{_wsa('RelatesTo')}", "").strip()
    if related and related != message_id:
        raise OutcomeUnknown("the answer relates to another message", reason="answer-mismatch")
    content = envelope.find("{*}Body")
    element = next(content.iterchildren("*"), None) if content is not None else None
    if element is None:
        raise _http_error(status, "SOAP envelope without a body")
    if etree.QName(element).localname == "Fault" and etree.QName(element).namespace in (SOAP, SOAP_11):
        raise _fault(element)
    if status >= 300:
        raise _http_error(status, "no fault in the answer")
    return Answer(element, attachments)


def _open(content_type: str, body: bytes) -> tuple[etree._Element, dict[str, bytes]]:
    parts: tuple[Part, ...] = ()
    if media_type(content_type) == "multipart/related":
        parts = read_multipart(content_type, body)
        body = parts[0].data
    envelope = parse_xml(body)
    name = etree.QName(envelope)
    if name.localname != "Envelope" or name.namespace not in (SOAP, SOAP_11):
        raise DocumentError("the answer is no SOAP envelope", reason="not-soap")
    return envelope, {p.content_id: p.data for p in parts[1:]}


def _http_error(status: int, detail: str) -> NationalServiceError:
    detail = f"HTTP {status}, {detail}"
    if status in (429, 503):
        return ServiceUnavailable(detail, code=f"HTTP{status}")
    if status == 413:
        return ServiceRefused(detail, code="HTTP413", public="Le DMP refuse le document : il est trop volumineux.")
    if 300 <= status < 500 and status != 408:
        public = _CONFIGURATION_PUBLIC.format(status=status)
        return ServiceRefused(detail, code=f"HTTP{status}", scope="configuration", public=public)
    # 2xx that cannot be read, 500 without a fault, 502 and 504 of a relay: it may have been processed
    return OutcomeUnknown(detail, code=f"HTTP{status}")


def _fault(fault: etree._Element) -> NationalServiceError:
    codes = [e.text or "" for e in fault.iterfind(f"{_soap('Code')}//{_soap('Value')}")]
    codes += [e.text or "" for e in fault.iterfind("faultcode")]
    text = fault.findtext(f"{_soap('Reason')}/{_soap('Text')}") or fault.findtext("faultstring") or ""
    names = [dmp_errors.local_code(c.strip()) for c in codes]
    known = next((n for n in names if dmp_errors.kind_of(n)), None)
    subcodes = [n for n in names if n not in ("Sender", "Receiver", "Client", "Server", "")]
    if known is None and not subcodes and names[:1] in (["Receiver"], ["Server"]):
        # the service failed and says no more: it may have been processed
        return OutcomeUnknown(f"fault {names[0]}: {dmp_errors.masked(text)}", code=names[0])
    return dmp_errors.error_for(known or (subcodes or names or [""])[-1], text)


def _soap(name: str) -> str:
    return f"{{{SOAP}}}{name}"


def _wsa(name: str) -> str:
    return f"{{{WSA}}}{name}"
