# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pydicom
import pytest
import sqlalchemy as sa

from drimbox import xds
from drimbox.clock import from_iso
from drimbox.config import DrimboxConfig
from drimbox.errors import (
    ConfigurationError,
    DrimboxError,
    NationalServiceError,
    OutcomeUnknown,
    ServiceRefused,
    ServiceUnavailable,
    StoreError,
)
from drimbox.outbox import State
from drimbox.publication import MISMATCHES, STEPS
from drimbox.records import Action
from drimbox.schema import kos, reports
from tests.core_data import CONFIG, OTHER_STUDY, Core, FakeDmp, config, report
from tests.orthanc_double import FakePort
from tests.reports_data import INS, STUDY, Message, omi

Make = Callable[..., Core]


@pytest.fixture
def dmp() -> FakeDmp:
    return FakeDmp()


@pytest.fixture
def make(tmp_path: Path, dmp: FakeDmp) -> Any:
    """Cores on one database, which it closes."""
    made: list[Core] = []

    def build(port: FakePort | None = None, **options: Any) -> Core:
        made.append(Core(tmp_path, port or (made[0].port if made else None), options.pop("dmp", dmp), **options))
        return made[-1]

    yield build
    for core in made:
        core.close()


def unavailable() -> ServiceUnavailable:
    return ServiceUnavailable("HTTP 503", public="Le DMP est momentanément indisponible.")


def test_a_report_is_published_once_and_for_all(make: Make, dmp: FakeDmp) -> None:
    core = make()
    core.receive(report())
    assert core.run() == 1
    (row,) = core.rows()
    assert (row["state"], row["attempts"], row["sending"], row["lease_owner"]) == (State.SENT, 1, False, "")
    assert row["done_at"]
    (attempt,) = dmp.attempts
    assert attempt.unique_id == row["kos_uid"]
    assert dmp.asked == [], "nothing was in doubt"
    (kept,) = core.rows(kos)
    assert (kept["state"], kept["version"], kept["study_uid"]) == ("live", 1, STUDY)
    assert kept["data"] == attempt.kos
    assert [key for key, _ in core.exchanges] == [row["id"]]
    event = core.told("kos-published")[0]
    assert (event["text"], event["study_uid"], event["reason"]) == ("KOS publié dans le DMP.", STUDY, "create")
    assert core.told("kos-built")[0]["text"] == "KOS construit : 3 série(s), 4 image(s)."
    assert core.run() == 0


def test_what_is_sent_is_a_kos_of_what_the_pacs_holds(make: Make, dmp: FakeDmp) -> None:
    core = make()
    core.receive(report())
    core.run()
    dataset = pydicom.dcmread(io.BytesIO(dmp.attempts[0].kos))
    assert dataset.SOPInstanceUID == dmp.attempts[0].unique_id
    (evidence,) = dataset.CurrentRequestedProcedureEvidenceSequence
    assert evidence.StudyInstanceUID == STUDY
    assert sorted(s.SeriesInstanceUID for s in evidence.ReferencedSeriesSequence) == [f"{STUDY}.{n}" for n in (1, 2, 3)]
    assert dmp.attempts[0].submission.manifest.retrieve_root == "https://db1.example/wado-rs"


def test_two_studies_of_one_report_are_published_in_order(make: Make, dmp: FakeDmp) -> None:
    core = make()
    core.receive(report(OTHER_STUDY, STUDY))
    core.run()
    assert [a.submission.manifest.study.study_uid for a in dmp.attempts] == [OTHER_STUDY, STUDY]
    assert len({a.unique_id for a in dmp.attempts}) == len({a.submission.ids.submission_uid for a in dmp.attempts}) == 2


