# SPDX-License-Identifier: AGPL-3.0-or-later
"""US: a beating four-chamber view in colour, 30 frames of 320 x 240, JPEG Baseline frame by frame."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import JPEGBaseline8Bit, UltrasoundMultiFrameImageStorage

from sandbox.exams_common import Order, Series, instance, set_pixels, write
from sandbox.exams_shapes import Array, blend_min, capsule, cover, ellipse

ROWS, COLUMNS, FRAMES = 240, 320, 30
FRAME_TIME = 33.3  # ms; one heart beat in all
PIXEL = 0.7  # mm
APEX_ROW, APEX_COLUMN = 6, 160
DEPTH, HALF_ANGLE = 150.0, 0.66  # mm, radians
_QUALITY = 92

type Frames = npt.NDArray[np.uint8]


class Heart:
    """Four chambers seen from the apex: x across (mm, to the right of the image), y away from the probe."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng((seed, 6))
        rows, columns = np.mgrid[0:ROWS, 0:COLUMNS].astype(np.float32)
        self.x: Array = (columns - APEX_COLUMN) * np.float32(PIXEL)
        self.y: Array = (rows - APEX_ROW) * np.float32(PIXEL)
        self.range: Array = np.hypot(self.x, self.y)
        self.angle: Array = np.arctan2(self.x, np.maximum(self.y, 1e-3))
        edge = np.maximum(np.abs(self.angle) - HALF_ANGLE, 0) * self.range
        self.sector: Array = cover(np.maximum(np.maximum(edge, self.range - DEPTH), 3 - self.range), 1.0)
        self.tissue_grain, self.blood_grain = _speckle(rng, 1)[0], _speckle(rng, FRAMES)

    def frame(self, index: int) -> Frames:
        """Draw frame `index`: (rows, columns, 3), RGB."""
        phase = index / FRAMES
        squeeze = float(np.clip(np.sin(2 * np.pi * phase) * 1.2, -0.25, 1))  # 1 at the end of systole
        x, y = self.x - 1.5 * squeeze, self.y - 3 * squeeze
        left = ellipse(x, y, 15, 66, 21 - 6.5 * squeeze, 37 - 4 * squeeze)
        right = ellipse(x, y, -24, 72, 14 - 3 * squeeze, 29 - 3 * squeeze)
        atria = np.minimum(
            ellipse(x, y, 17, 122, 20 + 3 * squeeze, 17 + 2 * squeeze),
            ellipse(x, y, -23, 120, 18 + 2 * squeeze, 16 + 2 * squeeze),
        )
        wall = blend_min(
            blend_min(ellipse(x, y, 14, 66, 31, 47), ellipse(x, y, -23, 74, 21, 36), 6),
            ellipse(x, y, -2, 118, 46, 23), 10,
        )  # fmt: skip
        valves = self._valves(x, y, max(0.0, -squeeze * 4 if squeeze < 0 else 0.0))
        blood = np.minimum(np.minimum(left, right), atria)
        amplitude = 0.3 + 0 * x
        for distance, value in ((wall - 2, 0.9), (wall, 0.6), (blood, 0.045), (valves, 0.8)):
            amplitude += cover(distance, 1.6) * (value - amplitude)
        sample = self._follow(self.tissue_grain, squeeze)
        moving = self._follow(self.blood_grain[index], squeeze)
        lumen = cover(blood, 1.6)
        echo = amplitude * (sample * (1 - lumen) + moving * lumen) * np.exp(-self.range / 260)
        grey = np.clip(255 * (0.84 + np.log10(echo + 1e-3) / 1.7), 0, 255) * self.sector
        rgb = np.repeat(grey[:, :, None], 3, axis=2)
        self._doppler(rgb, lumen * cover(np.abs(x - 13) - 24, 1), squeeze, moving)
        _overlay(rgb, index)
        return np.rint(np.clip(rgb, 0, 255)).astype(np.uint8)

    def _valves(self, x: Array, y: Array, opening: float) -> Array:
        """Leaflets of both valves between ventricles and atria, shut at `opening` 0."""
        parts = []
        for start, side in (((-4, 102), 1), ((34, 102), -1), ((-40, 100), 1), ((-8, 101), -1)):
            reach = side * 18 * (1 - 0.65 * opening)
            end = (start[0] + reach, start[1] - 4 - 16 * opening, 0)
            parts.append(capsule(x, y, 0, (*start, 0), end, 1.1))
        return np.minimum.reduce(parts)

    def _follow(self, polar: Array, squeeze: float) -> Array:
        """Sample speckle given by range and angle, as the tissue moves with the beat."""
        r = np.clip((self.range - 3 * squeeze) / DEPTH * (polar.shape[0] - 1), 0, polar.shape[0] - 1)
        a = np.clip((self.angle / HALF_ANGLE + 1) / 2 * (polar.shape[1] - 1), 0, polar.shape[1] - 1)
        result: Array = polar[r.astype(np.int32), a.astype(np.int32)]
        return result

    def _doppler(self, rgb: Array, where: Array, squeeze: float, grain: Array) -> None:
        """Colour the flow of the left heart: towards the probe red (filling), away blue (ejection)."""
        window = (np.abs(self.angle - 0.13) < 0.26) & (self.range > 52) & (self.range < 138)
        speed = -squeeze * (1.3 if squeeze > 0 else 3.2) * np.exp(-(((self.x - 14) / 13) ** 2))
        colour = np.stack([np.maximum(speed, 0) * 255, np.abs(speed) ** 2 * 90, np.maximum(-speed, 0) * 255], 2)
        alpha = (where * window * (np.abs(speed) > 0.12) * np.clip(0.6 + grain * 0.3, 0, 1))[:, :, None]
        rgb += alpha * (colour - rgb)


