# SPDX-License-Identifier: AGPL-3.0-or-later
"""ITI-41 on the DMP stand-in: what it registers, what it refuses, over real TLS."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from sandbox.dmp_server import DmpServers
from tests.sandbox.dmp_messages import (
    ARCHIVED,
    DELETED,
    PATIENT,
    RPLC,
    RSA_SHA256,
    STATUS,
    STRUCTURE,
    UPDATE,
    Client,
    Edit,
    Publication,
    Vihf,
    air,
    association,
    new_oid,
    status_update,
    swap,
)  # fmt: skip

pytest_plugins = ("tests.sandbox.dmp_fixtures",)


def publication(pki: Path, **changes: Any) -> Publication:
    return Publication(pki, **changes)


def test_a_right_publication_is_registered_with_its_bytes_and_its_entry(
    pki: Path, dmp: DmpServers, client: Client
) -> None:
    sent = publication(pki, confidentiality=("N", "INVISIBLE_PATIENT"))
    reply = client.publish(sent)
    assert (reply.status, reply.outcome, reply.codes) == (200, "Success", [])
    assert reply.multipart
    assert reply.simulator == "DRIMbox sandbox"
    stored = dmp.app.store.by_unique_id(sent.uid)
    assert stored is not None
    assert stored.content == sent.content
    assert (stored.status, stored.kind, stored.replaces) == ("Approved", "kos", None)
    assert stored.entry_uuid.startswith("urn:uuid:")
    assert stored.submission_uid == sent.set_uid
    assert sent.uid.encode() in stored.entry_xml
    assert stored.entry_uuid.encode() not in reply.body
    assert client.entry_uuid(sent.uid) == [stored.entry_uuid]
    assert dmp.app.store.attempts(sent.uid) == (1, 1)


def test_the_answer_relates_to_the_request(pki: Path, client: Client) -> None:
    found = {}

    def note(xml: str) -> str:
        found["id"] = xml.split("<wsa:MessageID>")[1].split("<", maxsplit=1)[0]
        return xml

    reply = client.publish(publication(pki), edit=note)
    header = {e.tag.rpartition("}")[2]: e.text for e in reply.xml[0]}
    assert header["RelatesTo"] == found["id"]
    assert header["Action"] == "urn:ihe:iti:2007:ProvideAndRegisterDocumentSet-bResponse"
    assert str(header["MessageID"]).startswith("urn:uuid:")


def test_base64_parts_and_sha256_signatures_are_read(pki: Path, client: Client) -> None:
    assert client.publish(publication(pki), coding="base64").outcome == "Success"
    assert client.publish(publication(pki, dsig_algorithm=RSA_SHA256)).outcome == "Success"


def test_a_replacement_deprecates_the_old_entry(pki: Path, dmp: DmpServers, client: Client) -> None:
    old = publication(pki)
    assert client.publish(old).outcome == "Success"
    [entry] = client.entry_uuid(old.uid)
    new = publication(pki, study=old.study, replaces=entry, confidentiality=("N", "MASQUE_PS"))
    assert client.publish(new).outcome == "Success"
    store = dmp.app.store
    before, after = store.by_unique_id(old.uid), store.by_unique_id(new.uid)
    assert before is not None
    assert after is not None
    assert (before.status, after.status, after.replaces) == ("Deprecated", "Approved", entry)
    again = client.publish(publication(pki, replaces=entry))
    assert (again.outcome, again.codes) == ("Failure", ["XDSRegistryDeprecatedDocumentError"])


def test_replacing_what_is_unknown_deleted_or_another_patients_is_refused(pki: Path, client: Client) -> None:
    unknown = "urn:uuid:00000000-0000-4000-8000-000000000000"
    assert client.publish(publication(pki, replaces=unknown)).codes == ["XDSReplaceFailed"]
    old = publication(pki)
    client.publish(old)
    [entry] = client.entry_uuid(old.uid)
    other = PATIENT.replace("188027512345678", "188027512345700")
    moved = client.publish(publication(pki, replaces=entry, patient=other), Vihf(patient=other))
    assert moved.codes == ["XDSPatientIdDoesNotMatch"]
    assert client.call("registry", UPDATE, status_update(entry, STATUS + "Approved", DELETED)).outcome == "Success"
    assert client.publish(publication(pki, replaces=entry)).codes == ["XDSReplaceFailed"]
    assert client.entry_uuid(old.uid) == []


def test_a_second_publication_of_the_same_document_changes_nothing(pki: Path, dmp: DmpServers, client: Client) -> None:
    sent = publication(pki)
    assert client.publish(sent).outcome == "Success"
    again = publication(pki, uid=sent.uid, content=sent.content)
    assert client.publish(again).codes == ["XDSDuplicateUniqueIdInRegistry"]
    other = publication(pki, uid=sent.uid)
    assert client.publish(other).codes == ["XDSNonIdenticalHash"]
    same_set = publication(pki, set_uid=sent.set_uid)
    assert client.publish(same_set).check == "duplicate-set"
    assert dmp.app.store.by_unique_id(same_set.uid) is None
    assert dmp.app.store.attempts(sent.uid) == (3, 1)


def test_one_identifier_twice_in_a_message_is_refused(pki: Path, client: Client) -> None:
    uid = new_oid()
    reply = client.publish(publication(pki, uid=uid, signature_uid=uid))
    assert reply.codes == ["XDSRepositoryDuplicateUniqueIdInMessage"]


KOS_REFUSALS = {
    "metadata-missing-legalAuthenticator": swap('name="legalAuthenticator"', 'name="urn:x"'),
    "metadata-missing-creationTime": swap('name="creationTime"', 'name="urn:x"'),
    "metadata-missing-serviceStartTime": swap('name="serviceStartTime"', 'name="urn:x"'),
    "metadata-missing-sourcePatientId": swap('name="sourcePatientId"', 'name="urn:x"'),
    "metadata-missing-hash": swap('name="hash"', 'name="urn:x"'),
    "metadata-missing-size": swap('name="size"', 'name="urn:x"'),
    "metadata-missing-languageCode": swap('name="languageCode"', 'name="urn:x"'),
    "metadata-language": swap("fr-FR", "en-GB"),
    "metadata-time-shape": swap("20260104092200", "20260104092200+0100"),
    "metadata-service-times": swap("20260104092200", "20260104102200"),
    "metadata-creation-time-future": lambda text: text.replace("<rim:Value>20", "<rim:Value>29", 1),
    "metadata-object-type": swap("urn:uuid:7edca82f-054d-47f2-a032-9b2a5b5186c1", "urn:uuid:other"),
    "metadata-mime-type": swap("application/dicom", "text/xml"),
    "metadata-class-code": swap('nodeRepresentation="31"', 'nodeRepresentation="11"'),
    "metadata-type-code": swap('nodeRepresentation="IMG-KOS"', 'nodeRepresentation="18748-4"'),
    "metadata-format-code": swap("1.2.840.10008.2.6.1", "1.2.840.10008.2.6.2"),
    "metadata-facility": swap('nodeRepresentation="SA08"', 'nodeRepresentation="SA99"'),
    "metadata-practice": swap("AMBULATOIRE", "VILLE"),
    "metadata-event-code": swap('nodeRepresentation="MR"', 'nodeRepresentation="RM"'),
    "metadata-event-modality": swap("1.2.840.10008.2.16.4", "2.16.840.1.113883.6.1"),
    "metadata-confidentiality": swap('nodeRepresentation="N"', 'nodeRepresentation="L"'),
    "metadata-legal-authenticator": swap("^D^^^IDNPS", "^D^^IDNPS"),
    "metadata-source-patient-id": swap("12345^^^", "12345^^"),
    "metadata-source-patient-info": swap("PID-8|F", "PID-8|X"),
    "metadata-author-person": swap("^U^^^EI", ""),
    "metadata-author-institution": swap("ISO^IDNST^^^", "ISO^^^^"),
    "metadata-reference-shape": swap("^urn:ihe:iti:xds:2013:order", "^order"),
    "metadata-reference-missing": swap("2016:studyInstanceUID", "2013:workflowInstanceId"),
    "metadata-title": swap("Reference d'Objets d'un Examen d'Imagerie", ""),
    "metadata-patient-id": swap("1.2.250.1.213.1.4.10", "1.2.250.1.213.1.4.99"),
    "entry-patient": swap("188027512345678", "188027512345699"),
    "metadata-unique-id": swap('value="2.25.', 'value="2.25.x'),
    "metadata-hash-shape": swap('name="size"><rim:ValueList><rim:Value>', 'name="size"><rim:ValueList><rim:Value>-'),
}


@pytest.mark.parametrize("check", KOS_REFUSALS)
def test_a_kos_entry_with_a_fault_is_refused(pki: Path, dmp: DmpServers, client: Client, check: str) -> None:
    sent = publication(pki, edit_kos=KOS_REFUSALS[check])
    reply = client.publish(sent)
    checks = [e.get("location") for e in reply.xml.findall(".//{*}RegistryError")]
    assert (reply.outcome, check in checks) == ("Failure", True), checks
    assert dmp.app.store.by_unique_id(sent.uid) is None
    assert client.entry_uuid(sent.uid) == []


def test_two_confidentiality_levels_are_refused_but_several_masks_are_not(pki: Path, client: Client) -> None:
    assert client.publish(publication(pki, confidentiality=("N", "R"))).check == "metadata-confidentiality"
    assert client.publish(publication(pki, confidentiality=("N", "MASQUE_PS", "MASQUE_PS"))).outcome == "Failure"
    assert client.publish(publication(pki, confidentiality=("MASQUE_PS",))).check == "metadata-confidentiality"
    masks = ("N", "MASQUE_PS", "INVISIBLE_PATIENT", "INVISIBLE_REPRESENTANTS_LEGAUX")
    assert client.publish(publication(pki, confidentiality=masks)).outcome == "Success"


def test_a_slot_that_is_not_of_an_entry_gives_a_warning_only(pki: Path, client: Client) -> None:
    extra = '<rim:Slot name="submissionTime"><rim:ValueList><rim:Value>20260101</rim:Value></rim:ValueList></rim:Slot>'
    reply = client.publish(publication(pki, edit_kos=swap('<rim:Slot name="hash">', extra + '<rim:Slot name="hash">')))
    assert (reply.outcome, reply.codes) == ("Success", ["XDSExtraMetadataNotSaved"])


SET_REFUSALS = {
    "metadata-submission-time": swap('name="submissionTime"', 'name="urn:x"'),
    "metadata-submission-time-future": lambda text: text.replace("<rim:Value>20", "<rim:Value>29", 1),
    "metadata-content-type": swap('nodeRepresentation="04"', 'nodeRepresentation="55"'),
    "metadata-set-sourceId": swap("1.2.250.1.999.1", "DRIMBOX"),
    "metadata-set-uniqueId": swap('value="2.25.', 'value="2.25.x'),
    "metadata-author-vihf": swap(f"^^^{STRUCTURE}", "^^^1999999999"),
    "metadata-author": swap('nodeRepresentation="">', 'nodeRepresentation="x">'),
    "vihf-patient": swap("188027512345678", "188027512345699"),
}


@pytest.mark.parametrize("check", SET_REFUSALS)
def test_a_submission_set_with_a_fault_is_refused(pki: Path, client: Client, check: str) -> None:
    assert client.publish(publication(pki, edit_set=SET_REFUSALS[check])).check == check


SIGNATURE_ENTRY_REFUSALS = {
    "metadata-signature-entry": swap('value="Source"', 'value="Autre"'),
    "metadata-signature-code": swap("http://www.w3.org/2000/09/xmldsig#", "http://example.test/"),
    "metadata-signature-confidentiality": swap("INVISIBLE_PATIENT", "INVISIBLE_REPRESENTANTS_LEGAUX"),
    "metadata-missing-hash": swap('name="hash"', 'name="urn:x"'),
}


@pytest.mark.parametrize("check", SIGNATURE_ENTRY_REFUSALS)
def test_a_signature_entry_with_a_fault_is_refused(pki: Path, client: Client, check: str) -> None:
    assert client.publish(publication(pki, edit_signature=SIGNATURE_ENTRY_REFUSALS[check])).check == check


def _second_document(text: str) -> str:
    """The signature's Document element, under an id that no entry has."""
    return text[text.index('<ihe:Document id="Sign') : text.rindex("</ihe:Provide")].replace("Signature01", "Other")


