# SPDX-License-Identifier: AGPL-3.0-or-later
"""Received messages in the database: every one is kept, accepted or refused, with its acknowledgement."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from drimbox.clock import from_iso, iso
from drimbox.schema import reports
from drimbox.store import Store


@dataclass(frozen=True, slots=True)
class Received:
    """A message as it came: `origin` is the sender's address, `sender` is MSH-3|MSH-4."""

    origin: str
    sender: str
    control_id: str
    message_type: str
    digest: str
    message: bytes
    at: datetime


@dataclass(frozen=True, slots=True)
class StoredReport:
    """A stored message."""

    id: str
    received_at: datetime
    message: bytes
    state: str
    reason: str
    document_id: str


class ReportStore:
    """Queries on received messages."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def accepted(self, received: Received, connection: sa.Connection | None = None) -> tuple[str, bytes] | None:
        """Give id and acknowledgement of this very message, if it was accepted before.

        `connection` is the caller's transaction; without it the question has its own.
        """
        query = sa.select(reports.c.id, reports.c.acknowledgement).where(
            reports.c.sender == received.sender[:255],
            reports.c.control_id == received.control_id[:255],
            reports.c.digest == received.digest,
            reports.c.state == "accepted",
        )
        if connection is not None:
            found = connection.execute(query).first()
        else:
            with self._store.read() as own:
                found = own.execute(query).first()
        return None if found is None else (str(found.id), bytes(found.acknowledgement))

    def add(
        self,
        connection: sa.Connection,
        received: Received,
        *,
        acknowledgement: bytes,
        state: str,
        reason: str = "",
        detail: str = "",
        action: str = "",
        document_id: str = "",
        replaces_id: str = "",
    ) -> str:
        """Keep a message within the caller's transaction; gives its id."""
        key = str(uuid.uuid4())
        connection.execute(
            sa.insert(reports).values(
                id=key,
                received_at=iso(received.at),
                origin=received.origin,
                sender=received.sender[:255],
                control_id=received.control_id[:255],
                message_type=received.message_type[:32],
                digest=received.digest,
                message=received.message,
                state=state,
                reason=reason,
                detail=detail[:4000],
                acknowledgement=acknowledgement,
                action=action,
                document_id=document_id[:255],
                replaces_id=replaces_id[:255],
            )
        )
        return key

    def get(self, key: str) -> StoredReport:
        """Give a stored message.  Raises `KeyError`."""
        with self._store.read() as connection:
            row = connection.execute(sa.select(reports).where(reports.c.id == key)).mappings().first()
        if row is None:
            raise KeyError(key)
        return StoredReport(
            row["id"],
            from_iso(row["received_at"]),
            bytes(row["message"]),
            row["state"],
            row["reason"],
            row["document_id"],
        )
