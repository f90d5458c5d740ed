# SPDX-License-Identifier: AGPL-3.0-or-later
"""A trunk in Hounsfield units: chest and upper abdomen after contrast medium, any plane of it.

Patient coordinates LPS in mm: x to the left, y to the back, z to the head; z = 0 at the level of the
kidneys, about 240 at the top of the lungs.  Drawn from the outside inwards; a later solid covers an
earlier one.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from sandbox.exams_shapes import (
    EVERYWHERE,
    Array,
    Plane,
    Point,
    Waves,
    blend_max,
    blend_min,
    cover,
    ellipse,
    ellipsoid,
    section,
    superellipse,
)

AIR, FAT, MUSCLE, BLOOD, BONE, MARROW = -1000.0, -100.0, 55.0, 230.0, 750.0, 210.0
VERTEBRA = 25.0  # mm from one vertebra, and one rib, to the next
ARCH_Z = 188.0  # top of the aortic arch's straight parts
CARINA: Point = (2.0, 22.0, 160.0)

# z, half width and half depth of the trunk
_OUTLINE = np.array(
    [
        (-120, 158, 104), (0, 150, 102), (60, 154, 108), (130, 167, 112), (200, 166, 104),
        (235, 146, 90), (262, 102, 76), (285, 64, 64), (340, 58, 60),
    ],
    np.float32,
)  # fmt: skip


@cache
def _outline_table() -> Array:
    """Half width and half depth for z from -150 to 400 by 1 mm, smoothed so that no edge shows in a coronal view."""
    z = np.arange(-170, 421)
    kernel = np.hanning(41) / np.hanning(41).sum()
    columns = [np.convolve(np.interp(z, _OUTLINE[:, 0], _OUTLINE[:, i]), kernel, "valid") for i in (1, 2)]
    table: Array = np.stack(columns, 1).astype(np.float32)
    return table


def outline(z: float) -> tuple[float, float]:
    """Give half width and half depth of the trunk at height `z`."""
    row = _outline_table()[int(np.clip(round(z) + 150, 0, 550))]
    return float(row[0]), float(row[1])


def spine_y(z: float) -> float:
    """Give the centre of the vertebral bodies: a gentle kyphosis."""
    return 45 + 8 * float(np.sin(np.pi * (z - 10) / 260))


class Trunk:
    """The invented trunk of one seed; `plane` cuts it at a height."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        rng = np.random.default_rng((seed, 1))
        self.coarse = Waves(rng, 25, 70, 24)
        self.fine = Waves(rng, 5, 14, 40)
        self.vessels = _vessel_tree(rng)

    def plane(self, x: Array, y: Array, z: float) -> Array:
        """Cut at height `z`: HU shaped (len(y), len(x)), without noise."""
        p = Plane(x, y, z, AIR)
        lumps, texture = self.coarse.at(p.x, p.y, z), self.fine.at(p.x, p.y, z)
        depth = self._wall(p, lumps, texture)
        inner = 27 + _shoulder(p)
        dome = _dome(p)
        self._lungs(p, inner - depth, dome, lumps, texture)
        if z < 110:
            _abdomen(p, blend_max(inner + 1 - depth, 4 + z - dome, 8), lumps, texture)
        _heart_and_vessels(p)
        _airways(p)
        _ribs(p, depth - _shoulder(p))
        _spine(p, texture)
        return p.values

    def _wall(self, p: Plane, lumps: Array, texture: Array) -> Array:
        """Skin, fat and muscle; gives the depth below the skin, breasts left out."""
        a, b = outline(p.z)
        trunk = superellipse(p.x, p.y, a, b, 2.4)
        skin = trunk
        for side in (-1, 1):
            breast = ellipsoid(p.x, p.y, p.z, (side * 76, -88, 132), (56, 46, 50))
            skin = blend_min(skin, breast, 12)
        p.paint(skin, 20)
        p.paint(skin + 2, FAT + 8 * texture)
        gland = ellipsoid(p.x, p.y, p.z, (0, -98, 130), (125, 30, 34)) + 9 * texture
        p.paint(np.maximum(np.maximum(gland, skin + 6), -8 - trunk), 35)
        fat = 11 + 5 * lumps + 4 * np.clip(-p.y / 60, 0, 1)
        p.paint(trunk + fat, MUSCLE + 6 * texture)
        # planes of fat between the muscles of the wall
        p.paint(np.abs(trunk + fat + 7 + 3 * texture) - 0.6, -40)
        for side in (-1, 1):
            p.ellipse(side * 33, spine_y(p.z) + 36, 27, 19, MUSCLE, cover(trunk + 7, p.soft))
        result: Array = -trunk
        return result

    def _lungs(self, p: Plane, wall: Array, dome: Array, lumps: Array, texture: Array) -> None:
        """Paint both lungs with their vessels (`wall`: signed distance to the inner side of the ribs)."""
        ys = spine_y(p.z)
        middle = blend_min(
            ellipse(p.x, p.y, 0, ys + 4, 27, 34),
            ellipse(p.x, p.y, 2, -6, 36 - 0.05 * max(0.0, p.z - 150), 52), 14,
        )  # fmt: skip
        middle = blend_min(middle, ellipsoid(p.x, p.y, p.z, HEART, (71, 60, 62)), 10)
        middle = np.minimum(middle, np.abs(p.x - 4) - 5)
        lung = blend_max(blend_max(wall, -middle, 8), dome - p.z, 8)
        if p.z > 140:
            for side in (-1, 1):
                apex = ellipsoid(p.x, p.y, p.z, (side * 60, 16, 150), (96, 118, 92))
                lung = np.where(p.x * side > 0, blend_max(lung, apex, 8), lung)
        # fat of the mediastinum under the lungs' inner edge, then the lungs
        p.paint(np.maximum(np.maximum(middle + 2, wall + 2), dome - p.z), -70)
        p.paint(lung, -865 + 0.3 * p.y + 14 * texture)
        within = cover(lung + 1.5, p.soft)
        for side, tilt in ((-1, 0.75), (1, 0.65)):
            bow = 0.0022 * (np.abs(p.x) - 75) ** 2
            fissure = np.abs((p.z - 128 + bow) * 0.6 + (p.y - 5) * tilt + 3 * lumps) - 0.45
            p.paint(np.where(p.x * side > 30, fissure, np.float32(9)), -700, EVERYWHERE, within)
        for start, end, radius in self.vessels:
            p.capsule(start, end, radius, 60 if radius > 1.1 else -120, within)


