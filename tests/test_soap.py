# SPDX-License-Identifier: AGPL-3.0-or-later
"""SOAP envelopes, MTOM packages, and what each answer means."""

from __future__ import annotations

import itertools
from contextlib import suppress
from email import message_from_bytes
from email.policy import HTTP

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from drimbox import soap
from drimbox.errors import (
    DocumentError,
    DrimboxError,
    NationalServiceError,
    OutcomeUnknown,
    ServiceRefused,
    ServiceUnavailable,
)
from drimbox.mtom import Part, content_id_of, include_href, read_multipart, write_multipart
from drimbox.vihf import Profile, automate, build_assertion
from tests.dmp_data import NOW, SETTINGS, SOAP_TYPE, TRAITS, fault, registry_response, signer, soap_answer
from tests.test_xmlsig import xmlsec_accepts

MESSAGE = "urn:uuid:00000000-0000-4000-8000-00000000abcd"
ACTION = "urn:ihe:iti:2007:RegistryStoredQuery"
URL = "https://dmp.example.test/registry"
S = "{http://www.w3.org/2003/05/soap-envelope}"
A = "{http://www.w3.org/2005/08/addressing}"
WSSE = "{http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd}"


def request(*parts: Part) -> soap.Request:
    assertion = build_assertion(automate(SETTINGS, TRAITS, NOW), Profile.indirect(SETTINGS), signer(), NOW, "_1")
    body = etree.Element("{urn:body}Ask", nsmap={"b": "urn:body"})
    return soap.build_request(action=ACTION, url=URL, message_id=MESSAGE, assertion=assertion, body=body,
                              attachments=parts, new_boundary=lambda: "drimbox-b")  # fmt: skip


def read(status: int, body: bytes, content_type: str = SOAP_TYPE) -> soap.Answer:
    return soap.read_answer(status, content_type, body, message_id=MESSAGE)


def failure(status: int, body: bytes, content_type: str = SOAP_TYPE) -> NationalServiceError:
    with pytest.raises(NationalServiceError) as caught:
        read(status, body, content_type)
    return caught.value


# requests


def test_the_header_has_its_fields_in_the_order_asked() -> None:
    root = etree.fromstring(request().envelope)
    header = root.find(f"{S}Header")
    assert [c.tag for c in header] == [
        f"{A}MessageID", f"{A}To", f"{A}ReplyTo", f"{A}Action", f"{WSSE}Security",
    ]  # fmt: skip
    assert [header.findtext(f"{A}{n}") for n in ("MessageID", "To", "Action")] == [MESSAGE, URL, ACTION]
    assert header.findtext(f"{A}ReplyTo/{A}Address") == "http://www.w3.org/2005/08/addressing/anonymous"
    assert [e.get(f"{S}mustUnderstand") for e in header] == [None, None, "true", "true", None]
    assert [etree.QName(c).localname for c in header[-1]] == ["Assertion"]
    assert [c.tag for c in root.find(f"{S}Body")] == ["{urn:body}Ask"]


def test_the_assertion_still_verifies_inside_the_envelope() -> None:
    assert xmlsec_accepts(request().envelope)
    assert not xmlsec_accepts(request().envelope.replace(b"urn:dmp<", b"urn:dmq<"))


def test_a_plain_request_announces_its_action() -> None:
    assert request().headers["Content-Type"] == f'application/soap+xml; charset=UTF-8; action="{ACTION}"'
    assert request().body == request().envelope


def test_a_request_with_documents_is_a_package_that_another_reader_understands() -> None:
    data = bytes(range(256)) + b"\r\n--drimbox\r\n\x00"
    sent = request(Part("kos.1@drimbox", "application/dicom", data), Part("s.1@drimbox", "text/xml", b"<x/>"))
    whole = b"Content-Type: " + sent.headers["Content-Type"].encode() + b"\r\n\r\n" + sent.body
    message = message_from_bytes(whole, policy=HTTP)
    assert message.get_content_type() == "multipart/related"
    assert message["Content-Type"].params["type"] == "application/xop+xml"
    assert message["Content-Type"].params["start-info"] == "application/soap+xml"
    root, kos, signature = message.iter_parts()
    assert root["Content-ID"] == message["Content-Type"].params["start"]
    assert root.get_content_type() == "application/xop+xml"
    assert root["Content-Type"].params["type"] == "application/soap+xml"
    assert root["Content-Type"].params["action"] == ACTION
    assert {p["Content-Transfer-Encoding"] for p in (root, kos, signature)} == {"binary"}
    assert kos["Content-ID"] == "<kos.1@drimbox>"
    first, second, third = read_multipart(sent.headers["Content-Type"], sent.body)
    assert (first.data, second.data, third.data) == (sent.envelope, data, b"<x/>")
    assert b"\n" not in sent.body.replace(b"\r\n", b"").replace(data.replace(b"\r\n", b""), b"").replace(
        sent.envelope, b""
    )


