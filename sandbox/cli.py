# SPDX-License-Identifier: AGPL-3.0-or-later
"""Verbs ``sandbox …`` of the launcher: what the stand-ins hold, and what a RIS, a modality or a peer would do."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

USAGE = """usage : drimbox sandbox dmp list | get UID | fault …      ce que le DMP simulé contient
       drimbox sandbox ris send FICHIER                 envoyer un message HL7 à l'appliance
       drimbox sandbox psc token [--expired|…]          un jeton d'un professionnel fictif
       drimbox sandbox pki [--json]                     les certificats jetables
       drimbox sandbox exam send NOM [--study-uid UID]  fabriquer un examen et l'envoyer par C-STORE"""


class SandboxError(Exception):
    """Something that the caller can mend; its text is shown."""


def facts(state: Path) -> dict[str, Any]:
    """What the supervisor of the instance says.  Raises `SandboxError` where none runs."""
    try:
        found: dict[str, Any] = json.loads((state / "status.json").read_text())
    except (OSError, ValueError):
        raise SandboxError(f"aucune appliance dans {state} : lancez ./drimbox up ou ./drimbox demo") from None
    if not found.get("ready"):
        raise SandboxError(f"l'appliance de {state} n'est pas en marche : lancez ./drimbox up")
    if not found.get("sandbox"):
        raise SandboxError(f"l'appliance de {state} est celle d'un site réel, sans bac à sable")
    return found


def dmp(state: Path, rest: list[str]) -> int:
    """Verb ``sandbox dmp``."""
    from sandbox import dmp_cli

    return dmp_cli.main(rest, facts(state)["stand-ins"]["dmp"])


def ris(state: Path, rest: list[str]) -> int:
    """Verb ``sandbox ris``."""
    from sandbox import ris as sender

    return sender.main(rest, "127.0.0.1", facts(state)["ports"]["mllp"])


def psc(state: Path, rest: list[str]) -> int:
    """Verb ``sandbox psc``."""
    from sandbox import psc_cli

    return psc_cli.main(rest, facts(state)["stand-ins"]["psc"])


def certificates(state: Path, rest: list[str]) -> int:
    """Verb ``sandbox pki``."""
    from sandbox import pki

    folder = state / "sandbox" / "pki"
    if not folder.is_dir():
        raise SandboxError(f"aucun certificat dans {state} : lancez ./drimbox up ou ./drimbox demo")
    found = pki.paths(folder)
    if "--json" in rest:
        print(json.dumps(found, indent=2))
    else:
        for name, value in found.items():
            print(f"{name:16} {value}" if isinstance(value, str) else f"{name:16} {value['cert']}")
    return 0


def exam(state: Path, rest: list[str]) -> int:
    """Verb ``sandbox exam``."""
    from sandbox import demo

    parser = argparse.ArgumentParser(prog="drimbox sandbox exam")
    parser.add_argument("action", choices=["send"])
    parser.add_argument("name", choices=["ct", "cr", "us", "mr"])
    parser.add_argument("--study-uid")
    args = parser.parse_args(rest)
    found = facts(state)
    made = demo.make(state, args.name, args.study_uid)
    result = demo.send_images(made, found["ports"]["dicom"])
    print(f"{result} image(s) envoyée(s), examen {made.study_uid}")
    return 0


VERBS = {"dmp": dmp, "ris": ris, "psc": psc, "pki": certificates, "exam": exam}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--state", type=Path, required=True)
    args, rest = parser.parse_known_args(arguments)
    if not rest or rest[0] not in VERBS:
        print(USAGE, file=sys.stderr)
        return 2
    try:
        return VERBS[rest[0]](args.state, rest[1:])
    except SandboxError as error:
        print(f"drimbox : {error}", file=sys.stderr)
        return 3


if __name__ == "__main__":
    sys.exit(main())
