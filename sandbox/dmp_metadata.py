# SPDX-License-Identifier: AGPL-3.0-or-later
"""Mandatory metadata and code lists of a KOS, its signature entry and their submission set.

Each check gives problems instead of raising, so that one answer names them all.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from datetime import datetime, timedelta

from sandbox import dmp_codes as c
from sandbox.dmp_ebrim import RegistryObject, Submission
from sandbox.dmp_errors import Problem
from sandbox.dmp_values import (
    institution,
    is_dtm,
    is_oid,
    is_patient_info,
    is_person,
    is_source_patient,
    parse_dtm,
    reference_kind,
)
from sandbox.dmp_vihf import is_ins

SKEW = timedelta(minutes=5)
ENTRY_SLOTS = frozenset(
    {"creationTime", "languageCode", "legalAuthenticator", "serviceStartTime", "serviceStopTime", "sourcePatientId",
     "sourcePatientInfo", "hash", "size", "URI", "repositoryUniqueId", c.REFERENCE_SLOT}
)  # fmt: skip
KOS_REQUIRED = ("creationTime", "languageCode", "legalAuthenticator", "serviceStartTime", "sourcePatientId", "hash",
                "size")  # fmt: skip
SIGNATURE_REQUIRED = ("creationTime", "languageCode", "hash", "size")
AUTHOR_SLOTS = frozenset(
    {"authorPerson", "authorInstitution", "authorRole", "authorSpecialty", "authorTelecommunication"}
)


def is_signature(entry: RegistryObject) -> bool:
    """Tell a signature's entry from a document's, by its class and type."""
    return c.SIGNATURE_CLASS in entry.codes(c.CLASS_CODE) or c.SIGNATURE_TYPE in entry.codes(c.TYPE_CODE)


def check_submission(submission: Submission, now: datetime) -> list[Problem]:
    """Every metadata problem of an ITI-41 content (warnings too)."""
    out = list(check_set(submission.set, now))
    for entry in submission.entries:
        out += check_signature(entry, now) if is_signature(entry) else check_kos(entry, now)
    return out


def problem(text: str, check: str) -> Problem:
    """A metadata error."""
    return Problem("XDSRepositoryMetadataError", text, f"metadata-{check}")


def check_set(package: RegistryObject, now: datetime) -> Iterator[Problem]:
    """The submission set (ITI TF-3 4.2.3.3)."""
    time = package.slot("submissionTime")
    if not re.fullmatch(r"\d{14}", time) or not is_dtm(time):
        yield problem("submissionTime doit être AAAAMMJJhhmmss en UTC.", "submission-time")
    elif _future(time, now):
        yield problem("submissionTime est dans le futur (heure locale au lieu d'UTC ?).", "submission-time-future")
    yield from _author(package, c.SET_AUTHOR)
    yield from _coded(package, c.SET_CONTENT_TYPE, c.CONTENT_TYPES, "content-type")
    for scheme, label in ((c.SET_SOURCE, "sourceId"), (c.SET_UNIQUE, "uniqueId")):
        if not is_oid(package.identifiers.get(scheme, "")):
            yield problem(f"{label} du lot absent ou qui n'est pas un OID.", f"set-{label}")
    if not is_ins(package.identifiers.get(c.SET_PATIENT, "")):
        yield problem("patientId du lot absent ou qui n'est pas un INS.", "set-patient")


def check_kos(entry: RegistryObject, now: datetime) -> Iterator[Problem]:
    """The document entry of a KOS."""
    yield from _common(entry, now, KOS_REQUIRED)
    if entry.attributes.get("mimeType") != "application/dicom":
        yield problem("mimeType d'un KOS : application/dicom.", "mime-type")
    for scheme, wanted, check in ((c.CLASS_CODE, c.KOS_CLASS, "class-code"), (c.TYPE_CODE, c.KOS_TYPE, "type-code"),
                                  (c.FORMAT_CODE, c.KOS_FORMAT, "format-code")):  # fmt: skip
        yield from _coded(entry, scheme, {wanted}, check)
    if not entry.name:
        yield problem("Titre absent.", "title")
    if entry.slots.get("languageCode", ("fr-FR",)) != ("fr-FR",):
        yield problem("languageCode attendu : fr-FR.", "language")
    if "legalAuthenticator" in entry.slots and not is_person(entry.slot("legalAuthenticator")):
        yield problem("legalAuthenticator mal formé.", "legal-authenticator")
    if "sourcePatientId" in entry.slots and not is_source_patient(entry.slot("sourcePatientId")):
        yield problem("sourcePatientId mal formé.", "source-patient-id")
    if not all(is_patient_info(value) for value in entry.slots.get("sourcePatientInfo", ())):
        yield problem("sourcePatientInfo mal formé.", "source-patient-info")
    yield from _references(entry)
    yield from _events(entry)


def check_signature(entry: RegistryObject, now: datetime) -> Iterator[Problem]:
    """The document entry of the signature (submission_signature, section 3)."""
    yield from _common(entry, now, SIGNATURE_REQUIRED)
    if entry.attributes.get("mimeType") != "text/xml" or entry.slot("languageCode") != "art" or entry.name != "Source":
        yield problem("Signature : text/xml, langue art, titre Source.", "signature-entry")
    wanted = ((c.CLASS_CODE, c.SIGNATURE_CLASS), (c.TYPE_CODE, c.SIGNATURE_TYPE), (c.FORMAT_CODE, c.SIGNATURE_FORMAT),
              (c.EVENT_CODE, c.SIGNATURE_EVENT))  # fmt: skip
    for scheme, code in wanted:
        yield from _coded(entry, scheme, {code}, "signature-code")
    if set(entry.codes(c.CONFIDENTIALITY)) != {c.NORMAL, c.MASQUE_PS, c.INVISIBLE_PATIENT}:
        yield problem("Signature : confidentialité N, MASQUE_PS et INVISIBLE_PATIENT.", "signature-confidentiality")


def _common(entry: RegistryObject, now: datetime, required: Collection[str]) -> Iterator[Problem]:
    if entry.attributes.get("objectType") != c.STABLE_DOCUMENT:
        yield problem("objectType inattendu.", "object-type")
    for name in required:
        if name not in entry.slots:
            yield problem(f"Métadonnée obligatoire absente : {name}.", f"missing-{name}")
    yield from _times(entry, now)
    if not re.fullmatch(r"[0-9a-fA-F]{40}", entry.slot("hash")) or not entry.slot("size").isdigit():
        yield problem("hash (SHA-1 en hexadécimal) ou size mal formé.", "hash-shape")
    if not is_ins(entry.identifiers.get(c.PATIENT_ID, "")):
        yield problem("patientId absent ou qui n'est pas un INS.", "patient-id")
    if not is_oid(entry.identifiers.get(c.UNIQUE_ID, "")):
        yield problem("uniqueId absent ou qui n'est pas un OID.", "unique-id")
    yield from _author(entry, c.AUTHOR)
    yield from _coded(entry, c.FACILITY, c.FACILITIES, "facility")
    yield from _coded(entry, c.PRACTICE, c.PRACTICES, "practice")
    yield from _confidentiality(entry)
    for name in entry.slots:
        if name not in ENTRY_SLOTS and not name.startswith("urn:"):
            yield Problem("XDSExtraMetadataNotSaved", f"Slot ignoré : {name}.", "extra-slot", warning=True)


def _times(entry: RegistryObject, now: datetime) -> Iterator[Problem]:
    for name in ("creationTime", "serviceStartTime", "serviceStopTime"):
        if name in entry.slots and not is_dtm(entry.slot(name)):
            yield problem(f"{name} doit être en UTC, sans fuseau.", "time-shape")
    if _future(entry.slot("creationTime"), now):
        yield problem("creationTime est dans le futur (heure locale au lieu d'UTC ?).", "creation-time-future")
    begin, end = parse_dtm(entry.slot("serviceStartTime")), parse_dtm(entry.slot("serviceStopTime"))
    if entry.slot("serviceStopTime") and begin and end and end < begin:
        yield problem("serviceStopTime avant serviceStartTime.", "service-times")


def _future(text: str, now: datetime) -> bool:
    instant = parse_dtm(text) if text.isdigit() else None
    return instant is not None and instant > now + SKEW


def _author(entry: RegistryObject, scheme: str) -> Iterator[Problem]:
    authors = entry.classified(scheme)
    if not authors:
        yield problem("Auteur absent.", "author")
    for author in authors:
        if set(author.slots) - AUTHOR_SLOTS or author.code:
            yield problem("Auteur : slot inconnu, ou nodeRepresentation qui n'est pas vide.", "author")
        if not is_person(next(iter(author.slots.get("authorPerson", ())), "")):
            yield problem("authorPerson absent ou mal formé.", "author-person")
        institutions = author.slots.get("authorInstitution", ())
        if not institutions or not all(institution(value) for value in institutions):
            yield problem("authorInstitution absent ou mal formé.", "author-institution")


def _coded(entry: RegistryObject, scheme: str, allowed: Collection[tuple[str, str]], check: str) -> Iterator[Problem]:
    """Exactly one code, of a list, with its label."""
    found = entry.classified(scheme)
    if len(found) != 1:
        yield problem("Code absent ou présent plusieurs fois.", check)
    for item in found:
        if item.coded not in allowed:
            yield problem(f"Code hors liste : {item.code}.", check)
        if not item.name:
            yield problem(f"Code sans libellé : {item.code}.", check)


def _confidentiality(entry: RegistryObject) -> Iterator[Problem]:
    found = entry.codes(c.CONFIDENTIALITY)
    if [scheme for _, scheme in found].count(c.CONFIDENTIALITY_SCHEME) != 1 or len(set(found)) != len(found):
        yield problem("Confidentialité : un seul code parmi N, R, V, et aucun doublon.", "confidentiality")
    for code in found:
        if code not in c.CONFIDENTIALITIES:
            yield problem(f"Confidentialité hors liste : {code[0]}.", "confidentiality")


def _references(entry: RegistryObject) -> Iterator[Problem]:
    values = entry.slots.get(c.REFERENCE_SLOT, ())
    kinds = [reference_kind(value) for value in values]
    if not all(kinds):
        yield problem("referenceIdList mal formé.", "reference-shape")
    if c.REFERENCE_STUDY not in kinds:
        yield problem("referenceIdList d'un KOS : l'identifiant de l'examen est attendu.", "reference-missing")


def _events(entry: RegistryObject) -> Iterator[Problem]:
    modalities = 0
    for item in entry.classified(c.EVENT_CODE):
        code, scheme = item.coded
        modalities += scheme in c.MODALITY_SCHEMES
        known = (
            (scheme in c.MODALITY_SCHEMES and code in c.MODALITIES)
            or (scheme in c.REGION_SCHEMES and code in c.REGIONS)
            or (scheme in c.ACT_SCHEMES and bool(re.fullmatch(r"[A-Z]{4}\d{3}|\d{1,7}-\d", code)))
        )
        if not known:
            yield problem(f"eventCode hors liste : {code} ({scheme}).", "event-code")
        if not item.name:
            yield problem(f"eventCode sans libellé : {code}.", "event-code")
    if not modalities:
        yield problem("eventCodeList : aucune modalité.", "event-modality")
