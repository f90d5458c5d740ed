# SPDX-License-Identifier: AGPL-3.0-or-later
"""Verification of the trust list, and finding a peer in it."""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from typing import Any

import pytest
import xmlsec
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from drimbox.distinguished_name import display, multiset, subject_pairs, text_pairs
from drimbox.errors import WhitelistError
from drimbox.whitelist import describe, find_peer, verify_whitelist
from tests import guard_data as g

TRUST = [g.root().certificate]


def reason(data: bytes, **changes: Any) -> str | None:
    arguments: dict[str, Any] = {"trust": TRUST, "settings": g.SETTINGS, "at": g.NOW} | changes
    found: str | None = describe(data, **arguments)["reason"]
    return found


def test_a_good_list_gives_its_peers() -> None:
    listed = verify_whitelist(g.sign(), TRUST, g.SETTINGS, g.NOW)
    assert [p.identifier for p in listed.peers] == ["9", "7"]
    assert listed.peers[0].subject_dn == g.LISTED_DN
    assert listed.peers[0].vi_host == ""
    assert listed.signer.startswith("CN=Liste Blanche DRIM-M,OU=318751275100020,O=AGENCE DE TEST")
    assert listed.signer_not_after == g.good_signer().certificate.not_valid_after_utc


def test_libxmlsec_agrees_with_our_test_signer() -> None:
    """Otherwise our signer and our verifier could share a mistake."""
    tree = etree.fromstring(g.sign())
    xmlsec.tree.add_ids(tree, ["Id"])
    context = xmlsec.SignatureContext()
    context.key = xmlsec.Key.from_memory(g.good_signer().pem(), xmlsec.constants.KeyDataFormatCertPem)
    node = xmlsec.tree.find_node(tree, "Signature")
    assert node is not None
    context.verify(node)


def test_describe_says_what_the_command_prints() -> None:
    good = describe(g.sign(), TRUST, g.SETTINGS, g.NOW)
    assert (good["valid"], good["reason"], good["entries"]) == (True, None, 2)
    bad = describe(g.unsigned().encode(), TRUST, g.SETTINGS, g.NOW)
    assert (bad["valid"], bad["reason"], bad["entries"], bad["signer"]) == (False, "signature-missing", 0, None)
    assert bad["detail"]


