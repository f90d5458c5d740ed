# SPDX-License-Identifier: AGPL-3.0-or-later
"""The journal (what happened, for the operator, in French) and the audit trail (who was let in or not)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from drimbox.clock import Clock, iso
from drimbox.schema import audit, events
from drimbox.store import Store


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One verdict: face, route, actor (certificate or professional id), outcome and facts; no token, no trait."""

    face: str
    route: str
    outcome: str  # allowed | denied
    reason: str
    actor: str = ""
    study_uid: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


class Journal:
    """Writes both; reads for the console."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def add(
        self,
        connection: sa.Connection,
        kind: str,
        text: str,
        *,
        severity: str = "info",
        study_uid: str = "",
        report_id: str = "",
        reason: str = "",
        at: datetime | None = None,
    ) -> None:
        """Write an event within the caller's transaction."""
        connection.execute(
            sa.insert(events).values(
                at=iso(at or self._clock.now()),
                kind=kind,
                severity=severity,
                study_uid=study_uid,
                report_id=report_id,
                reason=reason,
                text=text,
            )
        )

    def note(self, kind: str, text: str, **facts: Any) -> None:
        """Write an event in a transaction of its own."""
        with self._store.write() as connection:
            self.add(connection, kind, text, **facts)

    def audit(self, record: AuditRecord) -> None:
        """Write a verdict, in a transaction of its own."""
        with self._store.write() as connection:
            connection.execute(
                sa.insert(audit).values(
                    at=iso(self._clock.now()),
                    face=record.face,
                    route=record.route,
                    outcome=record.outcome,
                    reason=record.reason,
                    actor=record.actor[:255],
                    study_uid=record.study_uid,
                    facts=json.dumps(dict(record.facts), sort_keys=True),
                )
            )

    def latest(self, limit: int = 100) -> list[dict[str, Any]]:
        """Latest events first."""
        query = sa.select(events).order_by(events.c.id.desc()).limit(limit)
        with self._store.read() as connection:
            return [dict(r) for r in connection.execute(query).mappings()]

    def verdicts(self, limit: int = 100) -> list[dict[str, Any]]:
        """Latest verdicts first."""
        query = sa.select(audit).order_by(audit.c.id.desc()).limit(limit)
        with self._store.read() as connection:
            return [{**r, "facts": json.loads(r["facts"])} for r in connection.execute(query).mappings()]