BODY_REFUSALS = {
    "metadata-has-member": swap('targetObject="DocumentKOS"', 'targetObject="Signature01"'),
    "metadata-signs": swap("2007:AssociationType:signs", "2007:AssociationType:APND"),
    "missing-document": lambda t: t.split('<ihe:Document id="Signature01"')[0] + t[t.rindex("</ihe:Provide"):],
    "missing-metadata": lambda t: t.replace("</ihe:ProvideAnd", _second_document(t) + "</ihe:ProvideAnd"),
    "metadata-association-type": lambda t: t.replace(
        "</rim:RegistryObjectList>", association("urn:x", "DocumentKOS", "Signature01") + "</rim:RegistryObjectList>"),
    "metadata-replace-source": lambda t: t.replace(
        "</rim:RegistryObjectList>", association(RPLC, "Signature01", "urn:uuid:1") + "</rim:RegistryObjectList>"),
    "xop-missing-part": swap("cid:kos%40sandbox.test", "cid:other%40sandbox.test"),
    "xop-href": swap("cid:kos%40sandbox.test", "http://sandbox.test/kos"),
    "mtom-required": swap('<xop:Include xmlns:xop="http://www.w3.org/2004/08/xop/include" '
                          'href="cid:kos%40sandbox.test"/>', "QUJD"),
    "schema": swap(' id="SubmissionSet01"', ""),
}  # fmt: skip


