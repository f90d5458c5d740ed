# SPDX-License-Identifier: AGPL-3.0-or-later
"""The VIHF: a SAML 2.0 assertion, signed by the structure, in the header of every request to the DMP.

One fresh assertion per request, never kept: no validity window is published.  What the national texts
leave open is data of `Profile`, so that another mode or spelling is no change of code (spec `vihf.md`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self

from lxml import etree

from drimbox.clock import iso
from drimbox.config import DmpSection
from drimbox.dmp_keys import Credential, distinguished_name
from drimbox.records import Code, Traits
from drimbox.xds_author import responsible_id
from drimbox.xds_formats import patient_id
from drimbox.xmlsig import Digest, sign_enveloped

SAML: Final = "urn:oasis:names:tc:SAML:2.0:assertion"
HL7: Final = "urn:hl7-org:v3"
XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"
_SUBJECT_NAME: Final = "urn:oasis:names:tc:SAML:1.1:nameid-format:X509SubjectName"
_CONTEXT_CLASS: Final = "urn:oasis:names:tc:SAML:2.0:ac:classes:"
_ROLE: Final = "urn:oasis:names:tc:xacml:2.0:subject:role"
_SUBJECT_ID: Final = "urn:oasis:names:tc:xspa:1.0:subject:subject-id"
_RESOURCE_ID: Final = "urn:oasis:names:tc:xacml:2.0:resource:resource-id"
_PURPOSE: Final = "urn:oasis:names:tc:xspa:1.0:subject:purposeofuse"
_CONFIDENTIALITY: Final = "urn:oasis:names:tc:xspa:1.0:resource:patient:hl7:confidentiality-code"
_NORMAL_ACCESS: Final = Code("normal", "1.2.250.1.213.1.1.4.248", "Accès normal")
_NORMAL_ACCESS_NAME: Final = "mode acces VIHF 1.0"


@dataclass(frozen=True, slots=True)
class Role:
    """One value of subject:role; `system_name` is the code system's name."""

    code: Code
    system_name: str


AUTOMATE: Final = Role(Code("AUTOMATE", "1.2.250.1.213.1.1.4.6", "Automate"), "TRE_A00-ProducteurDocNonPS")


@dataclass(frozen=True, slots=True)
class Profile:
    """How a platform of the DMP wants its assertions in one mode of authentication."""

    mode: str
    version: str = "3.0"
    mode_attribute: str = "Authentification_Mode"
    digest: Digest = "sha256"
    spaced_issuer: bool = False
    context_class: str = "unspecified"
    context_declaration: str = ""
    secret_code: str = "INVISIBLE_REPRESENTANTS_LEGAUX"  # noqa: S105 (a visibility code, no secret)
    software_name: str = ""
    software_version: str = ""
    software_instance: str = ""
    homologation_number: str = ""

    @classmethod
    def indirect(cls, settings: DmpSection) -> Self:
        """Mode of an automatic source: authentication of the structure alone."""
        return cls(
            mode="INDIRECTE",
            version=settings.vihf_version,
            mode_attribute=settings.vihf_mode_attribute,
            digest=settings.vihf_digest,
            spaced_issuer=settings.vihf_issuer == "spaced",
            secret_code=settings.vihf_secret_code,
            software_name=settings.software_name,
            software_version=settings.software_version,
            software_instance=settings.software_instance,
            homologation_number=settings.homologation_number,
        )


@dataclass(frozen=True, slots=True)
class Context:
    """Who acts, for whom, from where.  `authenticated_at` is the time of the actor's own login."""

    name_id: str
    subject_id: str
    roles: tuple[Role, ...]
    structure_id: str
    sector: str
    patient: Traits
    authenticated_at: datetime
    secret_connection: bool = False


def automate(settings: DmpSection, patient: Traits, now: datetime, *, secret_connection: bool = False) -> Context:
    """The DRIMbox acting without a human, under its responsible's identifier."""
    return Context(
        name_id=responsible_id(settings),
        subject_id=settings.subject_name or f"{settings.software_name} DRIMbox",
        roles=(AUTOMATE,),
        structure_id=settings.structure_id,
        sector=settings.sector,
        patient=patient,
        authenticated_at=now,
        secret_connection=secret_connection,
    )


