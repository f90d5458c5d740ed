# SPDX-License-Identifier: AGPL-3.0-or-later
"""The database: engine, migrations at start, and the two kinds of transaction.

SQLite (WAL, synchronous=FULL: an acknowledged report survives a power cut) or PostgreSQL by its
address.  Queries live beside what they serve (`report_store`, `outbox_store`, `archive`, …).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from drimbox.errors import StoreError

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_MILLISECONDS = 20_000


def sqlite_url(folder: Path) -> str:
    """Address of the default database in our data folder."""
    return f"sqlite:///{folder / 'drimbox.db'}"


class Store:
    """An engine with our schema in force."""

    def __init__(self, url: str) -> None:
        """Open and migrate.  Raises `StoreError` where the database is unreachable or from a newer version."""
        try:
            self.engine = sa.create_engine(url, pool_size=16, max_overflow=32)
        except (SQLAlchemyError, ImportError, TypeError, ValueError):  # its text may hold a password
            raise StoreError("DrimBox.StoreUrl is no address of a database that this platform knows") from None
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        if self.is_sqlite:
            sa.event.listen(self.engine, "connect", _sqlite_connect)
            sa.event.listen(self.engine, "begin", _sqlite_begin)
        self._writer = self.engine.execution_options(immediate=True)
        try:
            self._migrate()
        except BaseException:
            self.close()
            raise

    def _migrate(self) -> None:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        known = {s.revision for s in ScriptDirectory.from_config(config).walk_revisions()}
        try:
            with self._writer.begin() as connection:
                present = _current(connection)
                if present and present not in known:
                    raise StoreError(
                        f"the database has schema {present}, unknown to this version: "
                        "install the version that made it, or restore a backup"
                    )
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except SQLAlchemyError as error:
            raise StoreError(f"the database cannot be opened: {error}") from error

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """One durable transaction; rolled back on any error.  Raises `StoreError` on a database failure."""
        try:
            with self._writer.begin() as connection:
                yield connection
        except DBAPIError as error:
            if isinstance(error, sa.exc.IntegrityError):
                raise
            raise StoreError(f"the database refuses to write: {error.orig}") from error
        except sa.exc.TimeoutError as error:  # every connection is in use
            raise StoreError("the database has no connection left") from error

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A consistent view; nothing is written."""
        try:
            with self.engine.connect() as connection:
                yield connection
        except DBAPIError as error:
            raise StoreError(f"the database cannot be read: {error.orig}") from error
        except sa.exc.TimeoutError as error:
            raise StoreError("the database has no connection left") from error

    def close(self) -> None:
        """Give back every connection."""
        self.engine.dispose()


def _current(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def _sqlite_connect(dbapi: Any, _record: Any) -> None:
    # The driver's own transaction handling begins late; ours begins where SQLAlchemy says so.
    dbapi.isolation_level = None
    cursor = dbapi.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        f"busy_timeout={BUSY_MILLISECONDS}",
        "foreign_keys=ON",
        "journal_size_limit=67108864",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _sqlite_begin(connection: sa.Connection) -> None:
    # IMMEDIATE takes the write lock at once: a later upgrade of a read lock could only fail.
    immediate = connection.get_execution_options().get("immediate")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