@pytest.mark.parametrize("check", BODY_REFUSALS)
def test_contents_and_associations_must_fit(pki: Path, client: Client, check: str) -> None:
    reply = client.publish(publication(pki, edit_body=BODY_REFUSALS[check]))
    checks = [e.get("location") for e in reply.xml.findall(".//{*}RegistryError")] or [reply.check]
    assert check in checks, reply.body


def _moved(text: str) -> str:
    """The title before the slots: right values, wrong order."""
    title = text[text.index('<rim:Name><rim:LocalizedString value="Reference') :]
    title = title[: title.index("</rim:Name>") + len("</rim:Name>")]
    first = text.index("<rim:Slot")
    bare = text.replace(title, "")
    return bare[:first] + title + bare[first:]


@pytest.mark.parametrize(
    "edit",
    [
        _moved,
        swap('classifiedObject="DocumentKOS"', 'classifiedObject="Other"'),
        swap('registryObject="DocumentKOS"', 'registryObject="Other"'),
        swap(' classificationScheme="urn:uuid:41a5887f-8865-4c09-adf7-e362475b143a"', ""),
        swap('<rim:Slot name="size">', '<rim:Slot name="hash">'),
        swap("<rim:Value>fr-FR</rim:Value>", "<rim:Value></rim:Value>"),
        swap("</rim:ExtrinsicObject>", "<rim:Other/></rim:ExtrinsicObject>"),
    ],
    ids=["order", "classified", "registry", "scheme", "slot-twice", "empty-value", "foreign-element"],
)
def test_what_the_schema_forbids_is_a_fault(pki: Path, client: Client, edit: object) -> None:
    reply = client.publish(publication(pki, edit_kos=edit))
    assert (reply.status, reply.check) == (500, "schema")
    assert reply.multipart


