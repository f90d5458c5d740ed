# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

import io
import json
import random
import struct
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ImplicitVRLittleEndian

from drimbox import kos, kos_reader
from drimbox.dicom_items import EXPLICIT, read_file
from drimbox.errors import DocumentError
from drimbox.kos_reader import KosDocument, describe, read_document, read_manifest, references
from drimbox.records import (
    STRUCTURE_OID,
    Identifier,
    InstanceRef,
    Manifest,
    Organization,
    SeriesRef,
    StudyContent,
    Traits,
)
from tests.manifest_data import (
    CT,
    ECG,
    KEY_NOTE,
    NOW,
    ROOT,
    SETTINGS,
    STUDY,
    TRAITS,
    large_study,
    manifest,
    study,
)

OURS = kos.write_manifest(manifest(), SETTINGS)


def dataset(data: bytes = OURS) -> Dataset:
    return pydicom.dcmread(io.BytesIO(data))


def saved(data: Dataset, *, implicit: bool = False) -> bytes:
    buffer = io.BytesIO()
    if implicit:
        data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    pydicom.dcmwrite(buffer, data, implicit_vr=implicit, little_endian=True)
    return buffer.getvalue()


def undefined_lengths(data: Dataset) -> Dataset:
    for element in data:
        if element.VR == "SQ":
            element.is_undefined_length = True
            for item in element.value:
                item.is_undefined_length_sequence_item = True
                undefined_lengths(item)
    return data


def changed(change: Callable[[Dataset], object], *, implicit: bool = False) -> KosDocument:
    data = dataset()
    change(data)
    return read_document(saved(data, implicit=implicit))


def as_read(written: Manifest) -> Manifest:
    """What a file can keep of a manifest."""
    of = replace(written.study, orthanc_id="", patient_id="", accession="")
    return replace(
        written,
        study=of,
        created_at=written.created_at.replace(microsecond=0),
        traits=replace(written.traits, local_ids=()),
    )


# --- round trip


def test_our_manifest_is_read_back_entirely() -> None:
    document = read_document(OURS)
    assert document.manifest == as_read(manifest())
    assert document.warnings == ()
    assert document.title is not None
    assert (document.title.code, document.title.system) == ("113030", "DCM")
    assert document.retrieve_urls[f"{STUDY}.1"] == f"{ROOT}/studies/{STUDY}/series/{STUDY}.1"


LETTERS = st.sampled_from("ABCDEÉÈÀÇ -'œŸЖ語0123")
WORDS = st.text(LETTERS, max_size=30).map(lambda t: " ".join(t.split()))
NAMES = st.text(st.sampled_from("ABCDEÉÈÀ-'œŸ"), max_size=12)
NUMBERS = st.none() | st.integers(0, 99999)
COMPONENTS = st.integers(0, 2**64)


@st.composite
def studies(draw: st.DrawFn) -> StudyContent:
    def instances(prefix: str) -> tuple[InstanceRef, ...]:
        count = draw(st.integers(1, 4))
        classes = st.sampled_from([CT, KEY_NOTE, ECG])
        return tuple(InstanceRef(draw(classes), f"{prefix}.{n}", draw(NUMBERS), draw(NUMBERS)) for n in range(count))

    root = f"1.2.{draw(COMPONENTS)}"
    series = tuple(
        SeriesRef(
            f"{root}.{n}", draw(st.sampled_from(["CT", "MR", ""])), instances(f"{root}.{n}"), draw(WORDS), draw(NUMBERS)
        )
        for n in range(draw(st.integers(1, 4)))
    )
    return StudyContent(
        root, "", series, study_date="20260102", study_time="1015", description=draw(WORDS), study_id="1"
    )


