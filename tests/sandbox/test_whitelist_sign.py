# SPDX-License-Identifier: AGPL-3.0-or-later
"""The stand-in's white list has the official form, and its verifier sees every alteration."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import xmlsec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from lxml import etree

from sandbox.whitelist_check import BadList, check
from sandbox.whitelist_sign import (
    DS,
    Entry,
    issuer_serial,
    sign_document,
    sign_whitelist,
    subject_dn,
    unsigned_whitelist,
)

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
ENTRIES = (
    Entry("901", "db901.essai.example", "vi901.essai.example", "Centre d'essai & Cie", "CN=db901", "a@b.example", NOW),
    Entry("902", "db902.essai.example", "", "Clinique inventée", "CN=db902,ST=Côte-d'Or (21)", "c@d.example", NOW),
)


@dataclass(frozen=True)
class Signer:
    key: rsa.RSAPrivateKey
    chain: tuple[x509.Certificate, ...]

    @property
    def root_pem(self) -> bytes:
        return self.chain[-1].public_bytes(Encoding.PEM)


def name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "FR"),
            x509.NameAttribute(NameOID.STATE_OR_PROVINCE_NAME, "Côte-d'Or (21)"),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def issue(common: str, key: rsa.RSAPrivateKey, issuer: str, issuer_key: rsa.RSAPrivateKey) -> x509.Certificate:
    return (
        x509.CertificateBuilder()
        .subject_name(name(common))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(0x80F1F2F3F4)
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=9))
        .add_extension(x509.BasicConstraints(ca="Liste" not in common, path_length=None), critical=True)
        .sign(issuer_key, hashes.SHA256())
    )


@pytest.fixture(scope="module")
def signer() -> Signer:
    root, middle, leaf = (rsa.generate_private_key(65537, 2048) for _ in range(3))
    return Signer(
        leaf,
        (
            issue("Liste Blanche", leaf, "AC", middle),
            issue("AC", middle, "Racine", root),
            issue("Racine", root, "Racine", root),
        ),
    )


@pytest.fixture(scope="module")
def signed(signer: Signer) -> bytes:
    return sign_whitelist(ENTRIES, signer.key, signer.chain, NOW - timedelta(days=3), NOW)


def skeleton(node: etree._Element) -> object:
    """Names and attribute names of a tree, entries reduced to the first."""
    children = [c for c in node if isinstance(c.tag, str)]
    if node.tag.endswith("ListeDomaines"):
        children = children[:1]
    return (node.tag, sorted(node.attrib), [skeleton(c) for c in children])


def test_a_signed_list_is_read_back_whole(signed: bytes, signer: Signer) -> None:
    found = check(signed, signer.root_pem)
    assert found.entries == ENTRIES
    assert (found.generated_at, found.signed_at) == (NOW - timedelta(days=3), NOW)
    assert found.chain == signer.chain


def test_signing_twice_gives_the_same_bytes(signed: bytes, signer: Signer) -> None:
    assert sign_whitelist(ENTRIES, signer.key, signer.chain, NOW - timedelta(days=3), NOW) == signed


def test_xmlsec_verifies_the_signature_with_the_pinned_root(signed: bytes, signer: Signer) -> None:
    root = etree.fromstring(signed)
    xmlsec.tree.add_ids(root, ["Id"])
    manager = xmlsec.KeysManager()
    manager.load_cert_from_memory(
        signer.root_pem, xmlsec.constants.KeyDataFormatPem, xmlsec.constants.KeyDataTypeTrusted
    )
    signature = root.find(f"{{{DS}}}Signature")
    assert signature is not None
    xmlsec.SignatureContext(manager).verify(signature)  # type: ignore[call-arg]
    root[1][0][1].text = "db999.essai.example"
    with pytest.raises(xmlsec.Error):
        xmlsec.SignatureContext(manager).verify(signature)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b"db901.essai.example", b"db999.essai.example", "digest of reference ''"),
        (b"<vi/>", b"<vi>vi902.essai.example</vi>", "digest of reference ''"),
        (b"2026-11-21T09:00:00Z</xades:SigningTime>", b"2026-11-22T09:00:00Z</xades:SigningTime>", "digest of ref"),
        (b"/descendant::ds:Signature", b"/*/*", "signature value"),
        (b'Filter="subtract"', b'Filter="union"', "signature value"),
        (b"xmldsig-more#rsa-sha256", b"xmldsig-more#rsa-sha512", "signature algorithm"),
        (b"<ds:SignatureValue ", b"<ds:SignatureValue><!-- --></ds:SignatureValue><ds:Signature/><x ", "not XML"),
        (b"</ds:Signature>", b"</ds:Signature><ds:Other xmlns:ds='http://www.w3.org/2000/09/xmldsig#'/>", "last child"),
        (b"</ds:Signature>", b"</ds:Signature>\n", "digest of reference ''"),
        (b"<ListeBlancheDRIM-M", b"<!DOCTYPE ListeBlancheDRIM-M [<!ENTITY a 'b'>]><ListeBlancheDRIM-M", "DOCTYPE"),
    ],
)
def test_an_altered_list_is_refused(signed: bytes, signer: Signer, old: bytes, new: bytes, said: str) -> None:
    assert signed.count(old) >= 1
    with pytest.raises(BadList, match=said):
        check(signed.replace(old, new, 1), signer.root_pem)


def test_an_honest_signature_over_another_xpath_is_refused(signed: bytes, signer: Signer) -> None:
    """The trap of filter2: everything subtracted, the content is free."""
    root = etree.fromstring(signed)
    info = root.find(f".//{{{DS}}}SignedInfo")
    value = root.find(f".//{{{DS}}}SignatureValue")
    assert info is not None
    assert value is not None
    next(info.iter("{http://www.w3.org/2002/06/xmldsig-filter2}XPath")).text = "/*/*"
    octets = etree.tostring(info, method="c14n", exclusive=True)
    value.text = base64.b64encode(signer.key.sign(octets, PKCS1v15(), hashes.SHA256())).decode()
    with pytest.raises(BadList, match="unexpected reference"):
        check(etree.tostring(root), signer.root_pem)


def test_an_unsigned_list_and_a_foreign_root_are_refused(signed: bytes, signer: Signer) -> None:
    with pytest.raises(BadList, match="ds:Signature: 0 found"):
        check(unsigned_whitelist(ENTRIES, NOW), signer.root_pem)
    other = rsa.generate_private_key(65537, 2048)
    foreign = issue("Racine", other, "Racine", other).public_bytes(Encoding.PEM)
    with pytest.raises(BadList, match="pinned root"):
        check(signed, foreign)


def test_a_chain_in_disorder_is_refused(signer: Signer) -> None:
    leaf, middle, root = signer.chain
    document = sign_document(unsigned_whitelist(ENTRIES, NOW), signer.key, (leaf, root, middle), NOW)
    with pytest.raises(BadList, match="is not issued by"):
        check(document)


def test_issuer_serial_is_the_structure_of_rfc_5035(signer: Signer) -> None:
    octets = issuer_serial(signer.chain[0])
    issuer = signer.chain[0].issuer.public_bytes()
    assert octets[0] == 0x30
    assert issuer in octets
    assert octets.endswith(bytes.fromhex("02060080f1f2f3f4")), "a positive INTEGER keeps its leading zero"


def test_the_name_is_written_most_specific_first(signer: Signer) -> None:
    assert subject_dn(signer.chain[0]) == "CN=Liste Blanche,ST=Côte-d'Or (21),C=FR"


@pytest.mark.official
def test_the_official_list_verifies_and_has_the_same_structure(official: Path, signed: bytes) -> None:
    document = (official / "whitelist" / "LISTEBLANCHE_DRIM-M_SIGNEE_TEST.xml").read_bytes()
    found = check(document)
    assert len(found.entries) == 17
    assert "CN=Liste Blanche DRIM-M" in subject_dn(found.chain[0])
    ours, theirs = etree.fromstring(signed), etree.fromstring(document)
    assert skeleton(ours) == skeleton(theirs)
    assert issuer_serial(found.chain[0])
    algorithms: Callable[[etree._Element], list[str | None]] = lambda tree: [  # noqa: E731
        n.get("Algorithm") for n in tree.iter() if n.get("Algorithm")
    ]
    assert algorithms(ours) == algorithms(theirs)


@pytest.mark.official
def test_the_official_list_with_one_letter_changed_is_refused(official: Path) -> None:
    document = (official / "whitelist" / "LISTEBLANCHE_DRIM-M_SIGNEE_TEST.xml").read_bytes()
    with pytest.raises(BadList, match="digest of reference ''"):
        check(document.replace(b"<db>db3.", b"<db>db4.", 1))
