# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from drimbox import store as store_module
from drimbox.errors import MessageError, MessageTooLarge
from drimbox.hl7_verdicts import refusal
from drimbox.intake import LATER, STEPS
from drimbox.outbox import State
from drimbox.schema import reports, submissions
from tests.core_data import OTHER_STUDY, Core, FakeDmp, config, report
from tests.orthanc_double import FakePort
from tests.reports_data import INS, STUDY, Cda, Message, mdm_replacement, mdm_withdrawal, omi, study_act

ORIGIN = "192.0.2.7:4000"


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    made = Core(tmp_path)
    yield made
    made.close()


def refused(core: Core, raw: bytes) -> tuple[MessageError, bytes]:
    """What the listener does with a message that `handle` refuses."""
    with pytest.raises(MessageError) as caught:
        core.intake.handle(raw, ORIGIN)
    return caught.value, core.intake.refuse(raw, ORIGIN, caught.value)


def test_a_report_is_stored_with_what_it_causes_then_acknowledged(core: Core) -> None:
    raw = report(control_id="M42")
    answer = core.receive(raw, ORIGIN)
    assert b"MSA|AA|M42\r" in answer
    (kept,) = core.rows(reports)
    assert kept["message"] == raw
    assert kept["acknowledgement"] == answer
    assert (kept["state"], kept["action"], kept["origin"]) == ("accepted", "create", ORIGIN)
    assert (kept["sender"], kept["control_id"], kept["message_type"]) == ("RIS-INV|SITE-INV", "M42", "MDM^T02")
    assert kept["document_id"] == "1.2.250.1.999.7.3.42"
    (row,) = core.rows()
    assert (row["study_uid"], row["action"], row["state"], row["report_id"]) == (STUDY, "create", "pending", kept["id"])
    (event,) = core.told()
    assert (event["kind"], event["severity"], event["study_uid"]) == ("report-received", "info", STUDY)
    assert event["text"] == "Compte rendu reçu (MDM^T02) : 1 examen(s)."
    assert core.woken == 1


def test_two_studies_in_one_report_give_two_rows_in_the_reports_order(core: Core) -> None:
    core.receive(report(OTHER_STUDY, STUDY, OTHER_STUDY))
    assert [(r["study_uid"], r["state"]) for r in core.rows()] == [(OTHER_STUDY, "pending"), (STUDY, "pending")]
    assert core.told()[0]["text"] == "Compte rendu reçu (MDM^T02) : 2 examen(s)."


def test_the_same_message_twice_gives_the_same_bytes_and_no_second_row(core: Core) -> None:
    raw = report()
    first = core.receive(raw)
    core.clock.advance(3600)
    assert core.receive(raw, "192.0.2.8:5000") == first
    assert len(core.rows(reports)) == len(core.rows()) == len(core.told()) == 1
    assert core.woken == 1, "nothing was queued the second time"


def test_a_sender_with_a_very_long_name_is_recognised_too(core: Core) -> None:
    raw = report(sender="R" * 300 + "|" + "S" * 300)
    assert core.receive(raw) == core.receive(raw)
    assert len(core.rows()) == 1


def test_the_same_message_on_two_connections_at_once_is_stored_once(core: Core) -> None:
    raw, answers = report(), []
    barrier = threading.Barrier(4)

    def send() -> None:
        barrier.wait()
        answers.append(core.receive(raw))

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(core.rows(reports)) == len(core.rows()) == 1
    assert set(answers) == {core.rows(reports)[0]["acknowledgement"]}
    assert len(answers) == 4


@pytest.mark.parametrize("change", ["control id", "sender", "one byte"])
def test_another_message_is_not_taken_for_the_same(core: Core, change: str) -> None:
    core.receive(report())
    core.receive(
        {
            "control id": report(control_id="M0002"),
            "sender": report(sender="OTHER|SITE-INV"),
            "one byte": report(status="F "),
        }[change]
    )
    assert len(core.rows(reports)) == 2


