# SPDX-License-Identifier: AGPL-3.0-or-later
"""Browser sessions, kept on the server: the browser holds an opaque identifier, the store only its hash.

::

    (nothing) ──start──▶ pre-login ──login──▶ logged-in ──logout, expire──▶ ended
                             └──────fail, expire──────────────────────────────▲

A login always draws a new identifier.  A session may hold several exams at once (tabs); each is a context
with an opaque identifier of its own.  Anything that cannot be read back counts as no session.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from drimbox.clock import Clock
from drimbox.errors import DocumentError, Refusal, StoreError
from drimbox.psc_user import PscUser
from drimbox.records_json import from_json, to_json

ID_BYTES = 32
MOST_CONTEXTS = 20
MOST_PENDING = 5
LOGIN_LIFE = timedelta(minutes=10)
TOUCH_EVERY = timedelta(minutes=1)
_ID = re.compile(r"[A-Za-z0-9_-]{43}")
_TRIES = 8


class Stage(StrEnum):
    """Where a session stands."""

    PRE_LOGIN = "pre-login"
    LOGGED_IN = "logged-in"
    ENDED = "ended"


class Step(StrEnum):
    """What may happen to a session."""

    LOGIN = "login"
    FAIL = "fail"
    LOGOUT = "logout"
    EXPIRE = "expire"


TRANSITIONS: dict[tuple[Stage, Step], Stage] = {
    (Stage.PRE_LOGIN, Step.LOGIN): Stage.LOGGED_IN,
    (Stage.PRE_LOGIN, Step.FAIL): Stage.ENDED,
    (Stage.PRE_LOGIN, Step.EXPIRE): Stage.ENDED,
    (Stage.LOGGED_IN, Step.LOGOUT): Stage.ENDED,
    (Stage.LOGGED_IN, Step.EXPIRE): Stage.ENDED,
}


def next_stage(stage: Stage, step: Step) -> Stage:
    """Give the stage after a step.  Raises `Refusal` (``session-step``) for a step that has no sense there."""
    try:
        return TRANSITIONS[stage, step]
    except KeyError:
        raise Refusal(f"{step} in stage {stage}", reason="session-step", status=400) from None


@dataclass(frozen=True, slots=True)
class PendingLogin:
    """A login that has left for Pro Santé Connect; used once.  `target` is the link's query string."""

    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    target: str = field(repr=False)
    started_at: datetime


@dataclass(frozen=True, slots=True)
class ExamContext:
    """One exam that the session may look at."""

    id: str
    study_uid: str
    opened_at: datetime
    series_uid: str | None = None


@dataclass(frozen=True, slots=True)
class BrowserSession:
    """What the server knows of one browser; `user` and `id_token` are set once logged in."""

    stage: Stage
    created_at: datetime
    seen_at: datetime
    csrf: str = field(default="", repr=False)
    user: PscUser | None = None
    id_token: str = field(default="", repr=False)
    pending: tuple[PendingLogin, ...] = field(default=(), repr=False)
    contexts: tuple[ExamContext, ...] = ()

    def context(self, context_id: str) -> ExamContext | None:
        """Give one of the session's exams."""
        return next((c for c in self.contexts if hmac.compare_digest(c.id.encode(), context_id.encode())), None)

    def studies(self) -> frozenset[str]:
        """Studies that the session has opened."""
        return frozenset(c.study_uid for c in self.contexts)


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a session lives."""

    idle: timedelta
    absolute: timedelta

    def ends_at(self, session: BrowserSession) -> datetime:
        """Give the instant at which a session ends if nothing more happens."""
        if session.stage is Stage.PRE_LOGIN:
            return max((p.started_at for p in session.pending), default=session.created_at) + LOGIN_LIFE
        return min(session.seen_at + self.idle, session.created_at + self.absolute)


class SessionStore(Protocol):
    """Rows of text under a hash."""

    def get(self, id_hash: str) -> str | None:
        """Give the row's text."""
        ...

    def put(self, id_hash: str, data: str, expires_at: datetime, expected: str | None = None) -> bool:
        """Add a row, or replace it where its text still is `expected`; tell whether that was so."""
        ...

    def delete(self, id_hash: str) -> bool:
        """Forget a row; tell whether it was there."""
        ...

    def expire(self, now: datetime) -> int:
        """Forget the rows whose `expires_at` is past; give how many."""
        ...


class MemorySessionStore:
    """`SessionStore` for tests and tools: lost with the process."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[str, datetime]] = {}
        self._lock = threading.Lock()

    def get(self, id_hash: str) -> str | None:
        """Give the row's text."""
        row = self._rows.get(id_hash)
        return row[0] if row else None

    def put(self, id_hash: str, data: str, expires_at: datetime, expected: str | None = None) -> bool:
        """Add or replace."""
        with self._lock:
            present = self._rows.get(id_hash)
            if (present[0] if present else None) != expected:
                return False
            self._rows[id_hash] = (data, expires_at)
            return True

    def delete(self, id_hash: str) -> bool:
        """Forget a row."""
        with self._lock:
            return self._rows.pop(id_hash, None) is not None

    def expire(self, now: datetime) -> int:
        """Forget past rows."""
        with self._lock:
            past = [key for key, row in self._rows.items() if row[1] <= now]
            for key in past:
                del self._rows[key]
            return len(past)


