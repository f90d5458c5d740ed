# SPDX-License-Identifier: AGPL-3.0-or-later
"""Certificates and raw signature primitives of the DMP stand-in, on cryptography and lxml alone."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from lxml import etree

from sandbox.dmp_errors import INVALID_CERTIFICATE, SoapFault

Element = etree._Element
EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
INCLUSIVE_COMMENTS = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315#WithComments"
ENVELOPED = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
DIGESTS: dict[str, type[hashes.HashAlgorithm]] = {
    "http://www.w3.org/2000/09/xmldsig#sha1": hashes.SHA1,
    "http://www.w3.org/2001/04/xmlenc#sha256": hashes.SHA256,
}
SIGNATURES: dict[str, type[hashes.HashAlgorithm]] = {
    "http://www.w3.org/2000/09/xmldsig#rsa-sha1": hashes.SHA1,
    "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256": hashes.SHA256,
}


@dataclass(frozen=True)
class Trust:
    """The authorities whose leaves are accepted, and the serial numbers they revoked."""

    authorities: tuple[x509.Certificate, ...]
    revoked: frozenset[int]

    @classmethod
    def load(cls, folder: Path) -> Trust:
        """Read ``igc-intermediate.pem`` and ``crl.der`` of a sandbox PKI."""
        authority = x509.load_pem_x509_certificate((folder / "igc-intermediate.pem").read_bytes())
        crl = x509.load_der_x509_crl((folder / "crl.der").read_bytes())
        return cls((authority,), frozenset(entry.serial_number for entry in crl))

    def check_signer(self, cert: x509.Certificate, now: datetime) -> None:
        """Refuse a certificate that is not a valid one of class SIGN ("cachet").  Raises `SoapFault`."""
        if not any(_issued(cert, authority) for authority in self.authorities):
            raise SoapFault("signer-issuer", "Certificat de signature d'une autorité inconnue.", INVALID_CERTIFICATE)
        if not cert.not_valid_before_utc <= now <= cert.not_valid_after_utc:
            raise SoapFault("signer-dates", "Certificat de signature hors de sa période.", INVALID_CERTIFICATE)
        if cert.serial_number in self.revoked:
            raise SoapFault("signer-revoked", "Certificat de signature révoqué.", INVALID_CERTIFICATE)
        try:
            usage = cert.extensions.get_extension_for_class(x509.KeyUsage).value
            purposes = list(cert.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
        except x509.ExtensionNotFound:
            raise SoapFault("signer-usage", "Certificat sans usage de clé.", INVALID_CERTIFICATE) from None
        signs = usage.digital_signature and usage.content_commitment
        if not signs or ExtendedKeyUsageOID.EMAIL_PROTECTION not in purposes:
            reason = "Le certificat n'est pas un certificat de signature (non-répudiation)."
            raise SoapFault("signer-usage", reason, INVALID_CERTIFICATE)


def _issued(cert: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        cert.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def organisational_unit(cert: x509.Certificate) -> str:
    """The structure id of an IGC-Santé organisation certificate (its OU)."""
    found = cert.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
    return str(found[0].value) if len(found) == 1 else ""


def dn_spellings(name: x509.Name) -> tuple[str, str]:
    """Both spellings seen in issuers: RFC 4514 (CN first, no blanks), and C first with ``, ``."""
    parts = [rdn.rfc4514_string() for rdn in name.rdns]
    return ",".join(reversed(parts)), ", ".join(parts)


def load_certificate(text: str | None, check: str) -> x509.Certificate:
    """A certificate from the base64 text of `ds:X509Certificate`.  Raises `SoapFault`."""
    try:
        return x509.load_der_x509_certificate(base64.b64decode("".join((text or "").split()), validate=True))
    except (binascii.Error, ValueError):
        raise SoapFault(check, "Certificat illisible dans KeyInfo.") from None


def from_base64(text: str | None) -> bytes:
    """Decode base64, blanks allowed; what cannot be decoded is empty (and so fits no digest)."""
    try:
        return base64.b64decode("".join((text or "").split()), validate=True)
    except (binascii.Error, ValueError):
        return b""


def digest(algorithm: str, data: bytes) -> bytes:
    """Digest by XML-DSig identifier; `KeyError` for one that is not allowed."""
    hasher = hashes.Hash(DIGESTS[algorithm]())
    hasher.update(data)
    return hasher.finalize()


def rsa_verifies(cert: x509.Certificate, algorithm: str, signature: bytes, data: bytes) -> bool:
    """Tell whether an RSA PKCS#1 v1.5 signature is right; `KeyError` for an algorithm that is not allowed."""
    key = cert.public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        return False
    try:
        key.verify(signature, data, padding.PKCS1v15(), SIGNATURES[algorithm]())
    except InvalidSignature:
        return False
    return True


def exclusive_c14n(element: Element, prefixes: Sequence[str] = ()) -> bytes:
    """Exclusive canonical form of an element where it stands, without comments."""
    names = list(prefixes) or None
    return etree.tostring(element, method="c14n", exclusive=True, with_comments=False, inclusive_ns_prefixes=names)


def inclusive_c14n(element: Element, *, comments: bool) -> bytes:
    """Inclusive canonical form (C14N 1.0).

    The element is serialised and parsed again first: lxml writes a false ``xmlns=""`` for a sub-element whose
    default namespace is inherited, and a deep copy forgets unused prefixes in scope.
    """
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    alone = etree.fromstring(etree.tostring(element, with_tail=False), parser)
    return etree.tostring(alone, method="c14n", exclusive=False, with_comments=comments)
