# SPDX-License-Identifier: AGPL-3.0-or-later
"""What all sample exams share: the invented patient, identifiers, the common modules and the file writer.

Every exam is drawn by our own code from a seed; no image comes from a person.  The modules named in
comments are those of PS3.3 annexes A and C.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian

# Root of our name-based identifiers: a UUID drawn once, so that 2.25.… values repeat from run to run.
_NAMESPACE = uuid.UUID("6f1c1f86-5f57-4f0e-9a0b-0c3a6d1f2e77")


@dataclass(frozen=True, slots=True)
class Patient:
    """A patient as the hospital knows them: local identifier (IPP), ``NOM^PRENOM``, YYYYMMDD, F, M or O."""

    patient_id: str = "IPP-ESSAI-1"
    name: str = "ESSAI-DRIMBOX^CAMILLE"
    birth_date: str = "19800229"
    sex: str = "F"


CAMILLE = Patient()
STARTED = datetime(2026, 11, 20, 10, 25, tzinfo=timezone(timedelta(hours=1)))


@dataclass(frozen=True, slots=True)
class Order:
    """One exam to make: what `make_exam` was asked, with its defaults filled in.

    `started` is aware; DICOM dates are written in its own offset.
    """

    name: str
    study_uid: str
    accession: str
    patient: Patient
    seed: int
    started: datetime
    description: str
    institution: str = "Hôpital fictif de démonstration"

    def uid(self, *parts: object) -> str:
        """Give the identifier of a part (series, instance…) of this exam; the same for the same order."""
        return make_uid(self.study_uid, self.name, self.seed, *parts)


@dataclass(frozen=True, slots=True)
class Series:
    """One series of an order."""

    uid: str
    number: int
    modality: str
    description: str
    body_part: str
    manufacturer_model: str


@dataclass(frozen=True, slots=True)
class ExamFiles:
    """An exam on disk; `paths` are in the order of series, then of instances."""

    name: str
    study_uid: str
    accession: str
    patient: Patient
    modality: str
    description: str
    series_uids: tuple[str, ...]
    paths: tuple[Path, ...]

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(path.stat().st_size for path in self.paths)


def make_uid(*parts: object) -> str:
    """Give a UID under 2.25 (PS3.5 B.2) that depends on `parts` alone."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, '/'.join(map(str, parts))).int}"


def instance(order: Order, series: Series, sop_class: str, number: int) -> Dataset:
    """Start a dataset with the modules that every image has (PS3.3 C.7.1 to C.7.6.1, C.12.1)."""
    ds = Dataset()
    when = order.started + timedelta(seconds=60 * series.number)
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = UID(sop_class)
    ds.SOPInstanceUID = UID(order.uid(series.number, number))
    ds.InstanceCreationDate, ds.InstanceCreationTime = _date(when), _time(when)
    # Patient, General Study
    ds.PatientName, ds.PatientID = order.patient.name, order.patient.patient_id
    ds.PatientBirthDate, ds.PatientSex = order.patient.birth_date, order.patient.sex
    ds.StudyInstanceUID = UID(order.study_uid)
    ds.StudyDate, ds.StudyTime = _date(order.started), _time(order.started)
    ds.AccessionNumber = order.accession
    ds.StudyID = order.accession[:16]
    ds.StudyDescription = order.description
    ds.ReferringPhysicianName = "PRESCRIPTEUR-ESSAI^DOMINIQUE"
    # General Series, General Equipment
    ds.Modality, ds.SeriesInstanceUID, ds.SeriesNumber = series.modality, UID(series.uid), series.number
    ds.SeriesDescription, ds.BodyPartExamined = series.description, series.body_part
    ds.SeriesDate, ds.SeriesTime = _date(when), _time(when)
    ds.Manufacturer, ds.ManufacturerModelName = "SANDBOX", series.manufacturer_model
    ds.InstitutionName, ds.StationName = order.institution, "SANDBOX"
    ds.DeviceSerialNumber, ds.SoftwareVersions = "0001", "1.0"
    # General Image
    ds.InstanceNumber = number
    ds.AcquisitionNumber = 1
    ds.AcquisitionDate = ds.ContentDate = _date(when)
    ds.AcquisitionTime = ds.ContentTime = _time(when)
    ds.BurnedInAnnotation = "NO"
    ds.LossyImageCompression = "00"
    return ds


def set_pixels(ds: Dataset, *, rows: int, columns: int, stored: int, samples: int = 1) -> None:
    """Fill the Image Pixel module (PS3.3 C.7.6.3) for unsigned samples of `stored` bits."""
    ds.SamplesPerPixel = samples
    ds.PhotometricInterpretation = "MONOCHROME2" if samples == 1 else "RGB"
    if samples > 1:
        ds.PlanarConfiguration = 0
    ds.Rows, ds.Columns = rows, columns
    ds.BitsAllocated = 16 if stored > 8 else 8
    ds.BitsStored, ds.HighBit, ds.PixelRepresentation = stored, stored - 1, 0


def set_plane(
    ds: Dataset, position: Sequence[float], spacing: float, thickness: float, frame_of_reference: str
) -> None:
    """Fill Frame of Reference and Image Plane (PS3.3 C.7.4.1, C.7.6.2) for an axial slice.

    `position` is the centre of the first pixel, patient coordinates (LPS) in mm; `spacing` and
    `thickness` in mm.
    """
    ds.FrameOfReferenceUID = UID(frame_of_reference)
    ds.PositionReferenceIndicator = ""
    ds.PatientPosition = "HFS"
    ds.ImagePositionPatient = [round(value, 4) for value in position]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing = [spacing, spacing]
    ds.SliceThickness = thickness
    ds.SliceLocation = round(position[2], 4)


def write(path: Path, ds: Dataset, syntax: str, frames: Sequence[bytes]) -> Path:
    """Write one DICOM file (PS3.10) with `frames` as they are to be stored in `syntax`."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    if syntax == ExplicitVRLittleEndian:
        ds.PixelData = b"".join(frames)
        ds["PixelData"].VR = "OW" if ds.BitsAllocated > 8 else "OB"
    else:
        ds.PixelData = encapsulate(list(frames))
        ds["PixelData"].VR = "OB"
        ds["PixelData"].is_undefined_length = True
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def in_threads[T, R](task: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Run `task` on each item on all cores, results in order; numpy and the codecs release the GIL."""
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        return list(pool.map(task, items))


def _date(when: datetime) -> str:
    return when.strftime("%Y%m%d")


def _time(when: datetime) -> str:
    return when.strftime("%H%M%S")
