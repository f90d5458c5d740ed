# SPDX-License-Identifier: AGPL-3.0-or-later
"""Verifies the signature document of a submission set (IHE DSG with XAdES 1.1.1; submission_signature).

Detached: the manifest names the submission set (constant digest ``AA==``) and each document by ``urn:oid:``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from lxml import etree

from sandbox import dmp_trust as trust
from sandbox.dmp_codes import q
from sandbox.dmp_errors import Refused, SoapFault, refuse
from sandbox.dmp_soap import parse_xml

Element = etree._Element
MANIFEST_TYPE = "http://www.w3.org/2000/09/xmldsig#Manifest"
PROPERTIES_TYPE = "http://uri.etsi.org/01903/v1.1.1#SignedProperties"
PURPOSE = "1.2.840.10065.1.12.1.14"
SET_DIGEST = b"\x00"


def bad(check: str, text: str) -> Refused:
    """A refusal about the signature document."""
    return refuse("InvalidDocumentContent", text, f"dsig-{check}")


def verify_dsig(data: bytes, set_uid: str, documents: Mapping[str, bytes], sender: x509.Certificate,
                authorities: trust.Trust, algorithms: frozenset[str], now: datetime) -> None:  # fmt: skip
    """Verify a signature document.

    ``set_uid``: uniqueId of the submission set; ``documents``: uniqueId to bytes of each signed document;
    ``sender``: certificate that signed the VIHF; ``algorithms``: accepted signature methods.  Raises `Refused`.
    """
    try:
        root = parse_xml(data)
    except SoapFault as fault:
        raise bad("xml", fault.reason) from None
    if root.tag != q("ds:Signature") or not root.get("Id"):
        raise bad("shape", "La racine doit être ds:Signature, avec un Id.")
    _check_unique_ids(root)
    signed_info = _child(root, "ds:SignedInfo")
    signer = _signer(root, sender, authorities, now)
    _check_value(root, signed_info, signer, algorithms)
    manifest, properties = _check_references(root, signed_info)
    _check_manifest(manifest, set_uid, documents)
    _check_purpose(root)
    _check_properties(properties, root, signer)


def _child(parent: Element, name: str) -> Element:
    found = parent.findall(q(name))
    if len(found) != 1:
        raise bad("shape", f"{name} doit être présent une fois dans la signature.")
    return found[0]


def _check_unique_ids(root: Element) -> None:
    ids = [e.get("Id") for e in root.iter("*") if e.get("Id")]
    if len(ids) != len(set(ids)):
        raise bad("ids", "Deux éléments de la signature ont le même Id.")


def _signer(root: Element, sender: x509.Certificate, authorities: trust.Trust, now: datetime) -> x509.Certificate:
    data = _child(_child(root, "ds:KeyInfo"), "ds:X509Data")
    found = data.find(q("ds:X509Certificate"))
    try:
        cert = trust.load_certificate(None if found is None else found.text, "key-info")
        authorities.check_signer(cert, now)
    except SoapFault as fault:
        raise bad(fault.check, fault.reason) from None
    if cert.subject != sender.subject:
        raise bad("signer", "La signature du lot n'est pas celle de l'émetteur du VIHF.")
    return cert


def _check_value(root: Element, signed_info: Element, signer: x509.Certificate, algorithms: frozenset[str]) -> None:
    canonical = _child(signed_info, "ds:CanonicalizationMethod").get("Algorithm")
    method = _child(signed_info, "ds:SignatureMethod").get("Algorithm", "")
    if canonical != trust.INCLUSIVE_COMMENTS:
        raise bad("c14n", "CanonicalizationMethod attendue : c14n inclusif WithComments.")
    if method not in algorithms:
        raise bad("algorithm", "Algorithme de signature refusé.")
    value = trust.from_base64(_child(root, "ds:SignatureValue").text)
    if not trust.rsa_verifies(signer, method, value, trust.inclusive_c14n(signed_info, comments=True)):
        raise bad("signature", "La signature du lot est fausse.")


def _check_references(root: Element, signed_info: Element) -> tuple[Element, Element]:
    """The two signed parts, once their digests are right."""
    references = signed_info.findall(q("ds:Reference"))
    if [r.get("Type") for r in references] != [MANIFEST_TYPE, PROPERTIES_TYPE]:
        raise bad("references", "SignedInfo doit référencer le manifeste puis les propriétés signées.")
    wanted = (("ds:Manifest", "IHEManifest"), ("xades:SignedProperties", "S0-SignedProperties"))
    found = []
    for reference, (name, identifier) in zip(references, wanted, strict=True):
        targets = [e for e in root.iter(q(name)) if e.get("Id") == identifier]
        if reference.get("URI") != f"#{identifier}" or len(targets) != 1:
            raise bad("references", f"Référence attendue : #{identifier}.")
        if reference.find(q("ds:Transforms")) is not None:
            raise bad("transforms", "Aucune transformation n'est attendue.")
        _check_digest(reference, trust.inclusive_c14n(targets[0], comments=False))
        found.append(targets[0])
    manifest, properties = found
    holder = manifest.getparent()
    if holder is None or holder.tag != q("ds:Object") or holder.getparent() is not root:
        raise bad("shape", "Le manifeste doit être dans un ds:Object de la signature.")
    return manifest, properties


def _check_digest(reference: Element, data: bytes) -> None:
    method = _child(reference, "ds:DigestMethod").get("Algorithm", "")
    if method not in trust.DIGESTS:
        raise bad("algorithm", "Algorithme d'empreinte refusé.")
    if trust.digest(method, data) != trust.from_base64(_child(reference, "ds:DigestValue").text):
        raise bad("digest", f"Empreinte fausse pour {reference.get('URI')}.")


def _check_manifest(manifest: Element, set_uid: str, documents: Mapping[str, bytes]) -> None:
    references = manifest.findall(q("ds:Reference"))
    uris = [str(r.get("URI")) for r in references]
    if sorted(uris) != sorted([f"urn:oid:{set_uid}", *(f"urn:oid:{uid}" for uid in documents)]):
        raise bad("manifest", "Le manifeste doit nommer le lot et chacun de ses documents.")
    for reference, uri in zip(references, uris, strict=True):
        if uri == f"urn:oid:{set_uid}":
            if trust.from_base64(_child(reference, "ds:DigestValue").text) != SET_DIGEST:
                raise bad("manifest-set", "L'empreinte du lot dans le manifeste doit être AA==.")
            continue
        if reference.find(q("ds:Transforms")) is not None:
            raise bad("transforms", "Aucune transformation n'est attendue pour un document binaire.")
        _check_digest(reference, documents[uri.removeprefix("urn:oid:")])


def _check_purpose(root: Element) -> None:
    # The official sample puts this element in no namespace: both are read.
    found = [
        e for e in root.iter("*")
        if etree.QName(e).localname == "SignatureProperty" and e.get("Id") == "purposeOfSignature"
    ]  # fmt: skip
    if len(found) != 1 or found[0].get("Target") != f"#{root.get('Id')}":
        raise bad("purpose", "SignatureProperty purposeOfSignature absente ou de cible fausse.")
    if "".join(str(text) for text in found[0].itertext()).strip() != PURPOSE:
        raise bad("purpose", f"Le but de la signature doit être {PURPOSE}.")


def _check_properties(properties: Element, root: Element, signer: x509.Certificate) -> None:
    holder = properties.getparent()
    if holder is None or holder.tag != q("xades:QualifyingProperties") or holder.get("Target") != f"#{root.get('Id')}":
        raise bad("qualifying", "QualifyingProperties absent ou de cible fausse.")
    signature = _child(properties, "xades:SignedSignatureProperties")
    time = (_child(signature, "xades:SigningTime").text or "").strip()
    try:
        datetime.fromisoformat(time)
    except ValueError:
        raise bad("signing-time", "SigningTime illisible.") from None
    if signature.find(f"{q('xades:SignaturePolicyIdentifier')}/{q('xades:SignaturePolicyImplied')}") is None:
        raise bad("policy", "SignaturePolicyImplied est attendu.")
    cert = _child(signature, "xades:SigningCertificate").find(q("xades:Cert"))
    if cert is None:
        raise bad("signing-certificate", "SigningCertificate sans certificat.")
    _check_signing_certificate(cert, signer)


def _check_signing_certificate(cert: Element, signer: x509.Certificate) -> None:
    digest, serial = _child(cert, "xades:CertDigest"), _child(cert, "xades:IssuerSerial")
    method = _any(digest, "DigestMethod").get("Algorithm", "")
    value = trust.from_base64(_any(digest, "DigestValue").text)
    kind = trust.DIGESTS.get(method, hashes.SHA256)
    if method not in trust.DIGESTS or signer.fingerprint(kind()) != value:
        raise bad("signing-certificate", "L'empreinte du certificat signé diffère de KeyInfo.")
    issuer, number = _any(serial, "X509IssuerName").text or "", _any(serial, "X509SerialNumber").text or ""
    if issuer.strip() != trust.dn_spellings(signer.issuer)[0] or number.strip() != str(signer.serial_number):
        raise bad("issuer-serial", "IssuerSerial diffère du certificat.")


def _any(parent: Element, local: str) -> Element:
    """A child by local name: in the XAdES or in the XML-DSig namespace."""
    found = [e for e in parent.iterchildren("*") if etree.QName(e).localname == local]
    if len(found) != 1:
        raise bad("signing-certificate", f"{local} doit être présent une fois.")
    return found[0]
