# SPDX-License-Identifier: AGPL-3.0-or-later
"""The imaging report (CDA R2, level 1 or 3): what a DRIMbox reads in its header.

Source: CI-SIS "structuration minimale" and "compte-rendu d'imagerie"; variants of the official
samples in `cda.md`.  The body is never read: a report's images are known by its header alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any, Final

from lxml import etree

from drimbox.cda_acts import read_acts, read_orders
from drimbox.cda_nodes import V3, attribute, child, children, code, identifier, instant, text
from drimbox.cda_people import read_authors, read_custodian, read_legal_authenticator, read_patient
from drimbox.clock import iso
from drimbox.errors import DocumentError
from drimbox.records import CdaReport, Code, Identifier
from drimbox.xml_safe import parse_xml

CONFIDENTIALITY_OID: Final = "2.16.840.1.113883.5.25"
MAXIMUM_STUDIES: Final = 100
_SHAREABLE: Final = ("N", "L", "M", "U")


def read_report(document: bytes, document_types: Sequence[str]) -> CdaReport:
    """Read a report's header.

    `document_types` are the accepted document codes (LOINC).  Raises `DocumentError`: a reason of
    `parse_xml`, ``not-a-cda`` (another root), ``document-type``, ``document-id``, ``document-time``,
    ``several-patients``, ``too-many-studies``.  What is odd but readable becomes a warning.
    """
    root = parse_xml(document)
    if root.tag != f"{{{V3}}}ClinicalDocument":
        raise DocumentError("the root element is no ClinicalDocument", reason="not-a-cda")
    kind = code(child(root, "code"))
    if kind is None or kind.code not in document_types:
        told = kind.code[:32] if kind else "none"
        raise DocumentError(f"document code {told} is not accepted", reason="document-type")
    own_id = identifier(child(root, "id"))
    if own_id is None:
        raise DocumentError("the document has no id", reason="document-id")
    when, time_warnings = _effective_time(root)
    confidentiality, visibility_warnings = _confidentiality(root)
    patient, patient_warnings = read_patient(root)
    acts, act_warnings = read_acts(root)
    replaced, replaced_warnings = _replaced(root)
    report = CdaReport(
        id=own_id,
        code=kind,
        title=text(child(root, "title")) or kind.display,
        effective_time=when,
        confidentiality=confidentiality,
        language=attribute(child(root, "languageCode"), "code") or "fr-FR",
        patient=patient,
        authors=read_authors(root),
        legal_authenticator=read_legal_authenticator(root),
        custodian=read_custodian(root),
        orders=read_orders(root),
        acts=acts,
        facility_type=code(
            child(root, "componentOf", "encompassingEncounter", "location", "healthCareFacility", "code")
        ),
        set_id=identifier(child(root, "setId")),
        version=_version(root),
        replaces=replaced,
        level=3 if child(root, "component", "structuredBody") is not None else 1,
        warnings=time_warnings + visibility_warnings + patient_warnings + act_warnings + replaced_warnings,
    )
    return _checked(report)


def _checked(report: CdaReport) -> CdaReport:
    studies = len(report.study_uids())
    if studies > MAXIMUM_STUDIES:
        raise DocumentError(f"{studies} studies in one report, at most {MAXIMUM_STUDIES}", reason="too-many-studies")
    if studies:
        return report
    # no study is no error towards the RIS: the report is kept and flagged
    return replace(report, warnings=(*report.warnings, "study-missing"))


def _effective_time(root: etree._Element) -> tuple[datetime, tuple[str, ...]]:
    """Creation time; else that of the author or of the legal authenticator, with a warning."""
    told = instant(attribute(child(root, "effectiveTime"), "value"))
    if told is not None:
        return told, ()
    others = [*children(root, "author", "time"), *children(root, "legalAuthenticator", "time")]
    found = next((t for n in others if (t := instant(attribute(n, "value")))), None)
    if found is None:
        raise DocumentError("the document has no readable effectiveTime", reason="document-time")
    return found, ("effective-time-missing",)


def _confidentiality(root: etree._Element) -> tuple[Code, tuple[str, ...]]:
    """The document's own code; restrictions of visibility stand in the message, not here."""
    found = code(child(root, "confidentialityCode"))
    if found is None:
        return Code("N", CONFIDENTIALITY_OID, "Normal"), ("confidentiality-missing",)
    return found, () if found.code in _SHAREABLE else (f"confidentiality-restricted: {found.code[:16]}",)


def _version(root: etree._Element) -> int | None:
    value = attribute(child(root, "versionNumber"), "value")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else None


def _replaced(root: etree._Element) -> tuple[Identifier | None, tuple[str, ...]]:
    """Id of the document that this one replaces (relatedDocument RPLC)."""
    found = [
        i
        for node in children(root, "relatedDocument")
        if attribute(node, "typeCode") == "RPLC"
        for i in map(identifier, children(node, "parentDocument", "id"))
        if i is not None
    ]
    return (found[0], ("several-replaced",) if len(found) > 1 else ()) if found else (None, ())


def describe_report(report: CdaReport) -> dict[str, Any]:
    """Everything read, ready for JSON: records as objects, instants in UTC, plus ``studies``."""
    found = _plain(asdict(report))
    assert isinstance(found, dict)  # noqa: S101 (asdict of a record)
    return {**found, "studies": list(report.study_uids())}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return iso(value) if isinstance(value, datetime) else value