def test_restrictions_and_sender_of_the_message_go_with_the_kos(make: Make, dmp: FakeDmp) -> None:
    core = make()
    core.receive(Message().flagged(INVISIBLE_PATIENT="Y", INVISIBLE_REP_LEGAUX="Y").raw())
    core.run()
    submission = dmp.attempts[0].submission
    assert submission.restrictions.codes() == ("INVISIBLE_PATIENT", "INVISIBLE_REPRESENTANTS_LEGAUX")
    assert submission.sender is not None
    assert submission.patient_class == "O"


def test_warnings_are_told_in_french(make: Make) -> None:
    core = make()
    core.receive(replace(Message(), visit=None).raw())
    core.run()
    told = {e["reason"]: e["text"] for e in core.told("report-warning")}
    assert told["visit-missing"] == "À vérifier : Le segment PV1 est absent."
    for code, sentence in MISMATCHES.items():
        assert told[code] == f"À vérifier : {sentence}"


def test_a_study_that_the_pacs_does_not_hold_is_not_published_and_the_journal_says_why(
    make: Make, dmp: FakeDmp
) -> None:
    core = make(FakePort())
    core.receive(report())
    core.run()
    (row,) = core.rows()
    assert (row["state"], row["reason"], row["kos_uid"]) == (State.DEAD, "study-not-found", None)
    (event,) = core.told("publication-dead")
    assert (event["text"], event["severity"]) == ("L'examen n'est pas présent dans le PACS.", "error")
    assert (event["study_uid"], event["reason"]) == (STUDY, "study-not-found")
    assert dmp.attempts == []
    assert core.rows(kos) == []


def test_a_study_is_awaited_as_long_as_the_configuration_says(make: Make, dmp: FakeDmp) -> None:
    settings = config(outbox={"study_wait_hours": 2, "first_delay_seconds": 60, "longest_delay_seconds": 600})
    core = make(FakePort(), config=settings)
    core.receive(report())
    core.run()
    assert core.row()["state"] == State.WAITING
    assert core.told()[-1]["severity"] == "warning"
    assert core.run() == 0, "not before its time"
    core.clock.advance(600)
    core.port.hold(STUDY)
    core.run()
    assert core.row()["state"] == State.SENT
    assert len(dmp.attempts) == 1


def test_a_study_awaited_in_vain_is_given_up(make: Make) -> None:
    settings = config(outbox={"study_wait_hours": 1, "first_delay_seconds": 60, "longest_delay_seconds": 600})
    core = make(FakePort(), config=settings)
    core.receive(report())
    for _ in range(7):
        core.run()
        core.clock.advance(600)
    assert core.row()["state"] == State.DEAD
    assert core.row()["reason"] == "study-not-found"


@pytest.mark.parametrize(
    ("raw", "reason", "words"),
    [
        (Message().flagged(DESTDMP="N").raw(), "not-for-dmp", "DESTDMP = N"),
        (replace(Message(), reliability="PROV").raw(), "identity-not-qualified", "PID-32"),
    ],
    ids=["DESTDMP", "identity"],
)
def test_a_report_that_is_not_to_be_published_says_so_once(
    make: Make, dmp: FakeDmp, raw: bytes, reason: str, words: str
) -> None:
    core = make()
    assert b"MSA|AA|" in core.receive(raw)
    core.run()
    assert (core.row()["state"], core.row()["reason"]) == (State.CANCELLED, reason)
    assert words in core.row()["public"]
    (event,) = core.told("not-published")
    assert (event["reason"], event["severity"], event["text"]) == (reason, "warning", core.row()["public"])
    assert core.port.asked == []
    assert dmp.attempts == []


def test_an_unavailable_dmp_gets_the_same_uids_and_bytes_later(make: Make, dmp: FakeDmp) -> None:
    dmp.before = [unavailable(), unavailable()]
    core = make()
    core.receive(report())
    core.run()
    row = core.row()
    assert (row["state"], row["sending"], row["reason"]) == (State.WAITING, False, "service-unavailable")
    event = core.told("publication-waiting")[0]
    assert (event["text"], event["severity"]) == ("Le DMP est momentanément indisponible.", "warning")
    core.port.studies.clear()  # what was drawn does not depend on the PACS any more
    for _ in range(2):
        core.clock.advance(3600)
        assert core.run() == 1
    assert core.row()["state"] == State.SENT
    assert core.row()["attempts"] == 3
    assert len(dmp.attempts) == 3
    assert len({(a.unique_id, a.kos, xds.submission_to_json(a.submission)) for a in dmp.attempts}) == 1
    assert dmp.asked == [], "that nothing was done is known"
    assert len(core.rows(kos)) == 1


