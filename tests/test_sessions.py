# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from drimbox.errors import Refusal, StoreError
from drimbox.psc_user import PscUser
from drimbox.session_store import DatabaseSessionStore
from drimbox.sessions import (
    LOGIN_LIFE,
    MOST_CONTEXTS,
    MOST_PENDING,
    TRANSITIONS,
    BrowserSession,
    Limits,
    MemorySessionStore,
    PendingLogin,
    Sessions,
    SessionStore,
    Stage,
    Step,
    next_stage,
)
from drimbox.store import Store, sqlite_url
from tests.conftest import FakeClock

USER = PscUser("899700000001", "RADIO", "Camille")
OTHER = PscUser("899700000002", "AUTRE", "Alex")
LIMITS = Limits(idle=timedelta(minutes=30), absolute=timedelta(minutes=240))


@pytest.fixture
def store() -> MemorySessionStore:
    return MemorySessionStore()


@pytest.fixture
def sessions(store: MemorySessionStore, clock: FakeClock) -> Sessions:
    return Sessions(store, LIMITS, clock)


def pending(clock: FakeClock, state: str = "s1") -> PendingLogin:
    return PendingLogin(state, "n1", "v1", "requestType=STUDY", clock.now())


def found(sessions: Sessions, session_id: str) -> BrowserSession:
    session = sessions.find(session_id)
    assert session is not None
    return session


@pytest.mark.parametrize("stage", list(Stage))
@pytest.mark.parametrize("step", list(Step))
def test_every_cell_of_the_table_of_stages(stage: Stage, step: Step) -> None:
    if (stage, step) in TRANSITIONS:
        assert next_stage(stage, step) is TRANSITIONS[stage, step]
    else:
        with pytest.raises(Refusal) as caught:
            next_stage(stage, step)
        assert caught.value.reason == "session-step"


def test_nothing_leaves_the_stage_ended() -> None:
    assert all(stage is not Stage.ENDED for stage, _ in TRANSITIONS)


def test_the_store_knows_the_hash_of_the_identifier_alone(sessions: Sessions, store: MemorySessionStore) -> None:
    session_id = sessions.log_in(None, USER, "id-token")
    assert len(session_id) == 43  # 256 bits in base64url
    assert store.get(hashlib.sha256(session_id.encode()).hexdigest()) is not None
    assert session_id not in repr(store.__dict__)


def test_a_session_shows_no_secret_in_its_repr(sessions: Sessions) -> None:
    session = found(sessions, sessions.log_in(None, USER, "secret-id-token"))
    assert session.csrf
    assert "secret-id-token" not in repr(session)
    assert session.csrf not in repr(session)


@pytest.mark.parametrize("bad", [None, "", "x", "../../etc", "A" * 43, "A" * 44, "é" * 43])
def test_an_unknown_or_ill_formed_identifier_is_no_session(sessions: Sessions, bad: str | None) -> None:
    assert sessions.find(bad) is None


def test_a_pending_login_is_given_once(sessions: Sessions, clock: FakeClock) -> None:
    login_id = sessions.start_login(None, pending(clock))
    assert found(sessions, login_id).stage is Stage.PRE_LOGIN
    assert sessions.take_login(login_id, "other") is None
    assert sessions.take_login(None, "s1") is None
    taken = sessions.take_login(login_id, "s1")
    assert taken is not None
    assert taken.verifier == "v1"
    assert sessions.take_login(login_id, "s1") is None


def test_two_tabs_log_in_side_by_side(sessions: Sessions, clock: FakeClock) -> None:
    login_id = sessions.start_login(None, pending(clock, "s1"))
    assert sessions.start_login(login_id, pending(clock, "s2")) == login_id
    assert sessions.take_login(login_id, "s2") is not None
    assert sessions.take_login(login_id, "s1") is not None


def test_pending_logins_are_bounded_and_grow_old(sessions: Sessions, clock: FakeClock) -> None:
    login_id = sessions.start_login(None, pending(clock, "s0"))
    for i in range(1, MOST_PENDING + 1):
        sessions.start_login(login_id, pending(clock, f"s{i}"))
    assert sessions.take_login(login_id, "s0") is None
    clock.advance(LOGIN_LIFE.total_seconds() - 1)
    assert sessions.take_login(login_id, "s1") is not None
    clock.advance(1)
    assert sessions.take_login(login_id, "s2") is None


def test_a_logged_in_session_is_no_pre_login_session(sessions: Sessions, clock: FakeClock) -> None:
    session_id = sessions.log_in(None, USER, "")
    assert sessions.start_login(session_id, pending(clock)) != session_id


def test_a_login_draws_a_new_identifier_and_ends_the_old_one(sessions: Sessions) -> None:
    first = sessions.log_in(None, USER, "a")
    context = sessions.add_context(first, "1.2.3", None)
    second = sessions.log_in(first, USER, "b")
    assert second != first
    assert sessions.find(first) is None
    assert found(sessions, second).contexts == (context,)


def test_another_person_inherits_no_exam(sessions: Sessions) -> None:
    first = sessions.log_in(None, USER, "a")
    sessions.add_context(first, "1.2.3", None)
    second = sessions.log_in(first, OTHER, "b")
    assert found(sessions, second).contexts == ()
    assert sessions.find(first) is None


