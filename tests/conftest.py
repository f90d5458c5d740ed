# SPDX-License-Identifier: AGPL-3.0-or-later
"""Fixtures of the whole suite."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.configuration import set_hypothesis_home_dir

# The checkout is read-only for the user that runs the tests: what Hypothesis remembers goes elsewhere.
set_hypothesis_home_dir(Path(os.environ.get("DRIMBOX_TEST_STATE", "/tmp/drimbox-tests")) / "hypothesis")
# A busy machine makes examples slow, not wrong.
settings.register_profile("drimbox", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("drimbox")


@pytest.fixture(scope="session")
def official() -> Path:
    """The folder of official samples; the test is skipped, saying why, where it is absent."""
    folder = Path(os.environ.get("DRIMBOX_SHARED", "/nonexistent")) / "data"
    if not folder.is_dir():
        pytest.skip("official samples absent: set DRIMBOX_SHARED to the folder that holds data/")
    return folder


class FakeClock:
    """A clock that stands until it is moved."""

    def __init__(self, start: datetime = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)) -> None:
        self.instant = start
        self.seconds = 0.0

    def now(self) -> datetime:
        return self.instant

    def monotonic(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.instant += timedelta(seconds=seconds)
        self.seconds += seconds


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
