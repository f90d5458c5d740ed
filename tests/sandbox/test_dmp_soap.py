# SPDX-License-Identifier: AGPL-3.0-or-later
"""Transport of the DMP stand-in: media types, multipart, SOAP 1.2, WS-Addressing, TD0.2."""

from __future__ import annotations

import contextlib
import http.client
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox.dmp_errors import SoapFault
from sandbox.dmp_mime import split, write_package
from sandbox.dmp_patients import SPECIAL
from sandbox.dmp_server import DmpServers
from tests.sandbox.dmp_messages import (
    EXISTENCE,
    INS,
    PATIENT,
    PREFIX,
    PUBLISH,
    QUERY,
    RETRIEVE,
    UPDATE,
    Client,
    Edit,
    Publication,
    Reply,
    Vihf,
    client_context,
    envelope,
    existence,
    mtom,
    plain,
    swap,
)

pytest_plugins = ("tests.sandbox.dmp_fixtures",)


def ask(client: Client, edit: Edit) -> Reply:
    return client.call("patients", EXISTENCE, existence(), edit=edit)


def _without(element: str) -> Edit:
    def edit(xml: str) -> str:
        begin = xml.index(f"<wsa:{element}")
        end = xml.index(f"</wsa:{element}>") + len(f"</wsa:{element}>")
        return xml[:begin] + xml[end:]

    return edit


ADDRESSING = [
    ("wsa-missing-MessageID", _without("MessageID")),
    ("wsa-missing-To", _without("To")),
    ("wsa-missing-ReplyTo", _without("ReplyTo")),
    ("wsa-missing-Action", _without("Action")),
    ("wsa-message-id", swap("<wsa:MessageID>urn:uuid:", "<wsa:MessageID>")),
    ("wsa-to", swap(f"{PREFIX}patients", f"{PREFIX}registry")),
    ("wsa-invalid-ReplyTo", swap("/anonymous<", "/none<")),
    ("wsa-must-understand", swap('<wsa:Action env:mustUnderstand="true">', "<wsa:Action>")),
    ("wsa-must-understand", swap('<wsa:ReplyTo env:mustUnderstand="true">', "<wsa:ReplyTo>")),
    ("wsa-action-mismatch", swap(f">{EXISTENCE}<", f">{QUERY}<")),
    ("wsa-invalid-To", swap("<wsa:To>", "<wsa:To>https://x.test/</wsa:To><wsa:To>")),
    ("soap-must-understand", swap("</env:Header>", '<x env:mustUnderstand="1"/></env:Header>')),
    ("wsse-security", swap("<wsse:Security", '<wsse:Security xmlns:wsse="urn:x"')),
    ("soap-body", swap("</env:Body>", "<x/></env:Body>")),
    ("soap-version", swap("http://www.w3.org/2003/05/soap-envelope", "http://schemas.xmlsoap.org/soap/envelope/")),
    ("xml-doctype", swap("<env:Envelope", "<!DOCTYPE x [<!ENTITY e 'x'>]><env:Envelope")),
    ("xml", swap("</env:Envelope>", "")),
    ("xml-encoding", swap('encoding="UTF-8"', 'encoding="ISO-8859-1"')),
]


@pytest.mark.parametrize(("check", "edit"), ADDRESSING, ids=[f"{n}-{c}" for n, (c, _) in enumerate(ADDRESSING)])
def test_an_envelope_with_a_fault_is_refused(client: Client, check: str, edit: Edit) -> None:
    if check == "wsse-security":
        edit = _renamed
    reply = ask(client, edit)
    assert (reply.status, reply.check) == (500, check)
    assert reply.content_type.startswith("application/soap+xml")


def _renamed(xml: str) -> str:
    return xml.replace("<wsse:Security", "<wsse:Other").replace("</wsse:Security", "</wsse:Other")


def test_a_missing_header_is_said_in_the_words_of_ws_addressing(client: Client) -> None:
    reply = ask(client, _without("MessageID"))
    assert reply.subcode == "MessageAddressingHeaderRequired"
    assert b"A required header representing a Message Addressing Property is not present" in reply.body


