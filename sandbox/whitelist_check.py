# SPDX-License-Identifier: AGPL-3.0-or-later
"""The sandbox's own verifier of a "liste blanche" DRIM-M, by lxml and cryptography alone.

It judges what the signer beside it makes, and reads the official list; the product has another.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

from sandbox.whitelist_sign import (
    DS,
    EXC_C14N,
    FILTER2,
    LIST_NS,
    RSA_SHA256,
    SHA256,
    SHA512,
    XADES,
    Entry,
    exclusive_c14n,
    issuer_serial,
    subject_dn,
)


@dataclass(frozen=True, slots=True)
class Checked:
    """What `check` found true: the entries signed, the signer's and its chain's certificates."""

    entries: tuple[Entry, ...]
    generated_at: datetime
    signed_at: datetime
    chain: tuple[x509.Certificate, ...]


class BadList(Exception):
    """The list is not one to be trusted; the message says at which check."""


def _parse(document: bytes) -> etree._Element:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        root = etree.fromstring(document, parser)
    except etree.XMLSyntaxError as error:
        raise BadList(f"not XML: {error}") from error
    if root.getroottree().docinfo.internalDTD is not None:
        raise BadList("a DOCTYPE is not expected")
    return root


def _one(node: etree._Element, path: str) -> etree._Element:
    found = node.findall(path, {"ds": DS, "xades": XADES, "l": LIST_NS, "f2": FILTER2})
    if len(found) != 1:
        raise BadList(f"{path}: {len(found)} found, one expected")
    return found[0]


def _text(node: etree._Element, path: str) -> str:
    return (_one(node, path).text or "").strip()


def _shape(reference: etree._Element) -> list[tuple[str | None, str]]:
    """Each transform's algorithm with the text it holds: compared as a whole with the expected one."""
    transforms = reference.findall(f"{{{DS}}}Transforms/{{{DS}}}Transform")
    return [
        (t.get("Algorithm"), " ".join(f"{x.get('Filter')} {(x.text or '').strip()}" for x in t)) for t in transforms
    ]


def _check_references(signature: etree._Element, bare: bytes) -> None:
    """Both digests, after the exact form of the two references."""
    references = signature.findall(f"{{{DS}}}SignedInfo/{{{DS}}}Reference")
    if len(references) != 2 or signature.findall(f".//{{{DS}}}Manifest"):
        raise BadList("two references and no manifest expected")
    properties = _one(signature, "ds:Object/xades:QualifyingProperties/xades:SignedProperties")
    expected = (
        ("", [(FILTER2, "subtract /descendant::ds:Signature"), (EXC_C14N, "")], bare),
        (f"#{properties.get('Id')}", [(EXC_C14N, "")], exclusive_c14n(properties)),
    )
    for reference, (uri, shape, octets) in zip(references, expected, strict=True):
        if reference.get("URI") != uri or _shape(reference) != shape:
            raise BadList(f"unexpected reference {reference.get('URI')!r} {_shape(reference)}")
        if _one(reference, "ds:DigestMethod").get("Algorithm") != SHA256:
            raise BadList("digest algorithm")
        if base64.b64decode(_text(reference, "ds:DigestValue")) != hashlib.sha256(octets).digest():
            raise BadList(f"digest of reference {uri!r} differs")


def _check_value(signature: etree._Element, chain: tuple[x509.Certificate, ...]) -> None:
    info = _one(signature, "ds:SignedInfo")
    if _one(info, "ds:SignatureMethod").get("Algorithm") != RSA_SHA256:
        raise BadList("signature algorithm")
    if _one(info, "ds:CanonicalizationMethod").get("Algorithm") != EXC_C14N:
        raise BadList("canonicalisation algorithm")
    key = chain[0].public_key()
    if not isinstance(key, RSAPublicKey):
        raise BadList("the signer's key is not RSA")
    try:
        key.verify(
            base64.b64decode(_text(signature, "ds:SignatureValue")),
            exclusive_c14n(info),
            PKCS1v15(),
            hashes.SHA256(),
        )
    except InvalidSignature as error:
        raise BadList("the signature value does not verify") from error