def test_hash_and_size_must_be_those_of_the_decoded_bytes(pki: Path, client: Client) -> None:
    sent = publication(pki)
    entry = sent.kos_entry()
    reply = client.publish(publication(pki, uid=sent.uid, edit_kos=lambda _: entry))
    checks = {e.get("location") for e in reply.xml.findall(".//{*}RegistryError")}
    assert checks == {"metadata-hash"}
    short = publication(
        pki, edit_kos=swap('name="size"><rim:ValueList><rim:Value>732', 'name="size"><rim:ValueList><rim:Value>733')
    )
    assert len(short.content) == 732
    assert client.publish(short).check == "metadata-size"


def test_a_document_that_is_no_dicom_file_is_refused(pki: Path, client: Client) -> None:
    assert client.publish(publication(pki, content=b"x" * 700)).codes == ["InvalidDocumentContent"]


def _break_value(text: str) -> str:
    head, _, tail = text.partition("<SignatureValue>")
    return head + "<SignatureValue>" + ("B" if tail[0] == "A" else "A") + tail[1:]


DSIG_REFUSALS: dict[str, dict[str, Any]] = {
    "dsig-manifest-set": {"dsig_edit": swap("AA==", "AQ==")},
    "dsig-digest": {"dsig_tamper": swap("</SignedSignatureProperties>", "</SignedSignatureProperties> ")},
    "dsig-signature": {"dsig_tamper": _break_value},
    "dsig-purpose": {"dsig_edit": swap("1.2.840.10065.1.12.1.14", "1.2.840.10065.1.12.1.1")},
    "dsig-transforms": {"dsig_edit": swap(
        'URI="#IHEManifest">', 'URI="#IHEManifest"><Transforms><Transform Algorithm="x"/></Transforms>')},
    "dsig-c14n": {"dsig_edit": swap("REC-xml-c14n-20010315#WithComments", "REC-xml-c14n-20010315")},
    "dsig-algorithm": {"dsig_tamper": swap("2000/09/xmldsig#rsa-sha1", "2000/09/xmldsig#hmac-sha1")},
    "dsig-references": {"dsig_edit": swap('URI="#S0-SignedProperties"', 'URI="#sig-1"')},
    "dsig-qualifying": {"dsig_edit": swap('1.1#" Target="#sig-1"', '1.1#" Target="#x"')},
    "dsig-signing-time": {"dsig_edit": swap("<SigningTime>2", "<SigningTime>x2")},
    "dsig-policy": {"dsig_edit": swap("<SignaturePolicyImplied/>", "")},
    "dsig-issuer-serial": {"dsig_edit": swap("<X509SerialNumber>", "<X509SerialNumber>9")},
    "dsig-signing-certificate": {"dsig_edit": swap("<CertDigest>", "<CertDigest><DigestValue>AA==</DigestValue>")},
    "dsig-manifest": {"dsig_documents": {}},
    "dsig-shape": {"dsig_tamper": swap(' Id="sig-1"', "")},
    "dsig-ids": {"dsig_tamper": swap('Id="purposeOfSignature"', 'Id="sig-1"')},
    "dsig-xml": {"dsig_tamper": swap("</Signature>", "")},
    "dsig-signer-usage": {"dsig_signer": "structure-auth"},
    "dsig-signer": {"dsig_signer": "whitelist-signer"},
    "dsig-signer-issuer": {"dsig_signer": "foreign"},
}  # fmt: skip