@st.composite
def people(draw: st.DrawFn) -> Traits:
    given_name = draw(NAMES.filter(bool))
    givens = draw(st.sampled_from(["", given_name, f"{given_name} ZOÉ"]))
    return Traits(
        ins=draw(st.from_regex(r"[12][0-9]{14}", fullmatch=True)),
        ins_oid="1.2.250.1.213.1.4.8",
        birth_family=draw(NAMES),
        birth_given=given_name,
        birth_givens=givens,
        used_family=draw(NAMES),
        # "^<birth given name>" alone may mean either name, see the reader
        used_given=draw(NAMES.filter(lambda name: name != given_name)),
        birth_date=draw(st.dates(min_value=datetime(1900, 1, 1).date()).map(lambda d: d.strftime("%Y%m%d"))),  # noqa: DTZ001
        sex=draw(st.sampled_from("MF")),
        birth_place=draw(st.from_regex(r"[0-9]{5}", fullmatch=True)),
    )


@settings(max_examples=60, deadline=None)
@given(
    of=studies(),
    traits=people(),
    instant=st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    number=st.integers(1, 9999),
    act=WORDS,
    institution=st.none()
    | st.builds(Organization, st.builds(Identifier, st.just(STRUCTURE_OID), st.just("11")), WORDS),
    accession=st.none() | st.builds(Identifier, st.just("1.2.3"), st.just("ACC 1")),
)
def test_whatever_is_written_is_read_back(
    of: StudyContent,
    traits: Traits,
    instant: datetime,
    number: int,
    act: str,
    institution: Organization | None,
    accession: Identifier | None,
) -> None:
    made = manifest(
        of, traits=traits, created_at=instant, instance_number=number, act_label=act, institution=institution,
        accession=accession,
    )  # fmt: skip
    assert read_manifest(kos.write_manifest(made, SETTINGS)) == as_read(made)


# --- tolerance


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("undefined", [False, True])
def test_every_little_endian_form_reads_the_same(implicit: bool, undefined: bool) -> None:
    data = undefined_lengths(dataset()) if undefined else dataset()
    assert read_manifest(saved(data, implicit=implicit)) == as_read(manifest())


def test_a_file_without_preamble_or_meta_information_is_read() -> None:
    body = OURS[OURS.index(b"\x08\x00\x05\x00CS") :]
    assert read_manifest(body) == read_manifest(OURS[128:]) == read_manifest(OURS[132:]) == read_manifest(OURS)


def test_a_file_that_lies_about_its_syntax_is_read() -> None:
    data = dataset()
    data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    lying = io.BytesIO()
    pydicom.dcmwrite(lying, data, implicit_vr=True, little_endian=True)
    swapped = lying.getvalue().replace(b"1.2.840.10008.1.2\0", b"1.2.840.10008.1.2 ", 1)
    assert read_manifest(swapped) == as_read(manifest())


def test_a_manifest_reduced_to_its_evidence_is_read() -> None:
    def reduce(data: Dataset) -> None:
        keep = {"SOPClassUID", "SOPInstanceUID", "CurrentRequestedProcedureEvidenceSequence"}
        for element in list(data):
            if element.keyword not in keep:
                del data[element.tag]

    document = changed(reduce, implicit=True)
    found = document.manifest
    assert references(found) == references(manifest())
    assert (found.series_uid, found.instance_number, found.institution, found.accession) == ("", 1, None, None)
    assert found.traits == Traits("", "")
    assert {s.modality for s in found.study.series} == {""}
    assert found.created_at == datetime(1970, 1, 1, tzinfo=UTC)
    assert document.warnings == (kos_reader.TITLE_WARNING, kos_reader.DATE_WARNING)
    json.dumps(describe(found))


def test_key_images_with_nested_references_count_once() -> None:
    def mark(data: Dataset) -> None:
        image = data.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
        note, title, text = Dataset(), Dataset(), Dataset()
        note.ReferencedSOPInstanceUID, note.SeriesInstanceUID = f"{STUDY}.3.1", f"{STUDY}.3"
        title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning = "113000", "DCM", "Of Interest"
        text.TextValue = "Examen : ceci n'est pas le texte"
        note.ConceptNameCodeSequence, note.ContentSequence = Sequence([title]), Sequence([text])
        image.ReferencedSOPSequence = Sequence([note])

    for implicit in (False, True):
        assert changed(mark, implicit=implicit).manifest == as_read(manifest())


