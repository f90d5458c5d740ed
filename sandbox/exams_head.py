# SPDX-License-Identifier: AGPL-3.0-or-later
"""A head with its brain, drawn in the signal of a magnetic resonance contrast, any axial plane of it.

Coordinates as in `exams_body`; the origin is the middle of the brain, z = -60 at the nose, 90 at the crown.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from sandbox.exams_shapes import (
    EVERYWHERE,
    Array,
    Plane,
    Waves,
    blend_max,
    blend_min,
    capsule,
    cover,
    ellipse,
    ellipsoid,
    section,
    superellipse,
)

# Signal of each tissue, 0 to 1000, in a T1-weighted and a T2-weighted spin echo.
T1 = {
    "air": 8, "fat": 880, "bone": 60, "marrow": 380, "csf": 130, "grey": 420, "white": 610, "nuclei": 480,
    "muscle": 370, "eye": 150, "lens": 330, "vessel": 40,
}  # fmt: skip
T2 = {
    "air": 8, "fat": 680, "bone": 45, "marrow": 260, "csf": 940, "grey": 520, "white": 360, "nuclei": 440,
    "muscle": 230, "eye": 930, "lens": 250, "vessel": 40,
}  # fmt: skip


class Head:
    """The invented head of one seed; `plane` cuts it at a height."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng((seed, 4))
        self.folds = Waves(rng, 13, 30, 60)
        self.warp = Waves(rng, 40, 90, 16)
        self.leaves = Waves(rng, 4, 7, 30)

    def plane(self, x: Array, y: Array, z: float, tone: Mapping[str, float]) -> Array:
        """Cut at height `z` in the signals of `tone` (`T1` or `T2`): shaped (len(y), len(x)), without noise."""
        p = Plane(x, y, z, tone["air"])
        warp = self.warp.at(p.x, p.y, z)
        scale = section(max(z, -5), -5, 101)
        head = superellipse(p.x, p.y, 77 * max(scale, 0.05), 96 * max(scale, 0.05), 2.2) + 1.5 * warp
        head = blend_min(head, ellipsoid(p.x, p.y, z, (0, -96, -50), (13, 17, 22)), 10)
        if scale <= 0:
            return p.values
        p.paint(head, tone["muscle"])
        p.paint(head + 1.5, tone["fat"])
        skull = head + 7.5 + 1.2 * warp
        p.paint(skull, tone["bone"])
        p.paint(np.abs(skull + 3.5) - 1.2, tone["marrow"])
        brain = self._brain_surface(p, skull + 10)
        self._face(p, skull, tone)
        p.paint(brain - 3, tone["csf"])
        self._cerebrum(p, brain, tone)
        if z < -18:
            self._below(p, tone)
        return p.values

    def _brain_surface(self, p: Plane, inside: Array) -> Array:
        """Signed distance to the cerebrum: its floor rises over the orbits, sinks in the temporal lobes."""
        temporal = 24 * np.clip((np.abs(p.x) - 16) / 14, 0, 1) * np.clip((p.y + 42) / 14, 0, 1)
        floor = -26 - temporal * np.clip((38 - p.y) / 14, 0, 1)
        return blend_max(inside, floor - p.z, 10)

    def _cerebrum(self, p: Plane, brain: Array, tone: Mapping[str, float]) -> None:
        """Cortex with its folds, white matter, fissures, ventricles and deep nuclei."""
        within = cover(brain, p.soft)
        folds = self.folds.at(p.x, p.y, p.z)
        deep = np.clip((-brain - 17) / 9, 0, 1)
        ridge = np.abs(folds) * 9 + 9 * deep  # mm from the nearest fold, none in the depth
        p.paint(brain, tone["grey"])
        p.paint(np.maximum(brain + 3.2, 3.0 - ridge), tone["white"])
        p.paint(np.where(brain < 0, ridge - 0.75, np.float32(9)), tone["csf"], EVERYWHERE, within)
        outer = np.minimum(np.abs(p.x) - 1.6, 40.0)
        split = np.where((p.y < -38) | (p.y > 46) | (p.z > 34), outer, np.float32(9))
        p.paint(split, tone["csf"], EVERYWHERE, within)
        for s in (-1, 1):
            for start, end, r in (((45, -24, -14), (43, -8, 6), 2.6), ((43, -8, 6), (52, 22, 16), 2.2)):
                p.capsule((s * start[0], *start[1:]), (s * end[0], *end[1:]), r, tone["csf"], within)
            for centre, radii in (((11, 9, 6), (9, 15, 11)), ((15, -20, 14), (5, 10, 14)), ((26, -5, 4), (6, 17, 13))):
                p.ellipsoid((s * centre[0], *centre[1:]), radii, tone["nuclei"], within)
            horn = [(7, -36, 12), (8, -18, 22), (12, 14, 27), (24, 38, 14), (26, 58, 6)]
            widths = [4.0, 6.0, 6.5, 6.5]
            for (a, b), width in zip(pairwise(horn), widths, strict=True):
                p.capsule((s * a[0], *a[1:]), (s * b[0], *b[1:]), width, tone["csf"], within)
            p.capsule((s * 24, 38, 14), (s * 34, 4, -22), 3.2, tone["csf"], within)
        p.ellipsoid((0, 4, 4), (2.6, 14, 12), tone["csf"], within)

    def _below(self, p: Plane, tone: Mapping[str, float]) -> None:
        """Cerebellum with its leaves, brain stem, fourth ventricle, basilar artery."""
        lobes = blend_min(
            ellipsoid(p.x, p.y, p.z, (-25, 46, -48), (30, 30, 26)),
            ellipsoid(p.x, p.y, p.z, (25, 46, -48), (30, 30, 26)), 12,
        )  # fmt: skip
        stem = blend_min(ellipse(p.x, p.y, 0, 10, 14, 12), ellipsoid(p.x, p.y, p.z, (0, 6, -36), (18, 15, 14)), 8)
        p.paint(blend_min(lobes, stem, 8) - 4, tone["csf"])
        p.paint(lobes, tone["grey"])
        leaves = np.abs(self.leaves.at(p.x, p.y, p.z)) * 3 + np.clip((-lobes - 14) / 4, 0, 3)
        p.paint(np.maximum(lobes + 2, 1.3 - leaves), tone["white"])
        p.paint(stem, tone["white"])
        p.ellipsoid((0, 26, -44), (9, 5, 14), tone["csf"])
        p.ellipse(0, -5, 2, 2, tone["vessel"])

    def _face(self, p: Plane, skull: Array, tone: Mapping[str, float]) -> None:
        """Skull base, sinuses, orbits and eyes."""
        if p.z > -14:
            if p.z < 0:
                p.ellipsoid((0, -80, -16), (16, 8, 18), tone["air"])
            return
        front = np.maximum(skull + 2, p.y + 26 - 10 * np.clip(np.abs(p.x) / 40, 0, 1))
        p.paint(front, tone["muscle"])
        p.paint(np.maximum(skull + 2, -(skull + 9)) + 0 * p.x, tone["bone"])
        p.ellipsoid((0, -26, -44), (13, 14, 14), tone["bone"])
        p.ellipsoid((0, -30, -44), (10, 11, 11), tone["air"])
        for s in (-1, 1):
            cone = capsule(p.x, p.y, p.z, (s * 33, -62, -36), (s * 16, -32, -36), 13)
            p.paint(cone, tone["fat"])
            p.capsule((s * 31, -60, -36), (s * 14, -28, -36), 2.4, tone["white"])
            p.capsule((s * 43, -58, -36), (s * 20, -30, -36), 2, tone["muscle"])
            p.capsule((s * 22, -62, -36), (s * 12, -30, -36), 2, tone["muscle"])
            p.ellipsoid((s * 32, -72, -36), (12.5, 12.5, 12.5), tone["muscle"])
            p.ellipsoid((s * 32, -72, -36), (11.3, 11.3, 11.3), tone["eye"])
            p.ellipsoid((s * 32, -81, -36), (5, 2.4, 5), tone["lens"])
            p.ellipsoid((s * 7, -56, -40), (5, 24, 14), tone["air"])
            p.ellipsoid((s * 30, -58, -66), (17, 20, 16), tone["air"])
            p.ellipsoid((s * 52, 22, -48), (11, 16, 16), tone["bone"])
            p.ellipsoid((s * 54, 30, -50), (7, 9, 9), tone["air"])
