# SPDX-License-Identifier: AGPL-3.0-or-later
"""The sample exams are valid DICOM, repeat from their seed, and lie where their geometry says."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import imagecodecs
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from highdicom import _standard_utils as standard
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID

from sandbox import exams, exams_ct
from sandbox.exams_common import CAMILLE, ExamFiles, Patient

type Volume = npt.NDArray[np.float64]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ExamFiles]:
    folder = tmp_path_factory.mktemp("exams")
    return {name: exams.make_exam(name, folder / name) for name in exams.EXAMS}


@pytest.fixture(scope="session")
def headers(made: dict[str, ExamFiles]) -> dict[str, list[Dataset]]:
    return {name: [pydicom.dcmread(p, stop_before_pixels=True) for p in exam.paths] for name, exam in made.items()}


class Scan:
    """A volume rebuilt from the files' own geometry, in HU or signal; knows nothing of the generator."""

    def __init__(self, paths: list[Path]) -> None:
        slices = [pydicom.dcmread(p) for p in paths]
        row, column = (np.array(slices[0].ImageOrientationPatient[i : i + 3], float) for i in (0, 3))
        normal = np.cross(row, column)
        slices.sort(key=lambda ds: float(normal @ np.array(ds.ImagePositionPatient, float)))
        places = np.array([ds.ImagePositionPatient for ds in slices], float)
        self.steps = np.diff(places, axis=0)
        self.origin = places[0]
        self.spacing = np.array([slices[0].PixelSpacing[1], slices[0].PixelSpacing[0], self.steps[0, 2]], float)
        self.voxels: Volume = np.stack(
            [ds.pixel_array * float(ds.get("RescaleSlope", 1)) + float(ds.get("RescaleIntercept", 0)) for ds in slices]
        )  # z, y, x

    def index(self, x: float, y: float, z: float) -> tuple[int, int, int]:
        i, j, k = np.rint((np.array([x, y, z]) - self.origin) / self.spacing).astype(int)
        return k, j, i

    def around(self, x: float, y: float, z: float) -> float:
        """Mean of the 5 x 5 pixels around a patient coordinate."""
        k, j, i = self.index(x, y, z)
        return float(self.voxels[k, j - 2 : j + 3, i - 2 : i + 3].mean())


@pytest.fixture(scope="session")
def scan(made: dict[str, ExamFiles]) -> Scan:
    return Scan(list(made["ct"].paths))


def missing_attributes(ds: Dataset) -> list[str]:
    """Name the type 1 and 2 attributes of mandatory modules that are absent, or empty though type 1."""
    iod = standard.get_sop_class_iod_map()[ds.SOPClassUID]
    modules = [m["key"] for m in standard.get_iod_module_map()[iod] if m["usage"] == "M"]
    missing = []
    for module in modules:
        for attribute in standard.get_module_attribute_map()[module]:
            if attribute["path"] or attribute["type"] not in ("1", "2"):
                continue
            keyword = attribute["keyword"]
            if keyword not in ds or (attribute["type"] == "1" and ds[keyword].is_empty):
                missing.append(f"{module}/{keyword}")
    return missing


@pytest.mark.parametrize("name", list(exams.EXAMS))
def test_every_required_attribute_of_the_iod_is_there(name: str, made: dict[str, ExamFiles]) -> None:
    for path in (made[name].paths[0], made[name].paths[-1]):
        assert missing_attributes(pydicom.dcmread(path)) == []


def test_the_check_of_required_attributes_sees_a_missing_one(made: dict[str, ExamFiles]) -> None:
    ds = pydicom.dcmread(made["ct"].paths[0])
    del ds.KVP
    ds.Modality = ""
    assert {name.split("/")[1] for name in missing_attributes(ds)} == {"KVP", "Modality"}


@pytest.mark.parametrize(("name", "files", "series"), [("ct", 100, 1), ("cr", 1, 1), ("us", 1, 1), ("mr", 48, 2)])
def test_an_exam_is_one_study_of_the_invented_patient(
    name: str, files: int, series: int, made: dict[str, ExamFiles], headers: dict[str, list[Dataset]]
) -> None:
    exam, found = made[name], headers[name]
    assert len(found) == files
    assert list(dict.fromkeys(ds.SeriesInstanceUID for ds in found)) == list(exam.series_uids)
    assert len(exam.series_uids) == series
    assert len({ds.SOPInstanceUID for ds in found}) == files
    for ds in found:
        assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
        assert ds.file_meta.MediaStorageSOPClassUID == ds.SOPClassUID
        assert (ds.StudyInstanceUID, ds.AccessionNumber) == (exam.study_uid, exam.accession)
        assert (ds.PatientID, ds.PatientName, ds.PatientBirthDate, ds.PatientSex) == (
            "IPP-ESSAI-1", "ESSAI-DRIMBOX^CAMILLE", "19800229", "F",
        )  # fmt: skip
        assert ds.Modality == exam.modality
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            assert UID(ds[keyword].value).is_valid
            assert ds[keyword].value.startswith("2.25.")
        assert int(ds.SOPInstanceUID[5:]) < 1 << 128
    numbers = Counter((ds.SeriesInstanceUID, ds.InstanceNumber) for ds in found)
    assert max(numbers.values()) == 1


