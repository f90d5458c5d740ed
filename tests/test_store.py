# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from drimbox import schema
from drimbox.errors import StoreError
from drimbox.store import Store, sqlite_url


def test_migrations_give_the_schema_that_the_code_declares(tmp_path: Path) -> None:
    store = Store(sqlite_url(tmp_path))
    with store.read() as connection:
        difference = compare_metadata(MigrationContext.configure(connection), schema.metadata)
    store.close()
    assert difference == []


def test_commits_are_durable_by_settings(tmp_path: Path) -> None:
    store = Store(sqlite_url(tmp_path))
    with store.read() as connection:
        assert connection.execute(sa.text("PRAGMA synchronous")).scalar() == 2
        assert connection.execute(sa.text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(sa.text("PRAGMA foreign_keys")).scalar() == 1
    store.close()


def test_an_error_rolls_everything_back(tmp_path: Path) -> None:
    store = Store(sqlite_url(tmp_path))
    row = {"at": "2026-11-21T09:00:00.000Z", "kind": "k", "severity": "info"}
    with pytest.raises(RuntimeError), store.write() as connection:
        connection.execute(sa.insert(schema.events).values(row))
        raise RuntimeError
    with store.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(schema.events)).scalar() == 0
    store.close()


def test_a_database_of_a_newer_version_is_refused_with_the_remedy(tmp_path: Path) -> None:
    Store(sqlite_url(tmp_path)).close()
    engine = sa.create_engine(sqlite_url(tmp_path))
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num='9999'"))
    engine.dispose()
    with pytest.raises(StoreError, match="9999, unknown to this version: install"):
        Store(sqlite_url(tmp_path))


def test_a_database_that_cannot_be_opened_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        Store(sqlite_url(tmp_path / "absent"))


def test_where_every_connection_is_in_use_a_caller_is_told_to_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(sqlite_url(tmp_path))
    engine = sa.create_engine(sqlite_url(tmp_path), pool_size=1, max_overflow=0, pool_timeout=0.05)
    store.close()
    monkeypatch.setattr(store, "engine", engine)
    monkeypatch.setattr(store, "_writer", engine)
    with engine.connect():
        with pytest.raises(StoreError, match="no connection left"), store.read():
            pass
        with pytest.raises(StoreError, match="no connection left"), store.write():
            pass
    engine.dispose()


def test_a_failure_while_reading_is_a_store_error_and_a_broken_rule_is_not(tmp_path: Path) -> None:
    store = Store(sqlite_url(tmp_path))
    with pytest.raises(StoreError, match="cannot be read"), store.read() as connection:
        connection.execute(sa.text("SELECT * FROM absent"))
    row = {"id_hash": "a", "expires_at": "x", "data": "d"}
    with pytest.raises(sa.exc.IntegrityError), store.write() as connection:
        connection.execute(sa.insert(schema.sessions), [row, row])
    store.close()