class Sessions:
    """The sessions of one face."""

    def __init__(
        self, store: SessionStore, limits: Limits, clock: Clock, draw: Callable[[int], str] = secrets.token_urlsafe
    ) -> None:
        self._store = store
        self._clock = clock
        self._draw = draw
        self.limits = limits

    def find(self, session_id: str | None) -> BrowserSession | None:
        """Give a session that is alive; one past its limits is forgotten."""
        read = self._read(session_id)
        return read[1] if read else None

    def start_login(self, session_id: str | None, pending: PendingLogin) -> str:
        """Remember a login that leaves for PSC; give the identifier of the pre-login session that holds it."""

        def add(session: BrowserSession) -> BrowserSession:
            return replace(session, pending=(*session.pending, pending)[-MOST_PENDING:])

        held = self.find(session_id)
        if session_id and held and held.stage is Stage.PRE_LOGIN and self.change(session_id, add):
            return session_id
        now = self._clock.now()
        return self._add(BrowserSession(Stage.PRE_LOGIN, now, now, pending=(pending,)))

    def take_login(self, session_id: str | None, state: str) -> PendingLogin | None:
        """Give the pending login of that state, once; None where there is none, or it is too old."""
        taken: list[PendingLogin] = []

        def take(session: BrowserSession) -> BrowserSession:
            taken[:] = [p for p in session.pending if hmac.compare_digest(p.state.encode(), state.encode())]
            return replace(session, pending=tuple(p for p in session.pending if p not in taken))

        session = self.change(session_id, take) if session_id else None
        if session is None or session.stage is not Stage.PRE_LOGIN or not taken:
            return None
        return taken[0] if self._clock.now() - taken[0].started_at < LOGIN_LIFE else None

    def log_in(self, previous_id: str | None, user: PscUser, id_token: str) -> str:
        """Open a session under a new identifier; the same person's earlier exams are kept, the old one ends."""
        next_stage(Stage.PRE_LOGIN, Step.LOGIN)
        earlier = self.end(previous_id, Step.LOGOUT)
        same = earlier is not None and earlier.user is not None and earlier.user.name_id == user.name_id
        now = self._clock.now()
        return self._add(
            BrowserSession(
                Stage.LOGGED_IN,
                created_at=now,
                seen_at=now,
                csrf=self._draw(ID_BYTES),
                user=user,
                id_token=id_token,
                contexts=earlier.contexts if earlier is not None and same else (),
            )
        )

    def add_context(self, session_id: str, study_uid: str, series_uid: str | None) -> ExamContext | None:
        """Open an exam in a session; None where nobody is logged in."""
        context = ExamContext(self._draw(16), study_uid, self._clock.now(), series_uid)

        def add(session: BrowserSession) -> BrowserSession:
            if session.stage is not Stage.LOGGED_IN:
                return session
            return replace(session, contexts=(*session.contexts, context)[-MOST_CONTEXTS:])

        session = self.change(session_id, add)
        return context if session is not None and context in session.contexts else None

    def touch(self, session_id: str, session: BrowserSession) -> None:
        """Note that the person is there; at most one write a minute."""
        now = self._clock.now()
        if now - session.seen_at >= TOUCH_EVERY:
            self.change(session_id, lambda found: replace(found, seen_at=max(found.seen_at, now)))

    def change(self, session_id: str, edit: Callable[[BrowserSession], BrowserSession]) -> BrowserSession | None:
        """Edit a live session, again where another request was faster; give it, or None where it has ended."""
        for _ in range(_TRIES):
            read = self._read(session_id)
            if read is None:
                return None
            text, session = read
            edited = edit(session)
            if self._store.put(_hash(session_id), to_json(edited), self.limits.ends_at(edited), expected=text):
                return edited
        raise StoreError("a session changes faster than it can be written")

    def end(self, session_id: str | None, step: Step) -> BrowserSession | None:
        """Forget a session; give what it was, where it was alive and the step has sense for it."""
        session = self.find(session_id)
        if session is None or session_id is None or (session.stage, step) not in TRANSITIONS:
            return None
        self._store.delete(_hash(session_id))
        return replace(session, stage=next_stage(session.stage, step))

    def purge(self) -> int:
        """Forget every session past its limits; give how many."""
        return self._store.expire(self._clock.now())

    def _add(self, session: BrowserSession) -> str:
        session_id = self._draw(ID_BYTES)
        if not self._store.put(_hash(session_id), to_json(session), self.limits.ends_at(session)):
            raise StoreError("a session identifier was drawn twice")
        return session_id

    def _read(self, session_id: str | None) -> tuple[str, BrowserSession] | None:
        if session_id is None or not _ID.fullmatch(session_id):
            return None
        text = self._store.get(_hash(session_id))
        if text is None:
            return None
        try:
            session = from_json(BrowserSession, text)
        except DocumentError:
            return None  # written by another version of ours: log in again
        if self._clock.now() >= self.limits.ends_at(session):
            self._store.delete(_hash(session_id))
            return None
        return text, session


def _hash(session_id: str) -> str:
    return hashlib.sha256(session_id.encode()).hexdigest()
