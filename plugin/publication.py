# SPDX-License-Identifier: AGPL-3.0-or-later
"""One outbox row from its report to the DMP's answer: find the study, build the KOS, send it.

Whatever must stay the same over retries (UIDs, bytes, metadata) is drawn and stored before anything
leaves; the steps between are named for the crash tests.
"""

from __future__ import annotations

import hashlib
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from drimbox import evidence, kos, kos_writer, outbox, xds
from drimbox.archive import Archive
from drimbox.clock import Clock
from drimbox.config import DrimboxConfig
from drimbox.errors import (
    ConfigurationError,
    DocumentError,
    DrimboxError,
    OutcomeUnknown,
    ServiceRefused,
    ServiceUnavailable,
)
from drimbox.hl7_message import read_message
from drimbox.hl7_verdicts import warning_text
from drimbox.journal import Journal
from drimbox.outbox import Event
from drimbox.outbox_store import OutboxStore, Row
from drimbox.records import ManifestIds, ReportMessage, Traits
from drimbox.report_store import ReportStore
from drimbox.store import Store

log = logging.getLogger(__name__)

# the places where a process may die, in their order; see tests/test_crash.py
STEPS = ("study-lookup", "kos-stored", "before-send", "after-send", "published")

MISMATCHES = {
    kos.ACCESSION_MISMATCH: "Le numéro d'accession des images n'est pas celui du compte rendu.",
    kos.PATIENT_ID_MISMATCH: "L'identifiant du patient dans les images n'est pas celui du compte rendu.",
}


class LeaseLost(DrimboxError):
    """Another worker has the row: whatever this one was about to write is rolled back."""

    reason = "lease-lost"
    status = 409
    public = "Cet envoi a été repris par un autre processus."


class Dmp(Protocol):
    """What publication asks of the national record (`dmp_client`)."""

    def publish(self, submission: xds.Submission, kos: bytes) -> Any:
        """ITI-41.  Raises `NationalServiceError`; gives the exchange."""
        ...

    def find_entry(self, unique_id: str, patient: Traits, *, secret_connection: bool = False) -> str | None:
        """TD3.1b: entryUUID of a document, None where unknown."""
        ...


@dataclass(frozen=True, slots=True)
class PublisherDeps:
    """What a publisher works with."""

    config: DrimboxConfig
    store: Store
    reports: ReportStore
    outbox: OutboxStore
    archive: Archive
    journal: Journal
    clock: Clock
    find: Callable[[dict[str, Any]], list[dict[str, Any]]]
    new_uid: Callable[[], str]
    dmp: Dmp | None
    keep_exchange: Callable[[int, Any], None]
    step: Callable[[str], None] = lambda _name: None  # told each of STEPS