HEART: Point = (24.0, -28.0, 98.0)


def _shoulder(p: Plane) -> Array:
    """Extra thickness of the wall behind the upper ribs, for the shoulder blades (mm)."""
    rise = float(np.clip((p.z - 125) / 40, 0, 1)) * float(np.clip((275 - p.z) / 30, 0, 1))
    side = np.clip(np.abs(p.x) / 60, 0, 1)
    result: Array = 11 * rise * np.clip((p.y - 5) / 45, 0, 1) * side
    return result


def _dome(p: Plane) -> Array:
    """Height of the diaphragm (mm), the right dome higher."""
    right = 100 - 75 * ((p.x + 70) / 85) ** 2 - 95 * ((p.y + 4) / 108) ** 2
    left = 88 - 75 * ((p.x - 76) / 85) ** 2 - 95 * ((p.y + 4) / 108) ** 2
    result: Array = np.where(p.x < 0, right, left)
    return result


def _abdomen(p: Plane, cavity: Array, lumps: Array, texture: Array) -> None:
    """Fat of the cavity, then liver, spleen, stomach, kidneys, gall bladder and colon (`cavity`: signed distance)."""
    p.paint(cavity, FAT + 6 * texture)
    inside = cover(cavity + 1, p.soft)
    slope = (p.x - 58) * 0.72 + (60 - p.z) * 0.55 + 6 * lumps + 0.18 * (p.y + 20)
    hollow = 26 - np.sqrt((p.x + 40) ** 2 + (p.y - 72) ** 2 + ((p.z - 5) * 0.5) ** 2)
    liver = blend_max(blend_max(cavity + 1.5, slope, 14), hollow, 14)
    p.paint(liver, 98 + 6 * texture + 4 * lumps)
    for q in ((-105, -20, 70), (-100, 30, 72), (-60, -55, 78), (-20, -60, 70), (-110, 45, 40)):
        p.capsule((-45, 0, 52), q, 3.2, 150, cover(liver + 4, p.soft))
    p.ellipsoid((100, 46, 48), (32, 42, 46), 120, inside)
    p.ellipsoid((62, -24, 42), (50, 44, 44), 50, inside)
    p.ellipsoid((62, -24, 42), (46, 40, 40), 15, inside)
    gas = np.maximum(ellipsoid(p.x, p.y, p.z, (62, -24, 42), (46, 40, 40)), p.y + 40)
    p.paint(gas, -960, EVERYWHERE, inside)
    for side in (-1, 1):
        p.ellipsoid((side * 60, 58, 0), (27, 25, 52), 185, inside)
        p.ellipsoid((side * 54, 55, 0), (15, 12, 34), 30, inside)
    p.ellipsoid((-48, -48, 14), (16, 15, 24), 10, inside)
    p.capsule((-100, -50, -18), (0, -72, 2), 17, 40, inside)
    p.capsule((-100, -50, -18), (0, -72, 2), 13, -750, inside)