def test_the_text_may_stand_at_the_root_and_the_location_beside_the_address() -> None:
    def move(data: Dataset) -> None:
        data.TextValue = data.ContentSequence[-1].TextValue
        del data.ContentSequence
        for item in data.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence:
            item.RetrieveLocationUID = "1.2.3.4"

    assert changed(move).manifest == as_read(manifest())


def test_an_accession_number_at_the_root_serves_where_the_request_has_none() -> None:
    def move(data: Dataset) -> None:
        del data.ReferencedRequestSequence
        data.AccessionNumber = "ACC1"

    assert changed(move).manifest.accession == Identifier("", "ACC1")


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ("USAGE", ("", "USAGE", "")),
        ("USAGE^PAUL", ("", "USAGE", "PAUL")),
        ("^PAUL", ("", "", "PAUL")),
        ("^ZÉLIE ANNE", ("ZÉLIE ANNE", "", "")),
        ("^PAUL\\USAGE^ZÉLIE", ("PAUL", "USAGE", "ZÉLIE")),
        ("^", ("", "", "")),
    ],
)
def test_other_names_are_read_in_every_official_form(names: str, wanted: tuple[str, str, str]) -> None:
    def rename(data: Dataset) -> None:
        data.OtherPatientNames = names

    traits = changed(rename).manifest.traits
    assert (traits.birth_givens, traits.used_family, traits.used_given) == wanted


def test_a_name_in_several_scripts_gives_its_first_group() -> None:
    def rename(data: Dataset) -> None:
        data.PatientName = "MARTIN^ANNE^LOUISE=X^Y"

    traits = changed(rename).manifest.traits
    assert (traits.birth_family, traits.birth_given) == ("MARTIN", "ANNE")


def test_a_time_without_offset_is_french_time() -> None:
    def forget(data: Dataset) -> None:
        del data.TimezoneOffsetFromUTC
        data.InstanceCreationTime = "1030"

    assert changed(forget).manifest.created_at == NOW.replace(second=0, microsecond=0)


def test_the_content_date_serves_where_the_creation_date_is_none() -> None:
    def spoil(data: Dataset) -> None:
        data.InstanceCreationDate = ""
        data.TimezoneOffsetFromUTC = "-0100"

    assert changed(spoil).manifest.created_at == datetime(2026, 7, 14, 11, 30, 15, tzinfo=UTC)


def test_an_address_of_another_form_is_kept_and_told() -> None:
    def readdress(data: Dataset) -> None:
        for item in data.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence:
            item.RetrieveURL = f"http://other.example/x/studies/{STUDY}"

    document = changed(readdress)
    assert set(document.retrieve_urls.values()) == {f"http://other.example/x/studies/{STUDY}"}
    assert document.manifest.retrieve_root == "http://other.example/x"
    assert document.warnings == (kos_reader.ADDRESS_WARNING,)


def test_an_address_that_is_none_gives_no_root() -> None:
    def readdress(data: Dataset) -> None:
        for item in data.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence:
            item.RetrieveURL = "file:///etc/passwd"

    document = changed(readdress)
    assert (document.manifest.retrieve_root, document.warnings) == ("", (kos_reader.ADDRESS_WARNING,))


def test_a_rejection_note_is_told_by_its_title() -> None:
    def retitle(data: Dataset) -> None:
        data.ConceptNameCodeSequence[0].CodeValue = "113001"

    document = changed(retitle)
    assert document.warnings == (kos_reader.TITLE_WARNING,)
    assert document.title is not None
    assert document.title.code == "113001"


def test_one_study_in_two_items_and_a_series_in_two_pieces_are_put_together() -> None:
    def split(data: Dataset) -> None:
        data.CurrentRequestedProcedureEvidenceSequence.append(data.CurrentRequestedProcedureEvidenceSequence[0])

    assert changed(split).manifest == as_read(manifest())