def test_sent_again_after_its_submission_died_it_is_tried_again(tmp_path: Path) -> None:
    core = Core(tmp_path, FakePort(), FakeDmp())
    raw = report()
    first = core.receive(raw)
    core.run()
    assert core.states() == ["dead"]
    core.port.hold(STUDY)
    assert core.receive(raw) == first
    assert core.states() == ["pending"]
    (event,) = core.told("report-again")
    assert event["text"] == "Compte rendu reçu à nouveau : la publication qui avait échoué est retentée."
    assert event["report_id"] == core.row()["report_id"]
    assert core.woken == 2
    core.run()
    assert core.states() == ["sent"]
    assert core.receive(raw) == first
    assert core.states() == ["sent"], "what succeeded is not done again"
    core.close()


def test_sent_again_after_the_configuration_blocked_it_it_is_tried_again(tmp_path: Path) -> None:
    core = Core(tmp_path)
    core.receive(report())
    core.run()
    assert core.states() == ["blocked"]
    core.receive(report())
    assert core.states() == ["pending"]
    core.close()


@pytest.mark.parametrize(
    ("message", "action"), [(mdm_replacement(), "replace"), (mdm_withdrawal(), "withdraw")], ids=["T10", "T04"]
)
def test_a_replacement_and_a_withdrawal_are_stored_and_held(core: Core, message: Message, action: str) -> None:
    answer = core.receive(message.raw())
    assert b"MSA|AA|" in answer
    (kept,) = core.rows(reports)
    assert (kept["state"], kept["action"]) == ("accepted", action)
    (row,) = core.rows()
    assert (row["state"], row["action"], row["reason"], row["public"]) == (State.HELD, action, "held", LATER)
    (event,) = core.told("report-held")
    assert (event["text"], event["severity"], event["study_uid"]) == (LATER, "warning", STUDY)
    assert core.run() == 0
    assert core.receive(message.raw()) == answer


def test_a_replacement_remembers_the_document_that_it_replaces(core: Core) -> None:
    core.receive(mdm_replacement().raw())
    assert core.rows(reports)[0]["replaces_id"] == "1.2.250.1.999.7.3.41"


def test_an_update_of_the_pacs_is_stored_and_held(core: Core) -> None:
    raw = omi()
    answer = core.receive(raw)
    assert b"MSA|AA|O0001" in answer
    (kept,) = core.rows(reports)
    assert (kept["state"], kept["action"], kept["message_type"]) == ("accepted", "update", "OMI^O23")
    (event,) = core.told()
    assert (event["kind"], event["text"], event["report_id"]) == ("study-update", LATER, kept["id"])
    assert core.rows() == []
    assert core.receive(raw) == answer
    assert len(core.rows(reports)) == 1


def test_a_report_without_study_is_accepted_and_the_operator_is_told(core: Core) -> None:
    core.receive(replace(Message(), document=Cda(acts=study_act("")).xml()).raw())
    assert core.rows() == []
    assert core.kinds() == ["report-received", "report-without-study"]
    event = core.told("report-without-study")[0]
    assert event["text"] == "Le compte rendu ne désigne aucun examen (StudyInstanceUID absent) : rien à publier."
    assert event["severity"] == "warning"


@pytest.mark.parametrize(
    ("raw", "ack", "reason"),
    [
        (b"GET / HTTP/1.1\r\n", b"AR", "not-hl7"),
        (replace(Message(), document=b"not XML").raw(), b"AE", "document-not-a-cda"),
        (replace(Message(), processing_id="T").raw(), b"AE", "processing-id"),
        (Message().flagged(INVISIBLE_PATIENT="").raw(), b"AE", "restriction-missing"),
    ],
)
def test_what_is_refused_is_kept_with_its_answer_and_causes_nothing(
    core: Core, raw: bytes, ack: bytes, reason: str
) -> None:
    error, answer = refused(core, raw)
    assert b"MSA|" + ack + b"|" in answer
    assert b"\rERR|" in answer
    (kept,) = core.rows(reports)
    assert (kept["state"], kept["reason"], kept["message"]) == ("refused", reason, raw)
    assert kept["acknowledgement"] == answer
    assert core.rows() == []
    (event,) = core.told()
    assert (event["kind"], event["severity"], event["reason"]) == ("message-refused", "warning", reason)
    assert event["report_id"] == kept["id"]
    assert event["text"] == f"Message HL7 refusé ({ack.decode()}, code {error.code}). {error.public}"
    assert core.woken == 0


