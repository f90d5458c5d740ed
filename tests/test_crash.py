# SPDX-License-Identifier: AGPL-3.0-or-later
"""A process killed at any named step of intake and publication loses nothing and publishes nothing twice."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from drimbox import intake, publication
from drimbox.schema import kos, reports
from tests.core_data import OTHER_STUDY, Core
from tests.crash_child import RAW, FileDmp
from tests.reports_data import STUDY

REPOSITORY = Path(__file__).resolve().parent.parent


def killed_at(step: str, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash_child", str(folder), step],
        cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr


def restarted(folder: Path) -> Core:
    """A second process on the same data, as the worker starts it."""
    core = Core(folder, dmp=FileDmp(folder / "dmp"))
    core.outbox.release_own()
    return core


@pytest.mark.parametrize("step", [*intake.STEPS, *publication.STEPS])
def test_killed_at_a_step_each_document_is_published_once_in_order(step: str, tmp_path: Path) -> None:
    killed_at(step, tmp_path)
    acknowledged = tmp_path / "acknowledgement"
    assert acknowledged.exists() == (step in publication.STEPS), "the step was reached"

    core = restarted(tmp_path)
    if step == "before-commit":
        assert core.rows(reports) == core.rows() == []
    if step == "after-commit":
        assert len(core.rows(reports)) == 1, "stored, though its sender does not know"
    if not acknowledged.exists():
        answer = core.receive(RAW)  # a sender without acknowledgement sends again
        assert b"MSA|AA|CRASH1" in answer
        assert answer == core.rows(reports)[0]["acknowledgement"]
    core.run()

    assert core.states() == ["sent", "sent"]
    published = FileDmp(tmp_path / "dmp").entries()
    assert [e["study"] for e in published] == [STUDY, OTHER_STUDY]
    assert {(r["sop_instance_uid"], r["state"]) for r in core.rows(kos)} == {(e["uniqueId"], "live") for e in published}
    assert [e["study_uid"] for e in core.told("kos-published")] == [STUDY, OTHER_STUDY]

    before = core.rows(reports)[0]["acknowledgement"]
    if acknowledged.exists():
        assert acknowledged.read_bytes() == before
    assert core.receive(RAW) == before
    core.run()
    assert len(core.rows(reports)) == 1
    assert FileDmp(tmp_path / "dmp").entries() == published
    core.close()