@pytest.mark.parametrize("check", DSIG_REFUSALS)
def test_a_wrong_signature_document_is_refused(pki: Path, dmp: DmpServers, client: Client, check: str) -> None:
    sent = publication(pki, **DSIG_REFUSALS[check])
    reply = client.publish(sent)
    assert (reply.outcome, reply.codes, reply.check) == ("Failure", ["InvalidDocumentContent"], check)
    assert dmp.app.store.by_unique_id(sent.uid) is None


def test_the_signed_document_must_be_the_one_sent(pki: Path, client: Client) -> None:
    uid = new_oid()
    reply = client.publish(publication(pki, uid=uid, dsig_documents={uid: b"another"}))
    assert reply.check == "dsig-digest"


def test_air_may_not_publish(pki: Path, client: Client) -> None:
    vihf = Vihf(mode="INDIRECTE_RENFORCEE", name_id="899700000001")
    reply = client.publish(publication(pki), vihf)
    assert (reply.status, reply.check, reply.subcode) == (500, "rights-TD2.1", "DMPAccessDenied")


def test_special_patients_are_refused(pki: Path, client: Client) -> None:
    for ins, code in (("199017599990149", "DMPClosed"), ("199017599990248", "XDSUnknownPatientId")):
        patient = PATIENT.replace("188027512345678", ins)
        assert client.publish(publication(pki, patient=patient), Vihf(patient=patient)).codes == [code]