def _heart_and_vessels(p: Plane) -> None:
    """Heart with its chambers, aorta with its arch, pulmonary trunk, venae cavae, oesophagus."""
    x, y, z = HEART
    p.ellipsoid(HEART, (64, 53, 55), 60)
    p.ellipsoid((x + 18, y - 6, z - 4), (43, 38, 42), 105)
    p.ellipsoid((x + 20, y - 4, z - 6), (31, 26, 31), 225)
    p.ellipsoid((x - 22, y - 26, z + 2), (26, 20, 34), 190)
    p.ellipsoid((x - 46, y + 6, z + 2), (21, 27, 34), 185)
    p.ellipsoid((x - 6, y + 38, z + 14), (32, 17, 24), 235)
    behind = (16.0, 38.0)  # x, y of the descending aorta
    p.capsule((-6, -22, 118), (-12, -24, ARCH_Z - 14), 15, BLOOD)
    p.capsule((-12, -24, ARCH_Z - 14), (2, -6, ARCH_Z), 14, BLOOD)
    p.capsule((2, -6, ARCH_Z), (16, 18, ARCH_Z), 13, BLOOD)
    p.capsule((16, 18, ARCH_Z), (behind[0] + 2, behind[1], ARCH_Z - 16), 12.5, BLOOD)
    p.capsule((behind[0] + 2, behind[1], ARCH_Z - 16), (*behind, 60), 11.5, BLOOD)
    p.capsule((*behind, 60), (6, 33, -100), 10.5, BLOOD)
    for end in ((-22, -12, 270), (4, -2, 280), (24, 8, 280)):  # the arch's three branches
        p.capsule((end[0] * 0.5, -2, ARCH_Z + 6), end, 4.5, BLOOD)
    p.capsule((8, -34, 128), (20, -20, 158), 14, 250)
    p.capsule((20, -20, 158), (-38, 6, 150), 10, 250)
    p.capsule((20, -20, 158), (46, 8, 152), 10, 250)
    p.capsule((-30, -14, 112), (-30, -8, 215), 9, 280)
    p.capsule((-30, -8, 215), (-14, -6, 262), 7, 260)
    p.capsule((-24, 10, -100), (-28, 0, 100), 12, 150)
    p.ellipse(6, 38 if p.z > 150 else 30, 7, 5.5, 45)


def _airways(p: Plane) -> None:
    """Trachea and main bronchi: walls first, then the air."""
    tubes = [
        ((0.0, 14.0, 330.0), CARINA, 9.0),
        (CARINA, (-36.0, 22.0, 138.0), 7.5),
        (CARINA, (44.0, 24.0, 136.0), 6.5),
        ((-36.0, 22.0, 138.0), (-52.0, 34.0, 108.0), 4.5),
        ((44.0, 24.0, 136.0), (58.0, 36.0, 106.0), 4.5),
        ((-36.0, 22.0, 138.0), (-62.0, 4.0, 162.0), 4.0),
        ((44.0, 24.0, 136.0), (66.0, 2.0, 158.0), 4.0),
    ]
    for wall, value in ((1.6, 45.0), (0.0, -990.0)):
        for start, end, radius in tubes:
            p.capsule(start, end, radius + wall, value)


def _ribs(p: Plane, depth: Array) -> None:
    """Ribs, cartilages, breastbone, shoulder blades and collar bones, placed by their `depth` below the skin."""
    z = p.z
    angle = np.abs(np.arctan2(p.x, p.y - 30)) / np.float32(np.pi)  # 0 at the back, 1 in front
    turn = np.minimum(angle, 0.72)
    height = z + 12 + 95 * turn**1.15 - 60 * np.maximum(angle - 0.72, 0)
    along = np.mod(height, VERTEBRA) - VERTEBRA / 2
    across = depth - 21.5
    size = np.sqrt((across / 3.6) ** 2 + (along / 6.2) ** 2)
    rib = (size - 1) * 4.2
    cage = (angle > 0.1) & (height < 11.4 * VERTEBRA) & (z < 246) & (np.abs(p.x) > 24)
    far = np.float32(9)
    bony = np.where(cage & (angle < 0.76), rib, far)
    p.paint(np.where(cage & (angle >= 0.76) & (z > 40), rib, far), 110)
    p.paint(bony, BONE)
    p.paint(bony + 1.5, MARROW)
    wide = 17 + 11 * float(np.clip((z - 190) / 15, 0, 1))
    if 92 < z < 226:
        plate = np.where(p.y < 0, (np.sqrt(((depth - 18) / 6) ** 2 + (p.x / wide) ** 4) - 1) * 6, far)
        p.paint(plate, 480)
        p.paint(plate + 1.8, 180)
    if 112 < z < 232:
        low, high = 0.20 + 0.0007 * (232 - z), 0.40 - 0.0004 * (232 - z)
        edge = np.maximum(low - angle, angle - high) * 220
        blade = np.maximum(np.abs(depth + 3 - 8) - 2.6, edge)
        p.paint(blade, 620)
        p.paint(blade + 1.3, 260)
    for side in (-1, 1):
        p.capsule((side * 16, -64, 222), (side * 96, -8, 240), 6, 680)
        p.capsule((side * 16, -64, 222), (side * 96, -8, 240), 4, 260)