class Publisher:
    """Processes leased rows."""

    def __init__(self, deps: PublisherDeps) -> None:
        self._d = deps

    def process(self, row: Row) -> None:
        """Do what the row asks; its outcome is stored whatever happens, unless another worker has the row by then.

        Raises `StoreError` where not even a failure can be stored: the lease then ends by itself.
        """
        try:
            self._attempt(row)
        except LeaseLost:
            log.warning("row %d: its lease was lost; this worker writes nothing", row.id)

    def _attempt(self, row: Row) -> None:
        try:
            self._process(row)
        except LeaseLost:
            raise
        except DrimboxError as error:
            self._failed(row, error)
        except Exception as error:  # worker edge: a defect sets this row aside, not the line
            log.exception("row %d", row.id)
            self._failed(row, DrimboxError(f"{type(error).__name__}: {error}"))

    def _process(self, row: Row) -> None:
        stored = self._d.reports.get(row.report_id)
        message = read_message(stored.message, self._d.config.messages)
        if not isinstance(message, ReportMessage):
            raise DocumentError("the stored message is no report", reason="not-a-report")
        if row.kos_uid is None:
            stop = _reason_not_to_publish(message)
            if stop:
                self._nothing_to_do(row, *stop)
                return
            self._d.step("study-lookup")
            row = self._build(row, message)
        self._send(row)

    def _build(self, row: Row, message: ReportMessage) -> Row:
        d, settings = self._d, self._d.config
        study = evidence.study_content(d.find, row.study_uid)
        report = message.report
        warnings = kos.check_identity(report, study, settings.manifest)
        now = d.clock.now()
        with d.store.write() as connection:
            version, series_uid = d.archive.next_version(connection, row.study_uid)
            ids = ManifestIds(d.new_uid(), series_uid or d.new_uid(), d.new_uid(), d.new_uid())
            manifest = kos.build_manifest(
                report,
                study,
                act=kos.act_for(report, row.study_uid),
                order=kos.order_for(report, study),
                settings=settings.manifest,
                retrieve_root=settings.wado.root,
                sop_instance_uid=ids.kos_sop_instance_uid,
                series_uid=ids.kos_series_uid,
                instance_number=version,
                created_at=now,
            )
            data = kos_writer.write_manifest(manifest, settings.manifest)
            submission = xds.Submission(
                report=report,
                restrictions=message.restrictions,
                sender=message.sender,
                patient_class=message.patient_class,
                manifest=manifest,
                kos_hash=hashlib.sha1(data, usedforsecurity=False).hexdigest(),
                kos_size=len(data),
                ids=ids,
                submitted_at=now,
                replaces_entry_uuid=None,
            )
            text = xds.submission_to_json(submission)
            d.archive.add(connection, manifest, data, row.report_id)
            _still_ours(d.outbox.attach(connection, row, ids.kos_sop_instance_uid, text))
            d.journal.add(
                connection,
                "kos-built",
                f"KOS construit : {len(study.series)} série(s), {study.instance_count()} image(s).",
                study_uid=row.study_uid,
                report_id=row.report_id,
            )
            for warning in (*message.warnings, *warnings):
                d.journal.add(
                    connection,
                    "report-warning",
                    f"À vérifier : {MISMATCHES.get(warning) or warning_text(warning)}",
                    severity="warning",
                    study_uid=row.study_uid,
                    report_id=row.report_id,
                    reason=warning.split(":")[0][:64],
                )
        d.step("kos-stored")
        return replace(row, kos_uid=ids.kos_sop_instance_uid, submission=text)

    def _send(self, row: Row) -> None:
        d = self._d
        if d.dmp is None:
            raise ConfigurationError("Dmp.Url is empty", public="Aucun DMP n'est configuré (DrimBox.Dmp.Url).")
        assert row.kos_uid is not None  # noqa: S101 (built above)
        submission = xds.submission_from_json(row.submission)
        secret = submission.restrictions.secret_connection
        if row.sending and d.dmp.find_entry(row.kos_uid, submission.manifest.traits, secret_connection=secret):
            # the answer to an earlier attempt was lost: the DMP has it
            self._published(row)
            return
        data = d.archive.data(row.kos_uid)
        _still_ours(d.outbox.mark_sending(row, d.clock.now(), d.config.outbox.lease_seconds))
        d.step("before-send")
        try:
            exchange = d.dmp.publish(submission, data)
        except (ServiceUnavailable, ServiceRefused, OutcomeUnknown) as error:
            self._failed(row, error, answered=True)
            return
        d.step("after-send")
        d.keep_exchange(row.id, exchange)
        self._published(row)

    def _published(self, row: Row) -> None:
        d = self._d
        with d.store.write() as connection:
            _still_ours(d.outbox.finish(connection, row, Event.SUCCESS, d.clock.now()))
            d.archive.publish(connection, str(row.kos_uid))
            d.journal.add(connection, "kos-published", "KOS publié dans le DMP.", study_uid=row.study_uid,
                          report_id=row.report_id, reason=row.action.value)  # fmt: skip
        d.step("published")
        log.info("study %s published as %s", row.study_uid, row.kos_uid)

    def _nothing_to_do(self, row: Row, reason: str, public: str) -> None:
        d = self._d
        with d.store.write() as connection:
            now = d.clock.now()
            _still_ours(d.outbox.finish(connection, row, Event.NOTHING_TO_DO, now, reason=reason, public=public))
            d.journal.add(connection, "not-published", public, severity="warning", study_uid=row.study_uid,
                          report_id=row.report_id, reason=reason)  # fmt: skip

    def _failed(self, row: Row, error: DrimboxError, *, answered: bool = False) -> None:
        """Store a failed attempt; `answered` where the error is the DMP's answer to what was sent."""
        d = self._d
        now = d.clock.now()
        failure = outbox.classify(error, study_awaited=outbox.study_still_awaited(row.created_at, now, d.config.outbox))
        due = now + outbox.delay(row.attempts, d.config.outbox, random.random())  # noqa: S311 (jitter)
        exchange = getattr(error, "exchange", None)
        if exchange is not None:
            d.keep_exchange(row.id, exchange)
        with d.store.write() as connection:
            state = d.outbox.fail(connection, row, failure, due, answered=answered)
            if state is None:
                raise LeaseLost
            d.journal.add(
                connection,
                f"publication-{state.value}",
                failure.public,
                severity="warning" if state is outbox.State.WAITING else "error",
                study_uid=row.study_uid,
                report_id=row.report_id,
                reason=failure.reason,
            )
        log.warning("study %s: %s (%s), now %s", row.study_uid, failure.reason, failure.detail, state.value)


def _still_ours(written: bool) -> None:
    """Roll the transaction around back where another worker has the row."""
    if not written:
        raise LeaseLost


def _reason_not_to_publish(message: ReportMessage) -> tuple[str, str] | None:
    """Why a report, though accepted, publishes nothing: reason and French sentence."""
    if not message.restrictions.for_dmp:
        return "not-for-dmp", "Le compte rendu n'est pas destiné au DMP (DESTDMP = N) : aucun KOS n'est publié."
    if any(w.startswith("identity-not-qualified") for w in message.warnings):
        return (
            "identity-not-qualified",
            "L'identité INS n'est pas qualifiée (PID-32) : aucun KOS n'est publié. "
            "Qualifiez l'identité dans le RIS puis renvoyez le compte rendu.",
        )
    return None
