# SPDX-License-Identifier: AGPL-3.0-or-later
"""ebRIM metadata of a published KOS: what ITI-41 and ITI-57 carry besides the documents.

Pure: everything that must stay the same over retries is in `Submission`, drawn before the first try.
Sources: ITI TF-3 4.2, spec `dmp_soap.md` 3, `drimbox_xds.md`, `mapping_cda_to_xds.md`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from lxml import etree

from drimbox import xds_codes as codes
from drimbox.clock import utc_stamp
from drimbox.config import DmpSection
from drimbox.ebrim import RegistryObject, association
from drimbox.records import CdaReport, Manifest, ManifestIds, Organization, Professional, Restrictions, Traits
from drimbox.records_json import from_json, to_json
from drimbox.xds_author import entry_author, set_author, structure
from drimbox.xds_entry import (
    confidentiality_codes,
    content_type,
    event_codes,
    facility_type,
    practice_setting,
    service_times,
)
from drimbox.xds_formats import (
    patient_id,
    reference,
    source_patient_id,
    source_patient_info,
    specialty,
    study_reference,
    xcn,
    xon,
)

SET_ID = "SubmissionSet01"
KOS_ID = "DocumentKOS"
SIGNATURE_ID = "Signature01"


@dataclass(frozen=True, slots=True)
class Submission:
    """Everything needed to send a KOS, once or again.

    `kos_hash` is the lower-case hexadecimal SHA-1 of the KOS, `kos_size` its length in bytes;
    `replaces_entry_uuid` the ``urn:uuid:`` of the entry that this one replaces.
    """

    report: CdaReport
    restrictions: Restrictions
    sender: Professional | None
    patient_class: str
    manifest: Manifest
    kos_hash: str
    kos_size: int
    ids: ManifestIds
    submitted_at: datetime
    replaces_entry_uuid: str | None = None


@dataclass(frozen=True, slots=True)
class StatusUpdate:
    """A change of availability by ITI-57; `author` is that of the new submission set."""

    entry_uuid: str
    traits: Traits
    author: Professional
    patient_class: str
    submission_uid: str
    submitted_at: datetime
    original_status: str = codes.APPROVED
    new_status: str = codes.DELETED
    secret_connection: bool = False


def submission_to_json(submission: Submission) -> str:
    """Write a submission as the store keeps it."""
    return to_json(submission)


def submission_from_json(text: str) -> Submission:
    """Read what `submission_to_json` wrote.  Raises `DocumentError`."""
    return from_json(Submission, text)


def withdrawal(
    submission: Submission, settings: DmpSection, *, entry_uuid: str, submission_uid: str, submitted_at: datetime
) -> StatusUpdate:
    """Give the deletion (TD3.3c) of what `submission` published, by the same author."""
    return StatusUpdate(
        entry_uuid=entry_uuid,
        traits=submission.manifest.traits,
        author=set_author(submission.report, submission.sender, settings),
        patient_class=submission.patient_class,
        submission_uid=submission_uid,
        submitted_at=submitted_at,
        secret_connection=submission.restrictions.secret_connection,
    )


def build_submission_objects(
    submission: Submission, settings: DmpSection, *, signature_size: int, signature_hash: str
) -> etree._Element:
    """``lcm:SubmitObjectsRequest`` of ITI-41: set, KOS, signature and their associations.

    Size in bytes and hexadecimal SHA-1 are those of the signature document as sent.  Raises
    `DocumentError` where the report lacks what the DMP demands.
    """
    author = set_author(submission.report, submission.sender, settings)
    owner = structure(submission.report, settings)
    objects = [
        _submission_set(author, owner, submission.manifest.traits, submission.patient_class,
                        submission.ids.submission_uid, submission.submitted_at, settings),
        _kos_entry(submission, owner, settings),
        _signature_entry(submission, owner, settings, signature_size, signature_hash),
        association("as01", codes.HAS_MEMBER, SET_ID, KOS_ID, SubmissionSetStatus="Original"),
        association("as02", codes.HAS_MEMBER, SET_ID, SIGNATURE_ID, SubmissionSetStatus="Original"),
        association("as03", codes.SIGNS, SIGNATURE_ID, SET_ID, SubmissionSetStatus="Original"),
    ]  # fmt: skip
    if submission.replaces_entry_uuid:
        objects.append(association("as04", codes.REPLACES, KOS_ID, submission.replaces_entry_uuid))
    return _request(objects)


def build_status_update(update: StatusUpdate, settings: DmpSection) -> etree._Element:
    """``lcm:SubmitObjectsRequest`` of ITI-57 UpdateAvailabilityStatus: neither document nor signature."""
    owner = structure(None, settings)
    submission_set = _submission_set(
        update.author, owner, update.traits, update.patient_class, update.submission_uid, update.submitted_at, settings
    )
    change = association("as01", codes.UPDATE_STATUS, SET_ID, update.entry_uuid,
                         OriginalStatus=update.original_status, NewStatus=update.new_status)  # fmt: skip
    return _request([submission_set, change])


def _request(objects: list[etree._Element]) -> etree._Element:
    request = etree.Element(f"{{{codes.LCM}}}SubmitObjectsRequest", nsmap={"lcm": codes.LCM, "rim": codes.RIM})
    etree.SubElement(request, f"{{{codes.RIM}}}RegistryObjectList").extend(objects)
    return request


def _submission_set(
    author: Professional,
    owner: Organization,
    traits: Traits,
    patient_class: str,
    unique_id: str,
    submitted_at: datetime,
    settings: DmpSection,
) -> etree._Element:
    package = RegistryObject("RegistryPackage", SET_ID, objectType=f"{codes.REGISTRY_OBJECT}RegistryPackage")
    package.slot("submissionTime", utc_stamp(submitted_at))
    package.name(codes.KOS_TITLE)
    _author(package, codes.SET_AUTHOR, author, owner)
    package.classify(codes.SET_CONTENT_TYPE, content_type(patient_class, settings))
    package.node(codes.SET_NODE)
    package.identify(codes.SET_PATIENT_ID, "XDSSubmissionSet.patientId", patient_id(traits))
    package.identify(codes.SET_SOURCE_ID, "XDSSubmissionSet.sourceId", settings.source_id)
    package.identify(codes.SET_UNIQUE_ID, "XDSSubmissionSet.uniqueId", unique_id)
    return package.element()


def _kos_entry(submission: Submission, owner: Organization, settings: DmpSection) -> etree._Element:
    report, manifest = submission.report, submission.manifest
    entry = RegistryObject("ExtrinsicObject", KOS_ID, mimeType=codes.KOS_MIME, objectType=codes.STABLE_DOCUMENT)
    entry.slot("creationTime", utc_stamp(manifest.created_at))
    entry.slot("languageCode", codes.KOS_LANGUAGE)
    start, stop = service_times(report, manifest)
    entry.slot("serviceStartTime", utc_stamp(start) if start else "")
    entry.slot("serviceStopTime", utc_stamp(stop) if stop else "")
    _identify_patient(entry, manifest.traits)
    entry.slot("legalAuthenticator", xcn(report.legal_authenticator) if report.legal_authenticator else "")
    entry.slot("hash", submission.kos_hash)
    entry.slot("size", str(submission.kos_size))
    entry.slot(codes.REFERENCE_LIST, *_references(manifest, settings))
    entry.name(codes.KOS_TITLE)
    entry.description(codes.KOS_COMMENTS)
    _author(entry, codes.DOC_AUTHOR, entry_author(report, settings), owner)
    entry.classify(codes.DOC_CLASS, codes.KOS_CLASS)
    entry.classify(codes.DOC_TYPE, codes.KOS_TYPE)
    entry.classify(codes.DOC_FORMAT, codes.KOS_FORMAT)
    for code in confidentiality_codes(report.confidentiality, submission.restrictions):
        entry.classify(codes.DOC_CONFIDENTIALITY, code)
    for code in event_codes(report, manifest, settings):
        entry.classify(codes.DOC_EVENT, code)
    _place(entry, report, manifest, settings)
    entry.identify(codes.DOC_UNIQUE_ID, "XDSDocumentEntry.uniqueId", manifest.sop_instance_uid)
    return entry.element()


def _signature_entry(
    submission: Submission, owner: Organization, settings: DmpSection, size: int, digest: str
) -> etree._Element:
    # IHE DSG; what a reader may not see of the set is hidden from patient and professionals alike
    manifest, when = submission.manifest, utc_stamp(submission.submitted_at)
    entry = RegistryObject(
        "ExtrinsicObject", SIGNATURE_ID, mimeType=codes.SIGNATURE_MIME, objectType=codes.STABLE_DOCUMENT
    )
    for name, value in (("creationTime", when), ("languageCode", codes.SIGNATURE_LANGUAGE),
                        ("serviceStartTime", when), ("serviceStopTime", when)):  # fmt: skip
        entry.slot(name, value)
    _identify_patient(entry, manifest.traits)
    authenticator = submission.report.legal_authenticator
    entry.slot("legalAuthenticator", xcn(authenticator) if authenticator else "")
    entry.slot("hash", digest)
    entry.slot("size", str(size))
    entry.name(codes.SIGNATURE_TITLE)
    author = set_author(submission.report, submission.sender, settings)
    _author(entry, codes.DOC_AUTHOR, author, owner)
    entry.classify(codes.DOC_CLASS, codes.SIGNATURE_CLASS)
    entry.classify(codes.DOC_TYPE, codes.SIGNATURE_TYPE)
    entry.classify(codes.DOC_FORMAT, codes.SIGNATURE_FORMAT)
    for code in (codes.NORMAL, codes.VISIBILITIES["MASQUE_PS"], codes.VISIBILITIES["INVISIBLE_PATIENT"]):
        entry.classify(codes.DOC_CONFIDENTIALITY, code)
    entry.classify(codes.DOC_EVENT, codes.SIGNATURE_EVENT)
    _place(entry, submission.report, manifest, settings)
    entry.identify(codes.DOC_UNIQUE_ID, "XDSDocumentEntry.uniqueId", submission.ids.signature_uid)
    return entry.element()


def _identify_patient(entry: RegistryObject, traits: Traits) -> None:
    entry.slot("sourcePatientId", source_patient_id(traits))
    entry.slot("sourcePatientInfo", *source_patient_info(traits))


def _place(entry: RegistryObject, report: CdaReport, manifest: Manifest, settings: DmpSection) -> None:
    entry.classify(codes.DOC_FACILITY, facility_type(report, settings))
    entry.classify(codes.DOC_PRACTICE, practice_setting(report, manifest, settings))
    entry.identify(codes.DOC_PATIENT_ID, "XDSDocumentEntry.patientId", patient_id(manifest.traits))


def _author(target: RegistryObject, scheme: str, author: Professional, owner: Organization) -> None:
    target.author(
        scheme,
        authorPerson=xcn(author),
        authorInstitution=xon(owner),
        authorRole=author.role,
        authorSpecialty=specialty(author.specialty) if author.specialty else "",
    )


def _references(manifest: Manifest, settings: DmpSection) -> tuple[str, ...]:
    pairs = ((manifest.accession, codes.REFERENCE_ACCESSION), (manifest.placer_order, codes.REFERENCE_ORDER))
    accession, order = (reference(i, kind) if i else "" for i, kind in pairs)
    return (accession, study_reference(manifest.study.study_uid, settings.study_reference_authority), order)