def test_an_empty_to_is_accepted_as_in_the_samples(client: Client) -> None:
    assert ask(client, swap(f"https://dmp.sandbox.test{PREFIX}patients", "")).status == 200


def test_a_message_id_serves_once(client: Client, pki: Path) -> None:
    identifier = "urn:uuid:11111111-2222-4333-8444-555555555555"
    xml = [envelope(EXISTENCE, "patients", Vihf().text(pki), existence(), identifier) for _ in range(2)]
    assert client.post("patients", *plain(EXISTENCE, xml[0])).status == 200
    assert client.post("patients", *plain(EXISTENCE, xml[1])).check == "wsa-replay"


def test_an_action_of_another_service_is_refused(client: Client) -> None:
    reply = client.call("registry", EXISTENCE, existence())
    assert (reply.check, reply.subcode) == ("wsa-action", "ActionNotSupported")
    assert client.call("registry", "urn:ihe:iti:2010:DeleteDocumentSet", existence()).check == "wsa-action"


def test_services_that_are_not_imitated_say_so(client: Client) -> None:
    action = "urn:si-dmp-habilitations:HabilitationsEndPoint:setAuthorization"
    reply = client.call("habilitations", action, "<x/>")
    assert (reply.status, reply.check) == (500, "not-implemented")
    assert reply.xml.findtext(".//{*}Code/{*}Value") == "env:Receiver"
    assert client.post("other", "text/xml", b"").status == 404
    assert client.post("registry", "text/xml", b"", path="/").status == 404
    assert client.post("registry", "text/xml", b"", method="GET").status == 405


@pytest.mark.parametrize(
    ("kind", "check"),
    [
        ("text/xml; charset=UTF-8", "mime-type"),
        ("application/soap+xml; action=x", "mime-charset"),
        ("application/soap+xml; charset=ISO-8859-1; action=x", "mime-charset"),
        ("application/soap+xml; charset=UTF-8", "wsa-action-mismatch"),
    ],
)
def test_a_wrong_plain_content_type_is_refused(client: Client, pki: Path, kind: str, check: str) -> None:
    xml = envelope(EXISTENCE, "patients", Vihf().text(pki), existence())
    assert client.post("patients", kind, xml.encode()).check == check


def _package(pki: Path) -> tuple[str, bytes]:
    sent = Publication(pki)
    parts = sent.parts()
    return mtom(PUBLISH, envelope(PUBLISH, "repository", Vihf().text(pki), sent.body(parts)), parts)


KINDS = [
    ("mime-type-param", swap('type="application/xop+xml"', 'type="text/xml"')),
    ("mime-start-info", swap("start-info=", "other=")),
    ("mime-start", swap("start=", "other=")),
    ("mime-start", swap("<root@", "<kos@")),
    ("mime-truncated", swap('boundary="b-', 'boundary="c-')),
    ("mime-boundary", swap("boundary=", "other=")),
    ("wsa-action-mismatch", swap(f'action="{PUBLISH}"', f'action="{UPDATE}"')),
]


@pytest.mark.parametrize(("check", "edit"), KINDS, ids=[f"{n}-{c}" for n, (c, _) in enumerate(KINDS)])
def test_a_wrong_multipart_content_type_is_refused(client: Client, pki: Path, check: str, edit: Edit) -> None:
    kind, body = _package(pki)
    reply = client.post("repository", edit(kind), body)
    assert (reply.status, reply.check, reply.multipart) == (500, check, True)


