# SPDX-License-Identifier: AGPL-3.0-or-later
"""The DMP's transactions against a transport that records and answers as told."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from lxml import etree

from drimbox.dmp_client import DmpClient, Exchange, open_client
from drimbox.dmp_transport import Response
from drimbox.errors import (
    ConfigurationError,
    DocumentError,
    NationalServiceError,
    OutcomeUnknown,
    ServiceRefused,
    ServiceUnavailable,
)
from drimbox.mtom import content_id_of, read_multipart
from drimbox.records import Restrictions
from drimbox.submission_signature import Signed, sign_submission
from drimbox.xds import submission_from_json, submission_to_json, withdrawal
from tests.conftest import FakeClock
from tests.dmp_data import (
    ENTRY,
    KOS,
    KOS_UID,
    NOW,
    SET_UID,
    SETTINGS,
    SIGNATURE_UID,
    TRAITS,
    URL,
    RecordingTransport,
    answer,
    authority,
    check_golden,
    client,
    counting_uuids,
    fault,
    pretty,
    query_response,
    registry_response,
    signer,
    soap_answer,
    submission,
    write_pem,
)
from tests.test_xmlsig import xmlsec_accepts

A = "{http://www.w3.org/2005/08/addressing}"
IHE = "{urn:ihe:iti:xds-b:2007}"
RIM = "{urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0}"
SAML = "{urn:oasis:names:tc:SAML:2.0:assertion}"
DS = "{http://www.w3.org/2000/09/xmldsig#}"


def make(clock: FakeClock, *answers: Response | Exception) -> tuple[DmpClient, RecordingTransport]:
    transport = RecordingTransport(list(answers))
    made = DmpClient(SETTINGS, transport, clock, counting_uuids(), signer=signer(),
                     client_certificate=client().certificate)  # fmt: skip
    return made, transport


def envelope(posted: tuple[str, Mapping[str, str], bytes]) -> etree._Element:
    _, headers, body = posted
    content_type = headers["Content-Type"]
    root = read_multipart(content_type, body)[0].data if content_type.startswith("multipart") else body
    return etree.fromstring(root)


def exchange_of(error: NationalServiceError) -> Exchange:
    found = getattr(error, "exchange", None)
    assert isinstance(found, Exchange)
    return found


# publish


def test_a_publication_carries_the_kos_and_its_signature(clock: FakeClock) -> None:
    dmp, transport = make(clock, answer(registry_response()))
    exchange = dmp.publish(submission(), KOS)
    url, headers, body = transport.posted[0]
    assert url == f"{URL}repository"
    assert 'action="urn:ihe:iti:2007:ProvideAndRegisterDocumentSet-b"' in headers["Content-Type"]
    root, kos, signature = read_multipart(headers["Content-Type"], body)
    assert (kos.data, kos.content_type) == (KOS, "application/dicom")
    expected = sign_submission(Signed(SET_UID, ((KOS_UID, KOS),), SIGNATURE_UID, NOW), signer(), "sha1")
    assert (signature.data, signature.content_type) == (expected, "text/xml; charset=UTF-8")
    request = etree.fromstring(root.data).find(f".//{IHE}ProvideAndRegisterDocumentSetRequest")
    documents = {d.get("id"): content_id_of(d[0].get("href")) for d in request.iterfind(f"{IHE}Document")}
    assert documents == {"DocumentKOS": kos.content_id, "Signature01": signature.content_id}
    assert exchange.status == 200
    assert exchange.envelope == root.data
    assert b"RegistryResponse" in exchange.answer


def test_hash_and_size_are_those_of_the_bytes_sent(clock: FakeClock) -> None:
    dmp, transport = make(clock, answer(registry_response()))
    dmp.publish(submission(), KOS)
    _, headers, body = transport.posted[0]
    root, kos, signature = read_multipart(headers["Content-Type"], body)
    for identifier, part in (("DocumentKOS", kos), ("Signature01", signature)):
        (entry,) = etree.fromstring(root.data).iterfind(f".//{RIM}ExtrinsicObject[@id='{identifier}']")
        found = {s.get("name"): s.findtext(f"{RIM}ValueList/{RIM}Value") for s in entry.iterfind(f"{RIM}Slot")}
        assert found["hash"] == hashlib.sha1(part.data).hexdigest()
        assert found["size"] == str(len(part.data))


def test_the_envelope_is_the_reviewed_one(clock: FakeClock) -> None:
    dmp, transport = make(clock, answer(registry_response()))
    exchange = dmp.publish(submission(), KOS)
    root = etree.fromstring(exchange.envelope)
    for element in root.iter(f"{DS}SignatureValue", f"{DS}DigestValue", f"{DS}X509Certificate"):
        element.text = "…"
    (entry,) = root.iterfind(f".//{RIM}ExtrinsicObject[@id='Signature01']")
    for slot in entry.iterfind(f"{RIM}Slot"):
        if slot.get("name") in ("hash", "size"):
            slot[0][0].text = "…"
    for inner in root.iter(f"{RIM}RegistryObjectList"):
        # reviewed in publish.xml
        inner[:] = [etree.Comment(child.get("id")) for child in inner]
    check_golden("publish_envelope.xml", pretty(root))
    heads = [
        line
        for line in transport.posted[0][2].decode("latin-1").split("\r\n")
        if re.match(r"(--drimbox|Content-)", line)
    ]
    mime = "\n".join([f"Content-Type: {transport.posted[0][1]['Content-Type']}", *heads]) + "\n"
    check_golden("publish_mime.txt", mime)


def test_the_assertion_speaks_for_the_patient_and_verifies(clock: FakeClock) -> None:
    dmp, _ = make(clock, answer(registry_response()))
    exchange = dmp.publish(submission(restrictions=Restrictions(secret_connection=True)), KOS)
    assert xmlsec_accepts(exchange.envelope)
    text = exchange.envelope.decode()
    assert f"{TRAITS.ins}^^^&amp;{TRAITS.ins_oid}&amp;ISO^NH" in text
    assert "confidentiality-code" in text


def test_a_second_attempt_differs_only_by_message_assertion_and_part_names(clock: FakeClock) -> None:
    dmp, transport = make(clock, OutcomeUnknown("cut"), answer(registry_response()))
    one = submission()
    with pytest.raises(OutcomeUnknown):
        dmp.publish(one, KOS)
    clock.advance(3600)
    dmp.publish(submission_from_json(submission_to_json(one)), KOS)
    first, second = (envelope(p) for p in transport.posted)
    ids = [(e.findtext(f".//{A}MessageID"), e.find(f".//{SAML}Assertion").get("ID"),
            e.find(f".//{SAML}Assertion").get("IssueInstant")) for e in (first, second)]  # fmt: skip
    assert all(a != b for a, b in zip(*ids, strict=True))
    objects = [etree.tostring(e.find(f".//{RIM}RegistryObjectList"), method="c14n") for e in (first, second)]
    assert objects[0] == objects[1]
    parts = [read_multipart(h["Content-Type"], b)[1:] for _, h, b in transport.posted]
    assert [p.data for p in parts[0]] == [p.data for p in parts[1]]


def test_another_kos_than_the_described_one_is_not_sent(clock: FakeClock) -> None:
    dmp, transport = make(clock)
    with pytest.raises(DocumentError) as caught:
        dmp.publish(submission(), KOS + b"!")
    assert caught.value.reason == "kos-changed"
    assert transport.posted == []


@pytest.mark.parametrize(
    ("given", "kind", "scope", "code"),
    [
        (answer(registry_response("Failure", ("XDSRegistryBusy", ""))), ServiceUnavailable, None, "XDSRegistryBusy"),
        (answer(registry_response("Failure", ("XDSDuplicateUniqueIdInRegistry", ""))), ServiceRefused, "duplicate",
         "XDSDuplicateUniqueIdInRegistry"),
        (answer(registry_response("Failure", ("DMPClosed", ""))), ServiceRefused, "patient", "DMPClosed"),
        (answer(registry_response("Failure", ("XDSReplaceFailed", ""))), ServiceRefused, "replace", "XDSReplaceFailed"),
        (answer(registry_response("Failure", ("Neuf", ""))), ServiceRefused, "document", "Neuf"),
        (answer(registry_response("Failure")), OutcomeUnknown, None, ""),
        (answer(registry_response("PartialSuccess", ("XDSRegistryMetadataError", ""))), OutcomeUnknown, None,
         "XDSRegistryMetadataError"),
        (answer("<x/>"), OutcomeUnknown, None, ""),
        (answer(fault("Sender", "d:DMPInvalidCertificate", ""), 500), ServiceRefused, "configuration",
         "DMPInvalidCertificate"),
        (Response(502, {"content-type": "text/html"}, b"<html>"), OutcomeUnknown, None, "HTTP502"),
        (Response(503, {}, b""), ServiceUnavailable, None, "HTTP503"),
        (Response(200, {"content-type": "application/soap+xml"}, soap_answer(registry_response())[:80]), OutcomeUnknown,
         None, "HTTP200"),
        (answer(registry_response(), relates_to="urn:uuid:other"), OutcomeUnknown, None, ""),
        (ServiceUnavailable("refused"), ServiceUnavailable, None, ""),
    ],
)  # fmt: skip
def test_each_answer_becomes_its_error_with_the_exchange(
    clock: FakeClock, given: Response | Exception, kind: type[NationalServiceError], scope: str | None, code: str
) -> None:
    dmp, _ = make(clock, given)
    with pytest.raises(NationalServiceError) as caught:
        dmp.publish(submission(), KOS)
    assert type(caught.value) is kind
    assert getattr(caught.value, "scope", None) == scope
    assert caught.value.code == code
    exchange = exchange_of(caught.value)
    assert b"Envelope" in exchange.envelope
    assert exchange.status == (given.status if isinstance(given, Response) else 0)


def test_warnings_do_not_spoil_a_success(clock: FakeClock) -> None:
    dmp, _ = make(clock, answer(registry_response("Success", ("XDSExtraMetadataNotSaved", ""), severity="Warning")))
    dmp.publish(submission(), KOS)


@pytest.mark.parametrize("which", ["Dmp.SignatureCertificate", "Dmp.ClientCertificate"])
def test_an_expired_certificate_stops_before_anything_is_sent(clock: FakeClock, which: str) -> None:
    dmp, transport = make(clock)
    clock.advance(timedelta(days=366).total_seconds())
    if which == "Dmp.ClientCertificate":
        del dmp._watched["Dmp.SignatureCertificate"]
    with pytest.raises(ServiceRefused) as caught:
        dmp.publish(submission(), KOS)
    assert caught.value.scope == "configuration"
    assert which in caught.value.public
    assert transport.posted == []


# question


def test_the_entry_of_a_document_is_found(clock: FakeClock) -> None:
    dmp, transport = make(clock, answer(query_response(ENTRY)))
    assert dmp.find_entry(KOS_UID, TRAITS) == ENTRY
    url, headers, _ = transport.posted[0]
    assert url == f"{URL}registry"
    assert headers["Content-Type"].startswith("application/soap+xml")
    assert f"('{KOS_UID}')" in etree.tostring(envelope(transport.posted[0]), encoding="unicode")


def test_an_unknown_document_has_no_entry(clock: FakeClock) -> None:
    dmp, _ = make(clock, answer(query_response()))
    assert dmp.find_entry(KOS_UID, TRAITS) is None


def test_several_entries_ask_for_a_person(clock: FakeClock) -> None:
    dmp, _ = make(clock, answer(query_response(ENTRY, "urn:uuid:b")))
    with pytest.raises(ServiceRefused) as caught:
        dmp.find_entry(KOS_UID, TRAITS)
    assert caught.value.scope == "replace"


@pytest.mark.parametrize(
    "given",
    [
        OutcomeUnknown("cut"),
        Response(502, {}, b""),
        answer(query_response(status="PartialSuccess")),
        answer(query_response(ENTRY), relates_to="urn:uuid:other"),
    ],
)
def test_a_question_without_answer_may_simply_be_asked_again(clock: FakeClock, given: Response | Exception) -> None:
    dmp, _ = make(clock, given)
    with pytest.raises(ServiceUnavailable) as caught:
        dmp.find_entry(KOS_UID, TRAITS)
    assert exchange_of(caught.value).action == "urn:ihe:iti:2007:RegistryStoredQuery"


# withdrawal


def test_a_withdrawal_is_an_update_without_document(clock: FakeClock) -> None:
    dmp, transport = make(clock, answer(registry_response()))
    update = withdrawal(submission(), SETTINGS, entry_uuid=ENTRY, submission_uid="1.2.3.8.9", submitted_at=NOW)
    dmp.withdraw(update)
    url, headers, _ = transport.posted[0]
    assert url == f"{URL}registry"
    assert 'action="urn:ihe:iti:2010:UpdateDocumentSet"' in headers["Content-Type"]
    assert ENTRY in etree.tostring(envelope(transport.posted[0]), encoding="unicode")


def test_a_withdrawal_refused_says_so(clock: FakeClock) -> None:
    dmp, _ = make(clock, answer(registry_response("Failure", ("XDSMetadataUpdateError", ""))))
    update = withdrawal(submission(), SETTINGS, entry_uuid=ENTRY, submission_uid="1.2.3.8.9", submitted_at=NOW)
    with pytest.raises(ServiceRefused) as caught:
        dmp.withdraw(update)
    assert caught.value.scope == "replace"


# opening, and what is never said


def test_a_client_opens_from_the_configuration(tmp_path: Path, clock: FakeClock) -> None:
    (client_certificate, client_key), (certificate, key) = (
        write_pem(tmp_path, "auth", client()),
        write_pem(tmp_path, "sign", signer()),
    )
    trust, _ = write_pem(tmp_path, "ca", authority())
    settings = SETTINGS.model_copy(update={
        "client_certificate": client_certificate, "client_key": client_key, "signature_certificate": certificate,
        "signature_key": key, "trust_file": trust,
    })  # fmt: skip
    assert isinstance(open_client(settings, clock), DmpClient)
    key.unlink()
    with pytest.raises(ConfigurationError) as caught:
        open_client(settings, clock)
    assert "Dmp.SignatureKey" in caught.value.detail


def test_no_identity_reaches_a_log_an_error_or_a_repr(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    refused = registry_response("Failure", ("XDSUnknownPatientId", f"patient {TRAITS.ins} inconnu"))
    dmp, _ = make(clock, answer(refused))
    with pytest.raises(NationalServiceError) as caught:
        dmp.publish(submission(), KOS)
    told = caplog.text + str(caught.value) + caught.value.public + caught.value.detail + repr(exchange_of(caught.value))
    assert TRAITS.ins not in told
    assert TRAITS.birth_family not in told
