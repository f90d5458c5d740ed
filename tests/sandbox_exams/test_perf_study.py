# SPDX-License-Identifier: AGPL-3.0-or-later
"""The benchmark study has the size, the headers and the stability that measures need."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pydicom
import pytest

from sandbox import perf_study
from sandbox.perf_study import Parameters, PerfStudy, make_study

SMALL = Parameters(images=12)


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> PerfStudy:
    return make_study(tmp_path_factory.mktemp("perf"), SMALL)


def test_files_have_about_the_wanted_size(study: PerfStudy) -> None:
    mean = study.bytes / len(study.paths) / 1024
    assert len(study.paths) == 12
    assert mean == pytest.approx(155, rel=0.04)
    assert study.bytes == sum(p.stat().st_size for p in study.paths)


def test_images_are_one_regular_series_of_12_bit_jpeg_ls(study: PerfStudy) -> None:
    found = [pydicom.dcmread(p) for p in study.paths]
    assert {ds.SeriesInstanceUID for ds in found} == {study.series_uid}
    assert {ds.StudyInstanceUID for ds in found} == {study.study_uid}
    assert len({ds.SOPInstanceUID for ds in found}) == 12
    assert [ds.InstanceNumber for ds in found] == list(range(1, 13))
    assert {ds.file_meta.TransferSyntaxUID for ds in found} == {"1.2.840.10008.1.2.4.80"}
    steps = np.diff([ds.ImagePositionPatient[2] for ds in found])
    assert np.allclose(steps, -0.6)
    pixels = found[6].pixel_array
    assert pixels.shape == (512, 512)
    assert pixels.max() > 1500  # bone
    assert pixels.max() < 4096


def test_headers_are_as_rich_as_a_scanners(study: PerfStudy) -> None:
    ds = pydicom.dcmread(study.paths[3], stop_before_pixels=True)
    assert 11_000 < len(json.dumps(ds.to_json_dict())) < 14_500
    private = [element for element in ds if element.tag.is_private]
    assert len(private) > 50
    assert ds.RequestAttributesSequence[0].ScheduledProtocolCodeSequence[0].CodeValue == "ZBQH001"


def test_images_differ(study: PerfStudy) -> None:
    assert len({pydicom.dcmread(p).PixelData for p in study.paths}) == 12


def test_a_complete_folder_is_left_as_it_is(study: PerfStudy) -> None:
    folder = study.paths[0].parent
    before = {p: p.stat().st_mtime_ns for p in folder.iterdir()}
    again = make_study(folder, SMALL)
    assert (again.made, again.study_uid, again.bytes) == (False, study.study_uid, study.bytes)
    assert {p: p.stat().st_mtime_ns for p in folder.iterdir()} == before


def test_the_same_parameters_give_the_same_bytes(study: PerfStudy, tmp_path: Path) -> None:
    again = make_study(tmp_path, SMALL)
    assert [p.read_bytes() for p in again.paths] == [p.read_bytes() for p in study.paths]


def test_a_damaged_or_other_study_is_made_anew(tmp_path: Path) -> None:
    first = make_study(tmp_path, Parameters(images=3, raw=True))
    assert all(p.stat().st_size > 512 * 512 * 2 for p in first.paths)
    first.paths[1].write_bytes(b"cut")
    second = make_study(tmp_path, Parameters(images=3, raw=True))
    assert second.made
    assert second.bytes == first.bytes
    third = make_study(tmp_path, Parameters(images=2, raw=True))
    assert third.made
    assert third.study_uid != first.study_uid
    assert sorted(tmp_path.glob("*.dcm")) == sorted(third.paths)
    (tmp_path / "complete.json").write_text("[]")
    assert make_study(tmp_path, Parameters(images=2, raw=True)).made


def test_an_interrupted_run_does_not_count_as_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> Path:
        raise OSError("disk full")

    monkeypatch.setattr(perf_study, "write", broken)
    with pytest.raises(OSError, match="disk full"):
        make_study(tmp_path, Parameters(images=2, raw=True))
    monkeypatch.undo()
    assert make_study(tmp_path, Parameters(images=2, raw=True)).made


def test_the_command_tells_the_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert perf_study.main(["--out", str(tmp_path), "--images", "2", "--raw"]) == 0
    assert "2 images" in capsys.readouterr().out
    assert perf_study.main(["--out", str(tmp_path), "--images", "2", "--raw"]) == 0
    assert "déjà présent" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        perf_study.main(["--out", str(tmp_path), "--images", "0"])
