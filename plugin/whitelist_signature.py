# SPDX-License-Identifier: AGPL-3.0-or-later
"""Signature of the whitelist: XAdES-BASELINE-B, enveloped (ETSI EN 319 132-1; W3C XML-DSig).

What is signed is decided here before any cryptography: one signature, last child of the root; two
references, the whole document less the signature and the signed properties; exactly the transforms
that the published lists have, the XPath compared as text (an honest signature over another
expression still verifies after the content was exchanged).  Then each digest is computed over
canonical bytes, and these same bytes are what the caller reads: nothing unsigned gets through.

No libxmlsec1: it opens files that a Reference names, and we need three canonical forms, no more.
"""

from __future__ import annotations

import base64
import binascii
import copy
import hmac
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from lxml import etree

from drimbox.certificates import load_certificate
from drimbox.errors import WhitelistError
from drimbox.xml_safe import parse_xml

DS: Final = "http://www.w3.org/2000/09/xmldsig#"
XADES: Final = "http://uri.etsi.org/01903/v1.3.2#"
FILTER2: Final = "http://www.w3.org/2002/06/xmldsig-filter2"
EXCLUSIVE: Final = "http://www.w3.org/2001/10/xml-exc-c14n#"
SIGNED_PROPERTIES: Final = "http://uri.etsi.org/01903#SignedProperties"
EXPECTED_XPATH: Final = "/descendant::ds:Signature"
_MORE: Final = "http://www.w3.org/2001/04/xmldsig-more#"
_ENC: Final = "http://www.w3.org/2001/04/xmlenc#"
_DIGESTS: Final[dict[str, hashes.HashAlgorithm]] = {
    f"{_ENC}sha256": hashes.SHA256(),
    f"{_MORE}sha384": hashes.SHA384(),
    f"{_ENC}sha512": hashes.SHA512(),
}
_SIGNATURES: Final[dict[str, hashes.HashAlgorithm]] = {
    f"{_MORE}rsa-sha256": hashes.SHA256(),
    f"{_MORE}rsa-sha384": hashes.SHA384(),
    f"{_MORE}rsa-sha512": hashes.SHA512(),
}
_MAXIMUM_CERTIFICATES: Final = 8


@dataclass(frozen=True, slots=True)
class SignedContent:
    """What a good signature covers.

    `content` is the canonical document without its signature: read it and nothing else.
    `certificates` are all of KeyInfo, the signer's included, not yet trusted.
    """

    content: bytes
    signing_time: datetime
    signer: x509.Certificate
    certificates: tuple[x509.Certificate, ...]


@dataclass(frozen=True, slots=True)
class _Reference:
    digest: hashes.HashAlgorithm
    value: bytes


def check_signature(root: etree._Element) -> SignedContent:
    """Check both digests, the signature value and SigningCertificateV2; say nothing of trust.

    Raises `WhitelistError` with the reason of the first check that fails.
    """
    signature = _the_signature(root)
    signed_info, value, key_info, holder = _parts(signature)
    properties = _properties(root, signature, holder)
    info_bytes = _canonical(signed_info)
    algorithm, document, signed = _read_signed_info(parse_xml(info_bytes), properties.get("Id", ""))
    content = _canonical(_without(root, signature))
    _check_digest(document, content, "document")
    properties_bytes = _canonical(properties)
    _check_digest(signed, properties_bytes, "signed properties")
    certificates = _certificates(key_info)
    signer = _signer(certificates, _decoded(value), info_bytes, algorithm)
    signing_time = _read_properties(parse_xml(properties_bytes), signer)
    return SignedContent(content, signing_time, signer, certificates)


def _the_signature(root: etree._Element) -> etree._Element:
    found = list(root.iter(f"{{{DS}}}Signature"))
    if not found:
        raise WhitelistError("no ds:Signature", reason="signature-missing")
    if len(found) > 1:
        raise WhitelistError(f"{len(found)} ds:Signature elements", reason="signature-multiple")
    if found[0].getparent() is not root or next(found[0].itersiblings(etree.Element), None) is not None:
        raise WhitelistError("ds:Signature is not the last child of the root", reason="signature-misplaced")
    return found[0]