def build_assertion(
    context: Context, profile: Profile, signer: Credential, now: datetime, assertion_id: str
) -> etree._Element:
    """Signed ``saml2:Assertion``; `assertion_id` is an XML name (``_`` and a UUID), used once."""
    assertion = unsigned_assertion(context, profile, signer, now, assertion_id)
    sign_enveloped(assertion, signer, profile.digest, position=1)
    return assertion


def unsigned_assertion(
    context: Context, profile: Profile, signer: Credential, now: datetime, assertion_id: str
) -> etree._Element:
    """The assertion before its signature is put after Issuer."""
    assertion = etree.Element(
        _saml("Assertion"), ID=assertion_id, IssueInstant=iso(now), Version="2.0", nsmap={"saml2": SAML}
    )
    issuer = distinguished_name(signer.certificate.subject, spaced=profile.spaced_issuer)
    etree.SubElement(assertion, _saml("Issuer"), Format=_SUBJECT_NAME).text = issuer
    subject = etree.SubElement(assertion, _saml("Subject"))
    etree.SubElement(subject, _saml("NameID")).text = context.name_id
    statement = etree.SubElement(assertion, _saml("AuthnStatement"), AuthnInstant=iso(context.authenticated_at))
    authentication = etree.SubElement(statement, _saml("AuthnContext"))
    etree.SubElement(authentication, _saml("AuthnContextClassRef")).text = _CONTEXT_CLASS + profile.context_class
    if profile.context_declaration:
        etree.SubElement(authentication, _saml("AuthnContextDecl")).text = profile.context_declaration
    attributes = etree.SubElement(assertion, _saml("AttributeStatement"))
    _fill(attributes, context, profile)
    return assertion


def _fill(statement: etree._Element, context: Context, profile: Profile) -> None:
    _attribute(statement, "VIHF_Version", profile.version)
    _attribute(statement, profile.mode_attribute, profile.mode)
    _attribute(statement, "Identifiant_Structure", context.structure_id)
    _attribute(statement, "Secteur_Activite", context.sector)
    _attribute(statement, _SUBJECT_ID, context.subject_id)
    _coded(statement, _ROLE, "Role", context.roles)
    _attribute(statement, _RESOURCE_ID, patient_id(context.patient))
    _attribute(statement, "Ressource_URN", "urn:dmp")
    _coded(statement, _PURPOSE, "PurposeOfUse", (Role(_NORMAL_ACCESS, _NORMAL_ACCESS_NAME),))
    if context.secret_connection:
        _attribute(statement, _CONFIDENTIALITY, profile.secret_code)
    if profile.software_instance:
        _attribute(statement, "LPS_ID", profile.software_instance)
    _attribute(statement, "LPS_Nom", profile.software_name)
    _attribute(statement, "LPS_Version", profile.software_version)
    _attribute(statement, "LPS_ID_HOMOLOGATION_DMP", profile.homologation_number)


def _attribute(statement: etree._Element, name: str, value: str) -> None:
    attribute = etree.SubElement(statement, _saml("Attribute"), Name=name)
    etree.SubElement(attribute, _saml("AttributeValue")).text = value


def _coded(statement: etree._Element, name: str, tag: str, values: tuple[Role, ...]) -> None:
    attribute = etree.SubElement(statement, _saml("Attribute"), Name=name)
    for role in values:
        holder = etree.SubElement(attribute, _saml("AttributeValue"))
        namespaces: dict[str | None, str] = {None: HL7, "xsi": XSI}
        element = etree.SubElement(holder, f"{{{HL7}}}{tag}", nsmap=namespaces)  # type: ignore[arg-type]
        # "CE" without prefix stands in the default namespace declared here
        element.set(f"{{{XSI}}}type", "CE")
        element.set("code", role.code.code)
        element.set("codeSystem", role.code.system)
        element.set("codeSystemName", role.system_name)
        element.set("displayName", role.code.display)


def _saml(name: str) -> str:
    return f"{{{SAML}}}{name}"
