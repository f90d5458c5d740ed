# SPDX-License-Identifier: AGPL-3.0-or-later
"""A manifest as a DICOM file: Key Object Selection Document (PS3.3 A.35.4, DRIM-M "Objet référence d'examen").

pydicom writes the data set but its last three sequences, two of which hold an item for each instance: those are
encoded here, because a pydicom object for each item costs ten times the time and the memory of the rest.

Choices where the texts are silent: Explicit VR Little Endian; ISO_IR 100 as long as every text fits,
else ISO_IR 192; dates and times in the zone of the site, with the offset of the creation instant;
TID 2010 is named, which the official samples leave out and strict readers ask for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from io import BytesIO
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from pydicom.config import IGNORE
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRLittleEndian

from drimbox.kos_text import write_text
from drimbox.records import INS_OIDS, Identifier, InstanceRef, Manifest, Organization, SeriesRef, Traits

KOS_CLASS = "1.2.840.10008.5.1.4.1.1.88.59"
MANIFEST_SERIES_NUMBER = 59
_IMPLEMENTATION_UID = "2.25.220843178932087150916862137386471498517"
_IMPLEMENTATION_NAME = "DRIMBOX_1"
_DEFAULT_INS_ISSUER = "ASIP-SANTE-INS-NIR"
_LO, _SH, _PN = 64, 16, 64  # longest values in characters, PS3.5 6.2
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\\\ud800-\udfff]+")
_TIME = re.compile(r"(?:[01]\d|2[0-3])(?:[0-5]\d(?:[0-5]\d(?:\.\d{1,6})?)?)?", re.ASCII)
_SEX = {"M": "M", "F": "F", "O": "O", "UN": "O"}


class WriterSettings(Protocol):
    """What the writer takes from the configuration (`drimbox.config.ManifestSection`)."""

    @property
    def retrieve_location_uid(self) -> str:
        """(0040,E011), or empty."""

    @property
    def reference_details(self) -> bool:
        """Whether numbers and frames stand beside the references."""

    @property
    def time_zone(self) -> str:
        """IANA name of the site's zone."""


def write_manifest(manifest: Manifest, settings: WriterSettings) -> bytes:
    """Give the DICOM Part 10 file; the same manifest and settings always give the same bytes."""
    text = write_text(manifest.study.description, manifest.act_label, manifest.study.series)
    data = Dataset()
    data.update(_general(manifest, settings))
    data.update(_patient(manifest.traits))
    data.update(_document(manifest))
    data.SpecificCharacterSet = _character_set(data, text)
    return b"".join(
        (
            _part10(data, manifest.sop_instance_uid),
            # the highest tags of the object, in order, so that they follow what pydicom wrote
            _sequence("CurrentRequestedProcedureEvidenceSequence", [_evidence(manifest, settings)]),
            _sequence("ContentTemplateSequence", [_TEMPLATE]),
            _sequence("ContentSequence", [*_content(manifest), _text_item(text, data.SpecificCharacterSet)]),
        )
    )


# --- the data set by pydicom


def _general(manifest: Manifest, settings: WriterSettings) -> Dataset:
    """Patient's study, series, equipment and SOP common attributes."""
    study, local = manifest.study, manifest.created_at.astimezone(ZoneInfo(settings.time_zone))
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = KOS_CLASS, manifest.sop_instance_uid
    for prefix in ("InstanceCreation", "Series", "Content"):
        setattr(data, f"{prefix}Date", _da(local))
        setattr(data, f"{prefix}Time", _tm(local))
    data.TimezoneOffsetFromUTC = local.strftime("%z")[:5]
    data.add(_study_uid(study.study_uid))
    data.SeriesInstanceUID = manifest.series_uid
    data.StudyDate = _date(study.study_date)
    data.StudyTime = study.study_time if _TIME.fullmatch(study.study_time) else ""
    data.StudyID = _clean(study.study_id, _LO) if len(study.study_id) <= _SH else ""  # cut, it would be another one
    data.StudyDescription = _clean(study.description, _LO)
    data.ReferringPhysicianName = _person(*study.referring_physician.partition("=")[0].split("^"))
    data.AccessionNumber = ""  # the real one is in ReferencedRequestSequence
    data.Modality = "KO"
    data.SeriesNumber, data.InstanceNumber = MANIFEST_SERIES_NUMBER, manifest.instance_number
    data.Manufacturer = _clean(manifest.manufacturer, _LO)
    if manifest.institution:
        data.InstitutionName = institution_name(manifest.institution)
    data.ReferencedPerformedProcedureStepSequence = []
    return data


