# SPDX-License-Identifier: AGPL-3.0-or-later
"""Write and sign a "liste blanche" DRIM-M, by lxml and cryptography alone.

Form: the TEST list of the national repository (root ``ListeBlancheDRIM-M`` 1.0.0, enveloped
XAdES-BASELINE-B, xmldsig-filter2, exclusive C14N, rsa-sha256).
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from xml.sax.saxutils import escape

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

LIST_NS = "https://github.com/ansforge/DRIM-M_DATA"
DS = "http://www.w3.org/2000/09/xmldsig#"
XADES = "http://uri.etsi.org/01903/v1.3.2#"
FILTER2 = "http://www.w3.org/2002/06/xmldsig-filter2"
EXC_C14N = "http://www.w3.org/2001/10/xml-exc-c14n#"
RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
SHA512 = "http://www.w3.org/2001/04/xmlenc#sha512"
SIGNED_PROPERTIES = "http://uri.etsi.org/01903#SignedProperties"


@dataclass(frozen=True, slots=True)
class Entry:
    """One ``Domaine``; `dn` is the RFC 4514 text of the certificate's subject, `updated` aware."""

    identifier: str
    db: str
    vi: str
    name: str
    dn: str
    contact: str
    updated: datetime


def subject_dn(certificate: x509.Certificate) -> str:
    """The subject as the list writes it: most specific first, commas without blank, raw UTF-8."""
    return certificate.subject.rfc4514_string()


def _stamp(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _entry_xml(entry: Entry) -> str:
    pairs = (
        ("Identifiant", entry.identifier),
        ("db", entry.db),
        ("vi", entry.vi),
        ("Denomination", entry.name),
        ("DNCertificatOperateur", entry.dn),
        ("SupportContact", entry.contact),
        ("DateMAJ", _stamp(entry.updated)),
    )
    lines = "".join(f"            <{tag}>{escape(text)}</{tag}>\n" for tag, text in pairs)
    return f"        <Domaine>\n{lines}        </Domaine>\n"


def unsigned_whitelist(entries: tuple[Entry, ...], generated_at: datetime) -> bytes:
    """The list without signature, UTF-8: what a DRIMbox must refuse."""
    body = "".join(map(_entry_xml, entries))
    text = (
        '<?xml version="1.0" encoding="UTF-8" standalone="no"?>'
        f'<ListeBlancheDRIM-M xmlns="{LIST_NS}" versionFormat="1.0.0">\n'
        f"    <DateDeGeneration>{_stamp(generated_at)}</DateDeGeneration>\n"
        f"    <ListeDomaines>\n{body}    </ListeDomaines>\n</ListeBlancheDRIM-M>"
    )
    return text.encode()


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def exclusive_c14n(node: etree._Element | etree._ElementTree) -> bytes:
    """Exclusive C14N without comments (a node-set from ``URI=""`` or ``#id`` holds none)."""
    return etree.tostring(node, method="c14n", exclusive=True, with_comments=False)


def _der_length(body: bytes) -> bytes:
    size = len(body)
    if size < 0x80:
        return bytes([size])
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(octets)]) + octets


def _der(tag: int, body: bytes) -> bytes:
    return bytes([tag]) + _der_length(body) + body