def test_accents_survive(headers: dict[str, list[Dataset]]) -> None:
    ds = headers["us"][0]
    assert ds.SpecificCharacterSet == "ISO_IR 192"
    assert ds.StudyDescription == "Échographie cardiaque – données d'essai"
    assert ds.InstitutionName == "Hôpital fictif de démonstration"


def test_two_exams_never_share_an_identifier(made: dict[str, ExamFiles], headers: dict[str, list[Dataset]]) -> None:
    assert len({exam.study_uid for exam in made.values()}) == len(made)
    uids = [ds.SOPInstanceUID for found in headers.values() for ds in found]
    assert len(set(uids)) == len(uids)


@pytest.mark.parametrize("name", ["ct", "us", "mr"])
def test_the_same_seed_gives_the_same_bytes(name: str, made: dict[str, ExamFiles], tmp_path: Path) -> None:
    again = exams.make_exam(name, tmp_path)
    assert [p.name for p in again.paths] == [p.name for p in made[name].paths]
    for one, two in zip(again.paths, made[name].paths, strict=True):
        assert hashlib.sha256(one.read_bytes()).digest() == hashlib.sha256(two.read_bytes()).digest(), one.name


def test_another_seed_gives_another_study_and_other_pixels(made: dict[str, ExamFiles], tmp_path: Path) -> None:
    other = exams.make_exam("us", tmp_path, seed=2)
    assert other.study_uid != made["us"].study_uid
    assert pydicom.dcmread(other.paths[0]).PixelData != pydicom.dcmread(made["us"].paths[0]).PixelData


def test_study_accession_patient_and_date_can_be_given(tmp_path: Path) -> None:
    patient = Patient("IPP-2", "ESSAI^BIS", "19991231", "M")
    started = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    exam = exams.make_exam("us", tmp_path, study_uid="1.2.3", accession="ACC7", patient=patient, started=started)
    ds = pydicom.dcmread(exam.paths[0], stop_before_pixels=True)
    assert (ds.StudyInstanceUID, ds.AccessionNumber, ds.PatientID, ds.PatientName) == (
        "1.2.3",
        "ACC7",
        "IPP-2",
        "ESSAI^BIS",
    )
    assert (ds.StudyDate, ds.StudyTime) == ("20260102", "030405")
    assert exam.patient == patient


def test_a_patient_of_their_own_has_a_study_of_their_own(tmp_path: Path) -> None:
    one = exams.make_exam("us", tmp_path / "1", patient=CAMILLE)
    two = exams.make_exam("us", tmp_path / "2", patient=Patient("IPP-2"))
    assert one.study_uid != two.study_uid


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        exams.make_exam("xx", tmp_path)
    with pytest.raises(ValueError, match="accession"):
        exams.make_exam("us", tmp_path, accession="12345678901234567")
    with pytest.raises(ValueError, match="aware"):
        exams.make_exam("us", tmp_path, started=datetime(2026, 1, 1))  # noqa: DTZ001
    assert list(tmp_path.iterdir()) == []


# --- CT -------------------------------------------------------------------------------------------------------------


def test_ct_slices_are_one_regular_volume(scan: Scan, headers: dict[str, list[Dataset]]) -> None:
    found = headers["ct"]
    assert np.allclose(scan.steps, [0, 0, 2.5])
    assert {tuple(ds.ImageOrientationPatient) for ds in found} == {(1, 0, 0, 0, 1, 0)}
    assert {tuple(ds.PixelSpacing) for ds in found} == {(1.5, 1.5)}
    assert {float(ds.SliceThickness) for ds in found} == {2.5}
    assert len({ds.FrameOfReferenceUID for ds in found}) == 1
    assert scan.voxels.shape == (100, 256, 256)
    # instance 1 is the highest
    assert found[0].ImagePositionPatient[2] > found[-1].ImagePositionPatient[2]