def _patient(traits: Traits) -> Dataset:
    """The INS and the strict traits (RNIV), as DRIM-M places them."""
    issuer = INS_OIDS.get(traits.ins_oid, _DEFAULT_INS_ISSUER)
    data = Dataset()
    data.PatientName = _person(traits.birth_family, traits.birth_given)
    data.PatientID = _clean(traits.ins, _LO)
    data.IssuerOfPatientID = issuer
    data.IssuerOfPatientIDQualifiersSequence = [_authority(traits.ins_oid)]
    data.PatientBirthDate = _date(traits.birth_date[:8])
    data.PatientSex = _SEX.get(traits.sex, "")
    if others := _other_names(traits):
        data.OtherPatientNames = others
    other = Dataset()
    other.PatientID, other.IssuerOfPatientID, other.TypeOfPatientID = data.PatientID, issuer, "TEXT"
    other.IssuerOfPatientIDQualifiersSequence = [_authority(traits.ins_oid)]
    data.OtherPatientIDsSequence = [other]
    if traits.birth_place:
        data.PatientComments = _clean(traits.birth_place, _LO)
    return data


def _document(manifest: Manifest) -> Dataset:
    """Key object document and SR document content, but for its last three sequences."""
    data = Dataset()
    data.ValueType, data.ContinuityOfContent = "CONTAINER", "SEPARATE"
    data.ConceptNameCodeSequence = [_code("113030", "MANIFEST")]
    request = Dataset()
    request.AccessionNumber = _extension(manifest.accession)
    request.add(_study_uid(manifest.study.study_uid))
    request.RequestedProcedureDescription = ""
    request.RequestedProcedureID = request.FillerOrderNumberImagingServiceRequest = ""
    request.PlacerOrderNumberImagingServiceRequest = _extension(manifest.placer_order)
    request.ReferencedStudySequence = []
    request.RequestedProcedureCodeSequence = []
    if manifest.accession:
        request.IssuerOfAccessionNumberSequence = [_authority(manifest.accession.root)]
    if manifest.placer_order:
        request.OrderPlacerIdentifierSequence = [_authority(manifest.placer_order.root)]
    data.ReferencedRequestSequence = [request]
    return data


def institution_name(institution: Organization) -> str:
    """``<name>^^^^^^^^^<structure id>`` (name in XON-1, identifier in XON-10); the name is cut to fit LO."""
    identifier = institution.identifier.extension if institution.identifier else None
    tail = "^" * 9 + _clean(identifier, _LO - 9) if identifier else ""
    return _clean(institution.name.replace("^", " "), _LO - len(tail)) + tail


def _other_names(traits: Traits) -> list[str]:
    """Birth given names as ``^<given names>``, then the names in use."""
    values = [_person("", traits.birth_givens)] if traits.birth_givens else []
    if traits.used_family or traits.used_given:
        values.append(_person(traits.used_family, traits.used_given))
    return values


def _authority(oid: str) -> Dataset:
    item = Dataset()
    item.UniversalEntityID, item.UniversalEntityIDType = _clean(oid, _LO), "ISO"
    return item


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item


def _extension(identifier: Identifier | None) -> str:
    return _clean(identifier.extension or "", _LO) if identifier else ""


def _study_uid(uid: str) -> DataElement:
    """The archive's UID as it is: some have leading zeros, which pydicom would refuse and nobody may correct."""
    return DataElement("StudyInstanceUID", "UI", uid, validation_mode=IGNORE)


def _date(text: str) -> str:
    """A DA of the archive or of the report, empty where it is no date."""
    try:
        date = datetime.strptime(text, "%Y%m%d")  # noqa: DTZ007 - a date alone
    except ValueError:
        return ""
    return text if _da(date) == text else ""


def _da(instant: datetime) -> str:
    return instant.strftime("%Y%m%d")


def _tm(instant: datetime) -> str:
    return instant.strftime("%H%M%S")


def _clean(text: str, longest: int) -> str:
    """A value without control characters nor the separator of values, cut to `longest` characters."""
    return _UNSAFE.sub(" ", text).strip()[:longest].rstrip()


def _person(*components: str) -> str:
    """One alphabetic name of at most 64 characters; ``^`` and ``=`` are its separators (PS3.5 6.2.1)."""
    return _clean("^".join(re.sub("[\\^=]", " ", c).strip() for c in components), _PN).rstrip("^ ")


def _character_set(data: Dataset, text: str) -> str:
    """Latin-1 like every official sample, UTF-8 where a text does not fit (œ, Ÿ, names from elsewhere)."""
    values = (str(element.value) for element in data.iterall() if element.VR != "SQ")
    try:
        "".join((text, *values)).encode("latin-1")
    except UnicodeEncodeError:
        return "ISO_IR 192"
    return "ISO_IR 100"


# --- the long sequences, encoded here: Explicit VR Little Endian, defined lengths (PS3.5 7.1.2, 7.5)

_LONG_VRS = frozenset({"SQ", "UR", "UT"})


@lru_cache(maxsize=64)
def _head(keyword: str, vr: str) -> bytes:
    """Tag and VR, up to the length."""
    tag = Tag(keyword)
    reserved = b"\0\0" if vr in _LONG_VRS else b""
    return tag.group.to_bytes(2, "little") + tag.element.to_bytes(2, "little") + vr.encode("ascii") + reserved


