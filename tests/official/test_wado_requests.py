# SPDX-License-Identifier: AGPL-3.0-or-later
"""The official WADO-RS requests, each played against the door."""

from __future__ import annotations

from pathlib import Path

import pytest

from drimbox.accept import choose, parse_accept
from drimbox.wado_guard import is_uid, parse_path
from tests import guard_data as g
from tests.test_wado_rs import World

pytestmark = pytest.mark.official
TEN = {
    "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.101", "1.2.840.10008.1.2.4.102",
    "1.2.840.10008.1.2.4.103", "1.2.840.10008.1.2.1",
}  # fmt: skip


def read(path: Path) -> tuple[str, list[tuple[str, str]]]:
    """Path below the service's root, and the headers in order."""
    first, *lines = path.read_text().splitlines()
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines) if name]
    return first.split(" ")[1].removeprefix("/rs"), headers


@pytest.mark.parametrize(
    ("name", "route"),
    [
        ("frames_flat", "other"),  # frames come later
        ("instance_flat", "instance"),
        ("series_lossless", "series"),
        ("series_lossy", "series"),
        ("series_many_accept_lines", "series"),
        ("series_q_bounds", "series"),
        ("study_flat", "study"),
    ],
)
def test_each_request_is_understood(official: Path, name: str, route: str) -> None:
    path, headers = read(official / "wado" / f"{name}.txt")
    assert parse_path(path.lstrip("/")).route == route
    assert [is_uid(v) for k, v in headers if k == "KOS-SOPInstanceUID"] == [True]
    ranges = parse_accept([v for k, v in headers if k == "Accept"])
    assert {r.transfer_syntax for r in ranges} == TEN
    assert all(r.is_dicom() and r.boundary in ("**", "myboundary") for r in ranges)


def test_the_bounds_of_q_are_read(official: Path) -> None:
    _, headers = read(official / "wado" / "series_q_bounds.txt")
    ranges = parse_accept([v for k, v in headers if k == "Accept"])
    weights = {r.transfer_syntax: r.quality for r in ranges}
    assert weights["1.2.840.10008.1.2.4.50"] == weights["1.2.840.10008.1.2.4.51"] == 0
    assert weights["1.2.840.10008.1.2.4.70"] == weights["1.2.840.10008.1.2.1"] == 1000
    assert choose(ranges, "1.2.840.10008.1.2.4.50") is None


@pytest.mark.parametrize(
    "name", ["study_flat", "series_lossless", "series_lossy", "series_many_accept_lines", "instance_flat"]
)
def test_each_request_is_served_to_a_holder(official: Path, tmp_path: Path, name: str) -> None:
    path, headers = read(official / "wado" / f"{name}.txt")
    target = parse_path(path.lstrip("/"))
    (kos,) = (v for k, v in headers if k == "KOS-SOPInstanceUID")
    series, instance = target.series or "1.2.9", target.instance or "1.2.9.1"
    scene = g.scene("holder")
    scene.manifests = (g.manifest(study_uid=target.study, sop_instance_uid=kos, series={series: (instance,)}),)
    world = World(tmp_path, scene)
    world.orthanc.add(series, instance, b"DICM", number="1")
    sent = [(k, v) for k, v in headers if k not in ("Authorization", "Host")]
    sent += [
        ("Authorization", scene.authorization or ""),
        ("X-Drimbox-Client-Verify", "SUCCESS"),
        ("X-Drimbox-Client-Cert", scene.certificate),
    ]
    with world.client().get(f"/wado-rs{path}", headers=sent) as response:
        assert response.status_code == 200
        assert b"DICM" in response.data
    assert world.audits[0].outcome == "allowed"


def test_the_health_request_needs_nothing_else(official: Path, tmp_path: Path) -> None:
    path, headers = read(official / "wado" / "healthcheck.txt")
    with World(tmp_path).client().get(f"/wado-rs{path}", headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["Content-Type"] == "application/json"
