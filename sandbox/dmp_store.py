# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the DMP stand-in keeps: one SQLite file, which survives a restart.

Documents with their ebRIM entry, submission sets, exchanges as they came over the wire, and the identifiers that
may not come twice.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

KEPT_EXCHANGES = 200
KEPT_IDENTIFIERS = timedelta(days=1)
_SCHEMA = """
create table if not exists document (
  unique_id text primary key, entry_uuid text unique not null, status text not null, patient text not null,
  kind text not null, structure text not null, author text not null, submission_uid text not null,
  replaces text, submitted_at text not null, mime_type text not null, hash text not null, size integer not null,
  entry_xml blob not null, content blob not null, exchange integer not null);
create table if not exists submission (unique_id text primary key, at text not null);
create table if not exists exchange (
  id integer primary key autoincrement, at text not null, action text not null, message_id text not null,
  outcome text not null, detail text not null, request blob not null, answer blob not null, sent integer not null);
create table if not exists attempt (unique_id text not null, accepted integer not null, exchange integer not null);
create table if not exists seen (kind text not null, id text not null, at text not null, primary key (kind, id));
create table if not exists patient (ins text primary key, state text not null);
"""
_TABLES = ("document", "submission", "exchange", "attempt", "seen", "patient")


@dataclass(frozen=True)
class Stored:
    """A document as registered.  ``status``: short name; ``replaces``: entryUUID; ``kind``: kos or signature."""

    unique_id: str
    entry_uuid: str
    status: str
    patient: str
    kind: str
    structure: str
    author: str
    submission_uid: str
    replaces: str | None
    submitted_at: str
    mime_type: str
    hash: str
    size: int
    entry_xml: bytes
    content: bytes
    exchange: int


@dataclass(frozen=True)
class Exchange:
    """One request with its answer; ``sent`` tells whether the answer left whole."""

    id: int
    at: str
    action: str
    message_id: str
    outcome: str
    detail: str
    request: bytes
    answer: bytes
    sent: bool


class Store:
    """Thread-safe; ``with store.transaction():`` groups changes (nested use joins the outer one)."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._depth = 0
        self._db = sqlite3.connect(folder / "dmp.sqlite", check_same_thread=False, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.execute("pragma journal_mode=wal")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing."""
        with self._lock:
            outer = self._depth == 0
            if outer:
                self._db.execute("begin immediate")
            self._depth += 1
            try:
                yield
            except BaseException:
                if outer:
                    self._db.execute("rollback")
                raise
            else:
                if outer:
                    self._db.execute("commit")
            finally:
                self._depth -= 1

    def _rows(self, sql: str, *values: object) -> list[sqlite3.Row]:
        with self._lock:
            return self._db.execute(sql, values).fetchall()

    # documents

    def add(self, document: Stored) -> None:
        """Register a document."""
        values = [getattr(document, name) for name in Stored.__dataclass_fields__]
        marks = ",".join("?" * len(values))
        self._rows(f"insert into document ({','.join(Stored.__dataclass_fields__)}) values ({marks})", *values)

    def documents(self, *, all_kinds: bool = True) -> list[Stored]:
        """Every document, oldest first."""
        where = "" if all_kinds else "where kind = 'kos'"
        return [Stored(**dict(r)) for r in self._rows(f"select * from document {where} order by rowid")]

    def by_unique_id(self, unique_id: str) -> Stored | None:
        """A document by its OID."""
        return _one(self._rows("select * from document where unique_id = ?", unique_id))

    def by_entry(self, entry_uuid: str) -> Stored | None:
        """A document by its entryUUID."""
        return _one(self._rows("select * from document where entry_uuid = ?", entry_uuid.lower()))

    def set_status(self, entry_uuid: str, status: str) -> None:
        """Change availabilityStatus (short name)."""
        self._rows("update document set status = ? where entry_uuid = ?", status, entry_uuid.lower())

    # submission sets, identifiers that may come only once

    def add_submission(self, unique_id: str, now: datetime) -> bool:
        """Record a submission set; False where it was known."""
        sql = "insert or ignore into submission values (?, ?) returning 1"
        return bool(self._rows(sql, unique_id, now.isoformat()))

    def knows_submission(self, unique_id: str) -> bool:
        """Tell whether a submission set was registered."""
        return bool(self._rows("select 1 from submission where unique_id = ?", unique_id))

    def first_seen(self, kind: str, identifier: str, now: datetime) -> bool:
        """Record an identifier of one kind (message, assertion); False where it came within a day."""
        with self._lock:
            self._rows("delete from seen where at < ?", (now - KEPT_IDENTIFIERS).isoformat())
            sql = "insert or ignore into seen values (?, ?, ?) returning 1"
            return bool(self._rows(sql, kind, identifier, now.isoformat()))

    # exchanges

    def add_exchange(self, at: datetime, action: str, message_id: str, request: bytes) -> int:
        """Journal a request before it is processed; gives its number."""
        sql = "insert into exchange values (null, ?, ?, ?, '', '', ?, x'', 0) returning id"
        with self._lock:
            number = int(self._rows(sql, at.isoformat(), action, message_id, request)[0][0])
            self._rows(
                "delete from exchange where id <= ? and id not in (select exchange from document)",
                number - KEPT_EXCHANGES,
            )
            return number

    def end_exchange(self, number: int, outcome: str, detail: str) -> None:
        """Say how the processing ended."""
        self._rows("update exchange set outcome = ?, detail = ? where id = ?", outcome, detail, number)

    def answered(self, number: int, answer: bytes, *, sent: bool) -> None:
        """Keep the answer's bytes."""
        self._rows("update exchange set answer = ?, sent = ? where id = ?", answer, int(sent), number)

    def exchanges(self, limit: int = KEPT_EXCHANGES) -> list[Exchange]:
        """The last exchanges, newest first."""
        rows = self._rows("select * from exchange order by id desc limit ?", limit)
        return [_exchange(row) for row in rows]

    def exchange(self, number: int) -> Exchange | None:
        """One exchange."""
        rows = self._rows("select * from exchange where id = ?", number)
        return _exchange(rows[0]) if rows else None

    def add_attempts(self, unique_ids: Iterable[str], exchange: int, *, accepted: bool) -> None:
        """Count a publication that reached processing."""
        for unique_id in unique_ids:
            self._rows("insert into attempt values (?, ?, ?)", unique_id, int(accepted), exchange)

    def attempts(self, unique_id: str) -> tuple[int, int]:
        """(received, accepted) publications of a document."""
        row = self._rows("select count(*), coalesce(sum(accepted), 0) from attempt where unique_id = ?", unique_id)[0]
        return int(row[0]), int(row[1])

    # patients

    def patient_state(self, ins: str) -> str | None:
        """A state set by the administration port."""
        rows = self._rows("select state from patient where ins = ?", ins)
        return str(rows[0][0]) if rows else None

    def set_patient(self, ins: str, state: str) -> None:
        """Set a patient's state."""
        self._rows("insert or replace into patient values (?, ?)", ins, state)

    def reset(self) -> None:
        """Forget everything."""
        with self.transaction():
            for table in _TABLES:
                self._rows(f"delete from {table}")


def _one(rows: Sequence[Any]) -> Stored | None:
    return Stored(**dict(rows[0])) if rows else None


def _exchange(row: Any) -> Exchange:
    fields = dict(row)
    return Exchange(**{**fields, "sent": bool(fields["sent"])})