def test_ct_marker_lies_at_its_documented_place_in_a_coronal_reformat(scan: Scan) -> None:
    x, y, z = exams_ct.MARKER_CENTRE
    coronal = scan.voxels[:, scan.index(x, y, z)[1], :]  # z, x
    rows, columns = np.nonzero(coronal > 1300)
    for found, axis, centre, size in (
        (columns, 0, x, exams_ct.MARKER_SIZE[0]),
        (rows, 2, z, exams_ct.MARKER_SIZE[2]),
    ):
        low, high = (scan.origin[axis] + scan.spacing[axis] * v for v in (found.min(), found.max()))
        assert abs((low + high) / 2 - centre) <= scan.spacing[axis] / 2 + 1e-6
        assert abs(high - low + scan.spacing[axis] - size) <= scan.spacing[axis] + 1e-6
    assert set(coronal[rows, columns]) == {exams_ct.MARKER_HU}
    assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)  # a full rectangle


def test_nothing_but_the_marker_is_so_bright(scan: Scan) -> None:
    places = np.argwhere(scan.voxels > 1200)
    k, j, i = scan.index(*exams_ct.MARKER_CENTRE)
    reach = np.array([20 / 2.5, 8 / 1.5, 8 / 1.5]) / 2 + 1
    assert (np.abs(places - [k, j, i]) <= reach).all()
    beside = scan.voxels[k, j, i + 8]
    assert beside < 0  # in lung: it stands out


@pytest.mark.parametrize(
    ("organ", "place", "low", "high"),
    [
        ("right lung", (-95, -30, 170), -950, -700),
        ("left lung", (95, -30, 170), -950, -700),
        ("trachea", (0, 18, 200), -1024, -900),
        ("liver, to the right", (-90, -30, 45), 60, 140),
        ("heart, to the left", (44, -32, 92), 150, 300),
        ("descending aorta", (17, 38, 120), 180, 280),
        ("vertebra, at the back", (0, 51, 135), 120, 520),
        ("table", (0, 126, 120), -1000, -500),
        ("air in front", (0, -160, 230), -1024, -900),
    ],
)
def test_ct_organs_are_where_a_body_has_them(
    organ: str, place: tuple[float, float, float], low: float, high: float, scan: Scan
) -> None:
    assert low < scan.around(*place) < high


def test_vertebrae_repeat_along_the_spine(scan: Scan) -> None:
    _, j, i = scan.index(11, 48, 120)
    line = scan.voxels[:, j - 2 : j + 3, i - 2 : i + 3].mean(axis=(1, 2))
    power = np.abs(np.fft.rfft(line - line.mean()))
    assert int(power[4:20].argmax()) + 4 == 10  # 250 mm hold ten periods of 25 mm


def test_ct_stream_is_12_bit_jpeg_ls_and_decodes_bit_exact(made: dict[str, ExamFiles]) -> None:
    from sandbox.exams_body import Trunk  # the drawing itself, to compare with what the files hold

    trunk = Trunk(1)
    for number in (1, 50, 100):
        path = made["ct"].paths[number - 1]
        ds = pydicom.dcmread(path)
        assert ds.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.80"
        stream = next(pydicom.encaps.generate_frames(ds.PixelData, number_of_frames=1))
        head = stream.index(b"\xff\xf7")
        assert stream[head + 4] == 12  # SOF55, sample precision
        drawn = exams_ct.slice_values(trunk, 256, 100 - number)
        assert np.array_equal(pixel_array(path), drawn)
        assert np.array_equal(imagecodecs.jpegls_decode(stream), drawn)


@pytest.mark.skipif(shutil.which("dcmdjpls") is None, reason="DCMTK absent")
@pytest.mark.parametrize("name", ["ct", "cr"])
def test_dcmtk_reads_the_same_pixels(name: str, made: dict[str, ExamFiles], tmp_path: Path) -> None:
    source = made[name].paths[-1]
    plain = tmp_path / "plain.dcm"
    subprocess.run(["dcmdjpls", source, plain], check=True)
    assert np.array_equal(pydicom.dcmread(plain).pixel_array, pydicom.dcmread(source).pixel_array)


def test_sizes_are_what_the_demonstration_expects(made: dict[str, ExamFiles]) -> None:
    assert 3e6 < made["ct"].size < 20e6
    assert 1e6 < made["cr"].size < 6e6
    assert 0.2e6 < made["us"].size < 2e6
    assert made["mr"].size > 48 * 256 * 256 * 2