@pytest.mark.parametrize(
    ("name", "encoding"), [("ISO_IR 192", "utf-8"), ("ISO_IR 101", "iso8859-2"), ("\\ISO 2022 IR 100", "latin-1")]
)
def test_names_are_read_in_their_character_set(name: str, encoding: str) -> None:
    data = dataset()
    del data.SpecificCharacterSet
    data["PatientName"] = pydicom.DataElement("PatientName", "PN", "PLAIN")
    raw = saved(data).replace(b"PN\x06\0PLAIN ", b"PN\x06\0" + "SÉ^É".encode(encoding).ljust(6)[:6])
    charset = name.encode().ljust(len(name) + len(name) % 2)
    at = raw.index(b"\x08\x00\x12\x00DA")
    raw = raw[:at] + b"\x08\x00\x05\x00CS" + struct.pack("<H", len(charset)) + charset + raw[at:]
    assert read_manifest(raw).traits.birth_family == "SÉ"


# --- refusals


def reason(data: bytes, **arguments: Any) -> str:
    with pytest.raises(DocumentError) as caught:
        read_manifest(data, **arguments)
    return caught.value.reason


def refused(change: Callable[[Dataset], object]) -> str:
    data = dataset()
    change(data)
    return reason(saved(data))


def test_several_studies_are_refused() -> None:
    def add(data: Dataset) -> None:
        other = Dataset()
        other.StudyInstanceUID = "1.2.3.901"
        other.ReferencedSeriesSequence = []
        data.CurrentRequestedProcedureEvidenceSequence.append(other)

    assert refused(add) == "kos-several-studies"


def test_another_class_is_refused() -> None:
    def retype(data: Dataset) -> None:
        data.SOPClassUID = CT

    assert refused(retype) == "kos-class"
    assert reason(b"") == "kos-class"
    assert reason(b"%PDF-1.7 " * 30) == "dicom-invalid"


@pytest.mark.parametrize("keyword", ["CurrentRequestedProcedureEvidenceSequence", "SOPInstanceUID"])
def test_a_manifest_without_its_heart_is_refused(keyword: str) -> None:
    def cut(data: Dataset) -> None:
        del data[keyword]

    assert refused(cut) == "kos-evidence"


def test_evidence_that_references_nothing_is_refused() -> None:
    def empty(data: Dataset) -> None:
        data.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence = []

    assert refused(empty) == "kos-evidence"


@pytest.mark.parametrize("old", [b"1.2.3.900.1.1\0", b"1.2.3.900.1\0"])
@pytest.mark.parametrize("bad", [b"../../..", b"1.2/3", b"\xd9\xa3", b"\\", b""])
def test_a_reference_that_is_no_uid_is_refused(old: bytes, bad: bytes) -> None:
    at = OURS.index(b"\x20\x00\x0e\x00UI", OURS.index(b"\x08\x00\x90\x11")) if old.endswith(b"0.1\0") else 0
    assert reason(OURS[:at] + OURS[at:].replace(old, bad.ljust(len(old)), 1)) == "kos-evidence"


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.4.50"])
def test_other_transfer_syntaxes_are_refused_before_anything_is_inflated(syntax: str) -> None:
    value = syntax.encode().ljust(len(syntax) + len(syntax) % 2, b"\0")
    meta = b"\x02\x00\x10\x00UI" + struct.pack("<H", len(value)) + value
    assert reason(OURS[:132] + meta + OURS[OURS.index(b"\x08\x00\x05\x00CS") :]) == "dicom-invalid"


def test_a_file_above_the_limit_is_refused() -> None:
    assert reason(OURS, maximum_bytes=len(OURS) - 1) == "dicom-too-large"
    assert read_manifest(OURS, maximum_bytes=len(OURS)) == as_read(manifest())


def test_an_element_given_twice_is_refused_because_readers_would_differ() -> None:
    at = OURS.index(b"\x08\x00\x20\x00DA")
    element = OURS[OURS.index(b"\x08\x00\x18\x00UI") : at]
    assert reason(OURS[:at] + element + OURS[at:]) == "dicom-invalid"


# --- hostile files


def tolerated(data: bytes) -> Manifest | None:
    """Only `DocumentError` may come out; anything else fails the test."""
    try:
        return read_manifest(data)
    except DocumentError:
        return None


