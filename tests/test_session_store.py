# SPDX-License-Identifier: AGPL-3.0-or-later
"""One contract, two stores."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from drimbox.session_store import DatabaseSessionStore
from drimbox.sessions import MemorySessionStore, SessionStore
from drimbox.store import Store, sqlite_url

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
SOON = NOW + timedelta(minutes=30)
ID, OTHER = "a" * 64, "b" * 64


@pytest.fixture(params=["memory", "database"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SessionStore]:
    if request.param == "memory":
        yield MemorySessionStore()
        return
    database = Store(sqlite_url(tmp_path))
    yield DatabaseSessionStore(database)
    database.close()


class TestContract:
    def test_what_was_added_is_given(self, store: SessionStore) -> None:
        assert store.get(ID) is None
        assert store.put(ID, "one é", SOON)
        assert store.get(ID) == "one é"
        assert store.get(OTHER) is None

    def test_a_row_is_added_once(self, store: SessionStore) -> None:
        assert store.put(ID, "one", SOON)
        assert not store.put(ID, "two", SOON)
        assert store.get(ID) == "one"

    def test_a_row_is_replaced_where_it_is_what_was_read(self, store: SessionStore) -> None:
        store.put(ID, "one", SOON)
        assert store.put(ID, "two", SOON, expected="one")
        assert not store.put(ID, "three", SOON, expected="one")
        assert store.get(ID) == "two"

    def test_replacing_what_is_gone_brings_nothing_back(self, store: SessionStore) -> None:
        assert not store.put(ID, "two", SOON, expected="one")
        store.put(ID, "one", SOON)
        store.delete(ID)
        assert not store.put(ID, "two", SOON, expected="one")
        assert store.get(ID) is None

    def test_replacing_by_the_same_text_tells_that_it_was_so(self, store: SessionStore) -> None:
        store.put(ID, "one", SOON)
        assert store.put(ID, "one", SOON, expected="one")

    def test_a_row_is_deleted_once(self, store: SessionStore) -> None:
        store.put(ID, "one", SOON)
        store.put(OTHER, "two", SOON)
        assert store.delete(ID)
        assert not store.delete(ID)
        assert store.get(ID) is None
        assert store.get(OTHER) == "two"

    def test_rows_expire_at_their_instant(self, store: SessionStore) -> None:
        store.put(ID, "one", SOON)
        store.put(OTHER, "two", SOON + timedelta(minutes=1))
        assert store.expire(SOON - timedelta(milliseconds=1)) == 0
        assert store.expire(SOON) == 1
        assert store.get(ID) is None
        assert store.get(OTHER) == "two"

    def test_replacing_moves_the_end(self, store: SessionStore) -> None:
        store.put(ID, "one", SOON)
        store.put(ID, "two", SOON + timedelta(hours=1), expected="one")
        assert store.expire(SOON) == 0
        assert store.get(ID) == "two"

    def test_of_many_that_read_the_same_text_one_wins(self, store: SessionStore) -> None:
        store.put(ID, "start", SOON)
        barrier, won = threading.Barrier(4), []

        def change(text: str) -> None:
            barrier.wait()
            if store.put(ID, text, SOON, expected="start"):
                won.append(text)

        threads = [threading.Thread(target=change, args=(f"text {n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert store.get(ID) == won[0]


def test_sessions_outlive_the_process(tmp_path: Path) -> None:
    first = Store(sqlite_url(tmp_path))
    DatabaseSessionStore(first).put(ID, "one", SOON)
    first.close()
    second = Store(sqlite_url(tmp_path))
    assert DatabaseSessionStore(second).get(ID) == "one"
    second.close()
