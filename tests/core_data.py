# SPDX-License-Identifier: AGPL-3.0-or-later
"""The product's core on a real database in a folder, with doubles of the PACS and of the DMP."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from drimbox import uids, xds
from drimbox.archive import Archive
from drimbox.config import DrimboxConfig, ManifestSection, MessagesSection, OutboxSection, WadoSection
from drimbox.dmp_client import Exchange
from drimbox.errors import ServiceRefused
from drimbox.intake import Intake
from drimbox.journal import Journal
from drimbox.outbox_store import OutboxStore
from drimbox.publication import Dmp, Publisher, PublisherDeps
from drimbox.records import Traits
from drimbox.report_store import ReportStore
from drimbox.schema import events, kos, submissions
from drimbox.store import Store, sqlite_url
from drimbox.worker import OutboxWorker
from tests.conftest import FakeClock
from tests.orthanc_double import FakePort
from tests.reports_data import STUDY, Cda, Message, study_act

OTHER_STUDY = "1.2.250.1.999.7.1.5002"
CONFIG = DrimboxConfig(sandbox=True, wado=WadoSection(root="https://db1.example/wado-rs"))
ENTRY = "urn:uuid:aaaaaaaa-1111-4222-8333-444444444444"


def config(
    outbox: dict[str, Any] | None = None, manifest: dict[str, Any] | None = None, messages: dict[str, Any] | None = None
) -> DrimboxConfig:
    """The base configuration with keys of some sections changed."""
    return CONFIG.model_copy(
        update={
            "outbox": OutboxSection(**(outbox or {})),
            "manifest": ManifestSection(**(manifest or {})),
            "messages": MessagesSection(**(messages or {})),
        }
    )


def report(*studies: str, control_id: str = "M0001", **changes: Any) -> bytes:
    """An MDM^T02 that names `studies`, in order."""
    acts = "".join(study_act(uid) for uid in studies or (STUDY,))
    return replace(Message(control_id=control_id, document=Cda(acts=acts).xml()), **changes).raw()


@dataclass(frozen=True)
class Attempt:
    """One call of `publish`."""

    unique_id: str
    submission: xds.Submission
    kos: bytes


@dataclass
class FakeDmp:
    """A DMP in memory.  `before` and `after` hold what the next calls raise before and after they have effect."""

    before: list[Exception | None] = field(default_factory=list)
    after: list[Exception | None] = field(default_factory=list)
    questions: list[Exception | None] = field(default_factory=list)
    during: Callable[[], None] = lambda: None
    attempts: list[Attempt] = field(default_factory=list)
    entries: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def publish(self, submission: xds.Submission, kos: bytes) -> Exchange:
        unique_id = submission.ids.kos_sop_instance_uid
        self.attempts.append(Attempt(unique_id, submission, kos))
        _raise_next(self.before)
        self.during()
        if unique_id in self.entries:
            raise ServiceRefused("known", code="XDSDuplicateUniqueIdInRegistry", scope="duplicate")
        self.entries[unique_id] = f"{ENTRY[:-2]}{len(self.entries):02}"
        _raise_next(self.after)
        return Exchange("urn:uuid:m", "publish", "https://dmp.example.test/", b"<request/>", 200, b"<answer/>")

    def find_entry(self, unique_id: str, patient: Traits, *, secret_connection: bool = False) -> str | None:
        self.asked.append(unique_id)
        _raise_next(self.questions)
        return self.entries.get(unique_id)


def _raise_next(errors: list[Exception | None]) -> None:
    error = errors.pop(0) if errors else None
    if error is not None:
        raise error


def counting_uids() -> Callable[[], str]:
    numbers = itertools.count(1)
    return lambda: f"2.25.9{next(numbers):05}"


class Core:
    """Intake, outbox and publisher wired as `application` wires them."""

    def __init__(
        self,
        folder: Path,
        port: FakePort | None = None,
        dmp: Dmp | None = None,
        *,
        clock: FakeClock | None = None,
        config: DrimboxConfig = CONFIG,
        owner: str = "node",
        step: Callable[[str], None] = lambda _name: None,
        new_uid: Callable[[], str] = uids.new_uid,
    ) -> None:
        self.folder = folder
        self.config = config
        self.clock = clock or FakeClock()
        self.port = port or FakePort(STUDY, OTHER_STUDY)
        self.store = Store(sqlite_url(folder))
        self.journal = Journal(self.store, self.clock)
        self.reports = ReportStore(self.store)
        self.outbox = OutboxStore(self.store, owner)
        self.archive = Archive(self.store)
        self.exchanges: list[tuple[int, Any]] = []
        self.woken = 0
        self.step = step
        self.deps = PublisherDeps(
            config=config,
            store=self.store,
            reports=self.reports,
            outbox=self.outbox,
            archive=self.archive,
            journal=self.journal,
            clock=self.clock,
            find=self.port.find,
            new_uid=new_uid,
            dmp=dmp,
            keep_exchange=lambda key, exchange: self.exchanges.append((key, exchange)),
            step=step,
        )
        self.publisher = Publisher(self.deps)
        self.worker = OutboxWorker(self.outbox, self.publisher, self.clock, config.outbox)
        numbers = itertools.count(1)
        self.intake = Intake(
            self.store,
            self.reports,
            self.outbox,
            self.journal,
            self.clock,
            config.messages,
            lambda: f"ACK{next(numbers)}",
            self._wake,
            step,
        )

    def _wake(self) -> None:
        self.woken += 1

    def receive(self, raw: bytes, origin: str = "192.0.2.7:4000") -> bytes:
        """Take a message as the listener does."""
        return self.intake.handle(raw, origin)

    def run(self) -> int:
        """Process what is due; gives how many rows were."""
        count = 0
        while self.worker.run_once():
            count += 1
        return count

    def rows(self, table: sa.Table = submissions) -> list[dict[str, Any]]:
        """All rows of a table, oldest first."""
        order = table.c.version if table is kos else table.c.received_at if table.name == "reports" else table.c.id
        with self.store.read() as connection:
            return [dict(r) for r in connection.execute(sa.select(table).order_by(order)).mappings()]

    def row(self, number: int = -1) -> dict[str, Any]:
        """One row of the outbox."""
        return self.rows()[number]

    def told(self, kind: str = "") -> list[dict[str, Any]]:
        """Events of the journal, oldest first."""
        return [e for e in self.rows(events) if not kind or e["kind"] == kind]

    def kinds(self) -> list[str]:
        """Kinds of the journal's events, oldest first."""
        return [e["kind"] for e in self.told()]

    def states(self) -> Sequence[str]:
        """States of the outbox's rows, oldest first."""
        return [r["state"] for r in self.rows()]

    def close(self) -> None:
        """Give the database back."""
        self.store.close()
