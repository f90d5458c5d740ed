# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from drimbox.clock import SystemClock
from drimbox.config import OutboxSection
from drimbox.errors import StoreError
from drimbox.worker import Job, OutboxWorker, Ticker
from tests.core_data import OTHER_STUDY, Core, FakeDmp, report
from tests.reports_data import STUDY


def until(true: Callable[[], Any], seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.01)


@pytest.fixture
def dmp() -> FakeDmp:
    return FakeDmp()


@pytest.fixture
def core(tmp_path: Path, dmp: FakeDmp) -> Iterator[Core]:
    made = Core(tmp_path, dmp=dmp)
    yield made
    made.close()


def threaded(core: Core, **settings: Any) -> OutboxWorker:
    return OutboxWorker(core.outbox, core.publisher, core.clock, OutboxSection(**settings))


def test_a_worker_publishes_what_it_finds_and_what_it_is_woken_for(core: Core) -> None:
    core.receive(report(STUDY))
    worker = threaded(core, poll_seconds=60)
    worker.start()
    until(lambda: core.states() == ["sent"])
    core.receive(report(OTHER_STUDY, control_id="M2"))
    worker.wake()
    until(lambda: core.states() == ["sent", "sent"])
    worker.stop(2)
    assert not [t for t in threading.enumerate() if t.name == "drimbox-outbox"]


def test_a_worker_that_nobody_wakes_looks_by_itself(core: Core) -> None:
    worker = threaded(core, poll_seconds=0.02)
    worker.start()
    core.receive(report(STUDY))
    until(lambda: core.states() == ["sent"])
    worker.stop(2)


def test_a_worker_takes_up_what_its_node_held_and_what_was_blocked(
    core: Core, dmp: FakeDmp, caplog: pytest.LogCaptureFixture
) -> None:
    core.receive(report(STUDY, OTHER_STUDY))
    held = core.outbox.lease(core.clock.now(), 3600)
    assert held is not None
    blocked = Core(core.folder, core.port, dmp=None, clock=core.clock, owner="another")
    blocked.run()
    assert core.states() == ["leased", "blocked"]
    worker = threaded(core)
    worker.start()
    until(lambda: core.states() == ["sent", "sent"])
    worker.stop(2)
    blocked.close()
    assert "1 submission(s) taken up again after an interruption" in caplog.text
    assert "1 blocked submission(s) tried again" in caplog.text


def test_a_database_that_fails_for_a_while_does_not_end_the_worker(
    core: Core, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    core.receive(report(STUDY))
    lease, failures = core.outbox.lease, [StoreError("locked"), StoreError("locked")]

    def failing(*arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return lease(*arguments)

    monkeypatch.setattr(core.outbox, "lease", failing)
    worker = threaded(core, poll_seconds=0.01)
    worker.start()
    until(lambda: core.states() == ["sent"])
    worker.stop(2)
    assert "outbox worker" in caplog.text


def test_stopping_lets_the_row_under_way_finish(core: Core, dmp: FakeDmp) -> None:
    sending, go_on = threading.Event(), threading.Event()

    def during() -> None:
        sending.set()
        assert go_on.wait(5)

    dmp.during = during
    core.receive(report(STUDY, OTHER_STUDY))
    worker = threaded(core)
    worker.start()
    assert sending.wait(5)
    started = time.monotonic()
    worker.stop(0.1)
    assert time.monotonic() - started < 1, "it waits no longer than it is told"
    go_on.set()
    worker.stop(2)
    assert core.states() == ["sent", "pending"], "nothing more is begun"


def test_jobs_run_at_once_and_again_after_their_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fast(SystemClock):
        def monotonic(self) -> float:
            return super().monotonic() * 1000

    ran: list[str] = []
    often, seldom = Job("often", 10, lambda: ran.append("often")), Job("seldom", 3600, lambda: ran.append("seldom"))
    ticker = Ticker([often, seldom], Fast())
    ticker.start()
    until(lambda: ran.count("often") >= 2)
    ticker.stop(2)
    assert ran.count("seldom") == 1
    assert ran[:2] == ["often", "seldom"]


def test_a_job_that_fails_does_not_end_the_others(caplog: pytest.LogCaptureFixture) -> None:
    ran = threading.Event()

    def fail() -> None:
        raise RuntimeError("broken")

    ticker = Ticker([Job("bad", 60, fail), Job("good", 60, ran.set)], SystemClock())
    ticker.start()
    assert ran.wait(5)
    ticker.stop(2)
    assert "job bad" in caplog.text


def test_a_ticker_does_not_wait_for_an_endless_job() -> None:
    go_on = threading.Event()

    def slow() -> None:
        go_on.wait(10)

    ticker = Ticker([Job("slow", 60, slow)], SystemClock())
    ticker.start()
    started = time.monotonic()
    ticker.stop(0.1)
    assert time.monotonic() - started < 1
    go_on.set()
    ticker.stop(2)


def test_threads_do_not_hold_orthanc_back(core: Core) -> None:
    worker, ticker = threaded(core), Ticker([], SystemClock())
    worker.start()
    ticker.start()
    mine = [t for t in threading.enumerate() if t.name.startswith("drimbox-")]
    assert len(mine) == 2
    assert all(t.daemon for t in mine)
    worker.stop(2)
    ticker.stop(2)
