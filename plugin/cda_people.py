# SPDX-License-Identifier: AGPL-3.0-or-later
"""Patient, professionals and structures of a CDA header (CI-SIS "structuration minimale")."""

from __future__ import annotations

from typing import Final

from lxml import etree

from drimbox.cda_nodes import attribute, child, children, code, identifier, identifier_among, text
from drimbox.errors import DocumentError
from drimbox.records import (
    INS_OIDS,
    PROFESSIONAL_OID,
    STRUCTURE_OID,
    CdaReport,
    Identifier,
    Organization,
    Professional,
    Traits,
)

INS_ARC: Final = "1.2.250.1.213.1.4."  # national identities, the older INS-C among them: never local ones
_TRAITS: Final = ("birth_family", "birth_given", "birth_givens", "birth_date", "sex", "birth_place")


def read_patient(root: etree._Element) -> tuple[Traits | None, tuple[str, ...]]:
    """Read the patient with the INS; None where the document carries none.  Also gives warnings.

    Raises `DocumentError` (``several-patients``) where two INS stand in one document.
    """
    roles = children(root, "recordTarget", "patientRole")
    ids = [i for role in roles for i in map(identifier, children(role, "id")) if i is not None and i.extension]
    ins = list(dict.fromkeys(i for i in ids if i.root in INS_OIDS))
    if not ins:
        return None, ("ins-missing",)
    if len({i.extension for i in ins}) > 1:
        raise DocumentError("the document carries two INS", reason="several-patients")
    patient = next((p for role in roles for p in children(role, "patient")), None)
    traits = Traits(
        ins="".join((ins[0].extension or "").split()),
        ins_oid=ins[0].root,
        local_ids=tuple(dict.fromkeys(i for i in ids if not i.root.startswith(INS_ARC))),
        **_names(patient),
        birth_date=_date(patient),
        sex=attribute(child(patient, "administrativeGenderCode"), "code") if patient is not None else "",
        birth_place=text(child(patient, "birthplace", "place", "addr", "county")) if patient is not None else "",
    )
    missing = [name for name in _TRAITS if not getattr(traits, name)]
    return traits, ("traits-incomplete: " + ", ".join(missing),) if missing else ()


def _date(patient: etree._Element | None) -> str:
    value = attribute(child(patient, "birthTime"), "value") if patient is not None else ""
    digits = value[:8]
    return digits if digits.isascii() and digits.isdigit() else ""


def _names(patient: etree._Element | None) -> dict[str, str]:
    """Names by qualifier: BR birth, CL used, none the birth act's list of given names; SP is the old BR.

    A document without any qualified given name gives the first of the list as first given name.
    """
    names = children(patient, "name") if patient is not None else []

    def of(part: str, qualifier: str) -> str:
        for name in names:
            for node in children(name, part):
                told = attribute(node, "qualifier").split()
                if (qualifier in told) if qualifier else not told:
                    return text(node)
        return ""

    birth_given = of("given", "BR") or of("given", "SP")
    givens = of("given", "")
    return {
        "birth_family": of("family", "BR") or of("family", "SP") or of("family", ""),
        "birth_given": birth_given or (givens.split() or [""])[0],
        "birth_givens": givens or birth_given,
        "used_family": of("family", "CL"),
        "used_given": of("given", "CL"),
    }


def organization(node: etree._Element | None) -> Organization | None:
    """A structure; its national identifier where it has one."""
    if node is None:
        return None
    return Organization(identifier_among(children(node, "id"), STRUCTURE_OID), text(child(node, "name")))


def professional(node: etree._Element | None, *, role: str = "", structure: str = "representedOrganization") -> (
    Professional | None
):  # fmt: skip
    """Read an ``assignedAuthor`` or ``assignedEntity``, whatever is missing in it; None where there is none."""
    if node is None:
        return None
    device = child(node, "assignedAuthoringDevice")
    named = text(child(device, "softwareName")) or text(child(device, "manufacturerModelName")) if device is not None \
        else ""  # fmt: skip
    return Professional(
        identifier=identifier_among(children(node, "id"), PROFESSIONAL_OID),
        family=text(child(node, "assignedPerson", "name", "family")),
        given=text(child(node, "assignedPerson", "name", "given")),
        specialty=code(child(node, "code")),
        role=role,
        organization=organization(child(node, structure)),
        device=named,
    )


def read_authors(root: etree._Element) -> tuple[Professional, ...]:
    """Every author, in document order."""
    found = (
        professional(child(author, "assignedAuthor"), role=attribute(child(author, "functionCode"), "displayName"))
        for author in children(root, "author")
    )
    return tuple(person for person in found if person is not None)


def read_legal_authenticator(root: etree._Element) -> Professional | None:
    """Who is legally responsible: the one who signed (``signatureCode`` S), else the first."""
    found = children(root, "legalAuthenticator")
    signed = [n for n in found if attribute(child(n, "signatureCode"), "code") == "S"]
    chosen = next(iter(signed or found), None)
    return professional(child(chosen, "assignedEntity")) if chosen is not None else None


def read_custodian(root: etree._Element) -> Organization | None:
    """The structure that keeps the document."""
    return organization(child(root, "custodian", "assignedCustodian", "representedCustodianOrganization"))


def responsible_structure(report: CdaReport, sender: Professional | None = None) -> Organization | None:
    """Give the structure that answers for a report.

    That of the legal authenticator (ANS FAQ); else of the author who is the same person, of the first
    author with a structure, of the sender (PRT-8), and at last the custodian.
    """
    legal = report.legal_authenticator
    number: Identifier | None = legal.identifier if legal else None
    same = [a for a in report.authors if number is not None and a.identifier == number]
    people = [legal, *same, *report.authors, sender]
    found = (p.organization for p in people if p is not None and p.organization is not None)
    return next((o for o in found if o.identifier is not None), report.custodian)
