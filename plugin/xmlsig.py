# SPDX-License-Identifier: AGPL-3.0-or-later
"""XML signature primitives for what we sign ourselves (XML-DSig Core).

Enveloped signatures (VIHF) are made by xmlsec.  The submission's signature names documents by
``urn:oid:``, which libxmlsec1 would try to open as files: `submission_signature` makes it from the
primitives here.  Verifying foreign signatures is no matter of this module (`whitelist_signature`).
"""

from __future__ import annotations

import base64
from typing import Any, Final, Literal

import xmlsec as _xmlsec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from lxml import etree

from drimbox.dmp_keys import Credential
from drimbox.xml_safe import parse_xml

xmlsec: Any = _xmlsec  # the type stubs that Debian ships are of another version

type Digest = Literal["sha1", "sha256"]

DS: Final = "http://www.w3.org/2000/09/xmldsig#"
C14N: Final = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
C14N_COMMENTS: Final = f"{C14N}#WithComments"
DIGEST_URIS: Final[dict[Digest, str]] = {
    "sha1": f"{DS}sha1",
    "sha256": "http://www.w3.org/2001/04/xmlenc#sha256",
}
SIGNATURE_URIS: Final[dict[Digest, str]] = {
    "sha1": f"{DS}rsa-sha1",
    "sha256": "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
}
_HASHES: Final[dict[Digest, type[hashes.HashAlgorithm]]] = {"sha1": hashes.SHA1, "sha256": hashes.SHA256}


def ds(name: str) -> str:
    """Qualified name in the XML signature namespace."""
    return f"{{{DS}}}{name}"


def canonical(element: etree._Element, *, exclusive: bool, with_comments: bool = False) -> bytes:
    """Canonical form of an element and what it holds (C14N 1.0, or Exclusive C14N).

    In inclusive mode the element is first written and parsed again: lxml's inclusive canonicalisation
    of a sub-element otherwise invents ``xmlns=""`` below an inherited default namespace.
    """
    apex = element if exclusive else parse_xml(etree.tostring(element, with_tail=False))
    return etree.tostring(apex, method="c14n", exclusive=exclusive, with_comments=with_comments)


def digest(data: bytes, algorithm: Digest) -> bytes:
    """Hash of `data`."""
    state = hashes.Hash(_HASHES[algorithm]())
    state.update(data)
    return state.finalize()


def base64_text(data: bytes) -> str:
    """``xs:base64Binary`` on one line."""
    return base64.b64encode(data).decode("ascii")


def sign_bytes(key: rsa.RSAPrivateKey, data: bytes, algorithm: Digest) -> bytes:
    """RSASSA-PKCS1-v1_5 over `data`."""
    return key.sign(data, padding.PKCS1v15(), _HASHES[algorithm]())


def certificate_text(certificate: x509.Certificate) -> str:
    """Content of ``ds:X509Certificate``."""
    return base64_text(certificate.public_bytes(serialization.Encoding.DER))


def sign_enveloped(root: etree._Element, credential: Credential, algorithm: Digest, *, position: int) -> None:
    """Sign `root` (attribute ``ID``) in place by a ``ds:Signature`` put at child index `position`.

    One reference to the ID, transforms enveloped-signature then exclusive C14N.  `root` must not be
    re-indented afterwards.
    """
    xmlsec_digest = {"sha1": xmlsec.Transform.SHA1, "sha256": xmlsec.Transform.SHA256}[algorithm]
    xmlsec_signature = {"sha1": xmlsec.Transform.RSA_SHA1, "sha256": xmlsec.Transform.RSA_SHA256}[algorithm]
    signature = xmlsec.template.create(root, xmlsec.Transform.EXCL_C14N, xmlsec_signature, ns="ds")
    root.insert(position, signature)
    reference = xmlsec.template.add_reference(signature, xmlsec_digest, uri=f"#{root.get('ID')}")
    xmlsec.template.add_transform(reference, xmlsec.Transform.ENVELOPED)
    xmlsec.template.add_transform(reference, xmlsec.Transform.EXCL_C14N)
    key_info = xmlsec.template.ensure_key_info(signature)
    xmlsec.template.x509_data_add_certificate(xmlsec.template.add_x509_data(key_info))
    context = xmlsec.SignatureContext()
    context.key = xmlsec.Key.from_memory(credential.key_pem(), xmlsec.KeyFormat.PEM)
    context.key.load_cert_from_memory(
        credential.certificate.public_bytes(serialization.Encoding.PEM), xmlsec.KeyFormat.CERT_PEM
    )
    context.register_id(root, "ID")
    context.sign(signature)
