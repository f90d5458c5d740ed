# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from drimbox.journal import AuditRecord, Journal
from drimbox.store import Store, sqlite_url
from tests.conftest import FakeClock


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(sqlite_url(tmp_path))
    yield made
    made.close()


@pytest.fixture
def journal(store: Store, clock: FakeClock) -> Journal:
    return Journal(store, clock)


def test_an_event_is_kept_with_its_instant_and_what_it_names(journal: Journal) -> None:
    journal.note("kos-published", "KOS publié.", study_uid="1.2.3", report_id="r", reason="create")
    (event,) = journal.latest()
    assert event == {
        "id": 1,
        "at": "2026-11-21T09:00:00.000Z",
        "kind": "kos-published",
        "severity": "info",
        "study_uid": "1.2.3",
        "report_id": "r",
        "reason": "create",
        "text": "KOS publié.",
    }


def test_an_event_belongs_to_its_callers_transaction(journal: Journal, store: Store) -> None:
    with pytest.raises(RuntimeError), store.write() as connection:
        journal.add(connection, "k", "t")
        raise RuntimeError
    assert journal.latest() == []


def test_an_event_may_tell_of_another_instant(journal: Journal, store: Store) -> None:
    with store.write() as connection:
        journal.add(connection, "k", "t", at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert journal.latest()[0]["at"] == "2026-01-02T03:04:05.000Z"


def test_the_latest_come_first_and_no_more_than_asked(journal: Journal, clock: FakeClock) -> None:
    for number in range(5):
        clock.advance(1)
        journal.note("k", str(number))
        journal.audit(AuditRecord("db", "series", "denied", f"reason-{number}"))
    assert [e["text"] for e in journal.latest(2)] == ["4", "3"]
    assert [e["reason"] for e in journal.verdicts(3)] == ["reason-4", "reason-3", "reason-2"]
    assert len(journal.latest()) == len(journal.verdicts()) == 5


def test_a_verdict_is_kept_with_its_facts(journal: Journal) -> None:
    facts = {"objects": 3, "status": 200, "syntax": "é"}
    journal.audit(AuditRecord("db", "series", "allowed", "ok", "CN=db1", "1.2.3", facts))
    (record,) = journal.verdicts()
    assert record["facts"] == facts
    assert {k: record[k] for k in ("at", "face", "route", "outcome", "reason", "actor", "study_uid")} == {
        "at": "2026-11-21T09:00:00.000Z",
        "face": "db",
        "route": "series",
        "outcome": "allowed",
        "reason": "ok",
        "actor": "CN=db1",
        "study_uid": "1.2.3",
    }


def test_an_actor_with_an_endless_name_is_cut(journal: Journal) -> None:
    journal.audit(AuditRecord("db", "series", "denied", "r", actor="x" * 1000))
    assert len(journal.verdicts()[0]["actor"]) == 255
