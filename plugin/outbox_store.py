# SPDX-License-Identifier: AGPL-3.0-or-later
"""The outbox in the database: leases, order within a study, outcomes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from drimbox.clock import from_iso, iso
from drimbox.outbox import FINISHED, Event, Failure, State, advance
from drimbox.records import Action
from drimbox.schema import submissions
from drimbox.store import Store

UNFINISHED = [s.value for s in State if s not in FINISHED]


@dataclass(frozen=True, slots=True)
class Row:
    """One row, leased by us."""

    id: int
    study_uid: str
    action: Action
    attempts: int
    sending: bool
    created_at: datetime
    report_id: str
    kos_uid: str | None
    submission: str


class OutboxStore:
    """Queries of the outbox; `owner` names this node, so that it finds its own leases again after a crash."""

    def __init__(self, store: Store, owner: str) -> None:
        self._store = store
        self.owner = owner

    def add(
        self,
        connection: sa.Connection,
        *,
        study_uid: str,
        action: Action,
        report_id: str,
        now: datetime,
        state: State = State.PENDING,
        reason: str = "",
        public: str = "",
    ) -> int:
        """Queue an action within the caller's transaction; gives the row's id."""
        done = connection.execute(
            sa.insert(submissions).values(
                study_uid=study_uid,
                action=action.value,
                state=state.value,
                created_at=iso(now),
                due_at=iso(now),
                report_id=report_id,
                reason=reason,
                public=public,
            )
        )
        key = done.inserted_primary_key
        assert key is not None  # noqa: S101 (one row inserted gives its key)
        return int(key[0])

    def release_own(self) -> int:
        """Give back what this node held before it died."""
        with self._store.write() as connection:
            done = connection.execute(
                sa.update(submissions)
                .where(submissions.c.state == State.LEASED, submissions.c.lease_owner == self.owner)
                .values(state=advance(State.LEASED, Event.LEASE_LOST).value, lease_owner="", lease_until="")
            )
        return done.rowcount

    def lease(self, now: datetime, seconds: float) -> Row | None:
        """Take the oldest due row whose study has nothing unfinished before it."""
        earlier = submissions.alias()
        blocked = sa.exists().where(
            earlier.c.study_uid == submissions.c.study_uid,
            earlier.c.id < submissions.c.id,
            earlier.c.state.in_(UNFINISHED),
        )
        free = sa.or_(
            sa.and_(submissions.c.state.in_([State.PENDING, State.WAITING]), submissions.c.due_at <= iso(now)),
            sa.and_(submissions.c.state == State.LEASED, submissions.c.lease_until < iso(now)),
        )
        query = sa.select(submissions).where(free, ~blocked).order_by(submissions.c.id).limit(1)
        if not self._store.is_sqlite:
            query = query.with_for_update(skip_locked=True)
        with self._store.write() as connection:
            found = connection.execute(query).mappings().first()
            if found is None:
                return None
            connection.execute(
                sa.update(submissions)
                .where(submissions.c.id == found["id"])
                .values(
                    state=State.LEASED,
                    lease_owner=self.owner,
                    lease_until=iso(now + timedelta(seconds=seconds)),
                    attempts=found["attempts"] + 1,
                )
            )
        return Row(
            id=found["id"],
            study_uid=found["study_uid"],
            action=Action(found["action"]),
            attempts=found["attempts"] + 1,
            sending=found["sending"],
            created_at=from_iso(found["created_at"]),
            report_id=found["report_id"],
            kos_uid=found["kos_uid"],
            submission=found["submission"],
        )

    def attach(self, connection: sa.Connection, row: Row, kos_uid: str, submission: str) -> bool:
        """Keep what was drawn for this row, before anything leaves; False where the row is no longer ours."""
        return self._update(connection, row, kos_uid=kos_uid, submission=submission)

    def mark_sending(self, row: Row, now: datetime | None = None, seconds: float = 0) -> bool:
        """From here a request may have left: after a crash, ask before sending again.

        With `now` the lease begins anew, for `seconds`.  False where the row is no longer ours: nothing may leave.
        """
        renewed = {} if now is None else {"lease_until": iso(now + timedelta(seconds=seconds))}
        with self._store.write() as connection:
            return self._update(connection, row, sending=True, **renewed)

    def finish(
        self, connection: sa.Connection, row: Row, event: Event, now: datetime, *, reason: str = "", public: str = ""
    ) -> bool:
        """End the row within the caller's transaction; False where it is no longer ours: the caller rolls back."""
        return self._update(
            connection,
            row,
            state=advance(State.LEASED, event).value,
            done_at=iso(now),
            sending=False,
            lease_owner="",
            lease_until="",
            reason=reason,
            detail="",
            public=public,
        )

    def fail(
        self, connection: sa.Connection, row: Row, failure: Failure, due: datetime, *, answered: bool = True
    ) -> State | None:
        """Record a failed attempt within the caller's transaction; gives the new state.

        `answered` says that the failure is the answer to what was sent: then only an unknown outcome leaves a
        doubt that a later attempt has to clear; otherwise a doubt stays as it was.  None where the row is no
        longer ours: the caller rolls back.
        """
        state = advance(State.LEASED, failure.event)
        doubt = {"sending": failure.event is Event.UNKNOWN} if answered else {}
        mine = self._update(
            connection,
            row,
            state=state.value,
            due_at=iso(due),
            lease_owner="",
            lease_until="",
            reason=failure.reason,
            detail=failure.detail[:4000],
            public=failure.public,
            **doubt,
        )
        return state if mine else None

    def _update(self, connection: sa.Connection, row: Row, **values: object) -> bool:
        # a worker that lost its lease writes nothing, even where this very node has taken the row up again
        done = connection.execute(
            sa.update(submissions)
            .where(
                submissions.c.id == row.id,
                submissions.c.state == State.LEASED,
                submissions.c.lease_owner == self.owner,
                submissions.c.attempts == row.attempts,
            )
            .values(**values)
        )
        return done.rowcount == 1

    def revive(self, report_id: str, now: datetime) -> int:
        """Try again what failed of a report: its sender sends it once more."""
        return self._retry(submissions.c.report_id == report_id, (State.DEAD, State.BLOCKED), now)

    def unblock(self, now: datetime) -> int:
        """Try again what the configuration blocked: it is read at start, so a start may have corrected it."""
        return self._retry(sa.true(), (State.BLOCKED,), now)

    def _retry(self, which: sa.ColumnElement[bool], states: Iterable[State], now: datetime) -> int:
        count = 0
        with self._store.write() as connection:
            for state in states:
                done = connection.execute(
                    sa.update(submissions)
                    .where(which, submissions.c.state == state)
                    .values(state=advance(state, Event.RETRY).value, due_at=iso(now))
                )
                count += done.rowcount
        return count

    def counts(self) -> dict[str, int]:
        """Rows by state."""
        with self._store.read() as connection:
            found = connection.execute(sa.select(submissions.c.state, sa.func.count()).group_by(submissions.c.state))
            return {row[0]: row[1] for row in found}