def test_waits_grow_with_the_attempts(make: Make, dmp: FakeDmp) -> None:
    dmp.before = [unavailable() for _ in range(8)]
    core = make()
    core.receive(report())
    waits = []
    for _ in range(8):
        core.run()
        waits.append(core.row()["due_at"])
        core.clock.advance(3600)
    assert len(set(waits)) == 8
    assert core.row()["attempts"] == 8


def test_a_lost_answer_is_asked_for_and_never_sent_again(make: Make, dmp: FakeDmp) -> None:
    dmp.after = [OutcomeUnknown("connection closed")]
    core = make()
    core.receive(report())
    core.run()
    assert (core.row()["state"], core.row()["sending"]) == (State.WAITING, True)
    core.clock.advance(3600)
    core.run()
    assert core.row()["state"] == State.SENT
    assert dmp.asked == [core.row()["kos_uid"]]
    assert len(dmp.attempts) == 1
    assert core.rows(kos)[0]["state"] == "live"
    assert len(core.told("kos-published")) == 1


def test_a_request_that_got_lost_on_its_way_is_sent_again_once_the_dmp_says_it_has_nothing(
    make: Make, dmp: FakeDmp
) -> None:
    dmp.before = [OutcomeUnknown("connection closed")]
    core = make()
    core.receive(report())
    core.run()
    core.clock.advance(3600)
    core.run()
    assert core.row()["state"] == State.SENT
    assert len(dmp.asked) == 1
    assert len(dmp.attempts) == 2
    assert len({(a.unique_id, a.kos) for a in dmp.attempts}) == 1