BODIES = [
    ("mime-truncated", b"--\r\n", b""),
    ("mime-content-id", b"Content-ID: <kos@sandbox.test>\r\n", b""),
    ("mime-content-id", b"<kos@sandbox.test>", b"<signature@sandbox.test>"),
    ("mime-transfer-encoding", b"Transfer-Encoding: binary", b"Transfer-Encoding: 7bit"),
    ("mime-transfer-encoding", b"Transfer-Encoding: binary", b"Transfer-Encoding: gzip"),
    ("mime-base64", b"Transfer-Encoding: binary", b"Transfer-Encoding: base64"),
    ("mime-root-type", b"Content-Type: application/xop+xml", b"Content-Type: text/xml"),
    ("mime-root-type", b'charset=UTF-8; type="application/soap+xml"', b"charset=UTF-8"),
    ("mime-charset", b"application/xop+xml; charset=UTF-8", b"application/xop+xml"),
    ("mime-part-head", b"binary\r\nContent-ID", b"binary\nContent-ID"),
]


@pytest.mark.parametrize(("check", "old", "new"), BODIES, ids=[f"{n}-{b[0]}" for n, b in enumerate(BODIES)])
def test_a_wrong_multipart_body_is_refused(client: Client, pki: Path, check: str, old: bytes, new: bytes) -> None:
    kind, body = _package(pki)
    assert old in body
    changed = body[: -len(old)] if check == "mime-truncated" else body.replace(old, new)
    assert client.post("repository", kind, changed).check == check


def test_line_ends_without_carriage_return_are_refused(client: Client, pki: Path) -> None:
    kind, body = _package(pki)
    assert client.post("repository", kind, body.replace(b"\r\n", b"\n")).check == "mime-truncated"


def test_too_many_parts_and_a_boundary_in_a_content_are_refused(client: Client, pki: Path) -> None:
    kind, body = _package(pki)
    boundary = kind.split('boundary="')[1].split('"')[0].encode()
    end = b"--" + boundary + b"--\r\n"
    extra = b"--" + boundary + b"\r\nContent-ID: <x>\r\n\r\n\r\n"
    assert client.post("repository", kind, body.removesuffix(end) + 20 * extra + end).check == "mime-parts"
    inside = body.replace(b"Content-Type: application/octet-stream", b"\r\n--" + boundary + b"x\r\n", 1)
    assert client.post("repository", kind, inside).check == "mime-boundary"


def test_publishing_without_multipart_is_refused(client: Client, pki: Path) -> None:
    sent = Publication(pki)
    assert client.call("repository", PUBLISH, sent.body(sent.parts())).check == "mtom-required"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=400), min_size=1, max_size=5))
def test_any_bytes_come_through_a_written_package(contents: list[bytes]) -> None:
    parts = {f"p{n}@x": ("application/octet-stream", data) for n, data in enumerate(contents)}
    kind, body = write_package(b"<x/>", "urn:a", parts)
    boundary = kind.split('boundary="')[1].split('"')[0]
    read = [raw.partition(b"\r\n\r\n")[2] for raw in split(body, boundary)]
    assert read == [b"<x/>", *contents]


@settings(max_examples=200)
@given(st.binary(max_size=300), st.text(max_size=20))
def test_the_splitter_never_fails_but_by_a_fault(body: bytes, boundary: str) -> None:
    with contextlib.suppress(SoapFault):
        assert len(split(body, boundary)) < 300


# --- TD0.2 -------------------------------------------------------------------------------------------------------


def test_an_open_record_exists(client: Client) -> None:
    reply = client.call("patients", EXISTENCE, existence())
    assert reply.attribute(".//{*}acknowledgement/{*}typeCode", "code") == "AA"
    assert reply.attribute(".//{*}queryAck/{*}queryResponseCode", "code") == "OK"
    assert reply.attribute(".//{*}patient/{*}id", "extension") == INS
    assert reply.attribute(".//{*}attentionLine/{*}keyWordText", "code") == "AUTORISATION"
    assert reply.xml.findtext(".//{*}attentionLine/{*}value") == "VALIDE"


