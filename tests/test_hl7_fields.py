# SPDX-License-Identifier: AGPL-3.0-or-later
"""Messages are split whatever line ends, character sets, separators and escapes senders use."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drimbox.errors import MessageError
from drimbox.hl7_fields import decode, separators_of, split, split_header, unescape

HEADER = "MSH|^~\\&|RIS|SITE|DRIMBOX|SITE|20260301||ORU^R01|1|P|2.5|||||FRA|{charset}\r"


def raw(*segments: str, charset: str = "UNICODE UTF-8", encoding: str = "utf-8", end: str = "\r") -> bytes:
    return (HEADER.format(charset=charset) + "".join(s + end for s in segments)).encode(encoding)


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n", "\r\r\n", "\n \n"])
def test_any_line_end_and_blank_lines_are_accepted(end: str) -> None:
    data = raw("PID|1||X", "PV1|1|O").replace(b"\r", end.encode())
    fields = split(b"\n\n\xef\xbb\xbf" + data + b"\n\n")
    assert [s.name for s in fields.segments] == ["MSH", "PID", "PV1"]
    assert fields.segments[2].text(2) == "O"


def test_a_last_segment_without_end_is_read() -> None:
    assert split(raw("PV1|1|O").rstrip(b"\r")).segments[-1].text(2) == "O"


def test_other_line_ends_of_unicode_do_not_cut() -> None:
    value = "A\x0cB\x1dC\x85D\u2028E\x0bF"
    assert split(raw(f"PID|1||{value}")).segments[1].text(3) == value


def test_broken_lines_are_joined_to_their_segment() -> None:
    fields = split(raw("OBX|4|CE|INVISIBLE_PATIENT^non", "visible^X", "||N|", "QUJD", "OBR", "PV1", "PID|1"))
    assert [s.name for s in fields.segments] == ["MSH", "OBX", "OBR", "PV1", "PID"]
    assert fields.segments[1].text(3, 2) == "nonvisible"
    assert fields.segments[1].text(5) == "N"


@pytest.mark.parametrize(
    ("charset", "encoding", "read_as"),
    [
        ("UNICODE UTF-8", "utf-8", "utf-8"),
        ("8859/15", "iso8859-15", "iso8859-15"),
        ("8859/1", "utf-8", "utf-8"),  # a lie, seen
        ("UNICODE UTF-8", "iso8859-15", "iso8859-15"),  # the other lie
        ("8859/1", "latin-1", "latin-1"),
        ("8859/1", "cp1252", "cp1252"),
        ("", "utf-8", "utf-8"),
        ("", "iso8859-15", "iso8859-15"),
        ("8859/15~UNICODE UTF-8", "iso8859-15", "iso8859-15"),
        ("SOMETHING", "iso8859-15", "iso8859-15"),
    ],
)
def test_accents_survive_true_and_false_charsets(charset: str, encoding: str, read_as: str) -> None:
    text = "Zoé’s" if encoding in ("cp1252", "utf-8") else "Zoé s"
    fields = split(raw(f"PID|1||{text}", charset=charset, encoding=encoding))
    assert fields.segments[1].text(3) == text
    assert fields.encoding == read_as


def test_the_euro_sign_is_that_of_8859_15() -> None:
    assert decode(b"\xa4", "8859/15") == ("€", "iso8859-15")


def test_a_repetition_separator_of_two_bytes_is_read_from_msh_2() -> None:
    data = raw("PID|1||A^1˜B^2").replace(b"^~\\&", "^˜\\&".encode())
    pid = split(data).segments[1]
    assert [pid.text(3, repetition=n) for n in pid.repetitions(3)] == ["A", "B"]


def test_other_separators_than_the_usual_ones_are_read() -> None:
    data = b"MSH#*!@$#RIS#SITE#D#S#2026##ORU*R01#1#P#2.5\rPID#1##A*B$C!D\r"
    pid = split(data).segments[1]
    assert (pid.text(3, 2, 2), pid.text(3, repetition=2)) == ("C", "D")


@pytest.mark.parametrize("line", ["MSH", "MSH|", "MSH|^^^^|", "MSH|ABCD|", "MSH|^~ &|", "MSH||", "PID|^~\\&|"])
def test_separators(line: str) -> None:
    usable = line in ("MSH|", "MSH||")
    assert (separators_of(line) is not None) is (usable and len(line) > 4)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("DUPONT \\T\\ FILS", "DUPONT & FILS"),
        ("\\F\\\\S\\\\R\\\\E\\\\T\\", "|^~\\&"),
        ("DU\\PONT", "DU\\PONT"),  # a lone separator loses nothing
        ("a\\.br\\b", "a\nb"),
        ("\\XC3A9\\t\\XE9\\", "été"),
        ("\\X4\\", "\\X4\\"),
        ("\\Z1\\x", "\\Z1\\x"),
        ("\\H\\gras\\N\\", "gras"),
        ("\\", "\\"),
        ("", ""),
    ],
)
def test_escapes(text: str, expected: str) -> None:
    assert unescape(text) == expected


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ABXé\\FSTRE.br0", max_size=30))
def test_text_without_known_escape_is_kept_and_nothing_raises(text: str) -> None:
    assert isinstance(unescape(text), str)
    escaped = "".join({"|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\", "\\": "\\E\\"}.get(c, c) for c in text)
    assert unescape(escaped) == text


def test_positions_that_are_missing_read_empty() -> None:
    pid = split(raw("PID|1||A^B&C~D|")).segments[1]
    assert (pid.text(3, 2, 2), pid.text(3, 2), pid.text(3, repetition=2)) == ("C", "B", "D")
    for position in ((3, 3), (3, 1, 2), (9,), (3, 2, 3), (3, 1, 1, 3), (4, 2)):
        assert pid.text(*position) == ""
    assert (pid.whole(3), pid.whole(99), list(pid.repetitions(99))) == ("A^B&C~D", "", [])


def test_blanks_and_no_break_spaces_are_stripped() -> None:
    assert split(raw("PRT|1|UC|  X\u00a0  ")).segments[1].text(3) == "X"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not-hl7"),
        (b"GET / HTTP/1.1\r\n", "not-hl7"),
        (b"<xml/>", "not-hl7"),
        (b"MSH", "header-invalid"),
        (b"MSH|^^^^|a", "header-invalid"),
        (b"MSHABC", "header-invalid"),
        (raw("PID|1") + raw("PID|2"), "several-messages"),
    ],
)
def test_what_cannot_be_split_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(MessageError) as caught:
        split(data)
    assert caught.value.reason == reason


def test_bombs_of_separators_or_lines_are_refused_quickly() -> None:
    for part in (b"|", b"&", b"PV1\r", b"\n"):
        start = time.monotonic()
        with pytest.raises(MessageError) as caught:
            split(raw("ZZZ|") + part * 5_000_000 + b"ZZZ|")
        assert caught.value.reason == "message-too-complex"
        assert time.monotonic() - start < 5


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=120), st.booleans())
def test_any_bytes_are_split_or_refused(data: bytes, with_header: bool) -> None:
    data = b"MSH|" + data if with_header else data
    split_header(data)
    try:
        fields = split(data)
    except MessageError:
        return
    for segment in fields.segments:
        segment.text(3, 2, 2, 2)
