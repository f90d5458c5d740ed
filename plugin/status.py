# SPDX-License-Identifier: AGPL-3.0-or-later
"""Verb ``status``: what the supervisor wrote, with the health that the appliance itself reports now."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import requests

from drimbox import __version__
from drimbox.appliance import Layout


def collect(state: Path) -> dict[str, Any]:
    """Everything known of the instance of a state folder; ``ready`` is False where none runs."""
    layout = Layout.of(state.absolute())
    try:
        facts: dict[str, Any] = json.loads(layout.status.read_text())
    except (OSError, ValueError):
        return {"ready": False, "reason": f"aucune appliance n'a été démarrée avec --state {state}"}
    if facts.get("ready") and not _alive(layout):
        facts["ready"] = False
        facts["reason"] = "son superviseur est mort"
    facts["health"] = _health(facts) if facts.get("ready") else {}
    facts["versions"] = {"drimbox": __version__, **facts["health"].pop("versions", {})}
    return facts


def _alive(layout: Layout) -> bool:
    """The supervisor touches its file when anything changes; its lock tells whether it lives."""
    path = layout.state / "lock"
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(handle)


def _operator(facts: dict[str, Any]) -> tuple[str, str] | None:
    """The operator's credentials, where who asks may read them: reasons and versions are for operators."""
    try:
        return facts["admin"]["user"], Path(facts["admin"]["passwordFile"]).read_text().strip()
    except OSError:
        return None


def _health(facts: dict[str, Any]) -> dict[str, Any]:
    url = facts["urls"].get("admin")
    if not url:
        return {}
    try:
        answer = requests.get(f"{url}/health", timeout=3, verify=facts.get("ca") or True, auth=_operator(facts))
        return dict(answer.json())
    except (requests.RequestException, ValueError) as error:
        return {"status": "DOWN", "reason": type(error).__name__}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the status; 0 where the appliance is ready."""
    parser = argparse.ArgumentParser(prog="drimbox status")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(arguments)
    facts = collect(args.state)
    if args.json:
        print(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        print("prête" if facts["ready"] else f"arrêtée ({facts.get('reason', 'arrêt demandé')})")
        for name, url in facts.get("urls", {}).items():
            print(f"  {name:7} {url}")
        for name, port in facts.get("ports", {}).items():
            print(f"  {name:7} port {port}")
        for name, process in facts.get("processes", {}).items():
            dead = "" if process["pid"] else f"  ARRÊTÉ (code {process['lastExit']})"
            again = f"  relancé {process['restarts']} fois" if process["restarts"] else ""
            print(f"  {name:12} pid {process['pid']}{dead}{again}")
        health = facts.get("health", {})
        if health:
            print(f"  santé : {health.get('status')}")
            for check in health.get("checks", []):
                print(f"    {check['name']:12} {check['status']} {check.get('reason', '')}")
    return 0 if facts["ready"] else 1


if __name__ == "__main__":
    sys.exit(main())
