# SPDX-License-Identifier: AGPL-3.0-or-later
"""The signed assertion of the structure."""

from __future__ import annotations

from dataclasses import replace

import pytest
from lxml import etree

from drimbox.config import DmpSection
from drimbox.records import Code
from drimbox.vihf import Profile, Role, automate, build_assertion, unsigned_assertion
from drimbox.xds_formats import patient_id
from tests.dmp_data import NOW, SETTINGS, STRUCTURE, TRAITS, check_golden, pretty, signer
from tests.test_xmlsig import xmlsec_accepts

SAML = "{urn:oasis:names:tc:SAML:2.0:assertion}"
PREFIX = "urn:oasis:names:tc:"
SECRET = f"{PREFIX}xspa:1.0:resource:patient:hl7:confidentiality-code"


def unsigned(settings: DmpSection = SETTINGS, *, secret: bool = False) -> etree._Element:
    context = automate(settings, TRAITS, NOW, secret_connection=secret)
    return unsigned_assertion(context, Profile.indirect(settings), signer(), NOW, "_1")


def attributes(assertion: etree._Element) -> dict[str, str]:
    found = assertion.iterfind(f"{SAML}AttributeStatement/{SAML}Attribute")
    return {a.get("Name", ""): a.findtext(f"{SAML}AttributeValue") or "" for a in found}


def changed(**values: object) -> DmpSection:
    return DmpSection.model_validate({**SETTINGS.model_dump(), **values})


def test_the_assertion_is_the_reviewed_one() -> None:
    check_golden("vihf.xml", pretty(unsigned(secret=True)))


@pytest.mark.parametrize("digest", ["sha1", "sha256"])
def test_the_signed_assertion_verifies(digest: str) -> None:
    settings = changed(vihf_digest=digest)
    context = automate(settings, TRAITS, NOW)
    assertion = build_assertion(context, Profile.indirect(settings), signer(), NOW, "_1")
    assert [etree.QName(c).localname for c in assertion] == [
        "Issuer", "Signature", "Subject", "AuthnStatement", "AttributeStatement",
    ]  # fmt: skip
    data = etree.tostring(assertion)
    assert xmlsec_accepts(data)
    assert not xmlsec_accepts(data.replace(STRUCTURE.encode(), b"1990000009"))


def test_the_issuer_is_the_signer_in_rfc_2253() -> None:
    issuer = unsigned().find(f"{SAML}Issuer")
    assert issuer.text == f"CN=DRIMBOX ESSAI,OU={STRUCTURE},O=CENTRE ESSAI,ST=Vosges (88),C=FR"
    assert issuer.get("Format") == f"{PREFIX}SAML:1.1:nameid-format:X509SubjectName"


def test_the_issuer_may_be_spelt_in_certificate_order() -> None:
    issuer = unsigned(changed(vihf_issuer="spaced")).findtext(f"{SAML}Issuer")
    assert issuer == f"C=FR, ST=Vosges (88), O=CENTRE ESSAI, OU={STRUCTURE}, CN=DRIMBOX ESSAI"


def test_the_structure_acts_as_an_automate_for_the_patient() -> None:
    assertion = unsigned()
    found = attributes(assertion)
    assert found["VIHF_Version"] == "3.0"
    assert found["Authentification_Mode"] == "INDIRECTE"
    assert found["Identifiant_Structure"] == STRUCTURE
    assert found["Secteur_Activite"] == "SA07^1.2.250.1.71.4.2.4"
    assert found[f"{PREFIX}xspa:1.0:subject:subject-id"] == "orthanc-drimbox DRIMbox"
    assert found[f"{PREFIX}xacml:2.0:resource:resource-id"] == patient_id(TRAITS)
    assert found["Ressource_URN"] == "urn:dmp"
    assert found["LPS_ID_HOMOLOGATION_DMP"] == "HOMOL-0001"
    assert assertion.findtext(f"{SAML}Subject/{SAML}NameID") == f"{STRUCTURE}/drimbox"
    assert TRAITS.birth_family not in etree.tostring(assertion, encoding="unicode")
    (role,) = assertion.iter("{urn:hl7-org:v3}Role")
    assert role.get("code") == "AUTOMATE"
    assert role.get("codeSystem") == "1.2.250.1.213.1.1.4.6"
    assert role.get("{http://www.w3.org/2001/XMLSchema-instance}type") == "CE"
    assert role.prefix is None  # so that the type "CE" stands in the HL7 namespace


def test_a_secret_connection_adds_the_confidentiality_code_and_only_it() -> None:
    assert SECRET not in attributes(unsigned())
    secret = attributes(unsigned(secret=True))
    assert secret.pop(SECRET) == "INVISIBLE_REPRESENTANTS_LEGAUX"
    assert secret == attributes(unsigned())


def test_open_points_are_settings() -> None:
    found = attributes(
        unsigned(
            changed(vihf_version="4.0", vihf_mode_attribute="Authentification_mode", software_instance="inst-1",
                    subject_name="Imagerie Centrale", responsible_id="1990000001/77")
        )
    )  # fmt: skip
    assert found["VIHF_Version"] == "4.0"
    assert found["Authentification_mode"] == "INDIRECTE"
    assert "Authentification_Mode" not in found
    assert found["LPS_ID"] == "inst-1"
    assert found[f"{PREFIX}xspa:1.0:subject:subject-id"] == "Imagerie Centrale"


def test_another_mode_is_data() -> None:
    doctor = Role(Code("10", "1.2.250.1.71.1.2.7", "Médecin"), "G15")
    radiology = Role(Code("SM44", "1.2.250.1.71.4.2.5", "Radio-diagnostic"), "R01")
    context = replace(automate(SETTINGS, TRAITS, NOW), roles=(doctor, radiology), name_id="8800000000001")
    profile = replace(Profile.indirect(SETTINGS), mode="INDIRECTE_RENFORCEE", context_class="Password",
                      context_declaration="APP_BROWSER_AUTH")  # fmt: skip
    assertion = unsigned_assertion(context, profile, signer(), NOW, "_1")
    assert attributes(assertion)["Authentification_Mode"] == "INDIRECTE_RENFORCEE"
    assert [r.get("code") for r in assertion.iter("{urn:hl7-org:v3}Role")] == ["10", "SM44"]
    holder = assertion.find(f"{SAML}AuthnStatement/{SAML}AuthnContext")
    assert [c.text for c in holder] == [f"{PREFIX}SAML:2.0:ac:classes:Password", "APP_BROWSER_AUTH"]


def test_instants_are_utc_with_milliseconds_and_no_condition_is_set() -> None:
    assertion = unsigned()
    assert assertion.get("IssueInstant") == "2026-11-21T09:00:00.000Z"
    assert assertion.find(f"{SAML}AuthnStatement").get("AuthnInstant") == "2026-11-21T09:00:00.000Z"
    assert assertion.find(f"{SAML}Conditions") is None
