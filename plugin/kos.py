# SPDX-License-Identifier: AGPL-3.0-or-later
"""The manifest (KOS) as a model: made of a report and a study, checked, compared.  Pure.

Bytes are written by `drimbox.kos_writer` (`write_manifest` below) and read by `drimbox.kos_reader`.
"""

from __future__ import annotations

import re
from datetime import datetime

from drimbox.config import ManifestSection
from drimbox.errors import ConfigurationError, DocumentError
from drimbox.kos_writer import write_manifest
from drimbox.records import (
    Act,
    CdaReport,
    Identifier,
    Manifest,
    Order,
    Organization,
    StudyContent,
)

__all__ = [
    "ACCESSION_MISMATCH",
    "PATIENT_ID_MISMATCH",
    "act_for",
    "build_manifest",
    "check_identity",
    "order_for",
    "same_content",
    "write_manifest",
]

ACCESSION_MISMATCH = "accession-mismatch"
PATIENT_ID_MISMATCH = "patient-id-mismatch"

_LONGEST_ACCESSION = 16  # SH, PS3.5 6.2
_LONGEST_PLACER = 64  # LO
_ADDRESS = re.compile(r"https?://[!-\[\]-~]+")  # ASCII without blanks nor backslash
_UID_CHARACTERS = re.compile(r"[0-9.]{1,64}")  # archives hold leading zeros, which nobody can correct


def act_for(report: CdaReport, study_uid: str) -> Act:
    """Give the first act of the report that names the study.

    Raises `DocumentError` (``study-not-in-report``) where there is none.
    """
    for act in report.acts:
        if act.study_uid == study_uid:
            return act
    raise DocumentError(f"the report names no act for the study {study_uid}", reason="study-not-in-report")


def order_for(report: CdaReport, study: StudyContent) -> Order | None:
    """Give the order of a study; nothing in a report ties them together (CI-SIS, volet CR d'imagerie).

    By the images' accession number; else by position where there are as many orders as studies; else the
    first; None for a report without order.
    """
    for order in report.orders:
        if order.accession and study.accession and order.accession.extension == study.accession:
            return order
    studies = report.study_uids()
    if len(report.orders) == len(studies) and study.study_uid in studies:
        return report.orders[studies.index(study.study_uid)]
    return report.orders[0] if report.orders else None


def check_identity(report: CdaReport, study: StudyContent, settings: ManifestSection) -> tuple[str, ...]:
    """Compare the images' accession number and patient id with the report's, as `settings` want it.

    Gives the stable codes of what differs and is only warned of; raises `DocumentError` with the code as
    reason where `settings` refuse.  The patient id may be a local identifier of the report or the INS itself.
    """
    accessions = {o.accession.extension for o in report.orders if o.accession and o.accession.extension}
    patient_ids = {i.extension for i in report.patient.local_ids} | {report.patient.ins} if report.patient else set()
    checks = (
        (settings.check_accession, study.accession in accessions, ACCESSION_MISMATCH, "accession number"),
        (settings.check_patient_id, study.patient_id in patient_ids, PATIENT_ID_MISMATCH, "patient id"),
    )
    for policy, agrees, code, name in checks:
        if policy == "refuse" and not agrees:
            raise DocumentError(
                f"the {name} of the images of study {study.study_uid} is not in the report",
                reason=code,
                public="L'examen du PACS ne correspond pas au compte-rendu.",
            )
    return tuple(code for policy, agrees, code, _ in checks if policy == "warn" and not agrees)


def build_manifest(
    report: CdaReport,
    study: StudyContent,
    *,
    act: Act,
    order: Order | None,
    settings: ManifestSection,
    retrieve_root: str,
    sop_instance_uid: str,
    series_uid: str,
    instance_number: int,
    created_at: datetime,
) -> Manifest:
    """Make the manifest of one study; see `act_for`, `order_for` and `check_identity`.

    `created_at` is aware and loses its fraction, as the file does.  Raises `ConfigurationError` where
    `retrieve_root` is no address, and `DocumentError`: ``patient-missing``, ``study-empty``, ``instance-invalid``
    (a UID that no file can hold, no SOP class), ``identifier-too-long`` (accession above 16 characters, placer
    order number above 64: a cut identifier would be another one).
    """
    if not _ADDRESS.fullmatch(retrieve_root):
        raise ConfigurationError(f"Wado.Root {retrieve_root!r} must be an https:// address in ASCII, without spaces")
    if report.patient is None or not report.patient.ins:
        raise DocumentError("the report carries no INS", reason="patient-missing")
    _check_study(study)
    return Manifest(
        sop_instance_uid=sop_instance_uid,
        series_uid=series_uid,
        instance_number=instance_number,
        created_at=created_at.replace(microsecond=0),
        traits=report.patient,
        study=study,
        institution=_institution(report, act),
        accession=_usable(order.accession if order else None, _LONGEST_ACCESSION),
        placer_order=_usable(order.placer if order else None, _LONGEST_PLACER),
        retrieve_root=retrieve_root.rstrip("/"),
        act_label=(act.code and act.code.display) or (act.ccam and act.ccam.display) or "",
        manufacturer=settings.manufacturer,
    )


def same_content(one: Manifest | StudyContent, other: Manifest | StudyContent) -> bool:
    """Tell whether two manifests, or a manifest and a study, hold the same instances in the same series."""
    return _content(one) == _content(other)


def _content(of: Manifest | StudyContent) -> tuple[str, frozenset[tuple[str, str]]]:
    study = of.study if isinstance(of, Manifest) else of
    return study.study_uid, frozenset((s.series_uid, i.sop_instance_uid) for s in study.series for i in s.instances)


def _check_study(study: StudyContent) -> None:
    if not _UID_CHARACTERS.fullmatch(study.study_uid):
        raise DocumentError(f"{study.study_uid[:80]!r} is no Study Instance UID", reason="instance-invalid")
    if not study.instance_count():
        raise DocumentError(f"the study {study.study_uid} holds no instance", reason="study-empty")
    for series in study.series:
        for uid in (series.series_uid, *(u for i in series.instances for u in (i.sop_class_uid, i.sop_instance_uid))):
            if not _UID_CHARACTERS.fullmatch(uid):
                raise DocumentError(f"{uid[:80]!r} in study {study.study_uid} is no UID", reason="instance-invalid")


def _institution(report: CdaReport, act: Act) -> Organization | None:
    """Give who made the images (mandatory in the report for a DRIMbox), else who wrote, else who keeps."""
    candidates = [act.performer.organization if act.performer else None]
    candidates += [author.organization for author in report.authors]
    candidates.append(report.custodian)
    named = [o for o in candidates if o and o.identifier and o.identifier.extension]
    return next(iter(named), next((o for o in candidates if o), None))


def _usable(identifier: Identifier | None, longest: int) -> Identifier | None:
    if identifier is None or not identifier.extension:
        return None
    if len(identifier.extension) > longest:
        raise DocumentError(
            f"an identifier of the report's order has {len(identifier.extension)} characters, DICOM holds {longest}",
            reason="identifier-too-long",
        )
    return identifier