SIGNATURE_REASONS = {
    "another XPath": (g.sign(xpath="/*/*"), "xpath-unexpected"),
    "another filter": (g.sign(filter_name="intersect"), "xpath-unexpected"),
    "one more transform": (
        g.sign(extra_transform='<ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#base64"/>'),
        "transform-unexpected",
    ),
    "enveloped instead of filter2": (
        g.sign(edit_info=('http://www.w3.org/2002/06/xmldsig-filter2">', f'{g._DS}enveloped-signature">')),
        "transform-unexpected",
    ),
    "canonicalisation with parameters": (
        g.sign(
            edit_info=(
                f'<ds:Transform Algorithm="{g._EXC}"/></ds:Transforms><ds:DigestMethod',
                f'<ds:Transform Algorithm="{g._EXC}"><ec:InclusiveNamespaces xmlns:ec="{g._EXC}" PrefixList="x"/>'
                "</ds:Transform></ds:Transforms><ds:DigestMethod",
            )
        ),
        "transform-unexpected",
    ),
    "SHA-1": (g.sign(edit_info=(g._SHA256, f"{g._DS}sha1")), "algorithm-unexpected"),
    "inclusive canonicalisation": (
        g.sign(
            edit_info=(
                f'Method Algorithm="{g._EXC}"',
                'Method Algorithm="http://www.w3.org/TR/2001/REC-xml-c14n-20010315"',
            )
        ),
        "algorithm-unexpected",
    ),
    "HMAC": (g.sign(edit_info=("rsa-sha256", "hmac-sha256")), "algorithm-unexpected"),
    "a reference to a file": (g.sign(edit_info=('URI=""', 'URI="file:///etc/passwd"')), "reference-unexpected"),
    "a reference to another element": (g.sign(edit_info=('URI="#xades-1"', 'URI="#id-1"')), "reference-unexpected"),
    "properties without their type": (
        g.sign(edit_info=(' Type="http://uri.etsi.org/01903#SignedProperties"', "")),
        "reference-unexpected",
    ),
    "a reference without digest": (
        g.sign(edit_info=("</ds:Transforms><ds:DigestMethod", "</ds:Transforms><ds:Other/><ds:DigestMethod")),
        "reference-unexpected",
    ),
    "a signature alone": (
        re.sub(rb">.*?<ds:Signature", b"><ds:Signature", g.sign(), count=1, flags=re.DOTALL),
        "digest-mismatch",
    ),
    "a third reference": (
        g.sign(edit_info=("</ds:SignedInfo>", '<ds:Reference URI="#x"/></ds:SignedInfo>')),
        "reference-unexpected",
    ),
    "certificate named is another": (
        g.sign(named_certificate=g.authority().certificate),
        "signing-certificate-mismatch",
    ),
    "certificate not named": (
        g.sign(edit_properties=("SigningCertificateV2", "SigningCertificateV9")),
        "signing-certificate-missing",
    ),
    "certificate digest in SHA-1": (
        g.sign(edit_properties=("http://www.w3.org/2001/04/xmlenc#sha512", f"{g._DS}sha1")),
        "signing-certificate-missing",
    ),
    "no signing time": (g.sign(signing_time=""), "signing-time-unexpected"),
    "signing time without zone": (g.sign(signing_time="2026-11-02T08:00:00"), "signing-time-unexpected"),
    "signed before the certificate": (g.sign(signing_time="2020-01-01T00:00:00Z"), "signing-time-unexpected"),
    "signed tomorrow": (g.sign(signing_time="2026-11-22T10:00:00Z"), "signing-time-unexpected"),
    "no certificate": (g.sign().replace(b"ds:X509Certificate>", b"ds:X509Other>"), "certificate-missing"),
    "unreadable certificate": (
        g.sign().replace(b"<ds:X509Certificate>MII", b"<ds:X509Certificate>AAA"),
        "certificate-malformed",
    ),
    "base64 that is none": (g.sign().replace(b"<ds:SignatureValue>", b"<ds:SignatureValue>*"), "signature-structure"),
    "signature value of another list": (
        g.sign().replace(b"<ds:SignatureValue>", b"<ds:SignatureValue>AAAA"),
        "signature-invalid",
    ),
    "manifest added": (
        g.sign().replace(
            b"</ds:Object></ds:Signature>", b"</ds:Object><ds:Object><ds:Manifest/></ds:Object></ds:Signature>"
        ),
        "signature-structure",
    ),
    "content changed": (g.sign().replace(b"Site 9", b"Site 8"), "digest-mismatch"),
    "attribute added": (g.sign().replace(b'versionFormat="', b'x="" versionFormat="'), "digest-mismatch"),
    "properties changed": (g.sign().replace(b"2026-11-02T08:00:00Z", b"2026-11-03T08:00:00Z"), "digest-mismatch"),
    "no signature": (g.unsigned().encode(), "signature-missing"),
    "two signatures": (
        g.sign().replace(
            b"<ListeDomaines>", b'<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"/><ListeDomaines>'
        ),
        "signature-multiple",
    ),
    "something after the signature": (
        g.sign().replace(b"</ds:Signature>", b"</ds:Signature><Domaine/>"),
        "signature-misplaced",
    ),
    "signature deeper": (
        g.sign().replace(b"<ds:Signature ", b"<x><ds:Signature ").replace(b"</ds:Signature>", b"</ds:Signature></x>"),
        "signature-misplaced",
    ),
    "properties doubled": (
        g.sign().replace(
            b"<ListeDomaines>",
            b'<xades:SignedProperties xmlns:xades="http://uri.etsi.org/01903/v1.3.2#" Id="xades-1"/><ListeDomaines>',
        ),
        "signature-structure",
    ),
    "identifier doubled": (
        g.sign().replace(b"<ListeDomaines>", b'<ListeDomaines ID="xades-1">'),
        "reference-unexpected",
    ),
    "properties of another signature": (g.sign().replace(b'Target="#id-1"', b'Target="#id-2"'), "signature-structure"),
    "another document": (b"<html/>", "format-unexpected"),
    "an external entity": (b"<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><x>&e;</x>", "xml-doctype"),
    "not XML": (b"\x00\x01", "xml-not-wellformed"),
    "nothing": (b"", "xml-not-wellformed"),
    "too large": (b" " * (g.SETTINGS.maximum_bytes + 1), "xml-too-large"),
}


@pytest.mark.parametrize("case", SIGNATURE_REASONS)
def test_a_list_wrongly_signed_is_refused_with_its_reason(case: str) -> None:
    data, expected = SIGNATURE_REASONS[case]
    assert reason(data) == expected