def test_a_session_holds_several_exams_up_to_a_limit(sessions: Sessions) -> None:
    session_id = sessions.log_in(None, USER, "")
    opened = [sessions.add_context(session_id, f"1.2.{i}", None) for i in range(MOST_CONTEXTS + 1)]
    session = found(sessions, session_id)
    assert len(session.contexts) == MOST_CONTEXTS
    assert opened[0] is not None
    assert session.context(opened[0].id) is None
    assert opened[-1] is not None
    assert session.context(opened[-1].id) == opened[-1]
    assert session.context("") is None
    assert session.context("é") is None
    assert "1.2.0" not in session.studies()


def test_no_exam_is_opened_before_the_login(sessions: Sessions, clock: FakeClock) -> None:
    login_id = sessions.start_login(None, pending(clock))
    assert sessions.add_context(login_id, "1.2.3", None) is None
    assert found(sessions, login_id).contexts == ()


def test_an_idle_session_ends_to_the_second(sessions: Sessions, store: MemorySessionStore, clock: FakeClock) -> None:
    session_id = sessions.log_in(None, USER, "")
    clock.advance(LIMITS.idle.total_seconds() - 1)
    assert sessions.find(session_id) is not None
    clock.advance(1)
    assert sessions.find(session_id) is None
    assert store.get(hashlib.sha256(session_id.encode()).hexdigest()) is None


def test_activity_prolongs_up_to_the_absolute_limit(sessions: Sessions, clock: FakeClock) -> None:
    session_id = sessions.log_in(None, USER, "")
    for _ in range(239):
        clock.advance(60)
        sessions.touch(session_id, found(sessions, session_id))
    clock.advance(60)
    assert sessions.find(session_id) is None


def test_activity_is_written_at_most_once_a_minute(
    sessions: Sessions, store: MemorySessionStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = sessions.log_in(None, USER, "")
    writes: list[str] = []
    put = store.put
    monkeypatch.setattr(store, "put", lambda *a, **k: (writes.append("put"), put(*a, **k))[1])
    for _ in range(119):
        clock.advance(1)
        sessions.touch(session_id, found(sessions, session_id))
    assert writes == ["put"]


def test_a_change_made_meanwhile_is_not_lost(
    sessions: Sessions, store: MemorySessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = sessions.log_in(None, USER, "")
    put, raced = store.put, []

    def late(*args: object, **names: object) -> bool:
        if not raced:
            raced.append(True)
            sessions.add_context(session_id, "1.2.3", None)  # another tab, between our read and our write
        return put(*args, **names)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "put", late)
    sessions.change(session_id, lambda s: replace(s, id_token="new"))
    session = found(sessions, session_id)
    assert (session.id_token, session.studies()) == ("new", {"1.2.3"})


def test_an_endless_race_is_an_error(
    sessions: Sessions, store: MemorySessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = sessions.log_in(None, USER, "")
    monkeypatch.setattr(store, "put", lambda *a, **k: False)
    with pytest.raises(StoreError):
        sessions.add_context(session_id, "1.2.3", None)
    with pytest.raises(StoreError):
        sessions.log_in(None, USER, "")


def test_a_session_that_has_ended_is_not_written_again(sessions: Sessions, store: MemorySessionStore) -> None:
    session_id = sessions.log_in(None, USER, "")
    ended = sessions.end(session_id, Step.LOGOUT)
    assert ended is not None
    assert ended.stage is Stage.ENDED
    assert sessions.add_context(session_id, "1.2.3", None) is None
    assert sessions.end(session_id, Step.LOGOUT) is None
    assert store._rows == {}


def test_a_row_of_another_version_counts_as_no_session(sessions: Sessions, store: MemorySessionStore) -> None:
    session_id = sessions.log_in(None, USER, "")
    key = hashlib.sha256(session_id.encode()).hexdigest()
    store._rows[key] = ('{"stage": "unheard-of"}', store._rows[key][1])
    assert sessions.find(session_id) is None


def test_purging_forgets_what_is_past_its_limits(sessions: Sessions, clock: FakeClock) -> None:
    sessions.start_login(None, pending(clock))
    kept = sessions.log_in(None, USER, "")
    clock.advance(LOGIN_LIFE.total_seconds())
    assert sessions.purge() == 1
    assert sessions.find(kept) is not None


@pytest.fixture(params=["memory", "database"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SessionStore]:
    if request.param == "memory":
        yield MemorySessionStore()
    else:
        database = Store(sqlite_url(tmp_path))
        yield DatabaseSessionStore(database)
        database.close()


def test_every_store_keeps_the_same_promises(any_store: SessionStore, clock: FakeClock) -> None:
    now, later = clock.now(), clock.now() + timedelta(minutes=1)
    assert any_store.get("a") is None
    assert any_store.put("a", "1", later)
    assert not any_store.put("a", "2", later)
    assert not any_store.put("a", "2", later, expected="0")
    assert not any_store.put("b", "2", later, expected="0")
    assert any_store.put("a", "2", later, expected="1")
    assert any_store.get("a") == "2"
    assert any_store.put("c", "3", now)
    assert any_store.expire(now) == 1
    assert any_store.get("c") is None
    assert any_store.delete("a")
    assert not any_store.delete("a")


def test_a_session_lives_in_any_store(any_store: SessionStore, clock: FakeClock) -> None:
    sessions = Sessions(any_store, LIMITS, clock)
    login_id = sessions.start_login(None, pending(clock))
    assert sessions.take_login(login_id, "s1") is not None
    session_id = sessions.log_in(login_id, USER, "id-token")
    context = sessions.add_context(session_id, "1.2.3", "1.2.3.1")
    session = found(sessions, session_id)
    assert (session.user, session.contexts, session.stage) == (USER, (context,), Stage.LOGGED_IN)
    assert sessions.end(session_id, Step.LOGOUT) is not None
    assert sessions.find(session_id) is None
