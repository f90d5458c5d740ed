# SPDX-License-Identifier: AGPL-3.0-or-later
"""MR of the invented head: two axial series of 24 slices in one frame of reference, T1 and T2, uncompressed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from sandbox.exams_common import Order, Series, in_threads, instance, make_uid, set_pixels, set_plane, write
from sandbox.exams_head import T1, T2, Head
from sandbox.exams_shapes import Array

SLICES = 24
MATRIX = 256
SPACING = 0.9  # mm
THICKNESS, GAP = 5.0, 0.5  # mm
BOTTOM = -58.0  # z (mm) of the lowest slice


@dataclass(frozen=True, slots=True)
class Sequence:
    """One pulse sequence: signals of the tissues, description, repetition and echo times (ms), echo train."""

    tone: Mapping[str, float]
    description: str
    repetition: float
    echo: float
    train: int


SEQUENCES = (
    Sequence(T1, "Axial T1 écho de spin 5 mm", 550, 12, 1),
    Sequence(T2, "Axial T2 écho de spin rapide 5 mm", 4200, 98, 15),
)


def slice_values(head: Head, seed: int, number: int, index: int) -> npt.NDArray[np.uint16]:
    """Make the stored values (12 bits) of slice `index` of series `number`, both from 0."""
    at = ((np.arange(MATRIX) - (MATRIX - 1) / 2) * SPACING).astype(np.float32)
    z = BOTTOM + index * (THICKNESS + GAP)
    tone = SEQUENCES[number].tone
    clean: Array = (head.plane(at, at, z - 1.3, tone) + head.plane(at, at, z + 1.3, tone)) / 2
    # the coil hears the outside of the head better
    reach = 0.92 + 0.16 * (at[:, None] ** 2 + at[None, :] ** 2) / 100**2
    rng = np.random.default_rng((seed, 5, number, index))
    noise = rng.standard_normal((2, MATRIX, MATRIX), dtype=np.float32) * 14
    measured = np.hypot(clean * reach + noise[0], noise[1])  # magnitude of a complex signal
    return np.rint(np.clip(measured * 1.6, 0, 4095)).astype(np.uint16)


def make(order: Order, folder: Path) -> tuple[tuple[str, ...], tuple[Path, ...]]:
    """Write the exam; gives series identifiers and files, slices from head to feet."""
    head = Head(order.seed)
    half = (MATRIX - 1) / 2 * SPACING
    all_series = [
        Series(order.uid("series", n), n, "MR", sequence.description, "HEAD", "IRM fictive 1,5 T")
        for n, sequence in enumerate(SEQUENCES, 1)
    ]

    def one(job: tuple[Series, int]) -> Path:
        series, number = job
        sequence, index = SEQUENCES[series.number - 1], SLICES - number
        ds = instance(order, series, MRImageStorage, number)
        ds.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
        position = (-half, -half, BOTTOM + index * (THICKNESS + GAP))
        set_plane(ds, position, SPACING, THICKNESS, make_uid(order.study_uid, "frame"))
        ds.SpacingBetweenSlices = THICKNESS + GAP
        set_pixels(ds, rows=MATRIX, columns=MATRIX, stored=12)
        ds.ScanningSequence = "SE"
        ds.SequenceVariant = "SK" if sequence.train > 1 else "NONE"
        ds.ScanOptions, ds.MRAcquisitionType = "", "2D"
        ds.RepetitionTime, ds.EchoTime, ds.EchoTrainLength = sequence.repetition, sequence.echo, sequence.train
        ds.MagneticFieldStrength, ds.ImagingFrequency, ds.FlipAngle = 1.5, 63.87, 90
        ds.NumberOfAverages, ds.PixelBandwidth, ds.ReceiveCoilName = 1, 180, "TETE"
        ds.ProtocolName = "ENCEPHALE"
        ds.WindowCenter, ds.WindowWidth = 700, 1400
        pixels = slice_values(head, order.seed, series.number - 1, index)
        path = folder / f"MR-{series.number}-{number:03d}.dcm"
        return write(path, ds, ExplicitVRLittleEndian, [pixels.tobytes()])

    jobs = [(series, number) for series in all_series for number in range(1, SLICES + 1)]
    return tuple(series.uid for series in all_series), tuple(in_threads(one, jobs))
