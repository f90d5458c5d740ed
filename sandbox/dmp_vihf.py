# SPDX-License-Identifier: AGPL-3.0-or-later
"""The content of the VIHF: every check of the notes (vihf, sections 1, 3 and 5)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from lxml import etree

from sandbox import dmp_codes as codes
from sandbox.dmp_assertion import bad, verify_assertion
from sandbox.dmp_codes import q
from sandbox.dmp_errors import IDENTITY_FAILURE, SoapFault
from sandbox.dmp_rights import Mode
from sandbox.dmp_soap import Message
from sandbox.dmp_trust import SIGNATURES, Trust, dn_spellings, organisational_unit

Element = etree._Element
CLASSES = "urn:oasis:names:tc:SAML:2.0:ac:classes:"
AUTHENTICATIONS = frozenset(
    CLASSES + name for name in ("Password", "TLSClient", "SmartcardPKI", "MobileTwoFactorUnregistered", "unspecified")
)
X509_SUBJECT = "urn:oasis:names:tc:SAML:1.1:nameid-format:X509SubjectName"
SUBJECT_ID = "urn:oasis:names:tc:xspa:1.0:subject:subject-id"
ROLE = "urn:oasis:names:tc:xacml:2.0:subject:role"
RESOURCE_ID = "urn:oasis:names:tc:xacml:2.0:resource:resource-id"
PURPOSE = "urn:oasis:names:tc:xspa:1.0:subject:purposeofuse"
CONFIDENTIALITY = "urn:oasis:names:tc:xspa:1.0:resource:patient:hl7:confidentiality-code"
MODE_SPELLINGS = ("Authentification_Mode", "Authentification_mode")
TEXTS = (
    "VIHF_Version", "Identifiant_Structure", "Secteur_Activite", "Ressource_URN", "LPS_Nom", "LPS_Version",
    "LPS_ID_HOMOLOGATION_DMP", SUBJECT_ID, RESOURCE_ID,
)  # fmt: skip
KNOWN = frozenset({*TEXTS, *MODE_SPELLINGS, ROLE, PURPOSE, CONFIDENTIALITY, "LPS_ID"})
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")
_SECTOR = re.compile(r"SA\d\d\^1\.2\.250\.1\.71\.4\.2\.4")
_INS = re.compile(r"(\d{6}[0-9AB]\d{8})\^\^\^&([0-9.]+)&ISO\^NH")


@dataclass(frozen=True)
class Rules:
    """What this platform accepts; the points that no public document settles are switches."""

    versions: frozenset[str] = frozenset({"3.0", "4.0"})
    algorithms: frozenset[str] = frozenset(SIGNATURES)
    dsig_algorithms: frozenset[str] = frozenset(SIGNATURES)
    tolerance: timedelta = timedelta(minutes=5)


@dataclass(frozen=True)
class Vihf:
    """Who calls, for which patient."""

    assertion_id: str
    mode: Mode
    structure: str
    patient: str
    name_id: str
    roles: tuple[tuple[str, str], ...]
    signer: x509.Certificate


def read_vihf(message: Message, peer: x509.Certificate, trust: Trust, rules: Rules, now: datetime,
              first_seen: Callable[[str], bool]) -> Vihf:  # fmt: skip
    """Verify and read the VIHF of a message.

    ``peer``: the TLS client certificate.  ``first_seen(id)`` records an assertion ID and tells whether it is new.
    Raises `SoapFault`.
    """
    signed = verify_assertion(message, rules.algorithms)
    assertion, signer = signed.assertion, signed.signer
    trust.check_signer(signer, now)
    if signer.subject != peer.subject:
        raise _identity("dn-differs", "Les certificats de signature et d'authentification n'ont pas le même sujet.")
    _check_issuer(assertion, signer)
    _check_times(assertion, rules, now)
    attributes = _attributes(assertion)
    mode = _mode(attributes)
    structure = _check_texts(attributes, rules)
    if mode is Mode.INDIRECT and structure != organisational_unit(peer):
        reason = "Erreur d'authentification de la personne morale : Identifiant_Structure différent du certificat."
        raise _identity("structure", reason)
    name_id = _check_subject(assertion, mode)
    roles = _roles(attributes[ROLE]) if ROLE in attributes else ()
    if not roles:
        raise bad("role", "Le rôle est absent.")
    _check_purpose(attributes)
    # Last, so that a refused message does not use up its assertion.
    if not first_seen(str(assertion.get("ID"))):
        raise bad("replay", "Ce VIHF a déjà servi.")
    patient = _text(attributes[RESOURCE_ID], RESOURCE_ID)
    return Vihf(str(assertion.get("ID")), mode, structure, patient, name_id, roles, signer)


def is_ins(text: str) -> bool:
    """Tell whether a CX is an INS: ``INS^^^&root&ISO^NH``."""
    match = _INS.fullmatch(text)
    return match is not None and match[2] in codes.INS_ROOTS


def _identity(check: str, reason: str) -> SoapFault:
    return SoapFault(f"vihf-{check}", reason, IDENTITY_FAILURE)


def _check_issuer(assertion: Element, signer: x509.Certificate) -> None:
    issuer = assertion.findall(q("saml2:Issuer"))
    if len(issuer) != 1 or issuer[0].get("Format") != X509_SUBJECT:
        raise bad("issuer-format", "Issuer doit être au format X509SubjectName.")
    if (issuer[0].text or "").strip() not in dn_spellings(signer.subject):
        raise _identity("issuer", "Issuer diffère du sujet du certificat de signature.")


def _check_times(assertion: Element, rules: Rules, now: datetime) -> None:
    if assertion.get("Version") != "2.0":
        raise bad("saml-version", "Version SAML inattendue.")
    issued = _instant(assertion.get("IssueInstant"), "issue-instant")
    if abs(issued - now) > rules.tolerance:
        raise bad("issue-instant", "IssueInstant trop éloigné de l'heure du serveur.")
    for conditions in assertion.findall(q("saml2:Conditions")):
        if conditions.find(q("saml2:AudienceRestriction")) is not None:
            raise bad("audience", "AudienceRestriction est interdit.")
        begin, end = conditions.get("NotBefore"), conditions.get("NotOnOrAfter")
        early = begin is not None and now < _instant(begin, "conditions")
        if early or (end is not None and now >= _instant(end, "conditions")):
            raise bad("conditions", "VIHF hors de sa période de validité.")


def _instant(text: str | None, check: str) -> datetime:
    if not text or not _INSTANT.fullmatch(text):
        raise bad(check, "Instant attendu en UTC, avec Z.")
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        raise bad(check, "Instant impossible.") from None


def _attributes(assertion: Element) -> dict[str, Element]:
    statements = assertion.findall(q("saml2:AttributeStatement"))
    if len(statements) != 1:
        raise bad("attributes", "AttributeStatement doit être présent une fois.")
    out: dict[str, Element] = {}
    for attribute in statements[0].findall(q("saml2:Attribute")):
        name = attribute.get("Name", "")
        if name in out:
            raise bad("attribute-twice", f"Attribut en double : {name}.")
        if name not in KNOWN:
            raise bad("attribute-unknown", f"Attribut inconnu : {name}.")
        out[name] = attribute
    return out


def _text(attribute: Element, name: str) -> str:
    values = attribute.findall(q("saml2:AttributeValue"))
    text = (values[0].text or "").strip() if len(values) == 1 and len(values[0]) == 0 else ""
    if not text:
        raise bad(f"attribute-{_short(name)}", f"L'attribut {name} doit avoir une valeur, une seule.")
    return text


def _short(name: str) -> str:
    return name.rsplit(":", 1)[-1]


def _mode(attributes: dict[str, Element]) -> Mode:
    spelled = [name for name in MODE_SPELLINGS if name in attributes]
    if len(spelled) != 1:
        raise bad("mode", "Authentification_Mode doit être présent une fois.")
    try:
        return Mode(_text(attributes[spelled[0]], spelled[0]))
    except ValueError:
        raise bad("mode", "Mode d'authentification inconnu.") from None


def _check_texts(attributes: dict[str, Element], rules: Rules) -> str:
    for name in TEXTS:
        if name not in attributes:
            raise bad(f"attribute-{_short(name)}", f"L'attribut {name} est absent.")
    text = {name: _text(attributes[name], name) for name in TEXTS}
    if text["VIHF_Version"] not in rules.versions:
        raise bad("version", "VIHF_Version refusée.")
    if not _SECTOR.fullmatch(text["Secteur_Activite"]):
        raise bad("sector", "Secteur_Activite mal formé.")
    if text["Ressource_URN"] != "urn:dmp":
        raise bad("resource-urn", "Ressource_URN doit être urn:dmp.")
    if not is_ins(text[RESOURCE_ID]):
        raise bad("resource-id", "resource-id doit être un INS, INS^^^&OID&ISO^NH.")
    return text["Identifiant_Structure"]


def _check_subject(assertion: Element, mode: Mode) -> str:
    name_id = (assertion.findtext(f"{q('saml2:Subject')}/{q('saml2:NameID')}") or "").strip()
    if not name_id or (mode is Mode.AIR and not re.fullmatch(r"8\d{11}", name_id)):
        raise bad("name-id", "NameID absent, ou qui n'est pas un identifiant national en AIR.")
    statements = assertion.findall(q("saml2:AuthnStatement"))
    if len(statements) != 1:
        raise bad("authn", "AuthnStatement doit être présent une fois.")
    _instant(statements[0].get("AuthnInstant"), "authn-instant")
    context = statements[0].find(q("saml2:AuthnContext"))
    reference = "" if context is None else (context.findtext(q("saml2:AuthnContextClassRef")) or "").strip()
    if reference not in AUTHENTICATIONS:
        raise bad("authn-class", "AuthnContextClassRef inconnu.")
    declared = "" if context is None else (context.findtext(q("saml2:AuthnContextDecl")) or "").strip()
    if mode is Mode.AIR and not declared:
        raise bad("authn-decl", "AuthnContextDecl est attendu en AIR.")
    return name_id


def _roles(attribute: Element) -> tuple[tuple[str, str], ...]:
    out = []
    for value in attribute.findall(q("saml2:AttributeValue")):
        role = value.find(q("hl7:Role"))
        if role is None or len(value) != 1 or not role.get("code") or not role.get("codeSystem"):
            raise bad("role", "Chaque valeur de rôle doit contenir un élément Role codé.")
        if role.get(q("xsi:type"), "").rpartition(":")[2] != "CE" or not role.get("displayName"):
            raise bad("role", "Role doit être de type CE, avec un libellé.")
        out.append((role.get("code", ""), role.get("codeSystem", "")))
    if not out or out[0][1] not in codes.PROFESSION_SCHEMES:
        raise bad("role", "Le premier rôle doit être la profession.")
    lacks = (out[0] == codes.PHYSICIAN and codes.SPECIALITY_SCHEME not in [scheme for _, scheme in out[1:]]) or (
        out[0] == codes.PHARMACIST and len(out) < 2
    )
    if lacks:
        raise bad("speciality", "Pas de spécialité dans le VIHF.")
    return tuple(out)


def _check_purpose(attributes: dict[str, Element]) -> None:
    attribute = attributes.get(PURPOSE)
    found = [] if attribute is None else attribute.findall(f"{q('saml2:AttributeValue')}/{q('hl7:PurposeOfUse')}")
    if len(found) != 1 or found[0].get("codeSystem") != "1.2.250.1.213.1.1.4.248":
        raise bad("purpose", "PurposeOfUse absent ou mal codé.")
    if found[0].get("code") != "normal":
        raise bad("purpose", "Seul le mode d'accès normal est simulé.")