def test_an_honest_signature_over_another_xpath_does_not_let_content_be_exchanged() -> None:
    """The attack that a lenient verifier misses: everything but the signature's own children is free."""
    xml = g.unsigned({1: "CN=attacker"})
    assert reason(g.sign(xml, xpath="/*/*", cover=b"")) == "xpath-unexpected"


def test_the_ds_prefix_of_the_xpath_cannot_mean_something_else() -> None:
    rebound = g.sign(edit_info=("dsig-filter2:XPath xmlns", 'dsig-filter2:XPath xmlns:ds="urn:x" xmlns'))
    # exclusive canonicalisation drops the unused binding: what is verified has the good one
    assert reason(rebound) is None


def test_comments_cannot_cut_a_value_short() -> None:
    """Unsigned comments vanish in the canonical form, which is what is read."""
    data = g.sign().replace(b"db9.example.test</db>", b"db9<!-- x -->.example.test</db>")
    assert verify_whitelist(data, TRUST, g.SETTINGS, g.NOW).peers[0].db_host == "db9.example.test"


EXPIRED_AUTHORITY = g.issue(g.name(CN="TEST AC ANCIENNE"), g.root(), 6, ca=True, end=g.NOW - g.DAY)
CHAIN_REASONS: dict[str, tuple[dict[str, Any], dict[str, Any], str | None]] = {
    "expired signer": ({"by": g.signer(end=g.NOW - g.DAY)}, {}, "signer-expired"),
    "signer of tomorrow": ({"by": g.signer(start=g.NOW + g.DAY)}, {}, "signer-not-yet-valid"),
    "another CN": ({"by": g.signer(subject=g.name(C="FR", OU="318751275100020", CN="Liste"))}, {}, "signer-unexpected"),
    "another OU": ({"by": g.signer(subject=g.name(OU="1", CN="Liste Blanche DRIM-M"))}, {}, "signer-unexpected"),
    "no OU": ({"by": g.signer(subject=g.name(C="FR", CN="Liste Blanche DRIM-M"))}, {}, "signer-unexpected"),
    "not for signatures": ({"by": g.signer(sign=False)}, {}, "signer-unexpected"),
    "usages left open": ({"by": g.signer(sign=None)}, {}, None),
    "signer not first in KeyInfo": ({"by": g.good_signer(), "before": [g.elliptic()]}, {}, None),
    "unknown critical extension": (
        {"by": g.signer(extensions=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"\x05\x00"), True)])},
        {},
        "chain-untrusted",
    ),
    "intermediate left out": ({"chain": []}, {}, "chain-untrusted"),
    "root left out": ({"chain": [g.authority().certificate]}, {}, None),
    "another root": ({}, {"trust": [g.peer(5).certificate]}, "chain-untrusted"),
    "signer pinned itself": ({"chain": []}, {"trust": [g.good_signer().certificate]}, "chain-untrusted"),
    "signed by a leaf": (
        {"by": g.signer(issuer=g.listed(), number=5), "chain": [g.listed().certificate, g.authority().certificate]},
        {},
        "chain-untrusted",
    ),
    "revoked signer": ({}, {"crls": [g.crl(g.good_signer().certificate)]}, "signer-revoked"),
    "revoked authority": ({}, {"crls": [g.crl(g.authority().certificate, issuer=g.root())]}, "signer-revoked"),
    "another one revoked": ({}, {"crls": [g.crl(g.listed().certificate)]}, None),
    "revocation list of somebody else": (
        {},
        {"crls": [g.crl(g.good_signer().certificate, issuer=dataclasses.replace(g.authority(), key=g.key(6)))]},
        None,
    ),
    "expired intermediate": (
        {"chain": [EXPIRED_AUTHORITY.certificate], "by": g.signer(issuer=EXPIRED_AUTHORITY)},
        {},
        "chain-untrusted",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CHAIN_REASONS)
def test_a_signer_that_is_not_trusted_is_refused_with_its_reason(case: str) -> None:
    signing, verifying, expected = CHAIN_REASONS[case]
    assert reason(g.sign(**signing), **verifying) == expected


