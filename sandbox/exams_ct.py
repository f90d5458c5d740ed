# SPDX-License-Identifier: AGPL-3.0-or-later
"""CT of the invented trunk: one axial series of 100 slices, 2.5 mm apart, JPEG-LS lossless, with a marker."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import numpy.typing as npt
from pydicom.uid import CTImageStorage, JPEGLSLossless

from sandbox.exams_body import Trunk
from sandbox.exams_common import Order, Series, in_threads, instance, make_uid, set_pixels, set_plane, write
from sandbox.exams_shapes import Array, Plane, Point, cover, grain

SLICES = 100
SPACING_Z = 2.5  # mm between slices, and their thickness
FIELD = 384.0  # mm, side of the reconstructed square
CENTRE_Y = 10.0  # mm, the field reaches behind the body to show the table
INTERCEPT = -1024

# A bright box in the right lung that tests look for: a pixel is of the marker when its centre lies in
# [MARKER_CENTRE - MARKER_SIZE / 2, MARKER_CENTRE + MARKER_SIZE / 2[, patient coordinates (LPS) in mm.
# It holds exactly MARKER_HU, and nothing else in the volume reaches 1200 HU.
MARKER_CENTRE: Point = (-90.0, 20.0, 150.0)
MARKER_SIZE: Point = (8.0, 8.0, 20.0)
MARKER_HU = 1500


def axes(matrix: int) -> tuple[Array, Array, Array]:
    """Give the patient coordinates (mm) of columns, rows and slices; slice 0 is the lowest."""
    step = FIELD / matrix
    x = (np.arange(matrix) - (matrix - 1) / 2) * step
    z = np.arange(SLICES) * SPACING_Z
    return x.astype(np.float32), (x + CENTRE_Y).astype(np.float32), z.astype(np.float32)


def in_marker(x: Array, y: Array, z: float) -> npt.NDArray[np.bool_]:
    """Tell which pixels of a plane (rows of `y`, columns of `x`) belong to the marker."""
    inside = [
        (values >= centre - size / 2) & (values < centre + size / 2)
        for values, centre, size in zip(
            (x[None, :], y[:, None], np.asarray(z, np.float32)), MARKER_CENTRE, MARKER_SIZE, strict=True
        )
    ]
    result: npt.NDArray[np.bool_] = inside[0] & inside[1] & inside[2]
    return result


def table(x: Array, y: Array, values: Array) -> None:
    """Paint the table's curved shell behind the body, where there is air."""
    plane = Plane(x, y, 0, 0)
    top = 116 - 0.0011 * plane.x**2
    shell = np.maximum(np.abs(plane.y - top - 9) - 9, np.abs(plane.x) - 180)
    rim, core = cover(shell, plane.soft), cover(shell + 2.5, plane.soft)
    air = values < -900
    values += np.where(air, rim * 850 - core * 700, 0).astype(np.float32)


def slice_values(trunk: Trunk, matrix: int, index: int) -> npt.NDArray[np.uint16]:
    """Make the stored values (HU + 1024, 12 bits) of a slice."""
    x, y, heights = axes(matrix)
    z = float(heights[index])
    hu = trunk.plane(x, y, z)
    table(x, y, hu)
    rng = np.random.default_rng((trunk.seed, 2, index))
    hu += grain(rng, matrix, matrix) * np.where(hu < -600, 14, 11).astype(np.float32)
    hu = np.clip(hu, INTERCEPT, 1150)
    hu[in_marker(x, y, z)] = MARKER_HU
    return np.rint(hu - INTERCEPT).astype(np.uint16)


def make(order: Order, folder: Path, *, matrix: int = 256) -> tuple[tuple[str, ...], tuple[Path, ...]]:
    """Write the exam; gives series identifiers and files, slices from head to feet.

    `matrix` is 256 (1.5 mm pixels, about 5 MB in all) or any other number of rows and columns.
    """
    trunk = Trunk(order.seed)
    series = Series(order.uid("series", 1), 1, "CT", "Thorax injecté 2,5 mm – médiastin", "CHEST", "Scanner fictif")
    x, y, heights = axes(matrix)

    def one(number: int) -> Path:
        index = SLICES - number
        ds = instance(order, series, CTImageStorage, number)
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        position = (float(x[0]), float(y[0]), float(heights[index]))
        set_plane(ds, position, FIELD / matrix, SPACING_Z, make_uid(order.study_uid, "frame"))
        ds.SpacingBetweenSlices = SPACING_Z
        set_pixels(ds, rows=matrix, columns=matrix, stored=12)
        ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = INTERCEPT, 1, "HU"
        ds.WindowCenter, ds.WindowWidth = [40, -500], [400, 1500]
        ds.WindowCenterWidthExplanation = ["MEDIASTIN", "POUMON"]
        ds.KVP, ds.XRayTubeCurrent, ds.ExposureTime = 120, 220, 500
        ds.GantryDetectorTilt, ds.TableHeight, ds.RotationDirection = 0, 130, "CW"
        ds.DataCollectionDiameter = ds.ReconstructionDiameter = FIELD
        ds.ConvolutionKernel, ds.ProtocolName = "STANDARD", "THORAX"
        ds.ContrastBolusAgent = "Produit de contraste fictif"
        pixels = slice_values(trunk, matrix, index)
        stream = bytes(imagecodecs.jpegls_encode(pixels, bitspersample=12))
        return write(folder / f"CT-{number:03d}.dcm", ds, JPEGLSLossless, [stream])

    return (series.uid,), tuple(in_threads(one, range(1, SLICES + 1)))