@pytest.mark.parametrize(("ins", "state"), SPECIAL.items())
def test_special_patients_have_their_answer(client: Client, ins: str, state: str) -> None:
    vihf = Vihf(patient=PATIENT.replace(INS, ins))
    reply = client.call("patients", EXISTENCE, existence(ins), vihf)
    xml = reply.xml
    found = reply.attribute(".//{*}queryAck/{*}queryResponseCode", "code")
    assert found == ("NF" if state == "unknown" else "OK")
    details = [d.get("code") for d in xml.iterfind(".//{*}acknowledgementDetail/{*}code")]
    assert details == (["DMPClosed"] if state == "closed" else [])
    values = [e.text for e in xml.iterfind(".//{*}attentionLine/{*}value")]
    assert ("INTERDIT" in values) == (state == "opposed")


TD02 = [
    ("td02-root", swap("PRPA_IN201307UV02 xmlns", "PRPA_IN201305UV02 xmlns")),
    ("td02-interactionId", swap('extension="PRPA_IN201307UV02"', 'extension="X"')),
    ("td02-processingCode", swap('processingCode code="D"', 'processingCode code="Z"')),
    ("td02-acceptAckCode", swap('code="AL"', 'code="NE"')),
    ("td02-receiver", swap("1.2.250.1.213.4.1.1.1", "1.2.3")),
    ("td02-sender", swap('<id root="1.2.250.1.999.1"/>', "")),
    ("td02-reasonCode", swap("TEST_EXST", "OTHER")),
    ("td02-statusCode", swap('statusCode code="new"', 'statusCode code="old"')),
    ("td02-semanticsText", swap("Patient.id", "Patient.name")),
    ("td02-patient", swap('value root="1.2.250.1.213.1.4.10"', 'value root="1.2.3"')),
    ("td02-its", swap("XML_1.0", "XML_2.0")),
    ("td02-queryId", swap("<queryId root", "<queryIdentifier root")),
    ("td02-id", swap('ITSVersion="XML_1.0"><id root=', 'ITSVersion="XML_1.0"><id other=')),
    ("td02-creationTime", swap('creationTime value="2', 'creationTime value="x2')),
]


@pytest.mark.parametrize(("check", "edit"), TD02, ids=[c for c, _ in TD02])
def test_a_wrong_existence_query_is_refused(client: Client, check: str, edit: Edit) -> None:
    body = edit(existence()).replace("</PRPA_IN201307UV02>", "</PRPA_IN201305UV02>" if "root" in check else
                                     "</PRPA_IN201307UV02>")  # fmt: skip
    assert client.call("patients", EXISTENCE, body).check == check


# --- the connection ------------------------------------------------------------------------------------------------


def test_several_requests_share_a_connection_and_chunks_are_read(pki: Path, dmp: DmpServers) -> None:
    connection = http.client.HTTPSConnection("localhost", dmp.national.port, timeout=10, context=client_context(pki))
    for chunked in (False, True):
        kind, body = plain(EXISTENCE, envelope(EXISTENCE, "patients", Vihf().text(pki), existence()))
        data = iter([body[:100], body[100:]]) if chunked else body
        connection.request("POST", PREFIX + "patients", data, {"Content-Type": kind}, encode_chunked=chunked)
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("X-Simulator")) == (200, "DRIMbox sandbox")
        answer.read()
    connection.close()


def test_a_request_under_a_production_name_is_misdirected(pki: Path, dmp: DmpServers) -> None:
    connection = http.client.HTTPSConnection("localhost", dmp.national.port, timeout=10, context=client_context(pki))
    connection.request("GET", "/", headers={"Host": "lps2.dmp.gouv.fr"})
    assert connection.getresponse().status == 421
    connection.close()


def test_retrieving_is_not_for_a_structure(client: Client) -> None:
    body = (
        '<ihe:RetrieveDocumentSetRequest xmlns:ihe="urn:ihe:iti:xds-b:2007"><ihe:DocumentRequest>'
        "<ihe:RepositoryUniqueId>1.2.250.1.213.4.1.1.1.2</ihe:RepositoryUniqueId>"
        "<ihe:DocumentUniqueId>1.2.3</ihe:DocumentUniqueId></ihe:DocumentRequest></ihe:RetrieveDocumentSetRequest>"
    )
    assert client.call("repository", RETRIEVE, body).check == "rights-TD3.2"
