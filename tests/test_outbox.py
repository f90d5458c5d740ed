# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from drimbox import outbox
from drimbox.clock import iso
from drimbox.config import OutboxSection
from drimbox.errors import (
    ConfigurationError,
    DocumentError,
    OutcomeUnknown,
    ServiceRefused,
    ServiceUnavailable,
    StudyNotFound,
)
from drimbox.outbox import FINISHED, TRANSITIONS, Event, Failure, ImpossibleTransition, State, advance, classify
from drimbox.outbox_store import OutboxStore
from drimbox.records import Action
from drimbox.schema import reports, submissions
from drimbox.store import Store, sqlite_url

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("event", list(Event))
def test_every_cell_of_the_table_is_a_transition_or_refused(state: State, event: Event) -> None:
    if (state, event) in TRANSITIONS:
        assert advance(state, event) is TRANSITIONS[state, event]
    else:
        with pytest.raises(ImpossibleTransition):
            advance(state, event)


def test_nothing_leaves_a_finished_state_but_an_operator() -> None:
    leaving = {event for (state, event) in TRANSITIONS if state in FINISHED}
    assert leaving <= {Event.RETRY, Event.CANCEL}


@pytest.mark.parametrize(
    ("error", "event"),
    [
        (ServiceUnavailable("x"), Event.TRANSIENT),
        (OutcomeUnknown("x"), Event.UNKNOWN),
        (ServiceRefused("x", scope="configuration"), Event.CONFIGURATION),
        (ServiceRefused("x", scope="patient"), Event.PATIENT),
        (ServiceRefused("x", scope="document"), Event.PERMANENT),
        (ServiceRefused("x", scope="never heard of"), Event.PERMANENT),
        (ConfigurationError("x"), Event.CONFIGURATION),
        (StudyNotFound("x"), Event.PERMANENT),
        (DocumentError("x"), Event.PERMANENT),
    ],
)
def test_an_error_decides_what_a_retry_needs(error: Exception, event: Event) -> None:
    assert classify(error).event is event  # type: ignore[arg-type]


def test_a_study_may_be_awaited() -> None:
    assert classify(StudyNotFound("x"), study_awaited=True).event is Event.STUDY_AWAITED
    settings = OutboxSection(study_wait_hours=2)
    assert outbox.study_still_awaited(NOW, NOW + timedelta(minutes=119), settings)
    assert not outbox.study_still_awaited(NOW, NOW + timedelta(minutes=120), settings)


def test_waits_grow_to_a_ceiling_and_are_jittered() -> None:
    settings = OutboxSection(first_delay_seconds=60, longest_delay_seconds=3600)
    waits = [outbox.delay(n, settings, 0.999).total_seconds() for n in range(1, 100)]
    assert waits == sorted(waits)
    assert waits[0] <= 60
    assert max(waits) <= 3600
    assert outbox.delay(1, settings, 0.0).total_seconds() == 30


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(sqlite_url(tmp_path))
    with made.write() as connection:
        connection.execute(
            sa.insert(reports).values(
                id="r",
                received_at=iso(NOW),
                origin="o",
                sender="s",
                control_id="c",
                message_type="t",
                digest="d",
                message=b"",
                state="accepted",
                acknowledgement=b"",
            )
        )
    return made


def add(
    box: OutboxStore, store: Store, study: str, action: Action = Action.CREATE, state: State = State.PENDING
) -> int:
    with store.write() as connection:
        return box.add(connection, study_uid=study, action=action, report_id="r", now=NOW, state=state)


def state_of(store: Store, key: int) -> str:
    with store.read() as connection:
        return str(connection.execute(sa.select(submissions.c.state).where(submissions.c.id == key)).scalar())


def test_order_within_a_study_is_kept_and_other_studies_go_on(store: Store) -> None:
    box = OutboxStore(store, "node")
    first, second, other = add(box, store, "1.2"), add(box, store, "1.2", Action.REPLACE), add(box, store, "1.3")
    a, b, c = (box.lease(NOW, 60) for _ in range(3))
    assert a is not None
    assert b is not None
    assert (a.id, b.id, c) == (first, other, None)
    with store.write() as connection:
        box.finish(connection, a, Event.SUCCESS, NOW)
    following = box.lease(NOW, 60)
    assert following is not None
    assert following.id == second
    store.close()


def test_a_waiting_row_holds_back_what_follows_in_its_study(store: Store) -> None:
    box = OutboxStore(store, "node")
    add(box, store, "1.2")
    add(box, store, "1.2", Action.REPLACE)
    row = box.lease(NOW, 60)
    assert row is not None
    with store.write() as connection:
        state = box.fail(connection, row, Failure(Event.TRANSIENT, "r", "d", "p"), NOW + timedelta(minutes=5))
    assert state is State.WAITING
    assert box.lease(NOW, 60) is None
    again = box.lease(NOW + timedelta(minutes=5), 60)
    assert again is not None
    assert (again.id, again.attempts) == (row.id, 2)
    store.close()


def test_an_expired_lease_is_taken_over_and_its_loser_writes_nothing(store: Store) -> None:
    slow, quick = OutboxStore(store, "slow"), OutboxStore(store, "quick")
    key = add(slow, store, "1.2")
    lost = slow.lease(NOW, 60)
    assert lost is not None
    assert quick.lease(NOW + timedelta(seconds=59), 60) is None
    taken = quick.lease(NOW + timedelta(seconds=61), 60)
    assert taken is not None
    with store.write() as connection:
        slow.finish(connection, lost, Event.SUCCESS, NOW)
    assert state_of(store, key) == State.LEASED
    with store.write() as connection:
        quick.finish(connection, taken, Event.SUCCESS, NOW)
    assert state_of(store, key) == State.SENT
    store.close()


def test_a_node_takes_up_its_own_rows_at_once_after_a_crash(store: Store) -> None:
    box = OutboxStore(store, "node")
    add(box, store, "1.2")
    row = box.lease(NOW, 3600)
    assert row is not None
    box.mark_sending(row)
    assert OutboxStore(store, "another").release_own() == 0
    assert OutboxStore(store, "node").release_own() == 1
    again = box.lease(NOW, 3600)
    assert again is not None
    assert again.sending, "what may have left is asked for before it is sent again"
    store.close()


def test_a_clear_refusal_leaves_no_doubt_and_a_lost_answer_does(store: Store) -> None:
    box = OutboxStore(store, "node")
    add(box, store, "1.2")
    for event, doubt in ((Event.UNKNOWN, True), (Event.TRANSIENT, False)):
        row = box.lease(NOW, 60)
        assert row is not None
        box.mark_sending(row)
        with store.write() as connection:
            box.fail(connection, row, Failure(event, "r", "d", "p"), NOW)
        with store.read() as connection:
            assert connection.execute(sa.select(submissions.c.sending)).scalar() is doubt
    store.close()


def test_held_rows_wait_for_a_later_version(store: Store) -> None:
    box = OutboxStore(store, "node")
    add(box, store, "1.2", Action.WITHDRAW, State.HELD)
    assert box.lease(NOW, 60) is None
    assert box.counts() == {"held": 1}
    store.close()