# --- ITI-57 ------------------------------------------------------------------------------------------------------


def _published(pki: Path, client: Client) -> tuple[str, str]:
    sent = publication(pki)
    assert client.publish(sent).outcome == "Success"
    return sent.uid, client.entry_uuid(sent.uid)[0]


def test_a_deletion_takes_the_document_away(pki: Path, dmp: DmpServers, client: Client) -> None:
    uid, entry = _published(pki, client)
    reply = client.call("registry", UPDATE, status_update(entry, STATUS + "Approved", DELETED))
    assert (reply.outcome, reply.multipart) == ("Success", False)
    stored = dmp.app.store.by_unique_id(uid)
    assert stored is not None
    assert stored.status == "Deleted"
    again = client.call("registry", UPDATE, status_update(entry, STATUS + "Approved", DELETED))
    assert again.check == "update-original-status"


def test_wrong_status_changes_are_refused(pki: Path, dmp: DmpServers, client: Client) -> None:
    uid, entry = _published(pki, client)
    approved, deprecated = STATUS + "Approved", STATUS + "Deprecated"
    other = PATIENT.replace("188027512345678", "188027512345700")
    unknown = "urn:uuid:00000000-0000-4000-8000-000000000000"
    used = new_oid()
    _, second = _published(pki, client)
    assert client.call("registry", UPDATE, status_update(second, approved, DELETED, set_uid=used)).outcome == "Success"
    cases = [
        (status_update(entry, approved, deprecated), Vihf(), "update-transition"),
        (status_update(entry, "x", DELETED), Vihf(), "update-status-slot"),
        (status_update(unknown, approved, DELETED), Vihf(), "update-unknown"),
        (status_update(entry, ARCHIVED, DELETED), Vihf(), "update-original-status"),
        (status_update(entry, approved, ARCHIVED), Vihf(), "rights-TD3.3d"),
        (status_update(entry, approved, DELETED), Vihf(patient=other), "vihf-patient"),
        (status_update(entry, approved, DELETED, patient=other), Vihf(patient=other), "update-patient"),
        (status_update(entry, approved, DELETED, structure="1999999999"), Vihf(), "metadata-author-vihf"),
        (status_update(entry, approved, DELETED, set_uid=used), Vihf(), "duplicate-set"),
        (status_update(entry, approved, DELETED).replace("UpdateAvailabilityStatus", "Other"), Vihf(),
         "update-association"),
    ]  # fmt: skip
    for body, vihf, check in cases:
        assert client.call("registry", UPDATE, body, vihf).check == check
    stored = dmp.app.store.by_unique_id(uid)
    assert stored is not None
    assert stored.status == "Approved"


def test_a_structure_deletes_its_own_documents_only(pki: Path, dmp: DmpServers, client: Client) -> None:
    _, entry = _published(pki, client)
    peer = Client(pki, dmp.national.port, "peer")
    body = status_update(entry, STATUS + "Approved", DELETED, structure="318999999900017")
    air = Vihf(mode="INDIRECTE_RENFORCEE", name_id="899700000001")
    assert client.call("registry", UPDATE, body, air).check == "rights-TD3.3c"
    # The peer has no signature certificate of its own: its VIHF is refused before any right is looked at.
    assert peer.call("registry", UPDATE, body).check == "vihf-dn-differs"


