# SPDX-License-Identifier: AGPL-3.0-or-later
"""The outbox's state machine: pure, one table (design, decision 2).

A row is one action on one study (create, replace, withdraw).  ``pending`` rows wait for a worker,
``leased`` ones are held by one until its lease ends, ``waiting`` ones come back at their due time,
``blocked`` ones need a person (configuration, certificate), ``dead`` ones failed for good and say why,
``held`` ones are kept for a function that this version does not have, ``cancelled`` ones ask for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from drimbox.config import OutboxSection
from drimbox.errors import (
    ConfigurationError,
    DrimboxError,
    OutcomeUnknown,
    ServiceRefused,
    StudyNotFound,
)


class State(StrEnum):
    """Where a row stands."""

    PENDING = "pending"
    LEASED = "leased"
    SENT = "sent"
    WAITING = "waiting"
    BLOCKED = "blocked"
    DEAD = "dead"
    HELD = "held"
    CANCELLED = "cancelled"


FINISHED = frozenset({State.SENT, State.DEAD, State.HELD, State.CANCELLED})


class Event(StrEnum):
    """What happens to a row."""

    LEASE = "lease"
    SUCCESS = "success"
    NOTHING_TO_DO = "nothing-to-do"
    TRANSIENT = "transient"
    UNKNOWN = "unknown"
    STUDY_AWAITED = "study-awaited"
    PATIENT = "patient"
    CONFIGURATION = "configuration"
    PERMANENT = "permanent"
    LEASE_LOST = "lease-lost"
    RETRY = "retry"
    CANCEL = "cancel"


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.PENDING, Event.LEASE): State.LEASED,
    (State.WAITING, Event.LEASE): State.LEASED,
    (State.LEASED, Event.SUCCESS): State.SENT,
    (State.LEASED, Event.NOTHING_TO_DO): State.CANCELLED,
    (State.LEASED, Event.TRANSIENT): State.WAITING,
    (State.LEASED, Event.UNKNOWN): State.WAITING,
    (State.LEASED, Event.STUDY_AWAITED): State.WAITING,
    (State.LEASED, Event.PATIENT): State.DEAD,
    (State.LEASED, Event.CONFIGURATION): State.BLOCKED,
    (State.LEASED, Event.PERMANENT): State.DEAD,
    (State.LEASED, Event.LEASE_LOST): State.PENDING,
    (State.WAITING, Event.RETRY): State.PENDING,
    (State.BLOCKED, Event.RETRY): State.PENDING,
    (State.DEAD, Event.RETRY): State.PENDING,
    (State.PENDING, Event.CANCEL): State.CANCELLED,
    (State.WAITING, Event.CANCEL): State.CANCELLED,
    (State.BLOCKED, Event.CANCEL): State.CANCELLED,
    (State.DEAD, Event.CANCEL): State.CANCELLED,
}


class ImpossibleTransition(DrimboxError):
    """The table has no such cell: a defect, or an operator's wish that makes no sense now."""

    reason = "impossible-transition"
    status = 409
    public = "Cette action n'est pas possible dans l'état actuel de l'envoi."


def advance(state: State, event: Event) -> State:
    """Give the next state.  Raises `ImpossibleTransition`."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise ImpossibleTransition(f"{event} in state {state}") from None


@dataclass(frozen=True, slots=True)
class Failure:
    """How a failed attempt moves the row: the event, and what to tell."""

    event: Event
    reason: str
    detail: str
    public: str


REFUSED = {
    "configuration": Event.CONFIGURATION,
    "patient": Event.PATIENT,
    "document": Event.PERMANENT,
    # our own identifier, drawn once: an earlier attempt got through; the next one asks before it sends
    "duplicate": Event.UNKNOWN,
    "replace": Event.PERMANENT,
}


def classify(error: DrimboxError, *, study_awaited: bool = False) -> Failure:
    """Sort an error by what a retry needs (spec `dmp_soap.md` section 8)."""
    match error:
        case StudyNotFound():
            event = Event.STUDY_AWAITED if study_awaited else Event.PERMANENT
        case ServiceRefused():
            event = REFUSED.get(error.scope, Event.PERMANENT)
        case OutcomeUnknown():
            event = Event.UNKNOWN
        case ConfigurationError():
            event = Event.CONFIGURATION
        case _:
            event = Event.TRANSIENT if error.retryable else Event.PERMANENT
    code = getattr(error, "code", "")
    return Failure(event, error.reason, f"{code} {error.detail}".strip(), error.public)


def delay(attempts: int, settings: OutboxSection, jitter: float) -> timedelta:
    """Wait before attempt `attempts` + 1: doubled each time up to the ceiling, `jitter` in [0, 1)."""
    base = min(settings.first_delay_seconds * 2 ** max(0, min(attempts - 1, 30)), settings.longest_delay_seconds)
    return timedelta(seconds=base * (0.5 + jitter / 2))


def study_still_awaited(received: datetime, now: datetime, settings: OutboxSection) -> bool:
    """Whether a report may still wait for its study."""
    return now - received < timedelta(hours=settings.study_wait_hours)