@pytest.mark.parametrize(
    "question",
    [
        unavailable(),
        OutcomeUnknown("no answer"),
        ServiceRefused("certificate-expired", scope="configuration"),
        RuntimeError("defect"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_a_doubt_stays_until_the_dmp_has_answered_the_question(make: Make, dmp: FakeDmp, question: Exception) -> None:
    dmp.after = [OutcomeUnknown("connection closed")]
    dmp.questions = [question]
    core = make()
    core.receive(report())
    core.run()
    core.clock.advance(3600)
    core.run()
    assert core.row()["sending"] is True
    core.clock.advance(3600)
    core.receive(report())  # revives what was blocked or dead
    core.run()
    assert core.row()["state"] == State.SENT
    assert len(dmp.asked) == 2
    assert len(dmp.attempts) == 1, "a second publication would be a defect"


def test_a_failure_to_write_after_the_sending_is_no_reason_to_send_again(make: Make, dmp: FakeDmp) -> None:
    failures: list[DrimboxError] = [StoreError("disk full")]

    def keep_exchange(_key: int, _exchange: Any) -> None:
        if failures:
            raise failures.pop()

    core = make()
    core.publisher._d = replace(core.deps, keep_exchange=keep_exchange)
    core.receive(report())
    core.run()
    assert (core.row()["state"], core.row()["sending"]) == (State.WAITING, True)
    core.clock.advance(3600)
    core.run()
    assert core.row()["state"] == State.SENT
    assert len(dmp.attempts) == 1


def test_a_defect_after_the_sending_asks_before_it_sends_again(make: Make, dmp: FakeDmp) -> None:
    dmp.after = [RuntimeError("the answer has a shape that nobody thought of")]
    core = make()
    core.receive(report())
    core.run()
    assert (core.row()["state"], core.row()["sending"]) == (State.DEAD, True)
    core.receive(report())
    core.run()
    assert core.row()["state"] == State.SENT
    assert len(dmp.attempts) == 1


def test_an_identifier_that_the_dmp_knows_already_is_reconciled(make: Make, dmp: FakeDmp) -> None:
    dmp.before = [ServiceRefused("known", code="XDSDuplicateUniqueIdInRegistry", scope="duplicate")]
    core = make()
    core.receive(report())
    core.run()
    dmp.entries[core.row()["kos_uid"]] = "urn:uuid:x"
    core.clock.advance(3600)
    core.run()
    assert core.row()["state"] == State.SENT
    assert len(dmp.attempts) == 1


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (ServiceRefused("no", code="DMPInvalidCertificate", scope="configuration", public="Certificat."), "blocked"),
        (ConfigurationError("Dmp.SourceId", public="Clé."), "blocked"),
        (ServiceRefused("no", code="DMPClosed", scope="patient", public="Le DMP de ce patient est fermé."), "dead"),
        (ServiceRefused("no", code="XDSRepositoryMetadataError", public="Métadonnées."), "dead"),
        (ServiceRefused("no", scope="replace", public="Version."), "dead"),
        (NationalServiceError("odd", public="Inattendu."), "dead"),
    ],
    ids=lambda v: getattr(v, "code", None) or getattr(v, "reason", str(v)),
)
def test_each_refusal_ends_in_its_state_and_the_journal_tells_the_public_sentence(
    make: Make, dmp: FakeDmp, error: DrimboxError, state: str
) -> None:
    dmp.before = [error]
    core = make()
    core.receive(report())
    core.run()
    assert core.row()["state"] == state
    (event,) = core.told(f"publication-{state}")
    assert (event["text"], event["severity"], event["reason"]) == (error.public, "error", error.reason)
    core.clock.advance(86400)
    assert core.run() == 0, "burns no retries"
    assert core.rows(kos)[0]["state"] == "pending"


def test_without_a_dmp_a_row_is_blocked_and_says_which_key(make: Make) -> None:
    core = make(dmp=None)
    core.receive(report())
    core.run()
    assert (core.row()["state"], core.row()["public"]) == (
        State.BLOCKED,
        "Aucun DMP n'est configuré (DrimBox.Dmp.Url).",
    )


def test_what_the_configuration_blocked_is_tried_again_at_the_next_start(make: Make, dmp: FakeDmp) -> None:
    make(dmp=None).receive(report())
    core = make(dmp=None)
    core.run()
    uid = core.row()["kos_uid"]
    again = make()
    assert again.outbox.unblock(again.clock.now()) == 1
    again.run()
    assert again.row()["state"] == State.SENT
    assert [a.unique_id for a in dmp.attempts] == [uid]


def test_a_wrong_setting_of_the_manifest_blocks(make: Make) -> None:
    core = make(config=DrimboxConfig(sandbox=True))
    core.receive(report())
    core.run()
    assert core.row()["state"] == State.BLOCKED
    assert core.rows(kos) == []


def test_images_of_another_patient_are_refused_where_the_site_wants_it(make: Make) -> None:
    core = make(config=config(manifest={"check_patient_id": "refuse"}))
    core.receive(report())
    core.run()
    assert (core.row()["state"], core.row()["reason"]) == (State.DEAD, "patient-id-mismatch")
    assert core.told("publication-dead")[0]["text"] == "L'examen du PACS ne correspond pas au compte-rendu."


def test_while_the_pacs_is_silent_a_row_waits(make: Make, dmp: FakeDmp) -> None:
    core = make()
    core.receive(report())
    core.port.down = True
    core.run()
    assert (core.row()["state"], core.row()["reason"]) == (State.WAITING, "pacs-error")
    core.port.down = False
    core.clock.advance(3600)
    core.run()
    assert core.row()["state"] == State.SENT
    assert len(dmp.attempts) == 1


def test_a_defect_sets_one_row_aside_and_the_next_goes_on(
    make: Make, dmp: FakeDmp, caplog: pytest.LogCaptureFixture
) -> None:
    dmp.before = [ZeroDivisionError("division by zero")]
    core = make()
    core.receive(report(STUDY, OTHER_STUDY))
    assert core.run() == 2
    assert core.states() == ["dead", "sent"]
    row = core.row(0)
    assert (row["reason"], row["detail"]) == ("internal-error", "ZeroDivisionError: division by zero")
    assert "interne" in core.told("publication-dead")[0]["text"]
    assert "ZeroDivisionError" in caplog.text


def test_a_stored_message_that_no_longer_reads_sets_one_row_aside(make: Make, dmp: FakeDmp) -> None:
    core = make()
    core.receive(report(STUDY))
    core.receive(report(OTHER_STUDY, control_id="M2"))
    with core.store.write() as connection:
        connection.execute(sa.text("UPDATE reports SET message = x'78' WHERE control_id = 'M0001'"))
    core.run()
    assert core.states() == ["dead", "sent"]
    assert core.row(0)["reason"] == "not-hl7"


def test_a_row_whose_message_is_no_report_is_set_aside(make: Make, dmp: FakeDmp) -> None:
    core = make()
    core.receive(omi())
    with core.store.write() as connection:
        key = core.rows(reports)[0]["id"]
        core.outbox.add(connection, study_uid=STUDY, action=Action.CREATE, report_id=key, now=core.clock.now())
    core.run()
    assert (core.row()["state"], core.row()["reason"]) == (State.DEAD, "not-a-report")


def test_what_went_over_the_wire_is_kept_for_failures_too(make: Make, dmp: FakeDmp) -> None:
    error = unavailable()
    error.exchange = "what was sent and answered"
    dmp.before = [error]
    core = make()
    core.receive(report())
    core.run()
    assert core.exchanges == [(core.row()["id"], "what was sent and answered")]


def test_the_steps_of_a_publication_are_those_that_are_named(make: Make) -> None:
    passed: list[str] = []
    core = make(step=passed.append)
    core.receive(report())
    passed.clear()
    core.run()
    assert tuple(passed) == STEPS


# --- a worker that lost its lease ------------------------------------------------------------------------------------


def overtaken(slow: Core, quick: Core, at: str, then: Callable[[], object]) -> None:
    """Let the lease of `slow` end while it stands at a step; meanwhile `quick` does `then`."""

    def step(name: str) -> None:
        if name == at:
            slow.clock.advance(slow.config.outbox.lease_seconds + 1)
            quick.clock.instant = slow.clock.instant
            then()

    slow.publisher._d = replace(slow.deps, step=step)


@pytest.mark.parametrize("step", STEPS[:-1])
def test_two_workers_on_one_row_publish_once_whoever_is_slow(make: Make, dmp: FakeDmp, step: str) -> None:
    slow, quick = make(owner="slow"), make(owner="quick")
    slow.receive(report())
    overtaken(slow, quick, step, quick.run)
    slow.worker.run_once()
    assert slow.states() == ["sent"]
    assert len(dmp.entries) == 1
    (version,) = slow.rows(kos)
    assert (version["state"], version["sop_instance_uid"]) == ("live", next(iter(dmp.entries)))
    assert len(slow.told("kos-published")) == len(slow.told("kos-built")) == 1
    assert slow.row()["reason"] == ""


@pytest.mark.parametrize("step", STEPS[:-1])
def test_a_worker_that_lost_its_lease_changes_nothing(
    make: Make, dmp: FakeDmp, step: str, caplog: pytest.LogCaptureFixture
) -> None:
    slow, quick = make(owner="slow"), make(owner="quick")
    slow.receive(report())
    seen: list[Any] = []

    def take() -> None:
        assert quick.outbox.lease(quick.clock.now(), 60) is not None
        seen.append((slow.rows(), slow.rows(kos), slow.told()))

    overtaken(slow, quick, step, take)
    slow.worker.run_once()
    assert (slow.rows(), slow.rows(kos), slow.told()) == seen[0]
    if step in ("study-lookup", "kos-stored"):
        assert dmp.attempts == [], "what is no longer ours is not sent"
    assert "lease was lost" in caplog.text


@pytest.mark.parametrize("error", [unavailable(), OutcomeUnknown("x"), RuntimeError("x"), ConfigurationError("x")])
def test_a_failure_after_the_lease_was_lost_is_not_written(make: Make, dmp: FakeDmp, error: Exception) -> None:
    slow, quick = make(owner="slow"), make(owner="quick")
    slow.receive(report())
    seen: list[Any] = []

    def take() -> None:
        assert quick.outbox.lease(quick.clock.now(), 60) is not None
        seen.append((slow.rows(), slow.rows(kos), slow.told()))

    overtaken(slow, quick, "before-send", take)
    dmp.before = [error]
    slow.worker.run_once()
    assert (slow.rows(), slow.rows(kos), slow.told()) == seen[0]


def test_a_reason_not_to_publish_is_not_written_without_the_lease(make: Make) -> None:
    slow, quick = make(owner="slow"), make(owner="quick")
    slow.receive(Message().flagged(DESTDMP="N").raw())
    row = slow.outbox.lease(slow.clock.now(), 60)
    assert row is not None
    slow.clock.advance(61)
    assert quick.outbox.lease(slow.clock.now(), 60) is not None
    before = slow.rows(), slow.told()
    slow.publisher.process(row)
    assert (slow.rows(), slow.told()) == before


def test_a_node_that_took_its_own_row_up_again_does_not_let_its_earlier_self_write(make: Make) -> None:
    core = make()
    core.receive(report())
    earlier = core.outbox.lease(core.clock.now(), 60)
    assert core.outbox.release_own() == 1
    assert core.outbox.lease(core.clock.now(), 60) is not None
    assert earlier is not None
    before = core.rows(), core.rows(kos), core.told()
    core.publisher.process(earlier)
    assert (core.rows(), core.rows(kos), core.told()) == before


def test_the_lease_begins_anew_before_the_sending(make: Make, dmp: FakeDmp) -> None:
    core = make()
    core.receive(report())
    seconds = CONFIG.outbox.lease_seconds

    def building_takes_long(name: str) -> None:
        if name == "kos-stored":
            core.clock.advance(seconds - 1)

    leases: list[datetime] = []
    dmp.during = lambda: leases.append(from_iso(core.row()["lease_until"]))
    core.publisher._d = replace(core.deps, step=building_takes_long)
    began = core.clock.now()
    core.run()
    assert leases == [began + timedelta(seconds=2 * seconds - 1)]


def test_where_not_even_a_failure_can_be_stored_the_lease_ends_by_itself(make: Make, dmp: FakeDmp) -> None:
    core = make()
    core.receive(report())

    def broken(*_arguments: Any, **_named: Any) -> None:
        raise StoreError("no database")

    publisher_outbox = core.outbox.fail
    core.outbox.fail = broken  # type: ignore[method-assign]
    dmp.before = [unavailable()]
    with pytest.raises(StoreError):
        core.worker.run_once()
    assert core.row()["state"] == State.LEASED
    core.outbox.fail = publisher_outbox  # type: ignore[method-assign]
    core.clock.advance(CONFIG.outbox.lease_seconds + 1)
    core.run()
    assert core.row()["state"] == State.SENT
    assert len(dmp.entries) == 1


def test_nothing_of_the_patient_reaches_the_log_or_the_journal(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "drimbox")
    core = make()
    core.receive(report(STUDY, "1.2.3.4"))
    core.run()
    assert core.states() == ["sent", "dead"]
    told = caplog.text + " ".join(e["text"] for e in core.told())
    for identity in ("MARTINEAU", INS, "EXEMPLE", "IPP"):
        assert identity not in told