def test_an_attribute_change_is_not_for_a_structure(pki: Path, client: Client) -> None:
    _, entry = _published(pki, client)
    body = status_update(entry, STATUS + "Approved", DELETED)
    changed = body.replace("<rim:Association", publication(pki).kos_entry() + "<rim:Association", 1)
    assert client.call("registry", UPDATE, changed).check == "rights-TD3.3a"


# --- the rest of the schema, of the signature and of the contents ---------------------------------------------------

_SIGNS_TO = 'targetObject="SubmissionSet01"'
_NODE = "urn:uuid:a54d6aa5-d40d-43f9-88c5-b4633d873bdd"
_NO_NAME = '<rim:Name><rim:LocalizedString value="XDSDocumentEntry.uniqueId"/></rim:Name>'


def _without_entry(identifier: str) -> Edit:
    """A body without an entry, its content and its associations."""

    def edit(text: str) -> str:
        for pattern in (
            rf'<rim:ExtrinsicObject id="{identifier}".*?</rim:ExtrinsicObject>',
            rf'<ihe:Document id="{identifier}".*?</ihe:Document>',
            rf'<rim:Association [^>]*"{identifier}".*?</rim:Association>',
        ):
            text, count = re.subn(pattern, "", text)
            assert count, pattern
        return text

    return edit


def _node_outside(text: str) -> str:
    """The classification of the set as a sibling: as right as inside."""
    node = text[text.index('<rim:Classification id="c-node"') :]
    node = node[: node.index("/>") + 2]
    return text.replace(node, "").replace("</rim:RegistryPackage>", "</rim:RegistryPackage>" + node)


def test_the_node_of_the_set_may_stand_beside_it(pki: Path, client: Client) -> None:
    assert client.publish(publication(pki, edit_body=_node_outside)).outcome == "Success"


SHAPES = [
    ("schema", swap("ihe:ProvideAndRegisterDocumentSetRequest", "ihe:ProvideAndRegister")),
    ("schema", swap("lcm:SubmitObjectsRequest", "lcm:UpdateObjectsRequest")),
    ("schema", swap("</lcm:SubmitObjectsRequest>", "</lcm:SubmitObjectsRequest><ihe:Other/>")),
    ("schema", swap('<ihe:Document id="Signature01">', '<ihe:Document id="DocumentKOS">')),
    ("schema", swap("rim:RegistryPackage", "rim:Package")),
    ("schema", lambda t: re.sub(r"<rim:RegistryPackage.*</rim:RegistryPackage>", "", t)),
    ("schema", swap(_NODE, "urn:uuid:other")),
    ("schema", lambda t: re.sub(r'(<rim:Association id=")[^"]*', r"\1same", t)),
    ("schema", swap(_NO_NAME, "")),
    ("schema", swap(_SIGNS_TO, 'targetObject=""')),
    ("schema", swap("ObjectType:RegistryObject:Association", "ObjectType:RegistryObject:Other")),
    ("metadata-no-document", _without_entry("DocumentKOS")),
    ("metadata-signature-count", _without_entry("Signature01")),
]


@pytest.mark.parametrize(("check", "edit"), SHAPES, ids=[f"{n}-{c}" for n, (c, _) in enumerate(SHAPES)])
def test_other_shapes_are_refused(pki: Path, client: Client, check: str, edit: Edit) -> None:
    reply = client.publish(publication(pki, edit_body=edit))
    checks = [e.get("location") for e in reply.xml.findall(".//{*}RegistryError")] or [reply.check]
    assert check in checks, reply.body


def _no_author(text: str) -> str:
    return re.sub(
        r'<rim:Classification [^>]*classificationScheme="urn:uuid:93606bcf.*?</rim:Classification>', "", text, count=1
    )


def _no_label(code: str) -> Edit:
    def edit(text: str) -> str:
        pattern = rf'(nodeRepresentation="{code}">.*?)<rim:Name>.*?</rim:Name>'
        changed, count = re.subn(pattern, r"\1", text, count=1)
        assert count
        return changed

    return edit


