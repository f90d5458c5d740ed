# SPDX-License-Identifier: AGPL-3.0-or-later
"""The benchmark study: one large CT series of the invented trunk, shaped like the national performance set.

1300 images of 512 x 512 in JPEG-LS, about 155 KiB each, with headers as rich as a real scanner's
(about 13 KB of DICOM JSON each, private elements included).  ``python -m sandbox.perf_study --out DIR``;
a folder that already holds the same study, complete, is left as it is.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import partial
from io import BytesIO
from pathlib import Path

import imagecodecs
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEGLSLossless

from sandbox.exams_body import Trunk
from sandbox.exams_common import (
    CAMILLE,
    STARTED,
    Order,
    Series,
    in_threads,
    instance,
    make_uid,
    set_pixels,
    set_plane,
    write,
)  # fmt: skip
from sandbox.exams_shapes import Array, grain
from sandbox.perf_headers import rich_headers

MATRIX, FIELD, STEP = 512, 360.0, 0.6  # pixels, mm, mm between images
_KEYS = 120  # planes of the trunk that are drawn; the images lie between two of them
_LOWEST, _HIGHEST = -40.0, 245.0
_MARK = "complete.json"
_VERSION = 1  # raised when the same parameters give other files


@dataclass(frozen=True, slots=True)
class Parameters:
    """What defines the files: number of images, file size in KiB (JPEG-LS alone), uncompressed or not, seed."""

    images: int = 1300
    kib: float = 155.0
    raw: bool = False
    seed: int = 1
    version: int = _VERSION


@dataclass(frozen=True, slots=True)
class PerfStudy:
    """The study on disk; `made` is false where the folder held it already."""

    study_uid: str
    series_uid: str
    paths: tuple[Path, ...]
    bytes: int
    seconds: float
    made: bool


class _Body:
    """Planes of the trunk at 512 x 512 and a pool of noise, from which every image is mixed."""

    def __init__(self, seed: int, count: int) -> None:
        self.seed, self.count = seed, count
        trunk = Trunk(seed)
        at = ((np.arange(MATRIX) - (MATRIX - 1) / 2) * (FIELD / MATRIX)).astype(np.float32)
        heights = np.linspace(_HIGHEST, _LOWEST, min(_KEYS, max(2, count)))
        self.planes: list[Array] = in_threads(lambda z: trunk.plane(at, at, float(z)), heights)
        self.noise = grain(np.random.default_rng((seed, 7)), MATRIX + 256, MATRIX + 256)

    def pixels(self, index: int, sigma: float) -> npt.NDArray[np.uint16]:
        """Make the stored values (HU + 1024, 12 bits) of image `index`, with noise of `sigma` HU."""
        place = index / max(1, self.count - 1) * (len(self.planes) - 1)
        low = min(int(place), len(self.planes) - 2)
        part = np.float32(place - low)
        hu = self.planes[low] * (1 - part) + self.planes[low + 1] * part
        rng = np.random.default_rng((self.seed, 8, index))
        row, column, turn = (int(v) for v in rng.integers(0, (256, 256, 4)))
        noise = np.rot90(self.noise[row : row + MATRIX, column : column + MATRIX], turn)
        hu += noise * np.float32(sigma)
        stored: npt.NDArray[np.uint16] = np.rint(np.clip(hu, -1024, 3071) + 1024).astype(np.uint16)
        return stored


def make_study(folder: Path, parameters: Parameters | None = None) -> PerfStudy:
    """Write the study into `folder`, or find it there complete (same parameters, all files, all sizes)."""
    parameters = parameters or Parameters()
    begin = time.monotonic()
    order = Order(
        name="perf",
        study_uid=make_uid("perf", *asdict(parameters).values()),
        accession=f"PERF-{parameters.images}-{parameters.seed}"[:16],
        patient=CAMILLE,
        seed=parameters.seed,
        started=STARTED,
        description="Scanner de mesure des performances – données d'essai",
    )
    series = Series(order.uid("series", 1), 1, "CT", "Thorax 0,6 mm – mesure", "CHEST", "Scanner fictif")
    paths = tuple(folder / f"IM-{number:05d}.dcm" for number in range(1, parameters.images + 1))
    mark = folder / _MARK
    total = _known(mark, parameters, paths)
    if total is not None:
        return PerfStudy(order.study_uid, series.uid, paths, total, time.monotonic() - begin, False)
    folder.mkdir(parents=True, exist_ok=True)
    mark.unlink(missing_ok=True)
    for stale in folder.glob("IM-*.dcm"):
        stale.unlink()
    body = _Body(parameters.seed, parameters.images)
    sigma = 15.0 if parameters.raw else _tune(body, parameters.kib * 1024 - _header_size(order, series))
    syntax = ExplicitVRLittleEndian if parameters.raw else JPEGLSLossless

    def one(number: int) -> Path:
        pixels = body.pixels(number - 1, sigma)
        stream = pixels.tobytes() if parameters.raw else _encode(pixels)
        return write(paths[number - 1], _dataset(order, series, number), syntax, [stream])

    in_threads(one, range(1, parameters.images + 1))
    total = sum(path.stat().st_size for path in paths)
    mark.write_text(json.dumps({"parameters": asdict(parameters), "bytes": total, "study": order.study_uid}))
    return PerfStudy(order.study_uid, series.uid, paths, total, time.monotonic() - begin, True)


def _known(mark: Path, parameters: Parameters, paths: Sequence[Path]) -> int | None:
    """Give the size of the study that `mark` declares complete, None where it is another or damaged."""
    try:
        declared = json.loads(mark.read_text())
        size = sum(path.stat().st_size for path in paths)
    except (OSError, ValueError):
        return None
    same = isinstance(declared, dict) and declared.get("parameters") == asdict(parameters)
    return size if same and declared.get("bytes") == size else None


def _encode(pixels: npt.NDArray[np.uint16]) -> bytes:
    return bytes(imagecodecs.jpegls_encode(pixels, bitspersample=12))


def _stream_size(body: _Body, sigma: float, index: int) -> int:
    return len(_encode(body.pixels(index, sigma)))


def _tune(body: _Body, target: float) -> float:
    """Find by bisection the noise (HU) that gives streams of `target` bytes on average."""
    samples = [int(body.count * part) for part in (0.1, 0.3, 0.5, 0.7, 0.9)]
    low, high = 0.2, 400.0
    for _ in range(12):
        sigma = (low * high) ** 0.5
        mean = sum(in_threads(partial(_stream_size, body, sigma), samples)) / len(samples)
        low, high = (low, sigma) if mean > target else (sigma, high)
    return float((low * high) ** 0.5)


def _header_size(order: Order, series: Series) -> int:
    buffer = BytesIO()
    dcmwrite(buffer, _dataset(order, series, 1), implicit_vr=False, little_endian=True)
    return buffer.tell() + 500  # preamble, file meta information, pixel items


def _dataset(order: Order, series: Series, number: int) -> Dataset:
    ds = instance(order, series, CTImageStorage, number)
    half = (MATRIX - 1) / 2 * FIELD / MATRIX
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL", "SPIRAL"]
    set_plane(ds, (-half, -half, -(number - 1) * STEP), FIELD / MATRIX, STEP, make_uid(order.study_uid, "frame"))
    set_pixels(ds, rows=MATRIX, columns=MATRIX, stored=12)
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = -1024, 1, "HU"
    ds.WindowCenter, ds.WindowWidth = [40, -500], [400, 1500]
    ds.WindowCenterWidthExplanation = ["MEDIASTIN", "POUMON"]
    rich_headers(ds, order, number, order.started + timedelta(milliseconds=7 * number))
    return ds


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit status."""
    parser = argparse.ArgumentParser(prog="sandbox.perf_study", description="Examen de mesure des performances.")
    parser.add_argument("--out", type=Path, required=True, help="dossier de sortie")
    parser.add_argument("--images", type=int, help="nombre d'images (1300 ; 300 avec --raw)")
    parser.add_argument("--kib", type=float, default=155.0, help="taille visée d'un fichier JPEG-LS, en Kio")
    parser.add_argument("--raw", action="store_true", help="sans compression, 0,5 Mo par image")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(argv)
    images = args.images if args.images is not None else (300 if args.raw else 1300)
    if images < 1 or args.kib < 30:
        parser.error("il faut au moins une image et 30 Kio par fichier")
    study = make_study(args.out, Parameters(images, args.kib, args.raw, args.seed))
    what = f"fait en {study.seconds:.1f} s" if study.made else "déjà présent"
    print(f"Étude {study.study_uid} : {images} images, {study.bytes / 1e6:.1f} Mo, {what}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
