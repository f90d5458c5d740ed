# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who stands as author in XDS metadata, and for which structure.

The institution is always the structure of the certificate (`Dmp.StructureId`): the DMP refuses a
submission of which no authorInstitution matches the VIHF (spec `dmp_soap.md` 8).
"""

from __future__ import annotations

from drimbox.config import DmpSection
from drimbox.records import PROFESSIONAL_OID, STRUCTURE_OID, CdaReport, Identifier, Organization, Professional
from drimbox.xds_formats import same_structure


def responsible_id(settings: DmpSection) -> str:
    """Identifier of who answers for this automate: ``structure/internal`` unless configured."""
    return settings.responsible_id or f"{settings.structure_id}/drimbox"


def structure(report: CdaReport | None, settings: DmpSection) -> Organization:
    """The structure of the certificate, named by the configuration, else by the report, else by its number."""
    name = settings.structure_name
    if not name and report is not None:
        name = next((o.name for o in _organizations(report) if _is_ours(o, settings) and o.name), "")
    return Organization(Identifier(STRUCTURE_OID, settings.structure_id), name or settings.structure_id)


def device(settings: DmpSection) -> Professional:
    """This system as an author."""
    return Professional(
        identifier=Identifier(PROFESSIONAL_OID, responsible_id(settings)),
        device=settings.software_name,
    )


def entry_author(report: CdaReport, settings: DmpSection) -> Professional:
    """Author of the KOS entry.

    The report's author of our structure, its legal authenticator of our structure, its first author
    (a report written by teleradiology names several structures), in this order; or this system where
    `Dmp.Author` says so or the report names nobody.
    """
    if settings.author == "device":
        return device(settings)
    people = [*report.authors, *([report.legal_authenticator] if report.legal_authenticator else [])]
    known = [p for p in people if p.identifier is not None]
    ours = (p for p in known if p.organization is not None and _is_ours(p.organization, settings))
    return next(ours, known[0] if known else device(settings))


def set_author(report: CdaReport, sender: Professional | None, settings: DmpSection) -> Professional:
    """Author of the submission set: who sent the report (PRT ``SB``), else the entry's author."""
    if sender is not None and sender.identifier is not None:
        return sender
    return entry_author(report, settings)


def _is_ours(organization: Organization, settings: DmpSection) -> bool:
    number = organization.identifier.extension if organization.identifier else None
    return same_structure(number or "", settings.structure_id)


def _organizations(report: CdaReport) -> list[Organization]:
    people = [report.legal_authenticator, *report.authors, *(a.performer for a in report.acts)]
    found = [p.organization for p in people if p is not None and p.organization is not None]
    return [*found, report.custodian] if report.custodian else found
