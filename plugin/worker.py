# SPDX-License-Identifier: AGPL-3.0-or-later
"""Background threads: the outbox worker and a ticker for periodic jobs; daemon, stopped in seconds."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from drimbox.clock import Clock
from drimbox.config import OutboxSection
from drimbox.outbox_store import OutboxStore
from drimbox.publication import Publisher

log = logging.getLogger(__name__)


class OutboxWorker:
    """Takes due rows one after the other."""

    def __init__(self, outbox: OutboxStore, publisher: Publisher, clock: Clock, settings: OutboxSection) -> None:
        self._outbox = outbox
        self._publisher = publisher
        self._clock = clock
        self._settings = settings
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="drimbox-outbox", daemon=True)

    def start(self) -> None:
        """Give back what this node held before, try again what the configuration blocked, then work."""
        released = self._outbox.release_own()
        if released:
            log.warning("%d submission(s) taken up again after an interruption", released)
        unblocked = self._outbox.unblock(self._clock.now())
        if unblocked:
            log.warning("%d blocked submission(s) tried again after a start", unblocked)
        self._thread.start()

    def wake(self) -> None:
        """Something was queued."""
        self._wake.set()

    def stop(self, seconds: float) -> None:
        """Finish the row under way, at most `seconds`."""
        self._stop.set()
        self._wake.set()
        self._thread.join(seconds)

    def run_once(self) -> bool:
        """Process one due row; False where none is due."""
        row = self._outbox.lease(self._clock.now(), self._settings.lease_seconds)
        if row is None:
            return False
        self._publisher.process(row)
        return True

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                busy = self.run_once()
            except Exception:
                log.exception("outbox worker")
                busy = False
            if not busy:
                self._wake.wait(self._settings.poll_seconds)
                self._wake.clear()


@dataclass(frozen=True, slots=True)
class Job:
    """Something done every `seconds`, from the start on."""

    name: str
    seconds: float
    run: Callable[[], None]


class Ticker:
    """One thread for all periodic jobs."""

    def __init__(self, jobs: Sequence[Job], clock: Clock) -> None:
        self._jobs = list(jobs)
        self._clock = clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="drimbox-ticker", daemon=True)

    def start(self) -> None:
        """Begin; each job runs at once."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """End after the job under way, at most `seconds`."""
        self._stop.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        due = {job.name: 0.0 for job in self._jobs}
        while not self._stop.is_set():
            now = self._clock.monotonic()
            for job in self._jobs:
                if now >= due[job.name]:
                    due[job.name] = now + job.seconds
                    try:
                        job.run()
                    except Exception:
                        log.exception("job %s", job.name)
            self._stop.wait(1)
