# SPDX-License-Identifier: AGPL-3.0-or-later
"""XML signature primitives, checked by other code than theirs."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
import xmlsec as _xmlsec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

from drimbox.xmlsig import Digest, canonical, certificate_text, digest, sign_bytes, sign_enveloped
from tests.dmp_data import signer

xmlsec: Any = _xmlsec
DS = "{http://www.w3.org/2000/09/xmldsig#}"
HASHES = {"sha1": hashes.SHA1(), "sha256": hashes.SHA256()}


def signed(algorithm: Digest = "sha256") -> bytes:
    root = etree.fromstring('<a:Doc xmlns:a="urn:a" ID="_x"><a:First>é</a:First><b xmlns="urn:b">text</b></a:Doc>')
    sign_enveloped(root, signer(), algorithm, position=1)
    return etree.tostring(root)


def xmlsec_accepts(data: bytes) -> bool:
    root = etree.fromstring(data)
    (signature,) = root.iter(f"{DS}Signature")
    context = xmlsec.SignatureContext()
    pem = signer().certificate.public_bytes(Encoding.PEM)
    context.key = xmlsec.Key.from_memory(pem, xmlsec.KeyFormat.CERT_PEM)
    holder = signature.getparent()
    context.register_id(holder, "ID")
    try:
        context.verify(signature)
    except xmlsec.Error:
        return False
    return True


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_an_enveloped_signature_verifies_with_xmlsec(algorithm: Digest) -> None:
    assert xmlsec_accepts(signed(algorithm))


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_an_enveloped_signature_verifies_by_hand(algorithm: Digest) -> None:
    root = etree.fromstring(signed(algorithm))
    signature = root.find(f"{DS}Signature")
    info = signature.find(f"{DS}SignedInfo")
    signed_info = etree.tostring(info, method="c14n", exclusive=True)
    value = base64.b64decode(signature.findtext(f"{DS}SignatureValue"))
    signer().certificate.public_key().verify(value, signed_info, padding.PKCS1v15(), HASHES[algorithm])
    (reference,) = info.iterfind(f"{DS}Reference")
    assert reference.get("URI") == "#_x"
    assert [t.get("Algorithm") for t in reference.iter(f"{DS}Transform")] == [
        "http://www.w3.org/2000/09/xmldsig#enveloped-signature",
        "http://www.w3.org/2001/10/xml-exc-c14n#",
    ]
    # the document without its signature
    assert signature.tail is None
    root.remove(signature)
    found = hashlib.new(algorithm, etree.tostring(root, method="c14n", exclusive=True)).digest()
    assert base64.b64encode(found).decode() == reference.findtext(f"{DS}DigestValue")


def test_a_changed_document_is_no_longer_accepted() -> None:
    assert not xmlsec_accepts(signed().replace(b"text", b"TEXT"))


def test_the_signature_stands_where_asked_and_holds_the_certificate() -> None:
    root = etree.fromstring(signed())
    assert [etree.QName(c).localname for c in root] == ["First", "Signature", "b"]
    text = "".join(root.findtext(f".//{DS}X509Certificate").split())
    assert text == certificate_text(signer().certificate)


def test_inclusive_form_of_an_inner_element_invents_no_namespace() -> None:
    root = etree.fromstring('<a xmlns="urn:x" xmlns:unused="urn:u"><b><c><d/></c></b>tail</a>')
    inner = root[0]
    assert canonical(inner, exclusive=False) == (
        b'<b xmlns="urn:x" xmlns:unused="urn:u"><c><d></d></c></b>'  # unused prefixes are rendered: inclusive
    )
    assert canonical(inner, exclusive=True) == b'<b xmlns="urn:x"><c><d></d></c></b>'


def test_comments_are_kept_only_where_asked() -> None:
    root = etree.fromstring("<a><!--why--></a>")
    assert canonical(root, exclusive=False, with_comments=True) == b"<a><!--why--></a>"
    assert canonical(root, exclusive=False) == b"<a></a>"


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_bytes_are_digested_and_signed_as_named(algorithm: Digest) -> None:
    assert digest(b"x", algorithm) == hashlib.new(algorithm, b"x").digest()
    value = sign_bytes(signer().key, b"x", algorithm)
    public = signer().certificate.public_key()
    public.verify(value, b"x", padding.PKCS1v15(), HASHES[algorithm])
    with pytest.raises(InvalidSignature):
        public.verify(value, b"y", padding.PKCS1v15(), HASHES[algorithm])
