# SPDX-License-Identifier: AGPL-3.0-or-later
"""A process that is killed: takes one report, writes down its acknowledgement, publishes; dies at a named step.

``python3 -m tests.crash_child FOLDER STEP``.  The DMP is a file that lines are only added to.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from drimbox import xds
from drimbox.dmp_client import Exchange
from drimbox.errors import ServiceRefused
from drimbox.records import Traits
from tests.core_data import OTHER_STUDY, Core, report
from tests.reports_data import STUDY

RAW = report(STUDY, OTHER_STUDY, control_id="CRASH1")


class FileDmp:
    """A DMP that outlives its clients: one line for each publication that it took."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def entries(self) -> list[dict[str, str]]:
        return [json.loads(line) for line in self._path.read_text().splitlines()] if self._path.exists() else []

    def publish(self, submission: xds.Submission, kos: bytes) -> Exchange:
        unique_id = submission.ids.kos_sop_instance_uid
        if self.find_entry(unique_id, submission.manifest.traits):
            raise ServiceRefused("known", code="XDSDuplicateUniqueIdInRegistry", scope="duplicate")
        entry = {"uniqueId": unique_id, "study": submission.manifest.study.study_uid, "hash": submission.kos_hash}
        with self._path.open("a") as file:
            file.write(json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())
        return Exchange("urn:uuid:m", "publish", "https://dmp.example.test/", b"", 200, b"")

    def find_entry(self, unique_id: str, patient: Traits, *, secret_connection: bool = False) -> str | None:
        return next((f"urn:uuid:{unique_id}" for e in self.entries() if e["uniqueId"] == unique_id), None)


def main() -> None:
    folder, fatal = Path(sys.argv[1]), sys.argv[2]

    def step(name: str) -> None:
        if name == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    core = Core(folder, dmp=FileDmp(folder / "dmp"), step=step)
    (folder / "acknowledgement").write_bytes(core.receive(RAW))
    core.run()


if __name__ == "__main__":
    main()
