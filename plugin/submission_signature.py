# SPDX-License-Identifier: AGPL-3.0-or-later
"""The signature document of a submission set (IHE DSG): detached, over a manifest of ``urn:oid:`` names.

It binds the submission set's identifier and the bytes of its documents, not their metadata.  Shape and
constants: spec `submission_signature.md`; XAdES 1.1.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cryptography.hazmat.primitives import serialization
from lxml import etree

from drimbox.dmp_keys import Credential, distinguished_name
from drimbox.xmlsig import (
    C14N_COMMENTS,
    DIGEST_URIS,
    DS,
    SIGNATURE_URIS,
    Digest,
    base64_text,
    canonical,
    certificate_text,
    digest,
    ds,
    sign_bytes,
)

XADES: Final = "http://uri.etsi.org/01903/v1.1.1#"
MANIFEST_ID: Final = "IHEManifest"
PROPERTIES_ID: Final = "S0-SignedProperties"
SOURCE_PURPOSE: Final = "1.2.840.10065.1.12.1.14"
_NOT_DIGESTED: Final = "AA=="  # the set itself has no bytes: one zero byte by convention


@dataclass(frozen=True, slots=True)
class Signed:
    """What is signed: the set, its documents (uniqueId, bytes), when, and under which identifier."""

    submission_uid: str
    documents: tuple[tuple[str, bytes], ...]
    signature_uid: str
    signed_at: datetime


def sign_submission(signed: Signed, signer: Credential, algorithm: Digest) -> bytes:
    """Write the signature document (UTF-8 XML); the same input gives the same bytes."""
    # an XML name starts with no digit, hence the underscore before the OID
    signature_id = f"_{signed.signature_uid}"
    root = etree.Element(ds("Signature"), Id=signature_id, nsmap={"ds": DS, "xad": XADES})
    info = etree.SubElement(root, ds("SignedInfo"))
    value = etree.SubElement(root, ds("SignatureValue"))
    data = etree.SubElement(etree.SubElement(root, ds("KeyInfo")), ds("X509Data"))
    etree.SubElement(data, ds("X509Certificate")).text = certificate_text(signer.certificate)
    manifest = _manifest(root, signed, algorithm)
    _purpose(root, signature_id)
    properties = _properties(root, signature_id, signed.signed_at, signer, algorithm)
    _method(info, "CanonicalizationMethod", C14N_COMMENTS)
    _method(info, "SignatureMethod", SIGNATURE_URIS[algorithm])
    # no Transform: the referenced element is digested in inclusive C14N without comments (XML-DSig 4.4.3.2)
    for kind, identifier, element in (
        (f"{DS}Manifest", MANIFEST_ID, manifest),
        (f"{XADES}SignedProperties", PROPERTIES_ID, properties),
    ):
        value_of = base64_text(digest(canonical(element, exclusive=False), algorithm))
        _reference(info, f"#{identifier}", value_of, algorithm).set("Type", kind)
    value.text = base64_text(sign_bytes(signer.key, canonical(info, exclusive=False, with_comments=True), algorithm))
    return etree.tostring(root, encoding="UTF-8", xml_declaration=True)


def _manifest(root: etree._Element, signed: Signed, algorithm: Digest) -> etree._Element:
    manifest = etree.SubElement(etree.SubElement(root, ds("Object")), ds("Manifest"), Id=MANIFEST_ID)
    _reference(manifest, f"urn:oid:{signed.submission_uid}", _NOT_DIGESTED, algorithm)
    for unique_id, content in signed.documents:
        _reference(manifest, f"urn:oid:{unique_id}", base64_text(digest(content, algorithm)), algorithm)
    return manifest


def _purpose(root: etree._Element, signature_id: str) -> None:
    holder = etree.SubElement(etree.SubElement(root, ds("Object")), ds("SignatureProperties"))
    purpose = etree.SubElement(holder, ds("SignatureProperty"), Id="purposeOfSignature", Target=f"#{signature_id}")
    purpose.text = SOURCE_PURPOSE


def _properties(
    root: etree._Element, signature_id: str, signed_at: datetime, signer: Credential, algorithm: Digest
) -> etree._Element:
    holder = etree.SubElement(
        etree.SubElement(root, ds("Object")), _xad("QualifyingProperties"), Target=f"#{signature_id}"
    )
    properties = etree.SubElement(holder, _xad("SignedProperties"), Id=PROPERTIES_ID)
    own = etree.SubElement(properties, _xad("SignedSignatureProperties"))
    stamp = signed_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    etree.SubElement(own, _xad("SigningTime")).text = stamp
    cert = etree.SubElement(etree.SubElement(own, _xad("SigningCertificate")), _xad("Cert"))
    cert_digest = etree.SubElement(cert, _xad("CertDigest"))
    etree.SubElement(cert_digest, _xad("DigestMethod"), Algorithm=DIGEST_URIS[algorithm])
    der = signer.certificate.public_bytes(serialization.Encoding.DER)
    etree.SubElement(cert_digest, _xad("DigestValue")).text = base64_text(digest(der, algorithm))
    issuer = etree.SubElement(cert, _xad("IssuerSerial"))
    etree.SubElement(issuer, ds("X509IssuerName")).text = distinguished_name(signer.certificate.issuer)
    etree.SubElement(issuer, ds("X509SerialNumber")).text = str(signer.certificate.serial_number)
    policy = etree.SubElement(own, _xad("SignaturePolicyIdentifier"))
    etree.SubElement(policy, _xad("SignaturePolicyImplied"))
    etree.SubElement(properties, _xad("SignedDataObjectProperties"))
    return properties


def _reference(parent: etree._Element, uri: str, value: str, algorithm: Digest) -> etree._Element:
    reference = etree.SubElement(parent, ds("Reference"), URI=uri)
    _method(reference, "DigestMethod", DIGEST_URIS[algorithm])
    etree.SubElement(reference, ds("DigestValue")).text = value
    return reference


def _method(parent: etree._Element, name: str, algorithm: str) -> None:
    etree.SubElement(parent, ds(name), Algorithm=algorithm)


def _xad(name: str) -> str:
    return f"{{{XADES}}}{name}"