def _element(keyword: str, vr: str, value: bytes) -> bytes:
    if len(value) % 2:
        value += b"\0" if vr == "UI" else b" "
    return _head(keyword, vr) + len(value).to_bytes(4 if vr in _LONG_VRS else 2, "little") + value


def _text_element(keyword: str, vr: str, value: object) -> bytes:
    return _element(keyword, vr, str(value).encode("ascii"))


def _item(*elements: bytes) -> bytes:
    body = b"".join(elements)
    return b"\xfe\xff\x00\xe0" + len(body).to_bytes(4, "little") + body


def _sequence(keyword: str, items: Iterable[bytes]) -> bytes:
    return _element(keyword, "SQ", b"".join(items))


def _evidence(manifest: Manifest, settings: WriterSettings) -> bytes:
    """The one item of CurrentRequestedProcedureEvidenceSequence: the study, its series, its instances."""
    study = manifest.study
    series = (
        _evidence_series(s, f"{manifest.retrieve_root}/studies/{study.study_uid}/series/{s.series_uid}", settings)
        for s in study.series
        if s.instances
    )
    return _item(
        _sequence("ReferencedSeriesSequence", series),
        _text_element("StudyInstanceUID", "UI", study.study_uid),
    )


def _evidence_series(series: SeriesRef, url: str, settings: WriterSettings) -> bytes:
    elements = [
        _text_element("RetrieveURL", "UR", url),
        _sequence("ReferencedSOPSequence", (_item(_reference(i, settings)) for i in series.instances)),
        _text_element("SeriesInstanceUID", "UI", series.series_uid),
    ]
    if settings.reference_details and series.number is not None:
        elements.append(_text_element("SeriesNumber", "IS", series.number))
    if settings.retrieve_location_uid:
        elements.append(_text_element("RetrieveLocationUID", "UI", settings.retrieve_location_uid))
    return _item(*elements)


def _reference(instance: InstanceRef, settings: WriterSettings) -> bytes:
    """One ReferencedSOPSequence item's elements; numbers and frames as the ANS's own tools write them."""
    reference = _sop(instance)
    if settings.reference_details and instance.instance_number is not None:
        reference += _text_element("InstanceNumber", "IS", instance.instance_number)
    if settings.reference_details and instance.frames is not None:
        reference += _text_element("NumberOfFrames", "IS", instance.frames)
    return reference


def _sop(instance: InstanceRef) -> bytes:
    return _text_element("ReferencedSOPClassUID", "UI", instance.sop_class_uid) + _text_element(
        "ReferencedSOPInstanceUID", "UI", instance.sop_instance_uid
    )


def _content(manifest: Manifest) -> Iterable[bytes]:
    """One ContentSequence item for each instance (TID 2010, rows 6 to 8)."""
    for series in manifest.study.series:
        for instance in series.instances:
            yield _item(
                _sequence("ReferencedSOPSequence", [_item(_sop(instance))]),
                _CONTAINS,
                _text_element("ValueType", "CS", value_type(instance.sop_class_uid)),
            )


def _text_item(text: str, character_set: str) -> bytes:
    encoding = "latin-1" if character_set == "ISO_IR 100" else "utf-8"
    concept = _item(
        _text_element("CodeValue", "SH", "113012"),
        _text_element("CodingSchemeDesignator", "SH", "DCM"),
        _text_element("CodeMeaning", "LO", "Key Object Description"),
    )
    return _item(
        _CONTAINS,
        _text_element("ValueType", "CS", "TEXT"),
        _sequence("ConceptNameCodeSequence", [concept]),
        _element("TextValue", "UT", text.encode(encoding)),
    )


_TEMPLATE = _item(_text_element("MappingResource", "CS", "DCMR"), _text_element("TemplateIdentifier", "CS", "2010"))
_CONTAINS = _text_element("RelationshipType", "CS", "CONTAINS")
# Classes of images whose name in PS3.6 does not say so
_IMAGE_NAMES = ("Image Storage", "Segmentation Storage", "RT Dose Storage", "Map Storage", "Volume Storage",
                "Volume Analysis Storage")  # fmt: skip


@lru_cache(maxsize=512)
def value_type(sop_class_uid: str) -> str:
    """IMAGE, WAVEFORM or, for everything else and for unknown classes, COMPOSITE (PS3.3 C.17.3.2.1)."""
    name = UID(sop_class_uid).name
    if "Waveform Storage" in name:
        return "WAVEFORM"
    if any(part in name for part in _IMAGE_NAMES) and "Surface" not in name:
        return "IMAGE"
    return "COMPOSITE"


def _part10(data: Dataset, sop_instance_uid: str) -> bytes:
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\0\1"
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID(KOS_CLASS), UID(sop_instance_uid)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID, meta.ImplementationVersionName = UID(_IMPLEMENTATION_UID), _IMPLEMENTATION_NAME
    file: Any = FileDataset("", data, preamble=b"\0" * 128, file_meta=meta)
    buffer = BytesIO()
    dcmwrite(buffer, file, enforce_file_format=True)
    return buffer.getvalue()
