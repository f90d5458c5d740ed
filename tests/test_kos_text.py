# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drimbox.kos_text import ManifestText, SeriesText, one_line, parse_text, write_text
from drimbox.records import SeriesRef


def test_the_text_has_one_line_for_the_study_the_act_and_each_series() -> None:
    series = [SeriesRef("1.2.1", "CT", (), "Crâne sans injection"), SeriesRef("1.2.2", "MR", ())]
    assert write_text("Scanner", "TDM du crâne", series) == (
        "Examen : Scanner\nActe = TDM du crâne\nSérie-1.2.1 : CT @ : Crâne sans injection\nSérie-1.2.2 : MR @ :"
    )


def test_a_line_end_in_a_description_does_not_make_a_line() -> None:
    text = write_text("A\nSérie-9.9 : XX @ : faux", "", [SeriesRef("1.2", "CT", (), "B\r\nC\x1b\ud800")])
    assert list(parse_text(text).series) == ["1.2"]
    assert parse_text(text).series["1.2"].description == "B C"


WORDS = st.text(st.characters(codec="utf-8"), max_size=30)


@given(WORDS, WORDS, st.lists(st.tuples(st.sampled_from(["CT", "MR", "", "KO"]), WORDS), max_size=4))
def test_what_is_written_is_read_back(study: str, act: str, described: list[tuple[str, str]]) -> None:
    series = [SeriesRef(f"1.2.{n}", modality, (), text) for n, (modality, text) in enumerate(described)]
    read = parse_text(write_text(study, act, series))
    assert read.study_description == one_line(study)
    assert read.act_label == one_line(act).removeprefix(":").strip()
    assert read.series == {s.series_uid: SeriesText(s.modality, "", one_line(s.description)) for s in series}


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("Série-1.2 : CT @  : Crâne", SeriesText("CT", "", "Crâne")),
        ("Série-1.2 : CT @ Tête : Crâne", SeriesText("CT", "Tête", "Crâne")),
        ("Serie - 1.2: CT@:Crâne", SeriesText("CT", "", "Crâne")),
        ("SÃ©rie-1.2 : CT @ : a : b", SeriesText("CT", "", "a : b")),
        ("Se\u0301rie-1.2 : CT @ Crâne", SeriesText("CT", "", "Crâne")),
        ("S\ufffdrie-1.2 : CT : Crâne", SeriesText("CT", "", "Crâne")),
        ("  série-1.2 : CT", SeriesText("CT", "", "")),
        ("Série-1.2 :", SeriesText()),
    ],
)
def test_series_lines_of_other_makers_are_read(line: str, wanted: SeriesText) -> None:
    assert parse_text(f"Examen : X\r\nActe =  : Y\r\n{line}") == ManifestText("X", "Y", {"1.2": wanted})


def test_the_first_of_two_lines_counts() -> None:
    assert parse_text("Examen : A\nExamen : B\nSérie-1.2 : CT\nSérie-1.2 : MR") == ManifestText(
        "A", "", {"1.2": SeriesText("CT")}
    )


@given(st.text())
def test_any_text_is_read_without_error(text: str) -> None:
    parse_text(text)


def test_a_long_hostile_text_is_read_in_linear_time() -> None:
    begin = time.perf_counter()
    parse_text("Série" + " " * 500_000 + "\nSérie-" + "1" * 500_000 + "\n" + "Acte =" + " " * 500_000)
    assert time.perf_counter() - begin < 2
