# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the product makes of a file, without side effects: verbs ``hl7``, ``cda``, ``kos`` and ``whitelist``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509

from drimbox.config import MessagesSection, WhitelistSection
from drimbox.errors import DrimboxError

LARGEST_FILE = 256 * 1024 * 1024


def check_hl7(args: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    """Read a message as the listener would; all processing ids are accepted here."""
    from drimbox.hl7_message import describe_message

    found = describe_message(_read(args.file), MessagesSection(processing_ids=("P", "T", "D")))
    return found, found["ack"] == "AA"


def show_cda(args: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    """Read a report's header."""
    from drimbox.cda import describe_report, read_report

    return describe_report(read_report(_read(args.file), MessagesSection().document_types)), True


def show_kos(args: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    """Read a manifest, ours or another's."""
    from drimbox.kos_reader import describe, read_manifest

    return describe(read_manifest(_read(args.file))), True


def verify_whitelist(args: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    """Verify a signed whitelist.  Without --root nothing is trusted: the chain that a file carries proves nothing."""
    from drimbox.whitelist import describe

    data = _read(args.file)
    at = datetime.fromisoformat(args.at) if args.at else datetime.now(UTC)
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    trust = x509.load_pem_x509_certificates(_read(args.root)) if args.root else []
    found = describe(data, trust, WhitelistSection(), at)
    if not args.root and found["reason"] == "chain-untrusted":
        found["detail"] = "no trusted root was given: add --root PEM (the root of IGC-Santé)"
    return found, bool(found["valid"])


Verb = Callable[[argparse.Namespace], tuple[dict[str, Any], bool]]
VERBS: Mapping[tuple[str, str], Verb] = {
    ("hl7", "check"): check_hl7,
    ("cda", "show"): show_cda,
    ("kos", "show"): show_kos,
    ("whitelist", "verify"): verify_whitelist,
}


def _read(path: Path) -> bytes:
    with open(path, "rb") as handle:
        data = handle.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise ValueError(f"{path} dépasse {LARGEST_FILE // 2**20} Mio.")
    return data


def lines(value: Any, name: str = "", depth: int = 0) -> list[str]:
    """A nested answer as indented lines, for people."""
    pad = "  " * depth
    label = f"{name} : " if name else ""
    if isinstance(value, dict):
        head = [f"{pad}{name}"] if name else []
        return head + [line for k, v in value.items() for line in lines(v, str(k), depth + bool(name))]
    if isinstance(value, list | tuple):
        if not any(isinstance(v, dict | list | tuple) for v in value):
            return [f"{pad}{label}{', '.join(map(str, value)) or '—'}"]
        return [line for i, v in enumerate(value, 1) for line in lines(v, f"{name} {i}", depth)]
    return [f"{pad}{label}{'—' if value in (None, '') else value}"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb: 0 where the file is good, 1 where it is not, 2 where it cannot be read."""
    parser = argparse.ArgumentParser(prog="drimbox")
    parser.add_argument("noun")
    parser.add_argument("verb")
    parser.add_argument("file", type=Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--at")
    args = parser.parse_args(arguments)
    verb = VERBS.get((args.noun, args.verb))
    if verb is None:
        known = " | ".join(" ".join(k) for k in VERBS)
        print(f"drimbox : verbe inconnu « {args.noun} {args.verb} » ; connus : {known}", file=sys.stderr)
        return 2
    try:
        found, good = verb(args)
    except OSError as error:
        print(f"drimbox : {args.file} : {error.strerror}", file=sys.stderr)
        return 2
    except DrimboxError as error:
        found, good = {"valid": False, "reason": error.reason, "detail": error.detail or error.public}, False
    except ValueError as error:
        print(f"drimbox : {error}", file=sys.stderr)
        return 2
    print(json.dumps(found, indent=2, ensure_ascii=False) if args.json else "\n".join(lines(found)))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