def _parts(signature: etree._Element) -> tuple[etree._Element, etree._Element, etree._Element, etree._Element]:
    children = _children(signature)
    if [c.tag for c in children] != [f"{{{DS}}}{n}" for n in ("SignedInfo", "SignatureValue", "KeyInfo", "Object")]:
        raise WhitelistError("unexpected children of ds:Signature", reason="signature-structure")
    return children[0], children[1], children[2], children[3]


def _properties(root: etree._Element, signature: etree._Element, holder: etree._Element) -> etree._Element:
    """Find the one SignedProperties, whose Id nothing else in the document may bear."""
    found = [s for q in _only(holder, XADES, "QualifyingProperties") for s in _only(q, XADES, "SignedProperties")]
    if len(found) != 1 or len(list(root.iter(f"{{{XADES}}}SignedProperties"))) != 1:
        raise WhitelistError("SignedProperties absent, doubled or misplaced", reason="signature-structure")
    target = found[0].getparent().get("Target", "")  # type: ignore[union-attr]
    if target != f"#{signature.get('Id', '')}":
        raise WhitelistError("QualifyingProperties is about another signature", reason="signature-structure")
    name = found[0].get("Id", "")
    bearers = [e for e in root.iter(etree.Element) for k, v in e.attrib.items() if v == name and _is_id(k)]
    if not name or bearers != [found[0]]:
        raise WhitelistError("Id of SignedProperties empty or not unique", reason="reference-unexpected")
    return found[0]


def _is_id(attribute: str | bytes) -> bool:
    return etree.QName(attribute).localname.lower() == "id"


def _read_signed_info(info: etree._Element, properties_id: str) -> tuple[hashes.HashAlgorithm, _Reference, _Reference]:
    children = _children(info)
    names = ["CanonicalizationMethod", "SignatureMethod", "Reference", "Reference"]
    if [c.tag for c in children] != [f"{{{DS}}}{n}" for n in names]:
        raise WhitelistError("two references are expected", reason="reference-unexpected")
    canonical, method = children[0], children[1]
    algorithm = _SIGNATURES.get(method.get("Algorithm", ""))
    if canonical.get("Algorithm") != EXCLUSIVE or len(canonical) or algorithm is None or len(method):
        raise WhitelistError("canonicalisation or signature method not admitted", reason="algorithm-unexpected")
    by_uri = {r.get("URI"): r for r in children[2:]}
    document, signed = by_uri.get(""), by_uri.get(f"#{properties_id}")
    if document is None or signed is None or document.get("Type") or signed.get("Type") != SIGNED_PROPERTIES:
        raise WhitelistError("references are not the document and its properties", reason="reference-unexpected")
    return algorithm, _reference(document, [FILTER2, EXCLUSIVE]), _reference(signed, [EXCLUSIVE])


def _reference(reference: etree._Element, transforms: list[str]) -> _Reference:
    children = _children(reference)
    if [c.tag for c in children] != [f"{{{DS}}}{n}" for n in ("Transforms", "DigestMethod", "DigestValue")]:
        raise WhitelistError("unexpected children of ds:Reference", reason="reference-unexpected")
    steps = _children(children[0])
    if [(s.tag, s.get("Algorithm")) for s in steps] != [(f"{{{DS}}}Transform", t) for t in transforms]:
        raise WhitelistError("transforms are not the published ones", reason="transform-unexpected")
    for step in steps:
        if step.get("Algorithm") == FILTER2:
            _check_xpath(step)
        elif len(step):
            raise WhitelistError("a transform has parameters", reason="transform-unexpected")
    digest = _DIGESTS.get(children[1].get("Algorithm", ""))
    if digest is None or len(children[1]):
        raise WhitelistError("digest method not admitted", reason="algorithm-unexpected")
    return _Reference(digest, _decoded(children[2]))


def _check_xpath(step: etree._Element) -> None:
    inner = list(step)
    good = (
        len(inner) == 1
        and inner[0].tag == f"{{{FILTER2}}}XPath"
        and list(inner[0].attrib.items()) == [("Filter", "subtract")]
        and not len(inner[0])
        and (inner[0].text or "") == EXPECTED_XPATH
        and inner[0].nsmap.get("ds") == DS
    )
    if not good:
        raise WhitelistError("the XPath is not the published one", reason="xpath-unexpected")


