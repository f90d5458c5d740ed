# SPDX-License-Identifier: AGPL-3.0-or-later
"""Run benchmarks: one JSON object a line, ``{"bench", "name", "value", "unit", "reference", "ratio"}``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bench import wado_series
from tests.bench.figures import Figure

BENCHES: dict[str, Callable[[Path], Iterator[Figure]]] = {"wado-series": wado_series.run}


def main() -> int:
    parser = argparse.ArgumentParser(prog="drimbox bench")
    parser.add_argument("name", nargs="?", choices=sorted(BENCHES))
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    for name in [args.name] if args.name else sorted(BENCHES):
        for figure in BENCHES[name](args.state):
            if args.json:
                print(json.dumps({"bench": name, **figure.as_json()}), flush=True)
            else:
                print(f"{name:14} {figure.line()}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