def _speckle(rng: np.random.Generator, count: int) -> Array:
    """Give magnitudes of complex noise shaped (count, ranges, angles), wider across than along the beam."""
    field: Array = rng.standard_normal((count, 2, 260, 150), dtype=np.float32)
    field = field[:, :, 1:] + field[:, :, :-1]
    field = field[..., 2:] + field[..., 1:-1] + field[..., :-2]
    result: Array = np.hypot(field[:, 0], field[:, 1]) / np.float32(3.0)
    return result


def _overlay(rgb: Array, index: int) -> None:
    """Grey and colour scales, and the electrocardiogram with its moving cursor; no text."""
    ramp = np.linspace(255, 0, 80, dtype=np.float32)[:, None]
    rgb[20:100, 300:306] = ramp[:, :, None]
    scale = np.linspace(1, -1, 80, dtype=np.float32)
    rgb[120:200, 300:306, 0] = np.maximum(scale, 0)[:, None] * 255
    rgb[120:200, 300:306, 1] = 20
    rgb[120:200, 300:306, 2] = np.maximum(-scale, 0)[:, None] * 255
    columns = np.arange(20, 290)
    t = (columns - 20) / 135 % 1
    wave = 12 * np.exp(-(((t - 0.08) / 0.012) ** 2)) - 3 * np.exp(-(((t - 0.11) / 0.012) ** 2))
    wave += 3 * np.exp(-(((t - 0.38) / 0.05) ** 2)) + 1.5 * np.exp(-(((t - 0.93) / 0.03) ** 2))
    rows = np.rint(233 - wave).astype(int)
    for a, b, column in zip(rows, np.roll(rows, 1), columns, strict=True):
        rgb[min(a, b) : max(a, b) + 1, column] = (40, 220, 90)
    cursor = 20 + index * 270 // FRAMES
    rgb[216:238, cursor : cursor + 2] = (240, 220, 60)


def _regions() -> Sequence:
    """Calibrate the sector (PS3.3 C.8.5.5), so that a viewer measures in cm."""
    region = Dataset()
    region.RegionSpatialFormat, region.RegionDataType, region.RegionFlags = 1, 1, 0
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 0, 0
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 295, 214
    region.ReferencePixelX0, region.ReferencePixelY0 = APEX_COLUMN, APEX_ROW
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3  # cm
    region.ReferencePixelPhysicalValueX = region.ReferencePixelPhysicalValueY = 0
    region.PhysicalDeltaX = region.PhysicalDeltaY = PIXEL / 10
    return Sequence([region])


def make(order: Order, folder: Path) -> tuple[tuple[str, ...], tuple[Path, ...]]:
    """Write the exam: one multi-frame object; gives series identifiers and files."""
    series = Series(order.uid("series", 1), 1, "US", "Quatre cavités – Doppler couleur", "HEART", "Échographe fictif")
    heart = Heart(order.seed)
    frames = [heart.frame(index) for index in range(FRAMES)]
    streams = [
        bytes(imagecodecs.jpeg8_encode(f, level=_QUALITY, colorspace="RGB", outcolorspace="YCbCr", subsampling="422"))
        for f in frames
    ]
    ds = instance(order, series, UltrasoundMultiFrameImageStorage, 1)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "TTE", "0011"]  # 2D with colour Doppler (PS3.3 C.8.5.6.1.1)
    ds.PatientOrientation = ""
    set_pixels(ds, rows=ROWS, columns=COLUMNS, stored=8, samples=3)
    ds.PhotometricInterpretation = "YBR_FULL_422"  # what the compressed stream holds (PS3.5 8.2.1)
    ds.NumberOfFrames, ds.FrameTime, ds.FrameIncrementPointer = FRAMES, FRAME_TIME, 0x00181063
    ds.CineRate = ds.RecommendedDisplayFrameRate = 30
    ds.StartTrim, ds.StopTrim = 1, FRAMES
    ds.UltrasoundColorDataPresent = 1
    ds.SequenceOfUltrasoundRegions = _regions()
    ds.TransducerData, ds.HeartRate = "SECTORIEL", 60
    ds.LossyImageCompression = "01"
    ds.LossyImageCompressionRatio = round(sum(f.nbytes for f in frames) / sum(map(len, streams)), 2)
    ds.LossyImageCompressionMethod = "ISO_10918_1"
    return (series.uid,), (write(folder / "US-001.dcm", ds, JPEGBaseline8Bit, streams),)