MORE_METADATA = [
    ("metadata-author", _no_author),
    ("metadata-facility", _no_label("SA08")),
    ("metadata-event-code", _no_label("MR")),
    ("metadata-practice", lambda t: re.sub(
        r'<rim:Classification [^>]*classificationScheme="urn:uuid:cccf5598.*?</rim:Classification>', "", t)),
    ("metadata-reference-shape", lambda t: re.sub(r"2\.25\.\d+\^\^\^", "study^^^", t)),
    ("metadata-source-patient-info", swap("PID-7|", "AGE|")),
]  # fmt: skip


@pytest.mark.parametrize(("check", "edit"), MORE_METADATA, ids=[c for c, _ in MORE_METADATA])
def test_other_metadata_faults_are_refused(pki: Path, client: Client, check: str, edit: Edit) -> None:
    reply = client.publish(publication(pki, edit_kos=edit))
    assert check in [e.get("location") for e in reply.xml.findall(".//{*}RegistryError")]


_CERT_DIGEST = re.compile(r"(<CertDigest>.*?<DigestValue>)[^<]*")
MORE_DSIG = [
    ("dsig-shape", {"dsig_tamper": swap("<SignatureValue>", "<SignatureValue/><SignatureValue>")}),
    ("dsig-shape", {"dsig_tamper": swap("Object>", "Objet>")}),
    ("dsig-references", {"dsig_edit": lambda t: re.sub(r'<Reference Type="http://uri.*?</Reference>', "", t)}),
    ("dsig-algorithm", {"dsig_edit": swap("xmldsig#sha1", "xmldsig-more#md5")}),
    ("dsig-transforms", {"dsig_edit": lambda t: re.sub(
        r'(<Reference URI="urn:oid:[^"]*">)(?!.*AA==)', r'\1<Transforms><Transform Algorithm="x"/></Transforms>', t)}),
    ("dsig-purpose", {"dsig_tamper": swap('Id="purposeOfSignature" Target="#sig-1"', 'Id="purposeOfSignature"')}),
    ("dsig-signing-certificate", {"dsig_edit": lambda t: re.sub(r"<Cert>.*</Cert>", "", t)}),
    ("dsig-signing-certificate", {"dsig_edit": lambda t: _CERT_DIGEST.sub(r"\1AA==", t)}),
    ("dsig-signature", {"dsig_tamper": lambda t: re.sub(r"(<SignatureValue>)[^<]*", r"\1!", t)}),
]  # fmt: skip


@pytest.mark.parametrize(("check", "changes"), MORE_DSIG, ids=[f"{n}-{c}" for n, (c, _) in enumerate(MORE_DSIG)])
def test_other_signature_faults_are_refused(pki: Path, client: Client, check: str, changes: dict[str, Any]) -> None:
    assert client.publish(publication(pki, **changes)).check == check


def test_one_entry_is_not_replaced_by_two(pki: Path, client: Client) -> None:
    _, entry = _published(pki, client)
    twice = swap("</rim:RegistryObjectList>", association(RPLC, "DocumentKOS", entry) + "</rim:RegistryObjectList>")
    reply = client.publish(publication(pki, replaces=entry, edit_body=twice))
    assert reply.check == "metadata-replace-source"


def test_a_professional_may_delete_own_documents_but_attributes_are_not_imitated(
    pki: Path, dmp: DmpServers, client: Client
) -> None:
    uid, entry = _published(pki, client)
    body = status_update(entry, STATUS + "Approved", DELETED)
    changed = body.replace("<rim:Association", publication(pki).kos_entry() + "<rim:Association", 1)
    assert client.call("registry", UPDATE, changed, air()).check == "not-implemented"
    wrong = body.replace("<rim:Value>20", "<rim:Value>29", 1)
    assert client.call("registry", UPDATE, wrong).check == "metadata-submission-time-future"
    own = air(name_id="899711256811")
    assert client.call("registry", UPDATE, body, own).outcome == "Success"
    stored = dmp.app.store.by_unique_id(uid)
    assert stored is not None
    assert stored.status == "Deleted"