def test_ct_of_512_keeps_the_same_field(tmp_path: Path) -> None:
    x, y, _ = exams_ct.axes(512)
    coarse, _, _ = exams_ct.axes(256)
    assert x[1] - x[0] == pytest.approx(0.75)
    assert x[0] - 0.375 == pytest.approx(coarse[0] - 0.75)
    assert exams_ct.in_marker(x, y, 150).sum() in range(100, 145)


# --- CR, US, MR ------------------------------------------------------------------------------------------------------


def test_cr_is_a_chest_from_the_back(made: dict[str, ExamFiles]) -> None:
    ds = pydicom.dcmread(made["cr"].paths[0])
    image = ds.pixel_array.astype(float)
    assert image.shape == (2048, 1792)
    assert (ds.BitsStored, ds.PhotometricInterpretation, ds.ViewPosition) == (12, "MONOCHROME2", "PA")
    right, left, middle = image[760:900, 400:480], image[640:700, 1300:1400], image[760:900, 860:930]
    assert right.mean() + 500 < middle.mean()  # lungs dark, spine bright
    assert left.mean() + 500 < middle.mean()
    # the heart lies to the patient's left, which the image shows at its right
    assert image[1100:1200, 1250:1330].mean() > image[1000:1100, 480:560].mean() + 300
    assert image[:200, :200].mean() < right.mean()  # air beside the neck


def test_us_frames_move_and_are_in_colour(made: dict[str, ExamFiles]) -> None:
    ds = pydicom.dcmread(made["us"].paths[0])
    frames = pixel_array(made["us"].paths[0]).astype(int)  # RGB
    assert frames.shape == (30, 240, 320, 3)
    assert (ds.NumberOfFrames, ds.PhotometricInterpretation) == (30, "YBR_FULL_422")
    assert ds.FrameIncrementPointer == 0x00181063
    assert (ds.LossyImageCompression, ds.LossyImageCompressionMethod) == ("01", "ISO_10918_1")
    sector = frames[:, 20:200, 40:280]
    assert (np.abs(np.diff(sector, axis=0)).mean(axis=(1, 2, 3)) > 1).all()
    blue = sector[5, :, :, 2] - sector[5, :, :, 0]
    red = sector[22, :, :, 0] - sector[22, :, :, 2]
    assert (blue > 80).sum() > 500
    assert (red > 80).sum() > 500
    assert frames[:, :150, :20].mean() < 3  # black outside the fan


@pytest.mark.skipif(shutil.which("dcmdjpeg") is None, reason="DCMTK absent")
def test_dcmtk_reads_the_us_colours(made: dict[str, ExamFiles], tmp_path: Path) -> None:
    plain = tmp_path / "plain.dcm"
    subprocess.run(["dcmdjpeg", made["us"].paths[0], plain], check=True)
    other = pydicom.dcmread(plain)
    assert other.PhotometricInterpretation == "RGB"
    assert np.abs(other.pixel_array.astype(int) - pixel_array(made["us"].paths[0])).mean() < 2


def test_mr_series_show_the_same_head_in_two_contrasts(made: dict[str, ExamFiles]) -> None:
    t1, t2 = Scan(list(made["mr"].paths[:24])), Scan(list(made["mr"].paths[24:]))
    assert np.allclose(t1.origin, t2.origin)
    assert np.allclose(t1.steps, [0, 0, 5.5])
    ventricle, white = (-8, -20, 22), (-36, 30, 30)
    assert t1.around(*ventricle) < t1.around(*white)
    assert t2.around(*ventricle) > t2.around(*white)


def test_mr_series_share_one_frame_of_reference(headers: dict[str, list[Dataset]]) -> None:
    found = headers["mr"]
    assert len({ds.FrameOfReferenceUID for ds in found}) == 1
    assert {ds.file_meta.TransferSyntaxUID for ds in found} == {"1.2.840.10008.1.2.1"}
    assert [ds.SeriesNumber for ds in found] == [1] * 24 + [2] * 24


# --- command ---------------------------------------------------------------------------------------------------------


def test_the_command_lists_and_makes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exams.main(["list"]) == 0
    assert [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()] == ["ct", "cr", "us", "mr"]
    assert exams.main(["make", "us", "--out", str(tmp_path), "--accession", "A1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["accession"], told["files"], told["modality"]) == ("A1", 1, "US")
    assert told["bytes"] == sum(p.stat().st_size for p in tmp_path.iterdir())


def test_the_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exams.main(["make", "us", "--out", str(tmp_path), "--accession", "A" * 17]) == 1
    assert "Examen non fabriqué" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert exams.main(["make", "us", "--out", str(tmp_path / "file" / "x")]) == 1
