# SPDX-License-Identifier: AGPL-3.0-or-later
"""Acknowledgements as the CI-SIS guide wants them, in the sender's own separators and character set."""

from __future__ import annotations

from datetime import UTC, datetime

import hl7
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drimbox.config import MessagesSection
from drimbox.errors import MessageError
from drimbox.hl7_ack import APPLICATION_ERRORS, CONDITIONS, acknowledge
from drimbox.hl7_fields import split
from drimbox.hl7_message import MessageHeader, peek_header, read_message
from drimbox.hl7_verdicts import REFUSALS, refusal
from tests.reports_data import Message, omi, oru

WHEN = datetime(2026, 7, 1, 10, 30, tzinfo=UTC)


def test_a_positive_acknowledgement_is_exact() -> None:
    answer = acknowledge(peek_header(Message().raw()), WHEN, "A42")
    assert answer == (
        b"MSH|^~\\&|DRIMBOX|SITE-INV|RIS-INV|SITE-INV|20260701123000+0200||"
        b"ACK^T02^ACK|A42|P|2.6|||||FRA|UNICODE UTF-8\r"
        b"MSA|AA|M0001\r"
    )


def test_a_refusal_is_exact() -> None:
    raw = Message(version="2.3").raw()
    with pytest.raises(MessageError) as caught:
        read_message(raw, MessagesSection())
    answer = acknowledge(peek_header(raw), WHEN, "A42", caught.value)
    assert answer.split(b"\r")[1:] == [
        b"MSA|AE|M0001",
        b"ERR||MSH^1^12|203^Unsupported version^messageErrorCondition|E",
        b"",
    ]


def test_an_application_error_has_its_own_code() -> None:
    answer = acknowledge(peek_header(oru().raw()), WHEN, "A42", refusal("patient-mismatch", "", "PID^1^3"), "AE")
    assert answer.split(b"\r")[2] == (
        b"ERR||PID^1^3|207^Application error^messageErrorCondition|E|904^INS or traits differ^applicationErrorCondition"
    )


def test_the_acknowledgement_may_be_told_apart_from_the_error() -> None:
    error = MessageError("later", code=207, ack="AR", application_code="906")
    header = peek_header(Message().raw())
    assert b"MSA|AR|" in acknowledge(header, WHEN, "A", error)
    assert b"MSA|AE|" in acknowledge(header, WHEN, "A", error, "AE")


@pytest.mark.parametrize(
    ("raw", "event", "version"),
    [(Message().raw(), "T02", "2.6"), (oru().raw(), "R01", "2.5"), (omi(), "O23", "2.5.1")],
)
def test_event_and_version_are_those_of_the_message(raw: bytes, event: str, version: str) -> None:
    msh = split(acknowledge(peek_header(raw), WHEN, "A")).segments[0]
    assert [msh.text(9, n) for n in (1, 2, 3)] == ["ACK", event, "ACK"]
    assert (msh.text(12), msh.text(17), msh.text(21)) == (version, "FRA", "")


@pytest.mark.parametrize(
    ("declared", "sent", "answered", "told"),
    [
        ("UNICODE UTF-8", "utf-8", "utf-8", "UNICODE UTF-8"),
        ("8859/15", "iso8859-15", "iso8859-15", "8859/15"),
        ("8859/1", "utf-8", "latin-1", "8859/1"),
        ("", "utf-8", "utf-8", "UNICODE UTF-8"),
        ("KLINGON", "utf-8", "utf-8", "UNICODE UTF-8"),
    ],
)
def test_the_answer_is_in_the_declared_character_set(declared: str, sent: str, answered: str, told: str) -> None:
    raw = Message(sender="RIS|CLINIQUE DE L'ÉTÉ", charset=declared).raw(sent)
    text = acknowledge(peek_header(raw), WHEN, "A").decode(answered)
    assert "CLINIQUE DE L'ÉTÉ" in text
    assert f"|FRA|{told}\r" in text


def test_the_senders_separators_are_used() -> None:
    raw = b"MSH#*!@$#RIS*1#SITE#D#S#2026##ORU*R01#C1#P#2.5\r"
    answer = acknowledge(peek_header(raw), WHEN, "A", refusal("version", "", "MSH^1^12"))
    assert answer.startswith(b"MSH#*!@$#D#S#RIS*1#SITE#")
    assert b"ACK*R01*ACK#A#P#2.5" in answer
    assert b"ERR##MSH*1*12#203*" in answer


def test_a_message_without_header_is_answered_too() -> None:
    answer = acknowledge(MessageHeader(), WHEN, "A42", refusal("not-hl7", "no MSH"))
    assert answer.startswith(b"MSH|^~\\&|||||20260701123000+0200||ACK|A42|P|2.5|||||FRA|UNICODE UTF-8\rMSA|AR|\rERR||")
    assert len(hl7.parse(answer)) == 3


def test_every_refusal_has_a_condition_of_the_guide() -> None:
    for verdict in REFUSALS.values():
        assert verdict.code in CONDITIONS
        assert verdict.ack in ("AE", "AR")
        assert verdict.application_code in ("", *APPLICATION_ERRORS)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=150), st.sampled_from(sorted(REFUSALS)))
def test_whatever_comes_the_answer_is_a_message_of_three_segments(raw: bytes, reason: str) -> None:
    for data in (raw, b"MSH|^~\\&|" + raw):
        answer = acknowledge(peek_header(data), WHEN, "A", refusal(reason, "x", "MSH^1^2"))
        fields = split(answer)
        assert [s.name for s in fields.segments] == ["MSH", "MSA", "ERR"]
        assert not {0x0B, 0x1C} & set(answer)