@pytest.mark.parametrize(
    ("xml", "expected"),
    [
        (g.unsigned(version="2.0.0"), "version-unknown"),
        (g.unsigned(generated="hier"), "format-unexpected"),
        (g.unsigned(generated="2026-11-01T06:00:00"), "format-unexpected"),
        (
            g.unsigned().replace("<ListeDomaines>", "<ListeDomaine>").replace("</ListeDomaines>", "</ListeDomaine>"),
            "format-unexpected",
        ),
        (g.unsigned().replace("<db>db9.example.test</db>", ""), "format-unexpected"),
        (g.unsigned().replace("<db>db9.example.test</db>", "<db></db>"), "format-unexpected"),
        (g.unsigned().replace("<db>db9", "<db><b/>db9"), "format-unexpected"),
        (g.unsigned({}), None),
    ],
)
def test_a_list_well_signed_but_ill_formed_is_refused(xml: str, expected: str | None) -> None:
    assert reason(g.sign(xml)) == expected


def test_every_refusal_leaves_as_a_whitelist_error() -> None:
    with pytest.raises(WhitelistError) as caught:
        verify_whitelist(b"<a>", TRUST, g.SETTINGS, g.NOW)
    assert caught.value.reason == "xml-not-wellformed"


@settings(max_examples=60, deadline=None)
@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_no_flipped_byte_changes_what_is_read(position: int, flip: int) -> None:
    """Wherever it falls, a changed byte is refused or leaves every peer as it was."""
    good = g.sign()
    data = bytearray(good)
    data[position % len(data)] ^= flip
    try:
        changed = verify_whitelist(bytes(data), TRUST, g.SETTINGS, g.NOW)
    except WhitelistError:
        return
    assert changed == g.whitelist()


# --- peers -----------------------------------------------------------------------------------------------------------


def with_dn(dn: str) -> Any:
    return verify_whitelist(g.sign(g.unsigned({1: dn})), TRUST, g.SETTINGS, g.NOW)


@pytest.mark.parametrize(
    "dn",
    [
        g.LISTED_DN,
        unicodedata.normalize("NFD", g.LISTED_DN),
        g.LISTED_DN.replace("ST=", "S="),
        g.LISTED_DN.replace(",", " , ").replace("=", " = "),
        ",".join(reversed(g.LISTED_DN.split(","))),
        g.LISTED_DN.replace("CN=", "cn="),
        g.LISTED_DN.replace("Paris (75)", "Paris  (75)"),
    ],
)
def test_a_peer_is_found_however_its_name_is_written(dn: str) -> None:
    assert find_peer(with_dn(dn), g.listed().certificate) is not None


@pytest.mark.parametrize(
    "dn",
    [
        g.LISTED_DN.replace("db9", "db8"),
        g.LISTED_DN.replace("db9", "DB9"),
        g.LISTED_DN + ",O=PLUS",
        g.LISTED_DN.removesuffix(",C=FR"),
        g.LISTED_DN.replace("MINISTÈRE", "MINISTERE"),
        "",
        "db9.example.test",
    ],
)
def test_a_name_that_differs_is_not_the_peer(dn: str) -> None:
    assert find_peer(with_dn(dn), g.listed().certificate) is None


def test_a_value_with_commas_cannot_pass_for_several_attributes() -> None:
    subject = g.name(C="FR", O="MINISTÈRE DE TEST,ST=Côte-d'Or (21)", OU="300000000000009", CN="db9.example.test")
    crafted = g.issue(subject, g.authority(), 3)
    assert display(crafted.certificate.subject) == g.LISTED_DN  # the text is the same…
    assert find_peer(g.whitelist(), crafted.certificate) is None  # …the name is not


def test_values_with_commas_and_escapes_are_read() -> None:
    name = g.name(C="FR", O='DURAND, FILS + "CIE"', CN="db1")
    assert text_pairs('CN=db1,O=DURAND\\, FILS \\+ \\"CIE\\",C=FR') == subject_pairs(name)
    assert text_pairs('CN=db1,O=DURAND, FILS + "CIE",C=FR') == subject_pairs(name)


_VALUES = st.text(
    st.characters(blacklist_categories=["Cc", "Cs", "Cn"], blacklist_characters="\\=,;+"), min_size=1, max_size=20
)


@given(st.lists(st.tuples(st.sampled_from(["CN", "OU", "O", "ST"]), _VALUES.filter(str.strip)), min_size=1, max_size=6))
def test_what_display_writes_text_pairs_reads(parts: list[tuple[str, str]]) -> None:
    name = x509.Name([x509.NameAttribute(g._OIDS[kind], value) for kind, value in parts])
    assert multiset(text_pairs(display(name))) == multiset(subject_pairs(name))