def _spine(p: Plane, texture: Array) -> None:
    """Vertebral bodies and discs by turns along z, canal, arches and processes."""
    y = spine_y(p.z)
    along = (p.z % VERTEBRA) / VERTEBRA  # body 0 to 0.78, then disc
    body = along < 0.78
    waist = 1 - 0.09 * float(np.sin(np.pi * along / 0.78)) if body else 1.02
    a, b = 18.5 * waist, 15.5 * waist
    plate = body and (along < 0.07 or along > 0.71)
    p.ellipse(0, y, a, b, (620 if plate else 520) if body else 85)
    if body and not plate:
        box = p.box(0, y, a, b)
        p.paint(ellipse(p.x[:, box[1]], p.y[box[0]], 0, y, a - 1.8, b - 1.8), 190 + 45 * texture[box], box)
    canal = y + b + 7
    if body:
        for side in (-1, 1):
            p.capsule((side * 11, y + 10, p.z), (side * 13, canal + 4, p.z), 4.2, 560)
            if (girth := section(along, 0.48, 0.22)) > 0.2:
                tip_x = (41 if p.z < 245 else 24) * (0.7 + 0.3 * girth)
                p.capsule((side * 13, canal + 2, p.z), (side * tip_x, canal + 10, p.z), 4.2 * girth, 540)
                p.capsule((side * 13, canal + 2, p.z), (side * tip_x, canal + 9, p.z), 2.6 * girth, MARROW)
        p.ellipse(0, canal, 13, 11.5, 560)
        tip = min(outline(p.z)[1] - 8, canal + 10 + 22 * (1 - along))
        p.capsule((0, canal + 9, p.z), (0, tip, p.z), 3.6, 540)
    p.ellipse(0, canal, 9.5, 8.5, 15)
    p.ellipse(0, canal, 5.5, 4.5, 42)


def _vessel_tree(rng: np.random.Generator) -> list[tuple[Point, Point, float]]:
    """Branching lung vessels of both sides: (start, end, radius), thick ones first."""
    out: list[tuple[Point, Point, float]] = []
    spread = [
        (0.4, 0.1, 1), (0.8, -0.7, 0.8), (0.7, 0.7, 0.7), (1, -0.5, 0.1), (1, 0.4, 0),
        (0.9, -0.5, -0.7), (0.9, 0.3, -0.8), (0.5, 0.7, -0.9), (0.3, 0.4, -1),
    ]  # fmt: skip
    for side in (-1, 1):
        hilum = np.array([side * 38.0, 16, 146])
        for aim in spread:
            _grow(rng, out, hilum, np.array([side * aim[0], aim[1], aim[2]]), 30.0, 4.6, 8)
    return sorted(out, key=lambda segment: -segment[2])


def _grow(
    rng: np.random.Generator, out: list[tuple[Point, Point, float]],
    start: Array, aim: Array, length: float, radius: float, left: int,
) -> None:  # fmt: skip
    """Add one vessel and, at its end, its two branches."""
    aim = aim / np.linalg.norm(aim)
    end = start + aim * length * rng.uniform(0.8, 1.2)
    out.append((_point(start), _point(end), radius))
    if left <= 1:
        return
    swing = np.cross(aim, rng.standard_normal(3))
    swing /= np.linalg.norm(swing)
    share = rng.uniform(0.25, 0.6)
    _grow(rng, out, end, aim + swing * share, length * 0.86, radius * 0.80, left - 1)
    _grow(rng, out, end, aim - swing * (0.9 - share), length * 0.80, radius * 0.70, left - 1)


def _point(v: Array) -> Point:
    return float(v[0]), float(v[1]), float(v[2])