def test_a_message_refused_once_is_accepted_when_the_configuration_admits_it(tmp_path: Path) -> None:
    raw = replace(Message(), processing_id="T").raw()
    core = Core(tmp_path)
    refused(core, raw)
    core.close()
    core = Core(tmp_path, config=config(messages={"processing_ids": ("P", "T")}))
    assert b"MSA|AA|" in core.receive(raw)
    assert [r["state"] for r in core.rows(reports)].count("accepted") == 1
    core.close()


def test_the_beginning_of_a_message_that_is_too_large_is_kept(core: Core) -> None:
    error = refusal("message-too-large", "more than 1024 bytes")
    assert isinstance(error, MessageTooLarge)
    answer = core.intake.refuse(report()[:500], ORIGIN, error)
    assert b"MSA|AE|M0001" in answer
    assert (core.rows(reports)[0]["reason"], len(core.rows(reports)[0]["message"])) == ("message-too-large", 500)


class Outage:
    """Another process holds the database's write lock."""

    def __init__(self, folder: Path) -> None:
        self._link = sqlite3.connect(folder / "drimbox.db", isolation_level=None, check_same_thread=False)

    def __enter__(self) -> None:
        self._link.execute("BEGIN EXCLUSIVE")

    def __exit__(self, *_: object) -> None:
        self._link.execute("ROLLBACK")
        self._link.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "BUSY_MILLISECONDS", 50)


@pytest.mark.usefixtures("impatient")
def test_while_the_database_does_not_write_a_sender_is_told_to_come_again(tmp_path: Path) -> None:
    core = Core(tmp_path)
    raw = report()
    with Outage(tmp_path):
        error, answer = refused(core, raw)
    assert (error.ack, error.code, error.application_code, error.reason) == ("AR", 207, "906", "store-unavailable")
    assert b"MSA|AR|M0001" in answer
    assert core.rows(reports) == core.rows() == core.told() == []
    assert core.woken == 0
    assert b"MSA|AA|M0001" in core.receive(raw), "sent again, it is taken"
    assert len(core.rows()) == 1
    core.close()


def test_on_a_full_disk_nothing_is_acknowledged(tmp_path: Path) -> None:
    core = Core(tmp_path)

    def full(dbapi: Any, _record: Any) -> None:
        dbapi.execute("PRAGMA max_page_count=1")  # raised to what is used already

    core.close()
    sa.event.listen(core.store.engine, "connect", full)
    body = '<component><nonXMLBody><text representation="B64">' + "QUJD" * 100_000 + "</text></nonXMLBody></component>"
    raw = replace(Message(), document=Cda(body=body).xml()).raw()
    error, answer = refused(core, raw)
    assert (error.ack, error.reason) == ("AR", "store-unavailable")
    assert b"MSA|AR|" in answer
    assert core.rows(reports) == core.rows() == []
    core.close()


def test_a_defect_within_the_transaction_leaves_nothing_behind(tmp_path: Path) -> None:
    def step(name: str) -> None:
        if name == "before-commit":
            raise RuntimeError(name)

    core = Core(tmp_path, step=step)
    with pytest.raises(RuntimeError):
        core.receive(report())
    assert core.rows(reports) == core.rows() == core.told() == []
    core.close()


def test_the_named_steps_are_those_that_are_passed(tmp_path: Path) -> None:
    passed: list[str] = []
    core = Core(tmp_path, step=passed.append)
    core.receive(report())
    assert tuple(passed) == STEPS
    core.close()


def test_nothing_of_the_patient_reaches_the_log_or_the_journal(core: Core, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    core.receive(report())
    refused(core, replace(Message(), ids=Message().ids.replace(INS, "199127712345678")).raw())
    told = caplog.text + " ".join(e["text"] for e in core.told())
    for identity in ("MARTINEAU", INS, "199127712345678", "LINE", "1987"):
        assert identity not in told


def test_rows_of_one_report_are_written_with_it_or_not_at_all(core: Core) -> None:
    with core.store.write() as connection:
        connection.execute(sa.text("CREATE TRIGGER no_second BEFORE INSERT ON submissions WHEN NEW.study_uid = "
                                   f"'{OTHER_STUDY}' BEGIN SELECT RAISE(ABORT, 'no'); END"))  # fmt: skip
    with pytest.raises((MessageError, sa.exc.IntegrityError)):
        core.receive(report(STUDY, OTHER_STUDY))
    assert core.rows(reports) == core.rows(submissions) == []