def test_an_include_names_its_part_in_url_form() -> None:
    assert include_href("a b%c@d") == "cid:a%20b%25c@d"
    assert content_id_of(include_href("a b%c@d")) == "a b%c@d"
    assert content_id_of("http://elsewhere") is None


def test_a_boundary_that_occurs_in_a_document_is_drawn_again() -> None:
    draws = (f"b{n}" for n in itertools.count())
    content_type, body = write_multipart(
        [Part("r", "text/xml", b"b0"), Part("k", "x/y", b"--b1--")], action="a", new_boundary=lambda: next(draws)
    )
    assert 'boundary="b2"' in content_type
    assert [p.data for p in read_multipart(content_type, body)] == [b"b0", b"--b1--"]


nasty = st.binary(max_size=60) | st.sampled_from([b"", b"\r", b"\n", b"\r\n", b"--bb", b"\r\n--b", b"--", b"\r\n\r\n"])


@settings(max_examples=150, deadline=None)
@given(st.lists(nasty, min_size=1, max_size=4))
def test_any_bytes_survive_the_package(contents: list[bytes]) -> None:
    draws = (f"bb{n}" for n in itertools.count())
    parts = [Part(f"id{i}@x", "application/octet-stream", c) for i, c in enumerate(contents)]
    content_type, body = write_multipart(parts, action="urn:a", new_boundary=lambda: next(draws))
    assert read_multipart(content_type, body) == tuple(parts)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 400))
def test_a_package_damaged_anyhow_is_read_or_refused(noise: bytes, cut: int) -> None:
    content_type, body = write_multipart([Part("r", "text/xml", b"<a/>")], action="a", new_boundary=lambda: "zz")
    damaged = body[:cut] + noise + body[cut + len(noise) :]
    with suppress(DocumentError):
        read_multipart(content_type, damaged)


def package(root: bytes, *more: bytes, start: str = "<r>", encoding: str = "binary") -> tuple[str, bytes]:
    chunks = b"".join(
        b"\r\n--B\r\nContent-ID: <"
        + (b"r" if i == 0 else f"p{i}".encode())
        + b">\r\nContent-Type: application/xop+xml\r\n"
        b"Content-Transfer-Encoding: " + encoding.encode() + b"\r\n\r\n" + c
        for i, c in enumerate((root, *more))
    )
    return f'multipart/related; boundary=B; start="{start}"', b"preamble" + chunks + b"\r\n--B--\r\nepilogue"


def test_the_root_part_is_the_one_that_start_names() -> None:
    content_type, body = package(b"first", b"second", start="<p1>")
    assert [p.data for p in read_multipart(content_type, body)] == [b"second", b"first"]


@pytest.mark.parametrize(
    ("encoding", "content", "decoded"),
    [
        ("base64", b"Ym9u\r\nam91cg==", b"bonjour"),
        ("quoted-printable", b"bonjour=20", b"bonjour "),
        ("8bit", b"x", b"x"),
    ],
)
def test_other_transfer_encodings_are_understood(encoding: str, content: bytes, decoded: bytes) -> None:
    assert read_multipart(*package(content, encoding=encoding))[0].data == decoded


def test_a_part_may_have_no_header_and_lines_may_end_in_lf() -> None:
    bare = read_multipart("multipart/related; boundary=B", b"--B\n\nbody\n--B\nContent-ID: <a>\n\nx\n--B--")
    assert [(p.content_id, p.data) for p in bare] == [("", b"body"), ("a", b"x")]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/related", b"--B\r\n\r\nx\r\n--B--"),
        ("multipart/related; boundary=B", b""),
        ("multipart/related; boundary=B", b"--B--"),
        ("multipart/related; boundary=B", b"--B\r\nA: b\r\n\r\ntruncated"),
        ("multipart/related; boundary=B", b"--B\r\nA: b no end of headers\r\n--B--"),
        ("multipart/related; boundary=B", b"--B\r\n\r\nx" * 40 + b"\r\n--B--"),
        package(b"%%%", encoding="base64"),
        package(b"x", encoding="x-uuencode"),
    ],
)
def test_an_unreadable_package_is_refused(content_type: str, body: bytes) -> None:
    body = body.replace(b"x--B", b"x\r\n--B")
    with pytest.raises(DocumentError) as caught:
        read_multipart(content_type, body)
    assert caught.value.reason == "multipart-invalid"


# answers


def test_a_plain_answer_gives_the_body_s_element() -> None:
    answer = read(200, soap_answer(registry_response(), MESSAGE))
    assert etree.QName(answer.element).localname == "RegistryResponse"


def test_an_answer_in_a_package_gives_its_attachments() -> None:
    content_type, body = package(soap_answer(registry_response(), MESSAGE), b"\x00KOS")
    answer = read(200, body, content_type)
    assert answer.attachment("cid:p1") == b"\x00KOS"
    assert answer.attachment("cid:p9") is None
    assert answer.attachment("http://p1") is None


