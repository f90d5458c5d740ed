# SPDX-License-Identifier: AGPL-3.0-or-later
"""A running instance, as the tests use it: by the launcher's contract, from outside."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import requests

REPOSITORY = Path(__file__).resolve().parents[2]


def launcher(*words: str, check: bool = True, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run the launcher; its output is kept for the failure message."""
    done = subprocess.run([str(REPOSITORY / "drimbox"), *words], capture_output=True, text=True, check=False, **more)
    if check and done.returncode:
        raise AssertionError(f"drimbox {' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


def eventually[T](read: Callable[[], T], what: str, seconds: float = 45) -> T:
    """Poll until something truthy comes."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = read()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{what} did not come in {seconds} s")


@dataclass
class Instance:
    """One appliance with its sandbox."""

    state: Path
    base_port: int

    def up(self) -> None:
        launcher("up", "--state", str(self.state), "--base-port", str(self.base_port))
        self.__dict__.pop("facts", None)

    def down(self) -> None:
        launcher("down", "--state", str(self.state))

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return launcher(*words, "--state", str(self.state), check=check)

    def read(self, *words: str) -> Any:
        return json.loads(self.run(*words, "--json").stdout)

    @cached_property
    def facts(self) -> dict[str, Any]:
        return dict(self.read("status"))

    @cached_property
    def pki(self) -> dict[str, Any]:
        return dict(self.read("sandbox", "pki"))

    def process(self, name: str) -> int:
        status = json.loads((self.state / "status.json").read_text())
        return int(status["processes"][name]["pid"] or 0)

    def peer(self, name: str = "peer") -> tuple[str, str]:
        return self.pki[name]["cert"], self.pki[name]["key"]

    def token(self, *options: str) -> str:
        return self.run("sandbox", "psc", "token", *options).stdout.strip()

    def operator(self, path: str) -> Any:
        password = Path(self.facts["admin"]["passwordFile"]).read_text().strip()
        answer = requests.get(
            self.facts["urls"]["admin"] + path, auth=("admin", password), verify=self.facts["ca"], timeout=10
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    def journal(self, study_uid: str) -> list[dict[str, Any]]:
        return [e for e in self.operator("/drimbox/journal?limit=1000") if e["study_uid"] == study_uid]

    def audit(self, study_uid: str) -> list[dict[str, Any]]:
        return [e for e in self.operator("/drimbox/audit?limit=1000") if e["study_uid"] == study_uid]

    def entries(self, study_uid: str) -> list[dict[str, Any]]:
        listed = self.read("sandbox", "dmp", "list")
        return [e for e in listed if any(r.startswith(f"{study_uid}^") for r in e["referenceIds"])]

    def log(self, name: str = "orthanc") -> str:
        return (self.state / "log" / f"{name}.log").read_text(errors="replace")


def state_root() -> Path:
    return Path(os.environ.get("DRIMBOX_TEST_STATE", "/tmp/drimbox-tests"))