def issuer_serial(certificate: x509.Certificate) -> bytes:
    """DER of ``IssuerSerial`` (RFC 5035 section 5.4.1), as ``xades:IssuerSerialV2`` holds it."""
    name = _der(0x30, _der(0xA4, certificate.issuer.public_bytes()))
    serial = certificate.serial_number
    return _der(0x30, name + _der(0x02, serial.to_bytes(serial.bit_length() // 8 + 1, "big")))


def _signed_properties(ident: str, signer: x509.Certificate, signed_at: datetime) -> str:
    digest = _b64(hashlib.sha512(signer.public_bytes(Encoding.DER)).digest())
    return (
        f'<xades:SignedProperties Id="xades-{ident}"><xades:SignedSignatureProperties>'
        f"<xades:SigningTime>{_stamp(signed_at)}</xades:SigningTime>"
        f'<xades:SigningCertificateV2><xades:Cert><xades:CertDigest><ds:DigestMethod Algorithm="{SHA512}"/>'
        f"<ds:DigestValue>{digest}</ds:DigestValue></xades:CertDigest>"
        f"<xades:IssuerSerialV2>{_b64(issuer_serial(signer))}</xades:IssuerSerialV2></xades:Cert>"
        "</xades:SigningCertificateV2></xades:SignedSignatureProperties><xades:SignedDataObjectProperties>"
        f'<xades:DataObjectFormat ObjectReference="#r-{ident}-1"><xades:MimeType>text/xml</xades:MimeType>'
        "</xades:DataObjectFormat></xades:SignedDataObjectProperties></xades:SignedProperties>"
    )


def _reference(attributes: str, filter2: str, digest: str) -> str:
    return (
        f'<ds:Reference {attributes}><ds:Transforms>{filter2}<ds:Transform Algorithm="{EXC_C14N}"/></ds:Transforms>'
        f'<ds:DigestMethod Algorithm="{SHA256}"/><ds:DigestValue>{digest}</ds:DigestValue></ds:Reference>'
    )


def _signature_xml(ident: str, content_digest: str, chain: tuple[x509.Certificate, ...], signed_at: datetime) -> str:
    """The ``ds:Signature`` with the digest of the properties and the value still to fill."""
    subtract = (
        f'<ds:Transform Algorithm="{FILTER2}"><dsig-filter2:XPath xmlns:dsig-filter2="{FILTER2}" '
        'Filter="subtract">/descendant::ds:Signature</dsig-filter2:XPath></ds:Transform>'
    )
    certificates = "".join(
        f"<ds:X509Certificate>{_b64(c.public_bytes(Encoding.DER))}</ds:X509Certificate>" for c in chain
    )
    return (
        f'<ds:Signature xmlns:ds="{DS}" Id="{ident}"><ds:SignedInfo>'
        f'<ds:CanonicalizationMethod Algorithm="{EXC_C14N}"/><ds:SignatureMethod Algorithm="{RSA_SHA256}"/>'
        + _reference(f'Id="r-{ident}-1" URI=""', subtract, content_digest)
        + _reference(f'Type="{SIGNED_PROPERTIES}" URI="#xades-{ident}"', "", "")
        + f'</ds:SignedInfo><ds:SignatureValue Id="value-{ident}"></ds:SignatureValue>'
        f"<ds:KeyInfo><ds:X509Data>{certificates}</ds:X509Data></ds:KeyInfo><ds:Object>"
        f'<xades:QualifyingProperties xmlns:xades="{XADES}" Target="#{ident}">'
        f"{_signed_properties(ident, chain[0], signed_at)}</xades:QualifyingProperties></ds:Object></ds:Signature>"
    )


def sign_whitelist(
    entries: tuple[Entry, ...],
    signer_key: RSAPrivateKey,
    signer_chain: tuple[x509.Certificate, ...],
    generated_at: datetime,
    signed_at: datetime,
) -> bytes:
    """The signed list, UTF-8; `signer_chain` goes from the signer to its root.  Deterministic."""
    return sign_document(unsigned_whitelist(entries, generated_at), signer_key, signer_chain, signed_at)


def sign_document(
    document: bytes, signer_key: RSAPrivateKey, signer_chain: tuple[x509.Certificate, ...], signed_at: datetime
) -> bytes:
    """Append the enveloped signature as the root's last child."""
    root = etree.fromstring(document, etree.XMLParser(resolve_entities=False, no_network=True))
    digest = hashlib.sha256(exclusive_c14n(root.getroottree())).digest()
    ident = "id-" + hashlib.sha256(digest + _stamp(signed_at).encode()).hexdigest()[:32]
    signature = etree.fromstring(_signature_xml(ident, _b64(digest), signer_chain, signed_at))
    root.append(signature)
    info, value = signature[0], signature[1]
    properties = next(signature.iter(f"{{{XADES}}}SignedProperties"))
    *_, second = info.iter(f"{{{DS}}}DigestValue")
    second.text = _b64(hashlib.sha256(exclusive_c14n(properties)).digest())
    value.text = _b64(signer_key.sign(exclusive_c14n(info), PKCS1v15(), hashes.SHA256()))
    body = etree.tostring(root, encoding="unicode").encode()
    return b'<?xml version="1.0" encoding="UTF-8" standalone="no"?>' + body
