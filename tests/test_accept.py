# SPDX-License-Identifier: AGPL-3.0-or-later
"""The Accept header: every written form of the official samples, and every other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drimbox.accept import MediaRange, choose, parse_accept, quality_of
from drimbox.errors import Refusal

LOSSLESS, JPEGLS, BASELINE, EXPLICIT = (
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.1",
)
ELEMENT = 'multipart/related; type="application/dicom";transfer-syntax={};q={};boundary=**'


def test_one_line_with_a_trailing_comma() -> None:
    found = parse_accept([f"{ELEMENT.format(LOSSLESS, '0.9')},{ELEMENT.format(EXPLICIT, '0.4')},"])
    assert found == (
        MediaRange("multipart/related", "application/dicom", LOSSLESS, 900, "**"),
        MediaRange("multipart/related", "application/dicom", EXPLICIT, 400, "**"),
    )


def test_several_lines_and_one_line_are_the_same() -> None:
    elements = [ELEMENT.format(LOSSLESS, "0.9"), ELEMENT.format(JPEGLS, "0.5")]
    assert parse_accept(elements) == parse_accept([", ".join(elements)]) == parse_accept([",".join(elements) + ",,"])


def test_an_element_without_media_type() -> None:
    (found,) = parse_accept([f"transfer-syntax={LOSSLESS};q=0.5;boundary=myboundary"])
    assert found == MediaRange("", "", LOSSLESS, 500, "myboundary")
    assert found.is_dicom()


@pytest.mark.parametrize(
    ("text", "quality"),
    [("0", 0), ("0.0", 0), ("0.", 0), ("0.000", 0), ("1", 1000), ("1.0", 1000), ("1.000", 1000), ("0.5", 500),
     ("0.05", 50), ("0.123", 123)],
)  # fmt: skip
def test_q_is_a_qvalue(text: str, quality: int) -> None:
    assert parse_accept([f"transfer-syntax={LOSSLESS};q={text}"])[0].quality == quality


@pytest.mark.parametrize(
    "value",
    [
        f'Multipart/Related;TYPE="application/dicom";Transfer-Syntax={LOSSLESS};Q=0.5',
        f"multipart/related;type=application/dicom;transfer-syntax={LOSSLESS};q=0.5",
        f'multipart/related ; type="application/dicom" ; transfer-syntax="{LOSSLESS}" ; q=0.5 ;',
        f'multipart/related;type="application\\/dicom";transfer-syntax={LOSSLESS};q=0.5;boundary="a,b;c"',
        f'\tmultipart/related;\ttype="application/dicom";transfer-syntax={LOSSLESS};q=0.5',
    ],
)
def test_blanks_case_and_quotes_do_not_matter(value: str) -> None:
    (found,) = parse_accept([value])
    assert (found.transfer_syntax, found.quality, found.is_dicom()) == (LOSSLESS, 500, True)


@pytest.mark.parametrize(
    "values",
    [
        [],
        [""],
        [",, ,"],
        ["*/*"],
        ["multipart/related"],
        ['multipart/related; type="application/dicom"'],
        ["application/json"],
        ["transfer-syntax=;q=1"],
        ["transfer-syntax=1.2.é;q=1"],
        ["transfer-syntax=١.٢;q=1"],
        [f"transfer-syntax={'1' * 65};q=1"],
        ["transfer-syntax=1..2;q=1"],
        ["transfer-syntax=1.2.;q=1"],
        ["transfer-syntax=1.2;q=1.1"],
        ["transfer-syntax=1.2;q=-1"],
        ["transfer-syntax=1.2;q=0.1234"],
        ["transfer-syntax=1.2;q=.5"],
        ["transfer-syntax=1.2;q="],
        ["transfer-syntax=1.2;q=٠"],
        ["transfer-syntax=1.2;q=1;q=1"],
        ["transfer-syntax=1.2;transfer-syntax=1.3"],
        ['transfer-syntax=1.2;boundary="x'],
        ["multipart;transfer-syntax=1.2"],
        ["multipart/related/x;transfer-syntax=1.2"],
        ["transfer-syntax=1.2;=x"],
        ["transfer-syntax=1.2;a b=x"],
        ["transfer-syntax=1.2;a"],
        ["x" * 20_000],
        ["transfer-syntax=1.2," * 129],
    ],
)
def test_what_cannot_be_read_is_refused(values: list[str]) -> None:
    with pytest.raises(Refusal) as caught:
        parse_accept(values)
    assert (caught.value.status, caught.value.reason) == (400, "accept-malformed")


def test_the_parameters_that_must_be_there_are_a_setting() -> None:
    everything = ("transfer-syntax", "q", "boundary")
    assert parse_accept([ELEMENT.format(LOSSLESS, "0.5")], everything)
    with pytest.raises(Refusal):
        parse_accept([f"transfer-syntax={LOSSLESS};q=0.5"], everything)
    assert parse_accept(["*/*"], ())[0].transfer_syntax == ""


def outcome(values: list[str]) -> str:
    """ "read", or the reason of the one kind of refusal; any other exception passes."""
    try:
        parse_accept(values)
    except Refusal as error:
        return error.reason if error.status == 400 else f"status {error.status}"
    return "read"


@given(st.lists(st.text(max_size=60), max_size=4))
def test_any_text_is_read_or_refused(values: list[str]) -> None:
    assert outcome(values) in ("read", "accept-malformed")


_PIECES = st.sampled_from(
    ["multipart/related", ";", ",", "=", '"', "\\", "transfer-syntax", "q", "1.2", "0.5", "boundary", "**", " ", "type"]
)  # fmt: skip


@given(st.lists(_PIECES, max_size=30).map("".join))
def test_any_text_of_the_grammars_pieces_is_read_or_refused(value: str) -> None:
    assert outcome([value]) in ("read", "accept-malformed")
    if outcome([value]) == "read":
        assert all(0 <= found.quality <= 1000 for found in parse_accept([value]))


_UIDS = st.from_regex(r"[0-9]{1,4}(\.[0-9]{1,5}){0,6}", fullmatch=True)


@given(st.lists(st.tuples(_UIDS, st.integers(0, 1000), st.booleans(), st.booleans()), min_size=1, max_size=12))
def test_what_is_written_by_the_rules_is_read_back(elements: list[tuple[str, int, bool, bool]]) -> None:
    lines, expected = [], []
    for uid, quality, typed, bounded in elements:
        media = 'multipart/related; type="application/dicom"; ' if typed else ""
        lines.append(f"{media}transfer-syntax={uid}; q={quality / 1000:.3f}{'; boundary=**' if bounded else ''}")
        expected.append((uid, quality))
    assert [(r.transfer_syntax, r.quality) for r in parse_accept(lines)] == expected
    assert parse_accept(lines) == parse_accept([",".join(lines) + ","])


# --- choice ----------------------------------------------------------------------------------------------------------

OFFER = parse_accept(
    [f"transfer-syntax={LOSSLESS};q=0.9,transfer-syntax={JPEGLS};q=0.8,transfer-syntax={BASELINE};q=0"]
)


def test_what_is_stored_goes_out_whenever_it_is_acceptable() -> None:
    assert choose(OFFER, JPEGLS) == JPEGLS
    assert choose(OFFER, JPEGLS, [LOSSLESS]) == JPEGLS


def test_strict_order_prefers_a_better_target() -> None:
    assert choose(OFFER, JPEGLS, [LOSSLESS], strict=True) == LOSSLESS
    assert choose(OFFER, LOSSLESS, [JPEGLS], strict=True) == LOSSLESS
    assert (
        choose(
            parse_accept([f"transfer-syntax={LOSSLESS};q=1,transfer-syntax={JPEGLS}"]), JPEGLS, [LOSSLESS], strict=True
        )
        == JPEGLS
    )


def test_zero_forbids_and_nothing_acceptable_is_none() -> None:
    assert choose(OFFER, BASELINE) is None
    assert choose(OFFER, EXPLICIT) is None
    assert choose(OFFER, EXPLICIT, [BASELINE]) is None
    assert choose(OFFER, EXPLICIT, [BASELINE, JPEGLS, LOSSLESS]) == LOSSLESS


def test_a_named_syntax_prevails_over_the_wildcard() -> None:
    offer = parse_accept([f"transfer-syntax=*;q=0.4,transfer-syntax={BASELINE};q=0"])
    assert quality_of(offer, JPEGLS) == 400
    assert choose(offer, BASELINE) is None


def test_elements_that_ask_for_something_else_do_not_count() -> None:
    offer = parse_accept(
        [
            f"application/json;transfer-syntax={JPEGLS}",
            f'multipart/related;type="application/octet-stream";transfer-syntax={JPEGLS}',
        ]
    )
    assert choose(offer, JPEGLS) is None
