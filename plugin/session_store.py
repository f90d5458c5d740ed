# SPDX-License-Identifier: AGPL-3.0-or-later
"""Browser sessions in the database: shared by the nodes of a site, kept over a restart."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from drimbox.clock import iso
from drimbox.schema import sessions
from drimbox.store import Store


class DatabaseSessionStore:
    """`sessions.SessionStore` on our store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, id_hash: str) -> str | None:
        """Give the row's text."""
        with self._store.read() as connection:
            found = connection.execute(sa.select(sessions.c.data).where(sessions.c.id_hash == id_hash)).scalar()
        return None if found is None else str(found)

    def put(self, id_hash: str, data: str, expires_at: datetime, expected: str | None = None) -> bool:
        """Add a row, or replace it where its text still is `expected`; tell whether that was so."""
        values = {"data": data, "expires_at": iso(expires_at)}
        if expected is not None:
            change = sa.update(sessions).where(sessions.c.id_hash == id_hash, sessions.c.data == expected)
            with self._store.write() as connection:
                return connection.execute(change.values(values)).rowcount == 1
        try:
            with self._store.write() as connection:
                connection.execute(sa.insert(sessions).values(id_hash=id_hash, **values))
        except sa.exc.IntegrityError:
            return False
        return True

    def delete(self, id_hash: str) -> bool:
        """Forget a row; tell whether it was there."""
        with self._store.write() as connection:
            return connection.execute(sa.delete(sessions).where(sessions.c.id_hash == id_hash)).rowcount == 1

    def expire(self, now: datetime) -> int:
        """Forget the rows whose `expires_at` is past; give how many."""
        with self._store.write() as connection:
            return connection.execute(sa.delete(sessions).where(sessions.c.expires_at <= iso(now))).rowcount
