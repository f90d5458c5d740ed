# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a benchmark reports."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Figure:
    """A value, and the reference that it is to be read against."""

    name: str
    value: float
    unit: str
    reference: str = ""
    ratio: float | None = None

    def as_json(self) -> dict[str, Any]:
        ratio = None if self.ratio is None else round(self.ratio, 3)
        return {
            "name": self.name,
            "value": round(self.value, 3),
            "unit": self.unit,
            "reference": self.reference,
            "ratio": ratio,
        }

    def line(self) -> str:
        beside = f"  {self.ratio:6.2f} x {self.reference}" if self.ratio is not None else ""
        return f"{self.name:44} {self.value:10.2f} {self.unit:5}{beside}"


def reset_peak(pid: int) -> int:
    """Forget the process's peak of resident memory; give what it holds now, in bytes."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return memory(pid, "VmRSS")


def memory(pid: int, key: str = "VmHWM") -> int:
    """Resident memory of a process in bytes: ``VmHWM`` its peak, ``VmRSS`` now."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(key)
