# SPDX-License-Identifier: AGPL-3.0-or-later
"""Drawing of phantoms: one plane of values on which soft-edged solids are painted.

Lengths in mm, patient coordinates LPS (x to the left, y to the back, z to the head).  A solid is
given by its signed distance (negative inside); edges are one voxel soft, as partial volume makes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

type Array = npt.NDArray[Any]  # float32; numpy's stubs widen it at each operation
type Box = tuple[slice, slice]
type Point = tuple[float, float, float]

EVERYWHERE: Box = (slice(None), slice(None))


class Plane:
    """An axial plane at height `z`: `x` shaped (1, columns), `y` shaped (rows, 1), `values` (rows, columns)."""

    def __init__(self, x: Array, y: Array, z: float, background: float) -> None:
        self.x = x.reshape(1, -1).astype(np.float32)
        self.y = y.reshape(-1, 1).astype(np.float32)
        self.z = float(z)
        self.soft = float(max(self.x[0, 1] - self.x[0, 0], self.y[1, 0] - self.y[0, 0]))
        self.values: Array = np.full((self.y.size, self.x.size), background, np.float32)

    def box(self, cx: float, cy: float, rx: float, ry: float) -> Box:
        """Give the part of the plane that holds an ellipse, with a margin for its soft edge."""
        rx, ry = rx + self.soft, ry + self.soft
        columns = np.searchsorted(self.x[0], [cx - rx, cx + rx])
        rows = np.searchsorted(self.y[:, 0], [cy - ry, cy + ry])
        return slice(int(rows[0]), int(rows[1])), slice(int(columns[0]), int(columns[1]))

    def paint(self, distance: Array, value: float | Array, box: Box = EVERYWHERE, within: Array | None = None) -> None:
        """Blend `value` into the solid of signed `distance` (both of the box's shape), limited to `within` (0 to 1)."""
        alpha = cover(distance, self.soft)
        if within is not None:
            alpha = alpha * within[box]
        part = self.values[box]
        part += alpha * (value - part)

    def ellipse(self, cx: float, cy: float, a: float, b: float, value: float, within: Array | None = None) -> None:
        """Paint an ellipse of half axes `a`, `b`."""
        if min(a, b) <= 0.3:
            return
        box = self.box(cx, cy, a, b)
        self.paint(ellipse(self.x[:, box[1]], self.y[box[0]], cx, cy, a, b), value, box, within)

    def ellipsoid(self, centre: Point, radii: Point, value: float, within: Array | None = None) -> None:
        """Paint the cut of an ellipsoid."""
        scale = section(self.z, centre[2], radii[2])
        if scale > 0:
            self.ellipse(centre[0], centre[1], radii[0] * scale, radii[1] * scale, value, within)

    def capsule(
        self, p: Sequence[float], q: Sequence[float], r: float, value: float, within: Array | None = None
    ) -> None:
        """Paint the cut of a tube of radius `r` from `p` to `q`, with round ends."""
        if not min(p[2], q[2]) - r <= self.z <= max(p[2], q[2]) + r:
            return
        # only the stretch of the axis near this plane can reach it
        dz = q[2] - p[2]
        near = [0.0, 1.0] if dz == 0 else sorted(((self.z - r - p[2]) / dz, (self.z + r - p[2]) / dz))
        t0, t1 = max(0.0, near[0]), min(1.0, near[1])
        xs = [p[0] + t * (q[0] - p[0]) for t in (t0, t1)]
        ys = [p[1] + t * (q[1] - p[1]) for t in (t0, t1)]
        box = self.box(sum(xs) / 2, sum(ys) / 2, abs(xs[1] - xs[0]) / 2 + r, abs(ys[1] - ys[0]) / 2 + r)
        x, y = self.x[:, box[1]], self.y[box[0]]
        if x.size and y.size:
            self.paint(capsule(x, y, self.z, p, q, r), value, box, within)


def cover(distance: Array, soft: float) -> Array:
    """Give the covered part (0 to 1) of voxels of width `soft` at a signed distance from an edge."""
    return np.clip(np.float32(0.5) - distance * np.float32(1 / soft), 0, 1)


def section(z: float, centre: float, radius: float) -> float:
    """Give the scale of an ellipsoid's cut at height `z`, 0 outside."""
    return float(np.sqrt(max(0.0, 1 - ((z - centre) / radius) ** 2)))


def ellipse(x: Array, y: Array, cx: float, cy: float, a: float, b: float) -> Array:
    """Approximate signed distance to an ellipse, exact to first order at its edge."""
    u, v = (x - cx) / a, (y - cy) / b
    k = np.sqrt(u * u + v * v)
    slope = np.sqrt((u / a) ** 2 + (v / b) ** 2)
    result: Array = (k - 1) * k / np.maximum(slope, 1e-4)
    return result


def ellipsoid(x: Array, y: Array, z: float, centre: Point, radii: Point) -> Array:
    """Approximate signed distance to an ellipsoid on the plane at `z`."""
    u, v, w = (x - centre[0]) / radii[0], (y - centre[1]) / radii[1], (z - centre[2]) / radii[2]
    k = np.sqrt(u * u + v * v + w * w)
    slope = np.sqrt((u / radii[0]) ** 2 + (v / radii[1]) ** 2 + (w / radii[2]) ** 2)
    result: Array = (k - 1) * k / np.maximum(slope, 1e-4)
    return result


def superellipse(x: Array, y: Array, a: float, b: float, power: float) -> Array:
    """Approximate signed distance to ``|x/a|^p + |y/b|^p = 1``; -distance serves as depth below the skin."""
    u, v = np.abs(x) / a, np.abs(y) / b
    up, vp = u ** (power - 1), v ** (power - 1)
    r = np.maximum(up * u + vp * v, 1e-6) ** np.float32(1 / power)
    slope = r ** np.float32(1 - power) * np.sqrt((up / a) ** 2 + (vp / b) ** 2)
    result: Array = (r - 1) / np.maximum(slope, 1 / max(a, b))
    return result


def capsule(x: Array, y: Array, z: float, p: Sequence[float], q: Sequence[float], r: float) -> Array:
    """Signed distance to a tube with round ends."""
    d = [q[i] - p[i] for i in range(3)]
    length2 = max(sum(c * c for c in d), 1e-6)
    t = np.clip(((x - p[0]) * d[0] + (y - p[1]) * d[1] + (z - p[2]) * d[2]) / length2, 0, 1)
    dx, dy, dz = x - p[0] - t * d[0], y - p[1] - t * d[1], z - p[2] - t * d[2]
    result: Array = np.sqrt(dx * dx + dy * dy + dz * dz) - r
    return result


def blend_min(a: Array, b: Array, k: float) -> Array:
    """Union of two solids with a rounded seam of about `k` mm."""
    h = np.maximum(k - np.abs(a - b), 0) / k
    result: Array = np.minimum(a, b) - h * h * np.float32(k / 4)
    return result


def blend_max(a: Array, b: Array, k: float) -> Array:
    """Intersection of two solids with a rounded edge of about `k` mm."""
    return -blend_min(-a, -b, k)


class Waves:
    """Smooth random field of about -1 to 1, continuous in space: a sum of plane waves of the given lengths in mm."""

    def __init__(self, rng: np.random.Generator, shortest: float, longest: float, count: int) -> None:
        directions = rng.standard_normal((count, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        lengths = np.exp(rng.uniform(np.log(shortest), np.log(longest), count))
        self.k = (2 * np.pi / lengths[:, None] * directions).astype(np.float32)
        self.phase = rng.uniform(0, 2 * np.pi, count).astype(np.float32)

    def at(self, x: Array, y: Array, z: float) -> Array:
        """Give the field on a plane (sin(a+b) by products, so that only rows and columns cost a sine)."""
        a = self.k[:, :1] * x.reshape(1, -1) + self.phase[:, None] + self.k[:, 2:] * np.float32(z)
        b = self.k[:, 1:2] * y.reshape(1, -1)
        total = np.cos(b).T @ np.sin(a) + np.sin(b).T @ np.cos(a)
        result: Array = (total * np.sqrt(2 / len(self.k)) / 2).astype(np.float32)
        return result


def grain(rng: np.random.Generator, rows: int, columns: int) -> Array:
    """Give unit noise with the short correlation of a reconstructed image."""
    white = rng.standard_normal((rows + 2, columns + 2), dtype=np.float32)
    mixed = white[1:] + np.float32(0.6) * white[:-1]
    mixed = mixed[:, 1:] + np.float32(0.6) * mixed[:, :-1]
    result: Array = mixed[:rows, :columns] / np.float32(1.36)
    return result
