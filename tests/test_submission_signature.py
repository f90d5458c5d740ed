# SPDX-License-Identifier: AGPL-3.0-or-later
"""The signature document of a submission set, checked from scratch."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

from drimbox.submission_signature import Signed, sign_submission
from drimbox.xmlsig import Digest
from tests.dmp_data import KOS, KOS_UID, NOW, SET_UID, SIGNATURE_UID, authority, check_golden, pretty, signer

DS = "{http://www.w3.org/2000/09/xmldsig#}"
XAD = "{http://uri.etsi.org/01903/v1.1.1#}"
SIGNED = Signed(SET_UID, ((KOS_UID, KOS),), SIGNATURE_UID, NOW)
METHODS = {
    "sha1": ("http://www.w3.org/2000/09/xmldsig#rsa-sha1", "http://www.w3.org/2000/09/xmldsig#sha1", hashes.SHA1()),
    "sha256": ("http://www.w3.org/2001/04/xmldsig-more#rsa-sha256", "http://www.w3.org/2001/04/xmlenc#sha256",
               hashes.SHA256()),
}  # fmt: skip
NAMESPACES = 'xmlns:ds="http://www.w3.org/2000/09/xmldsig#" xmlns:xad="http://uri.etsi.org/01903/v1.1.1#"'


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def expanded(element: str) -> str:
    """Canonical form of an element written without white space: namespaces first, no self-closed tag."""
    apex = re.sub(r"^<([\w:]+)", rf"<\1 {NAMESPACES}", element, count=1)
    return re.sub(r"<([\w:]+)([^>]*?)/>", r"<\1\2></\1>", apex)


def raw(document: bytes, tag: str) -> str:
    """An element as it stands in the bytes."""
    (found,) = re.findall(rf"<{tag}[ >].*?</{tag}>", document.decode(), flags=re.S)
    return found


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_every_digest_and_the_signature_are_right(algorithm: Digest) -> None:
    document = sign_submission(SIGNED, signer(), algorithm)
    method, digest_method, hash_algorithm = METHODS[algorithm]
    root = etree.fromstring(document)
    info = root.find(f"{DS}SignedInfo")
    values = [r.findtext(f"{DS}DigestValue") for r in info.iterfind(f"{DS}Reference")]
    for tag, value in zip(("ds:Manifest", "xad:SignedProperties"), values, strict=True):
        # attributes were written in canonical order (alphabetical), so text suffices to canonicalise
        assert b64(hashlib.new(algorithm, expanded(raw(document, tag)).encode()).digest()) == value
    assert info.find(f"{DS}SignatureMethod").get("Algorithm") == method
    assert {m.get("Algorithm") for m in root.iter(f"{DS}DigestMethod", f"{XAD}DigestMethod")} == {digest_method}
    text = expanded(raw(document, "ds:SignedInfo"))
    # Reference: Type stands before URI in canonical form
    text = re.sub(r'(URI="[^"]*") (Type="[^"]*")', r"\2 \1", text)
    value = base64.b64decode(root.findtext(f"{DS}SignatureValue"))
    signer().certificate.public_key().verify(value, text.encode(), padding.PKCS1v15(), hash_algorithm)


def test_the_manifest_names_the_set_and_the_kos() -> None:
    root = etree.fromstring(sign_submission(SIGNED, signer(), "sha1"))
    manifest = root.find(f"{DS}Object/{DS}Manifest")
    found = [(r.get("URI"), r.findtext(f"{DS}DigestValue")) for r in manifest]
    assert found == [(f"urn:oid:{SET_UID}", "AA=="), (f"urn:oid:{KOS_UID}", b64(hashlib.sha1(KOS).digest()))]


def test_no_reference_has_a_transform() -> None:
    root = etree.fromstring(sign_submission(SIGNED, signer(), "sha1"))
    assert list(root.iter(f"{DS}Transforms")) == []


def test_the_signing_certificate_is_bound() -> None:
    root = etree.fromstring(sign_submission(SIGNED, signer(), "sha1"))
    cert = root.find(f".//{XAD}Cert")
    der = signer().certificate.public_bytes(Encoding.DER)
    assert cert.findtext(f"{XAD}CertDigest/{XAD}DigestValue") == b64(hashlib.sha1(der).digest())
    issuer = cert.findtext(f"{XAD}IssuerSerial/{DS}X509IssuerName")
    assert issuer == "CN=AC ESSAI,OU=0000000000,O=CENTRE ESSAI,ST=Vosges (88),C=FR"
    assert issuer == authority().certificate.subject.rfc4514_string()
    assert cert.findtext(f"{XAD}IssuerSerial/{DS}X509SerialNumber") == str(signer().certificate.serial_number)
    assert b64(der) == root.findtext(f".//{DS}X509Certificate")


def test_identifiers_are_xml_names_and_targets_lead_to_them() -> None:
    root = etree.fromstring(sign_submission(SIGNED, signer(), "sha1"))
    ids = root.xpath("//@Id")
    assert len(set(ids)) == len(ids)
    for identifier in ids:
        assert re.fullmatch(r"[A-Za-z_][A-Za-z0-9._-]*", identifier)
    assert set(root.xpath("//@Target")) == {f"#{root.get('Id')}"}


def test_the_same_submission_gives_the_same_bytes() -> None:
    assert sign_submission(SIGNED, signer(), "sha1") == sign_submission(SIGNED, signer(), "sha1")


def test_the_document_is_the_reviewed_one() -> None:
    root = etree.fromstring(sign_submission(SIGNED, signer(), "sha1"))
    info = root.find(f"{DS}SignedInfo")
    masked = [
        *root.iter(f"{DS}SignatureValue", f"{DS}X509Certificate", f"{DS}X509SerialNumber", f"{XAD}DigestValue"),
        *list(info.iter(f"{DS}DigestValue"))[1:],
    ]
    for element in masked:
        element.text = "…"
    check_golden("signature.xml", pretty(root))