def test_an_answer_to_another_message_is_no_answer() -> None:
    error = failure(200, soap_answer(registry_response(), "urn:uuid:other"))
    assert isinstance(error, OutcomeUnknown)
    assert error.reason == "answer-mismatch"


def test_an_answer_without_relation_is_taken() -> None:
    read(200, soap_answer(registry_response()))


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("status", [400, 500])
@pytest.mark.parametrize(
    ("code", "subcode", "text", "scope"),
    [
        ("Sender", "d:DMPInvalidCertificate", "x", "configuration"),
        ("Sender", "wsa:MessageAddressingHeaderRequired", "x", "configuration"),
        ("Sender", "wsse:FailedAuthentication", "x", "configuration"),
        ("MustUnderstand", "", "x", "configuration"),
        ("Sender", "", "aucun authorInstitution ne correspond au VIHF", "configuration"),
        ("Sender", "d:DMPClosed", "x", "patient"),
        ("Receiver", "d:DMPNouveauCode", "x", "document"),
        ("Sender", "", "??", "document"),
    ],
)
def test_a_fault_is_sorted_by_its_code(
    code: str, subcode: str, text: str, scope: str, status: int, wrapped: bool
) -> None:
    body = soap_answer(fault(code, subcode, text), MESSAGE)
    content_type = SOAP_TYPE
    if wrapped:
        content_type, body = package(body)
    error = failure(status, body, content_type)
    assert isinstance(error, ServiceRefused)
    assert error.scope == scope
    assert not error.retryable


def test_an_unknown_code_is_kept_and_shown() -> None:
    error = failure(500, soap_answer(fault("Sender", "d:DMPNouveauCode", "texte libre")))
    assert error.code == "DMPNouveauCode"
    assert "DMPNouveauCode" in error.public
    assert "texte libre" in error.detail


def test_a_failure_of_the_service_without_reason_leaves_the_outcome_open() -> None:
    assert isinstance(failure(500, soap_answer(fault("Receiver", "", "erreur interne"))), OutcomeUnknown)


def test_a_transient_fault_is_retryable() -> None:
    assert isinstance(failure(500, soap_answer(fault("Receiver", "x:XDSRepositoryBusy", ""))), ServiceUnavailable)


def test_a_fault_of_soap_1_1_is_understood() -> None:
    body = (
        b'<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body><e:Fault>'
        b"<faultcode>e:DMPInvalidCertificate</faultcode><faultstring>non</faultstring></e:Fault></e:Body></e:Envelope>"
    )
    error = failure(500, body, "text/xml")
    assert isinstance(error, ServiceRefused)
    assert error.scope == "configuration"


HTML = b"<html><body><h1>502 Bad Gateway</h1><br></body></html>"


@pytest.mark.parametrize(
    ("status", "kind", "scope"),
    [
        (200, OutcomeUnknown, None),
        (500, OutcomeUnknown, None),
        (502, OutcomeUnknown, None),
        (504, OutcomeUnknown, None),
        (408, OutcomeUnknown, None),
        (503, ServiceUnavailable, None),
        (429, ServiceUnavailable, None),
        (302, ServiceRefused, "configuration"),
        (400, ServiceRefused, "configuration"),
        (401, ServiceRefused, "configuration"),
        (404, ServiceRefused, "configuration"),
        (413, ServiceRefused, "document"),
    ],
)
def test_an_answer_that_is_no_soap_is_sorted_by_its_status(
    status: int, kind: type[NationalServiceError], scope: str | None
) -> None:
    for body in (HTML, b"", b"\x00\xff"):
        error = failure(status, body, "text/html")
        assert type(error) is kind
        assert getattr(error, "scope", None) == scope
        assert error.code == f"HTTP{status}"


@pytest.mark.parametrize(
    "body",
    [
        soap_answer(registry_response(), MESSAGE)[:-30],
        b"<html/>",
        b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        soap_answer(""),
        b'<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"/>',
    ],
)
def test_an_answer_cut_or_foreign_leaves_the_outcome_open(body: bytes) -> None:
    assert isinstance(failure(200, body), OutcomeUnknown)


def test_an_answer_without_fault_under_an_error_status_is_no_success() -> None:
    assert isinstance(failure(500, soap_answer(registry_response(), MESSAGE)), OutcomeUnknown)


def test_a_truncated_package_leaves_the_outcome_open() -> None:
    content_type, body = package(soap_answer(registry_response(), MESSAGE), b"x" * 100)
    for cut in (1, len(body) // 2, len(body) - 60):
        assert isinstance(failure(200, body[:cut], content_type), OutcomeUnknown)


@settings(max_examples=200, deadline=None)
@given(st.integers(100, 599), st.sampled_from(["", "text/xml", "multipart/related; boundary=B", SOAP_TYPE, ";;;=\x85"]),
       st.binary(max_size=300))  # fmt: skip
def test_no_answer_makes_the_reader_fail_otherwise(status: int, content_type: str, body: bytes) -> None:
    with pytest.raises(DrimboxError):
        read(status, body, content_type)
