# SPDX-License-Identifier: AGPL-3.0-or-later
"""CR: a chest radiograph from the back to the front, computed through the invented trunk."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import numpy.typing as npt
from pydicom.uid import ComputedRadiographyImageStorage, JPEGLSLossless

from sandbox.exams_body import Trunk
from sandbox.exams_common import Order, Series, in_threads, instance, set_pixels, write
from sandbox.exams_shapes import Array, grain

ROWS, COLUMNS = 2048, 1792
SPACING = 0.19  # mm, at the imaging plate
TOP = 312.0  # z (mm) of the first row
_STEP_X, _STEP_Y, _STEP_Z = 0.76, 1.75, 1.0  # mm, where the trunk is sampled


def projection(trunk: Trunk) -> Array:
    """Sum the attenuation along y, as path through water (mm): planes from head to feet, columns from right to left."""
    x = np.arange(-COLUMNS * SPACING / 2, COLUMNS * SPACING / 2, _STEP_X, dtype=np.float32)
    y = np.arange(-140, 125, _STEP_Y, dtype=np.float32)
    heights = np.arange(TOP, TOP - ROWS * SPACING - _STEP_Z, -_STEP_Z)

    def line(z: float) -> Array:
        hu = trunk.plane(x, y, z)
        # contrast medium is of the CT alone; bone attenuates more at the energy of a radiograph
        dense = np.where(hu > 130, 60 + np.clip(hu - 285, 0, 260) * 2.8, hu)
        result: Array = np.maximum(1 + dense / 1000, 0).sum(0, dtype=np.float32) * np.float32(_STEP_Y)
        return result

    return np.stack(in_threads(line, [float(z) for z in heights]))


def enlarge(image: Array, rows: int, columns: int) -> Array:
    """Resample by cubic (Catmull-Rom) interpolation, corners kept."""
    for axis, size in ((0, rows), (1, columns)):
        source = image.shape[axis]
        at = np.linspace(0, source - 1, size)
        base = np.floor(at).astype(int)
        t = (at - base).astype(np.float32)
        weights = (
            ((-t + 2) * t - 1) * t / 2,
            ((3 * t - 5) * t * t + 2) / 2,
            ((-3 * t + 4) * t + 1) * t / 2,
            (t - 1) * t * t / 2,
        )
        shape = (-1, 1) if axis == 0 else (1, -1)
        parts = [
            np.take(image, np.clip(base + k - 1, 0, source - 1), axis) * weights[k].reshape(shape) for k in range(4)
        ]
        image = sum(parts[1:], parts[0])
    return image


def develop(path: Array, rng: np.random.Generator) -> npt.NDArray[np.uint16]:
    """Turn paths (mm) into 12-bit values, bones bright, as a plate reader's processing does."""
    wide = enlarge(enlarge(path, 24, 21), *path.shape)  # large structures, to be levelled
    image = enlarge(path * 0.68 + (path - wide) * 0.75, ROWS, COLUMNS)
    image += grain(rng, ROWS, COLUMNS) * np.float32(1.1)
    level = (image - 78) / 36
    return np.rint(4095 / (1 + np.exp(-level))).astype(np.uint16)


def make(order: Order, folder: Path) -> tuple[tuple[str, ...], tuple[Path, ...]]:
    """Write the exam: one image; gives series identifiers and files."""
    series = Series(order.uid("series", 1), 1, "CR", "Thorax de face – postéro-antérieur", "CHEST", "Lecteur fictif")
    pixels = develop(projection(Trunk(order.seed)), np.random.default_rng((order.seed, 3)))
    ds = instance(order, series, ComputedRadiographyImageStorage, 1)
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    ds.ViewPosition = "PA"
    ds.PatientOrientation = ["L", "F"]
    set_pixels(ds, rows=ROWS, columns=COLUMNS, stored=12)
    ds.ImagerPixelSpacing = ds.PixelSpacing = [SPACING, SPACING]
    ds.PresentationLUTShape = "IDENTITY"
    ds.WindowCenter, ds.WindowWidth = 2048, 4096
    ds.KVP, ds.ExposureTime, ds.XRayTubeCurrent, ds.Exposure = 125, 10, 320, 3
    ds.PlateType, ds.CassetteSize, ds.DistanceSourceToDetector = "FICTIVE", "35CMX43CM", 1800
    stream = bytes(imagecodecs.jpegls_encode(pixels, bitspersample=12))
    return (series.uid,), (write(folder / "CR-001.dcm", ds, JPEGLSLossless, [stream]),)
