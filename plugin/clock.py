# SPDX-License-Identifier: AGPL-3.0-or-later
"""The one source of time: aware UTC datetimes, injected everywhere (design, decision 10)."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the product asks of time."""

    def now(self) -> datetime:
        """Give the current instant, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back, for durations."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Give the current instant, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that never go back, for durations."""
        return time.monotonic()


def utc_stamp(instant: datetime) -> str:
    """``YYYYMMDDhhmmss`` in UTC, as XDS slots want it (ITI TF-3 4.2.3.1.7)."""
    return instant.astimezone(UTC).strftime("%Y%m%d%H%M%S")


def iso(instant: datetime) -> str:
    """ISO 8601 in UTC with milliseconds and ``Z``, as the store and SAML keep it; sorts as text."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def from_iso(text: str) -> datetime:
    """Read what `iso` wrote."""
    return datetime.fromisoformat(text)