def _check_signer(signature: etree._Element, chain: tuple[x509.Certificate, ...], root_pem: bytes | None) -> None:
    """SigningCertificateV2 names the signer, each certificate is issued by the next, the last is pinned."""
    cert = _one(signature, ".//xades:SigningCertificateV2/xades:Cert")
    algorithm = {SHA256: "sha256", SHA512: "sha512"}.get(
        _one(cert, "xades:CertDigest/ds:DigestMethod").get("Algorithm") or ""
    )
    digest = base64.b64decode(_text(cert, "xades:CertDigest/ds:DigestValue"))
    if algorithm is None or digest != hashlib.new(algorithm, chain[0].public_bytes(Encoding.DER)).digest():
        raise BadList("SigningCertificateV2 names another certificate")
    if base64.b64decode(_text(cert, "xades:IssuerSerialV2")) != issuer_serial(chain[0]):
        raise BadList("IssuerSerialV2 names another certificate")
    for child, parent in zip(chain, (*chain[1:], chain[-1]), strict=True):
        try:
            child.verify_directly_issued_by(parent)
        except (ValueError, TypeError, InvalidSignature) as error:
            raise BadList(f"{subject_dn(child)} is not issued by {subject_dn(parent)}") from error
    if root_pem is not None and chain[-1] not in x509.load_pem_x509_certificates(root_pem):
        raise BadList("the chain does not end in the pinned root")


def _entry(node: etree._Element) -> Entry:
    return Entry(
        identifier=_text(node, "l:Identifiant"),
        db=_text(node, "l:db"),
        vi=_text(node, "l:vi"),
        name=_text(node, "l:Denomination"),
        dn=_text(node, "l:DNCertificatOperateur"),
        contact=_text(node, "l:SupportContact"),
        updated=datetime.fromisoformat(_text(node, "l:DateMAJ")),
    )


def check(document: bytes, root_pem: bytes | None = None) -> Checked:
    """Verify form, digests, signature and chain of a list; `root_pem` holds the roots to trust.

    Neither validity dates nor revocation are looked at.  Raises BadList.
    """
    root = _parse(document)
    if root.tag != f"{{{LIST_NS}}}ListeBlancheDRIM-M":
        raise BadList(f"unexpected root {root.tag}")
    signature = _one(root, "ds:Signature")
    if len(root.findall(f".//{{{DS}}}Signature")) != 1 or root[-1] is not signature:
        raise BadList("one signature expected, as the last child of the root")
    certificates = signature.findall(f"{{{DS}}}KeyInfo/{{{DS}}}X509Data/{{{DS}}}X509Certificate")
    chain = tuple(x509.load_der_x509_certificate(base64.b64decode(c.text or "")) for c in certificates)
    if not chain:
        raise BadList("no certificate")
    _check_value(signature, chain)
    _check_signer(signature, chain, root_pem)
    bare = _parse(document)
    _drop_keeping_tail(bare)
    _check_references(signature, exclusive_c14n(bare.getroottree()))
    signed_at = datetime.fromisoformat(_text(signature, ".//xades:SigningTime"))
    entries = tuple(map(_entry, bare.findall(f"{{{LIST_NS}}}ListeDomaines/{{{LIST_NS}}}Domaine")))
    return Checked(entries, datetime.fromisoformat(_text(bare, "l:DateDeGeneration")), signed_at, chain)


def _drop_keeping_tail(root: etree._Element) -> None:
    """Remove the signature but not the white space behind it, which stays signed content."""
    signature = root[-1]
    if len(root) > 1:
        root[-2].tail = (root[-2].tail or "") + (signature.tail or "")
    root.remove(signature)
