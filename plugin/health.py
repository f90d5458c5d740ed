# SPDX-License-Identifier: AGPL-3.0-or-later
"""Health: of the DRIMbox and of the PACS behind it (DB.SO.182, DB.SO.183), each check with its reason."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from drimbox.errors import DrimboxError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Check:
    """One named check; `probe` gives a reason in French where it fails, else an empty string."""

    name: str
    probe: Callable[[], str]


class Health:
    """Runs the checks and gives the JSON that probes read (SmallRye's shape: status, checks)."""

    def __init__(self, checks: tuple[Check, ...], versions: Callable[[], Mapping[str, str]]) -> None:
        self._checks = checks
        self._versions = versions

    def report(self, *, details: bool) -> dict[str, Any]:
        """``{"status": "UP|DOWN", "checks": [{"name", "status"}]}``; reasons and versions for the operator alone."""
        found = []
        for check in self._checks:
            reason = self._run(check)
            entry = {"name": check.name, "status": "DOWN" if reason else "UP"}
            if reason and details:
                entry["reason"] = reason
            found.append(entry)
        up = all(c["status"] == "UP" for c in found)
        answer: dict[str, Any] = {"status": "UP" if up else "DOWN", "checks": found}
        if details:
            answer["versions"] = dict(self._versions())
        return answer

    @staticmethod
    def _run(check: Check) -> str:
        try:
            return check.probe()
        except DrimboxError as error:
            log.warning("health check %s: %s", check.name, error)
            return error.public