def _without(root: etree._Element, signature: etree._Element) -> etree._Element:
    """Copy of the document less its signature, the text after it kept (XPath Filter 2.0, subtract)."""
    position = list(root).index(signature)
    whole = copy.deepcopy(root)
    gone = whole[position]
    before = gone.getprevious()
    if before is None:
        whole.text = (whole.text or "") + (gone.tail or "")
    else:
        before.tail = (before.tail or "") + (gone.tail or "")
    gone.tail = None
    whole.remove(gone)
    return whole


def _canonical(element: etree._Element) -> bytes:
    return etree.tostring(element, method="c14n", exclusive=True, with_comments=False)


def _check_digest(reference: _Reference, data: bytes, what: str) -> None:
    if not hmac.compare_digest(_hash(reference.digest, data), reference.value):
        raise WhitelistError(f"digest of the {what} differs", reason="digest-mismatch")


def _hash(algorithm: hashes.HashAlgorithm, data: bytes) -> bytes:
    context = hashes.Hash(algorithm)
    context.update(data)
    return context.finalize()


def _certificates(key_info: etree._Element) -> tuple[x509.Certificate, ...]:
    nodes = [c for d in _only(key_info, DS, "X509Data") for c in _only(d, DS, "X509Certificate")]
    if not 1 <= len(nodes) <= _MAXIMUM_CERTIFICATES:
        raise WhitelistError(f"{len(nodes)} certificates in KeyInfo", reason="certificate-missing")
    try:
        return tuple(load_certificate(_decoded(n)) for n in nodes)
    except ValueError as error:
        raise WhitelistError("a certificate of KeyInfo is unreadable", reason="certificate-malformed") from error


def _signer(
    certificates: tuple[x509.Certificate, ...], value: bytes, data: bytes, algorithm: hashes.HashAlgorithm
) -> x509.Certificate:
    """Find the certificate whose key made the value; the order in X509Data is free (XML-DSig 4.5.4)."""
    for certificate in certificates:
        key = certificate.public_key()
        if not isinstance(key, rsa.RSAPublicKey) or key.key_size < 2048:
            continue
        try:
            key.verify(value, data, padding.PKCS1v15(), algorithm)
        except InvalidSignature:
            continue
        return certificate
    raise WhitelistError("no certificate of KeyInfo verifies the signature value", reason="signature-invalid")


def _read_properties(properties: etree._Element, signer: x509.Certificate) -> datetime:
    """Check SigningCertificateV2 (its first Cert is the signer's) and give SigningTime."""
    path = f"{{{XADES}}}SignedSignatureProperties/{{{XADES}}}"
    digests = properties.findall(f"{path}SigningCertificateV2/{{{XADES}}}Cert/{{{XADES}}}CertDigest")
    method = digests[0].find(f"{{{DS}}}DigestMethod") if digests else None
    value = digests[0].find(f"{{{DS}}}DigestValue") if digests else None
    algorithm = None if method is None else _DIGESTS.get(method.get("Algorithm", ""))
    if value is None or algorithm is None:
        raise WhitelistError("SigningCertificateV2 absent or unreadable", reason="signing-certificate-missing")
    if not hmac.compare_digest(signer.fingerprint(algorithm), _decoded(value)):
        raise WhitelistError("SigningCertificateV2 names another certificate", reason="signing-certificate-mismatch")
    try:
        instant = datetime.fromisoformat(properties.findtext(f"{path}SigningTime", "").strip())
    except ValueError:
        raise WhitelistError("SigningTime absent or unreadable", reason="signing-time-unexpected") from None
    if instant.tzinfo is None:
        raise WhitelistError("SigningTime without time zone", reason="signing-time-unexpected")
    return instant


def _children(element: etree._Element) -> list[etree._Element]:
    return list(element.iterchildren(etree.Element))


def _only(element: etree._Element, namespace: str, name: str) -> list[etree._Element]:
    return list(element.iterchildren(f"{{{namespace}}}{name}"))


def _decoded(element: etree._Element) -> bytes:
    try:
        return base64.b64decode("".join((element.text or "").split()), validate=True)
    except (binascii.Error, ValueError):
        raise WhitelistError(f"base64 of {etree.QName(element).localname}", reason="signature-structure") from None
