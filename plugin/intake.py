# SPDX-License-Identifier: AGPL-3.0-or-later
"""A report comes in: read, stored with what it causes in one transaction, then acknowledged.

AA means that we took responsibility (CI-SIS HL7 v2 guide, "accusés"): nothing is acknowledged that a
power cut could lose.  What is refused is kept too, for the operator to see.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable

import sqlalchemy as sa

from drimbox.clock import Clock
from drimbox.config import MessagesSection
from drimbox.errors import MessageError, StoreError
from drimbox.hl7_ack import acknowledge
from drimbox.hl7_message import MessageHeader, StudyUpdate, peek_header, read_message
from drimbox.journal import Journal
from drimbox.outbox import State
from drimbox.outbox_store import OutboxStore
from drimbox.records import Action, ReportMessage
from drimbox.report_store import Received, ReportStore
from drimbox.store import Store

log = logging.getLogger(__name__)

# the places where a process may die, in their order; see tests/test_crash.py
STEPS = ("before-commit", "after-commit")

LATER = "Message reconnu et conservé : cette version ne traite pas encore les mises à jour."


class Intake:
    """Handler of the MLLP listener."""

    def __init__(
        self,
        store: Store,
        reports: ReportStore,
        outbox: OutboxStore,
        journal: Journal,
        clock: Clock,
        settings: MessagesSection,
        new_control_id: Callable[[], str],
        wake: Callable[[], None],
        step: Callable[[str], None] = lambda _name: None,
    ) -> None:
        """`step` is told each of STEPS."""
        self._store = store
        self._reports = reports
        self._outbox = outbox
        self._journal = journal
        self._clock = clock
        self._settings = settings
        self._new_control_id = new_control_id
        self._wake = wake
        self._step = step

    def handle(self, raw: bytes, origin: str) -> bytes:
        """Take one message; give its acknowledgement.

        Raises `MessageError` where it is refused (the listener then calls `refuse`).
        """
        header = peek_header(raw)
        received = self._received(header, raw, origin)
        try:
            known = self._reports.accepted(received)
            if known is None:
                message = read_message(raw, self._settings)
                answer = acknowledge(header, received.at, self._new_control_id())
                known = self._keep(received, message, answer)
            if known is not None:
                self._again(known[0])
                return known[1]
        except StoreError as error:
            log.error("message %s cannot be stored: %s", received.digest[:12], error)
            raise MessageError("cannot be stored now, send it again later", ack="AR", code=207,
                               application_code="906", reason="store-unavailable") from error  # fmt: skip
        self._step("after-commit")
        self._wake()
        return answer

    def refuse(self, raw: bytes, origin: str, error: MessageError) -> bytes:
        """Keep a refused message (or its beginning) and give the negative acknowledgement."""
        header = peek_header(raw)
        received = self._received(header, raw, origin)
        answer = acknowledge(header, received.at, self._new_control_id(), error, error.ack)
        log.warning("message %s refused: %s %s", received.digest[:12], error.ack, error.reason)
        try:
            with self._store.write() as connection:
                key = self._reports.add(
                    connection,
                    received,
                    acknowledgement=answer,
                    state="refused",
                    reason=error.reason,
                    detail=str(error),
                )
                self._journal.add(
                    connection,
                    "message-refused",
                    f"Message HL7 refusé ({error.ack}, code {error.code}). {error.public}",
                    severity="warning",
                    report_id=key,
                    reason=error.reason,
                )
        except StoreError as failure:
            log.error("refused message %s cannot be kept: %s", received.digest[:12], failure)
        return answer

    def _again(self, report_id: str) -> None:
        """The same message once more: the same answer; only what had failed is tried again."""
        revived = self._outbox.revive(report_id, self._clock.now())
        log.info("report %s received again: same acknowledgement, %d failed submission(s) retried", report_id, revived)
        if revived:
            self._journal.note(
                "report-again",
                "Compte rendu reçu à nouveau : la publication qui avait échoué est retentée.",
                report_id=report_id,
            )
            self._wake()

    def _received(self, header: MessageHeader, raw: bytes, origin: str) -> Received:
        return Received(
            origin=origin,
            sender=f"{header.sending_application}|{header.sending_facility}",
            control_id=header.control_id,
            message_type=f"{header.message_type}^{header.event}"[:32],
            digest=hashlib.sha256(raw).hexdigest(),
            message=raw,
            at=self._clock.now(),
        )

    def _keep(
        self, received: Received, message: ReportMessage | StudyUpdate, answer: bytes
    ) -> tuple[str, bytes] | None:
        """Store a message and what it causes; where another connection was faster, give what that one stored."""
        with self._store.write() as connection:
            known = self._reports.accepted(received, connection)
            if known is not None:
                return known
            if isinstance(message, StudyUpdate):
                key = self._reports.add(connection, received, acknowledgement=answer, state="accepted", action="update")
                self._journal.add(connection, "study-update", LATER, severity="warning", report_id=key, reason="held")
            else:
                self._keep_report(connection, received, message, answer)
            self._step("before-commit")
        return None

    def _keep_report(
        self, connection: sa.Connection, received: Received, message: ReportMessage, answer: bytes
    ) -> None:
        report = message.report
        key = self._reports.add(
            connection,
            received,
            acknowledgement=answer,
            state="accepted",
            action=message.action.value,
            document_id=report.id.joined(),
            replaces_id=report.replaces.joined() if report.replaces else "",
        )
        studies = report.study_uids()
        self._journal.add(
            connection,
            "report-received",
            f"Compte rendu reçu ({message.message_type}) : {len(studies)} examen(s).",
            report_id=key,
            study_uid=studies[0] if studies else "",
            reason=message.action.value,
        )
        if not studies:
            self._journal.add(
                connection,
                "report-without-study",
                "Le compte rendu ne désigne aucun examen (StudyInstanceUID absent) : rien à publier.",
                severity="warning",
                report_id=key,
                reason="no-study",
            )
        later = message.action is not Action.CREATE
        if later:
            self._journal.add(connection, "report-held", LATER, severity="warning", report_id=key,
                              study_uid=studies[0] if studies else "", reason="held")  # fmt: skip
        for study_uid in studies:
            self._outbox.add(
                connection,
                study_uid=study_uid,
                action=message.action,
                report_id=key,
                now=received.at,
                state=State.HELD if later else State.PENDING,
                reason="held" if later else "",
                public=LATER if later else "",
            )
