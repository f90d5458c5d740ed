# SPDX-License-Identifier: AGPL-3.0-or-later
"""The VIHF on the DMP stand-in: each check of the notes refuses what it must."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sandbox.dmp_rights import RIGHTS, Mode, Right, Transaction
from sandbox.dmp_server import DmpServers, start
from sandbox.dmp_vihf import Rules
from tests.sandbox.dmp_messages import (
    EXISTENCE,
    PATIENT,
    PHYSICIAN,
    RADIOLOGIST,
    RSA_SHA1,
    RSA_SHA256,
    STRUCTURE,
    Client,
    Edit,
    Reply,
    Vihf,
    air,
    certificate,
    envelope,
    existence,
    plain,
    same,
    swap,
)  # fmt: skip

pytest_plugins = ("tests.sandbox.dmp_fixtures",)


def ask(client: Client, vihf: Vihf, *, edit: Edit = same) -> Reply:
    """TD0.2: the simplest call, permitted in both modes."""
    return client.call("patients", EXISTENCE, existence(), vihf, edit=edit)


@pytest.mark.parametrize(
    "vihf",
    [
        Vihf(),
        Vihf(algorithm=RSA_SHA1),
        Vihf(roles=PHYSICIAN + RADIOLOGIST, name_id="801234560801"),
        Vihf(edit=swap("Authentification_Mode", "Authentification_mode")),
        Vihf(edit=swap(">3.0<", ">4.0<")),
        Vihf(edit=swap("</saml2:Subject>", '</saml2:Subject><saml2:Conditions NotBefore="2020-01-01T00:00:00Z"/>')),
        Vihf(inclusive="ds saml #default xsi"),
        air(),
        air(structure="1999999999"),
    ],
    ids=[
        "automate",
        "sha1",
        "physician",
        "other-spelling",
        "version-4",
        "conditions",
        "inclusive",
        "air",
        "air-other-structure",
    ],
)
def test_a_right_assertion_is_accepted(client: Client, vihf: Vihf) -> None:
    reply = ask(client, vihf)
    assert reply.status == 200, reply.check
    assert reply.xml.find(".//{urn:hl7-org:v3}PRPA_IN201308UV02") is not None


def test_both_spellings_of_the_issuer_are_accepted(pki: Path, client: Client) -> None:
    names = [rdn.rfc4514_string() for rdn in certificate(pki, "structure-sign").subject.rdns]
    assert ask(client, Vihf(issuer=", ".join(names))).status == 200
    assert ask(client, Vihf(issuer=", ".join(reversed(names)))).check == "vihf-issuer"
    assert ask(client, Vihf(issuer=", ".join(names).replace("ST=", "S="))).check == "vihf-issuer"


def _without(name: str) -> Edit:
    def edit(text: str) -> str:
        found = re.search(rf'<saml2:Attribute Name="{re.escape(name)}">.*?</saml2:Attribute>', text)
        assert found, name
        return text.replace(found[0], "")

    return edit


def _emptied(name: str) -> Edit:
    def edit(text: str) -> str:
        changed = re.sub(rf'(Name="{re.escape(name)}"><saml2:AttributeValue>)[^<]*', r"\1", text)
        assert changed != text
        return changed

    return edit


_SUBJECT_ID = "urn:oasis:names:tc:xspa:1.0:subject:subject-id"
_RESOURCE = "urn:oasis:names:tc:xacml:2.0:resource:resource-id"
_ROLE = "urn:oasis:names:tc:xacml:2.0:subject:role"
_PURPOSE = "urn:oasis:names:tc:xspa:1.0:subject:purposeofuse"
_CLASS = "urn:oasis:names:tc:SAML:2.0:ac:classes:"

CONTENT = [
    ("vihf-attribute-VIHF_Version", _without("VIHF_Version")),
    ("vihf-attribute-Identifiant_Structure", _without("Identifiant_Structure")),
    ("vihf-attribute-Secteur_Activite", _without("Secteur_Activite")),
    ("vihf-attribute-subject-id", _without(_SUBJECT_ID)),
    ("vihf-attribute-subject-id", _emptied(_SUBJECT_ID)),
    ("vihf-attribute-resource-id", _without(_RESOURCE)),
    ("vihf-attribute-Ressource_URN", _without("Ressource_URN")),
    ("vihf-attribute-LPS_Nom", _without("LPS_Nom")),
    ("vihf-attribute-LPS_Version", _without("LPS_Version")),
    ("vihf-attribute-LPS_ID_HOMOLOGATION_DMP", _without("LPS_ID_HOMOLOGATION_DMP")),
    ("vihf-attribute-LPS_ID_HOMOLOGATION_DMP", _emptied("LPS_ID_HOMOLOGATION_DMP")),
    ("vihf-attribute-twice", swap('Name="LPS_Nom"', 'Name="LPS_Version"')),
    ("vihf-attribute-unknown", swap('Name="LPS_Nom"', 'Name="LPS_Name"')),
    ("vihf-mode", _without("Authentification_Mode")),
    ("vihf-mode", swap(">INDIRECTE<", ">DIRECTE<")),
    ("vihf-version", swap(">3.0<", ">2.0<")),
    ("vihf-sector", swap("SA08^1.2.250.1.71.4.2.4", "SA08")),
    ("vihf-resource-urn", swap("urn:dmp", "urn:dp")),
    ("vihf-resource-id", swap("&amp;ISO^NH", "&amp;ISO^PI")),
    ("vihf-resource-id", swap("1.2.250.1.213.1.4.10", "1.2.250.1.213.1.4.99")),
    ("vihf-role", _without(_ROLE)),
    ("vihf-role", swap('xsi:type="CE" code="AUTOMATE"', 'code="AUTOMATE"')),
    ("vihf-role", swap("1.2.250.1.213.1.1.4.6", "1.2.250.1.71.4.2.5")),
    ("vihf-purpose", _without(_PURPOSE)),
    ("vihf-purpose", swap('code="normal"', 'code="bris_de_glace"')),
    ("vihf-purpose", swap("1.2.250.1.213.1.1.4.248", "1.2.3")),
    ("vihf-name-id", swap(f">{STRUCTURE}/drimbox<", "> <")),
    ("vihf-authn-class", swap(f"{_CLASS}unspecified", f"{_CLASS}Telephony")),
    ("vihf-authn-instant", swap('AuthnInstant="2', 'AuthnInstant="x2')),
    ("vihf-authn", swap("saml2:AuthnStatement", "saml2:Other")),
    ("vihf-attributes", swap("saml2:AttributeStatement", "saml2:Other")),
    ("vihf-saml-version", swap('Version="2.0"', 'Version="1.1"')),
    ("vihf-issuer-format", swap("nameid-format:X509SubjectName", "nameid-format:unspecified")),
    ("vihf-audience", swap("</saml2:Subject>", "</saml2:Subject><saml2:Conditions><saml2:AudienceRestriction>"
                           "<saml2:Audience>x</saml2:Audience></saml2:AudienceRestriction></saml2:Conditions>")),
    ("vihf-conditions", swap("</saml2:Subject>", "</saml2:Subject>"
                             '<saml2:Conditions NotOnOrAfter="2020-01-01T00:00:00Z"/>')),
    ("vihf-conditions", swap("</saml2:Subject>", "</saml2:Subject>"
                             '<saml2:Conditions NotBefore="2120-01-01T00:00:00Z"/>')),
    ("vihf-role", swap("<Role ", "<Function ")),
    ("vihf-issue-instant", lambda t: re.sub(r'(IssueInstant=")....-..', r"\g<1>2026-13", t)),
    ("vihf-comment", swap("188027512345678", "188027512345678<!-- -->")),
    ("vihf-id", lambda text: re.sub(r' ID="_', ' ID="', text)),
]  # fmt: skip


@pytest.mark.parametrize(("check", "edit"), CONTENT, ids=[f"{n}-{c}" for n, (c, _) in enumerate(CONTENT)])
def test_an_assertion_with_a_fault_is_refused(client: Client, check: str, edit: Edit) -> None:
    reply = ask(client, Vihf(edit=edit))
    assert (reply.status, reply.check) == (500, check)
    assert reply.subcode.startswith("DMP")
    assert reply.xml.findtext(".//{*}Code/{*}Value") == "env:Sender"


def test_physicians_and_pharmacists_need_a_second_role(client: Client) -> None:
    assert ask(client, Vihf(roles=PHYSICIAN)).check == "vihf-speciality"
    assert ask(client, Vihf(roles=PHYSICIAN.replace('code="10"', 'code="21"'))).check == "vihf-speciality"
    assert ask(client, Vihf(roles=PHYSICIAN.replace('code="10"', 'code="60"'))).status == 200


def test_air_needs_a_national_identifier_and_a_declaration(client: Client) -> None:
    assert ask(client, air(name_id="12345/1")).check == "vihf-name-id"
    empty = swap("APP_BROWSER_AUTH", "")
    assert ask(client, air(edit=empty)).check == "vihf-authn-decl"


def test_the_structure_must_be_the_one_of_the_certificate(client: Client) -> None:
    reply = ask(client, Vihf(structure="1999999999"))
    assert (reply.check, reply.subcode) == ("vihf-structure", "DMPIdentityCertificationFailure")


def test_the_patient_must_be_the_one_of_the_request(client: Client) -> None:
    other = PATIENT.replace("188027512345678", "188027512345700")
    assert ask(client, Vihf(patient=other)).check == "vihf-patient"


@pytest.mark.parametrize("minutes", [-6, 6])
def test_an_assertion_of_another_time_is_refused(client: Client, minutes: int) -> None:
    at = datetime.now(UTC) + timedelta(minutes=minutes)
    assert ask(client, Vihf(at=at)).check == "vihf-issue-instant"
    assert ask(client, Vihf(at=datetime.now(UTC) + timedelta(minutes=minutes / 2))).status == 200


def test_an_instant_without_zone_is_refused(client: Client) -> None:
    bare = re.compile(r'(IssueInstant="[^"]*)Z"')
    assert ask(client, Vihf(edit=lambda text: bare.sub(r'\1"', text))).check == "vihf-issue-instant"


# --- signature -----------------------------------------------------------------------------------------------------


def _inside_value(text: str) -> str:
    head, mark, tail = text.partition("<ds:SignatureValue>")
    at = next(i for i, letter in enumerate(tail) if letter.isalnum())
    return head + mark + tail[:at] + ("B" if tail[at] == "A" else "A") + tail[at + 1 :]


def _unsigned(text: str) -> str:
    return re.sub(r"<ds:Signature .*</ds:Signature>", "", text, flags=re.S)


def _signature_last(text: str) -> str:
    found = re.search(r"<ds:Signature .*</ds:Signature>", text, flags=re.S)
    assert found
    return text.replace(found[0], "").replace("</saml2:Assertion>", found[0] + "</saml2:Assertion>")


def _twice(text: str) -> str:
    found = re.search(r"<ds:Signature .*</ds:Signature>", text, flags=re.S)
    assert found
    return text.replace(found[0], found[0] + found[0])


_EXCLUSIVE = '<ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/>'
TAMPERED = [
    ("vihf-digest", swap("INDIRECTE<", "INDIRECTE_RENFORCEE<")),
    ("vihf-digest", swap("</saml2:Subject>", "</saml2:Subject> ")),
    ("vihf-signature", _inside_value),
    ("vihf-unsigned", _unsigned),
    ("vihf-signature-place", _signature_last),
    ("vihf-signature-place", _twice),
    ("vihf-reference", lambda t: re.sub(r'URI="#[^"]*"', 'URI=""', t)),
    ("vihf-transforms", swap(_EXCLUSIVE, "")),
    ("vihf-transforms", swap(_EXCLUSIVE, _EXCLUSIVE + _EXCLUSIVE)),
    ("vihf-transforms", swap(_EXCLUSIVE, '<ds:Transform Algorithm="http://www.w3.org/TR/1999/REC-xslt-19991116"/>')),
    ("vihf-transforms", swap(_EXCLUSIVE, '<ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#">'
                             '<x:InclusiveNamespaces xmlns:x="http://www.w3.org/2001/10/xml-exc-c14n#" '
                             'PrefixList="env"/></ds:Transform>')),
    ("vihf-algorithm", swap("2001/04/xmldsig-more#rsa-sha256", "2000/09/xmldsig#hmac-sha1")),
    ("vihf-algorithm", swap("2001/04/xmlenc#sha256", "2001/04/xmldsig-more#md5")),
    ("vihf-c14n", lambda t: t.replace("2001/10/xml-exc-c14n#", "TR/2001/REC-xml-c14n-20010315", 1)),
    ("vihf-key-info", lambda t: re.sub(r"<ds:X509Certificate>.*</ds:X509Certificate>", "", t, flags=re.S)),
    ("vihf-key-info", lambda t: re.sub(r"<ds:X509Certificate>.{9}", "<ds:X509Certificate>", t, flags=re.S)),
    ("vihf-signature-shape", swap("<ds:SignatureValue>", "<ds:SignatureValue/><ds:SignatureValue>")),
    ("vihf-signature-shape", lambda t: re.sub(r"(<ds:Reference .*</ds:Reference>)", r"\1\1", t, flags=re.S)),
]  # fmt: skip


@pytest.mark.parametrize(("check", "tamper"), TAMPERED, ids=[f"{n}-{c}" for n, (c, _) in enumerate(TAMPERED)])
def test_a_changed_assertion_is_refused(client: Client, check: str, tamper: Edit) -> None:
    assert ask(client, Vihf(tamper=tamper)).check == check


def test_a_wrapped_assertion_is_refused(client: Client) -> None:
    """XSW: the signed assertion is kept elsewhere, another one takes its place."""

    def wrap(xml: str) -> str:
        found = re.search(r"<saml2:Assertion .*</saml2:Assertion>", xml, flags=re.S)
        assert found
        forged = _unsigned(found[0]).replace("INDIRECTE<", "INDIRECTE_RENFORCEE<")
        return xml.replace(found[0], forged).replace("</env:Header>", f"<x>{found[0]}</x></env:Header>")

    assert ask(client, Vihf(), edit=wrap).check == "vihf-security"

    def same_id(xml: str) -> str:
        identifier = re.search(r' ID="(_[^"]*)"', xml)
        assert identifier
        return xml.replace("</env:Header>", f'<x Id="{identifier[1]}"/></env:Header>')

    assert ask(client, Vihf(), edit=same_id).check == "vihf-id"


def test_a_missing_assertion_is_refused(client: Client) -> None:
    gone = lambda xml: re.sub(r"<saml2:Assertion .*</saml2:Assertion>", "", xml, flags=re.S)  # noqa: E731
    assert ask(client, Vihf(), edit=gone).check == "vihf-missing"


@pytest.mark.parametrize(
    ("signer", "check", "subcode"),
    [
        ("structure-auth", "signer-usage", "DMPInvalidCertificate"),
        ("foreign", "signer-issuer", "DMPInvalidCertificate"),
        ("expired", "signer-dates", "DMPInvalidCertificate"),
        ("revoked", "signer-revoked", "DMPInvalidCertificate"),
        ("whitelist-signer", "vihf-dn-differs", "DMPIdentityCertificationFailure"),
    ],
)
def test_a_wrong_signing_certificate_is_refused(client: Client, signer: str, check: str, subcode: str) -> None:
    reply = ask(client, Vihf(signer=signer))
    assert (reply.check, reply.subcode) == (check, subcode)


def test_a_certificate_without_its_key_is_of_no_use(client: Client) -> None:
    assert ask(client, Vihf(signer="structure-sign", key="structure-auth")).check == "vihf-signature"


def test_an_assertion_serves_once(pki: Path, client: Client) -> None:
    assertion = Vihf().text(pki)
    first, second = (
        client.post("patients", *plain(EXISTENCE, envelope(EXISTENCE, "patients", assertion, existence())))
        for _ in range(2)
    )
    assert first.status == 200
    assert second.check == "vihf-replay"


# --- switches, rights ----------------------------------------------------------------------------------------------


@pytest.fixture
def strict(pki: Path, tmp_path: Path) -> Iterator[Client]:
    """A platform that takes sha256 and version 4.0 only."""
    servers = start(pki, tmp_path / "strict", rules=Rules(frozenset({"4.0"}), frozenset({RSA_SHA256})))
    yield Client(pki, servers.national.port)
    servers.stop()


def test_a_platform_can_be_stricter(strict: Client) -> None:
    assert ask(strict, Vihf()).check == "vihf-version"
    assert ask(strict, Vihf(algorithm=RSA_SHA1)).check == "vihf-algorithm"
    assert ask(strict, Vihf(edit=swap(">3.0<", ">4.0<"))).status == 200


def test_every_cell_of_the_matrix_is_filled_as_the_notes_say() -> None:
    assert set(RIGHTS) == {(mode, transaction) for mode in Mode for transaction in Transaction}
    refused = {t for t in Transaction if RIGHTS[Mode.INDIRECT, t] is Right.NO}
    assert refused == {Transaction(t) for t in ("TD0.3", "TD3.1", "TD3.2", "TD3.3a", "TD3.3b", "TD3.3d")}
    assert [t for t in Transaction if RIGHTS[Mode.AIR, t] is Right.NO] == [Transaction.PUBLISH]
    assert RIGHTS[Mode.INDIRECT, Transaction.DELETE] is Right.STRUCTURE


# --- TLS -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [None, "structure-sign", "expired", "revoked", "foreign", "dmp-server"])
def test_tls_refuses_who_has_no_right_client_certificate(pki: Path, dmp: DmpServers, name: str | None) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        ask(Client(pki, dmp.national.port, name), Vihf())


def test_another_structure_cannot_use_our_assertion(pki: Path, dmp: DmpServers) -> None:
    assert ask(Client(pki, dmp.national.port, "unlisted"), Vihf()).check == "vihf-dn-differs"
