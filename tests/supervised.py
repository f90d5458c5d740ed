# SPDX-License-Identifier: AGPL-3.0-or-later
"""A supervisor over invented processes: ``python3 -m tests.supervised STATE SCENARIO``, in short times."""

from __future__ import annotations

import sys
from pathlib import Path

from drimbox import supervisor
from drimbox.appliance import Layout
from drimbox.supervisor import Child, Supervisor

SLEEP = ["sleep", "600"]
STUBBORN = ["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"]


def children(state: Path, scenario: str) -> list[Child]:
    """The first is always well, and writes its number down."""
    told = state / "first.pid"
    well = Child("first", ["sh", "-c", 'echo $$ > "$0"; exec sleep 600', str(told)], told.exists)
    second = {
        "well": Child("second", SLEEP, lambda: True, {"COLOUR": "blue"}),
        "told": Child("second", ["sh", "-c", "echo said $COLOUR; exec sleep 600"], lambda: True, {"COLOUR": "blue"}),
        "ends": Child("second", ["sh", "-c", "echo broken >&2; exit 3"], lambda: False),
        "absent": Child("second", ["/nonexistent/program"], lambda: False),
        "silent": Child("second", SLEEP, lambda: False),
        "stubborn": Child("second", STUBBORN, lambda: True),
    }[scenario]
    return [well, second]


def main() -> int:
    state, scenario = Path(sys.argv[1]), sys.argv[2]
    supervisor.FASTEST_RESTART_SECONDS = 0.1
    supervisor.START_SECONDS = float(sys.argv[3]) if len(sys.argv) > 3 else 0.5
    supervisor.STOP_SECONDS = 0.5
    layout = Layout(state, state / "run")
    layout.prepare()
    return Supervisor(layout, children(state, scenario), {"urls": {"admin": "https://localhost:1"}}).run()


if __name__ == "__main__":
    sys.exit(main())