@pytest.mark.parametrize("source", ["explicit", "implicit", "undefined"])
def test_a_file_cut_anywhere_is_refused_or_still_whole(source: str) -> None:
    data = {"explicit": OURS, "implicit": saved(dataset(), implicit=True)}.get(source) or saved(
        undefined_lengths(dataset())
    )
    cuts = [len(data) * n // 64 for n in range(64)] + list(range(len(data) - 40, len(data)))
    read = [found for cut in cuts if (found := tolerated(data[:cut]))]
    assert all(references(found) == references(manifest()) for found in read)
    assert len(read) < len(cuts) // 2


@pytest.mark.parametrize("implicit", [False, True])
def test_flipped_bytes_raise_nothing_else(implicit: bool) -> None:
    data = saved(dataset(), implicit=implicit)
    chance = random.Random(20261121)
    for _ in range(1500):
        mutant = bytearray(data)
        for _ in range(chance.randint(1, 4)):
            mutant[chance.randrange(len(mutant))] = chance.choice((0, 1, 0xFF, 0xFE, chance.randrange(256)))
        found = tolerated(bytes(mutant))
        if found:
            json.dumps(describe(found))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_noise_raises_nothing_else(noise: bytes) -> None:
    tolerated(noise)
    tolerated(OURS[:200] + noise)
    tolerated(OURS[:-300] + noise)


@pytest.mark.parametrize(
    "tail",
    [
        b"\x40\x00\x60\xa1UT\0\0\xff\xff\xff\xff",  # a text without length
        b"\x40\x00\x30\xa7SQ\0\0\xff\xff\xff\xff",  # a sequence without end
        b"\x40\x00\x30\xa7SQ\0\0\xff\xff\xff\x7f",  # longer than the file
        b"\x40\x00\x30\xa7SQ\0\0\x08\0\0\0\xfe\xff\x00\xe0\x10\0\0\0",  # an item longer than its sequence
        b"\x40\x00\x30\xa7SQ\0\0\x08\0\0\0\xfe\xff\x00\xe0\xff\xff\xff\xff",  # an item without end
        b"\x40\x00\x30\xa7SQ\0\0",  # cut within its header
        b"\x40\x00\x30\xa7??\0\0",  # no VR
        b"\xfe\xff\x0d\xe0\0\0\0\0",  # a delimiter of nothing
    ],
)
def test_lengths_that_lie_are_refused(tail: bytes) -> None:
    assert reason(OURS[: OURS.index(b"\x40\x00\x30\xa7SQ")] + tail) == "dicom-invalid"


def test_a_sequence_of_unknown_vr_is_read_as_implicit() -> None:
    data = saved(dataset(), implicit=True)
    evidence = data[data.index(b"\x40\x00\x75\xa3") : data.index(b"\x40\x00\x04\xa5")]
    start, end = OURS.index(b"\x40\x00\x75\xa3SQ"), OURS.index(b"\x40\x00\x04\xa5SQ")
    unknown = evidence[:4] + b"UN\0\0" + evidence[4:]
    assert read_manifest(OURS[:start] + unknown + OURS[end:]) == as_read(manifest())
    endless = evidence[:4] + b"UN\0\0\xff\xff\xff\xff" + evidence[8:] + b"\xfe\xff\xdd\xe0\0\0\0\0"
    assert read_manifest(OURS[:start] + endless + OURS[end:]) == as_read(manifest())


def nested(depth: int, *, undefined: bool) -> bytes:
    inner = b""
    for _ in range(depth):
        length = b"\xff\xff\xff\xff" if undefined else struct.pack("<L", len(inner))
        end = b"\xfe\xff\x0d\xe0\0\0\0\0" if undefined else b""
        item = b"\xfe\xff\x00\xe0" + length + inner + end
        total = b"\xff\xff\xff\xff" if undefined else struct.pack("<L", len(item))
        end = b"\xfe\xff\xdd\xe0\0\0\0\0" if undefined else b""
        inner = b"\x40\x00\x30\xa7SQ\0\0" + total + item + end
    return inner


@pytest.mark.parametrize("undefined", [False, True])
def test_a_sequence_bomb_is_refused(undefined: bool) -> None:
    assert reason(OURS[: OURS.index(b"\x40\x00\x30\xa7SQ")] + nested(5000, undefined=undefined)) == "dicom-too-large"


def test_a_hundred_thousand_items_cost_little() -> None:
    items = b"\xfe\xff\x00\xe0\0\0\0\0" * 100_000
    start = OURS.index(b"\x40\x00\x30\xa7SQ")
    data = OURS[:start] + b"\x40\x00\x30\xa7SQ\0\0" + struct.pack("<L", len(items)) + items
    begin = time.perf_counter()
    assert references(read_manifest(data)) == references(manifest())
    assert time.perf_counter() - begin < 2


def test_millions_of_items_are_refused_within_bounds() -> None:
    items = b"\xfe\xff\x00\xe0\0\0\0\0" * 2_000_000
    start = OURS.index(b"\x40\x00\x30\xa7SQ")
    data = OURS[:start] + b"\x40\x00\x30\xa7SQ\0\0" + struct.pack("<L", len(items)) + items
    begin = time.perf_counter()
    assert reason(data, maximum_bytes=1 << 30) == "dicom-too-large"
    assert time.perf_counter() - begin < 5


def test_reading_a_large_manifest_is_quick_and_light() -> None:
    data = kos.write_manifest(manifest(large_study(3000)), SETTINGS)
    begin = time.perf_counter()
    found = read_manifest(data)
    assert time.perf_counter() - begin < 1
    assert found.study.instance_count() == 3000
    tracemalloc.start()
    try:
        read_manifest(data)
        assert tracemalloc.get_traced_memory()[1] < 32 * 1024 * 1024
    finally:
        tracemalloc.stop()


# --- the reader of data sets against pydicom


def test_our_reader_of_data_sets_agrees_with_pydicom() -> None:
    for data in (OURS, saved(dataset(), implicit=True), saved(undefined_lengths(dataset()))):
        wanted = pydicom.dcmread(io.BytesIO(data))
        every = range(0, 1 << 32)
        sequences = {int(e.tag) for e in dataset().iterall() if e.VR == "SQ"}
        meta, found = read_file(data, sequences=sequences, values=every)
        assert meta[0x0002_0010] == wanted.file_meta.TransferSyntaxUID.encode() + b"\0" * (
            len(wanted.file_meta.TransferSyntaxUID) % 2
        )
        assert shape(found) == shape_of(wanted)
    assert read_file(OURS, sequences=(), values=())[1] == {}
    assert wanted.file_meta.TransferSyntaxUID == EXPLICIT


def shape(item: dict[int, Any]) -> list[Any]:
    return [(tag, [shape(i) for i in v] if isinstance(v, list) else len(v)) for tag, v in item.items()]


def shape_of(data: Dataset) -> list[Any]:
    found: list[Any] = []
    for tag in data.keys():  # noqa: SIM118 - iterating a data set would convert its raw elements
        element = data.get_item(tag)
        raw = getattr(element, "value", None)
        if element.VR == "SQ" or isinstance(data[tag].value, Sequence):
            found.append((int(tag), [shape_of(i) for i in data[tag].value]))
        else:
            found.append((int(tag), len(raw or b"")))
    return found


def test_references_are_pairs_of_series_and_instance() -> None:
    assert (f"{STUDY}.1", f"{STUDY}.1.2") in references(manifest())
    assert len(references(manifest(study()))) == 6


def test_the_description_is_plain_json() -> None:
    shown = json.loads(json.dumps(describe(read_manifest(OURS))))
    assert shown["sopInstanceUid"] == "2.25.1001"
    assert shown["createdAt"] == "2026-07-14T08:30:15+00:00"
    assert shown["institution"] == {"name": "Centre d'imagerie des Forêts", "identifier": "1990000001"}
    assert shown["accession"] == {"root": "1.2.3.4.7", "extension": "ACC900"}
    assert shown["patient"]["ins"] == TRAITS.ins
    assert shown["study"]["instances"] == 6
    assert shown["study"]["series"][1]["instances"][0]["frames"] == 12
