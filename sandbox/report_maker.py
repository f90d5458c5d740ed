# SPDX-License-Identifier: AGPL-3.0-or-later
"""Reports for the sandbox: one door to the model, the CDA document and the HL7 messages.

``python -m sandbox.report_maker --study UID --accession NUMBER --out FILE`` writes one message.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from sandbox.report_cda import make_cda, report_pdf
from sandbox.report_hl7 import METADATA, Envelope, Restrictions, make_mdm, make_oru
from sandbox.report_model import (
    Act,
    Action,
    Address,
    Coded,
    Doctor,
    Ident,
    Order,
    Patient,
    Report,
    Structure,
    demo_report,
    ins_number,
    next_version,
)

__all__ = [
    "Act", "Action", "Address", "Coded", "Doctor", "Envelope", "Ident", "Message", "Order", "Patient", "Report",
    "Restrictions", "Structure", "demo_report", "ins_number", "main", "make_cda", "make_mdm", "make_message",
    "make_oru", "next_version", "report_pdf",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Message:
    """A report with the message that carries it."""

    report: Report
    cda: bytes
    hl7: bytes


def make_message(
    report: Report,
    action: Action | str = Action.CREATE,
    restrictions: Restrictions | None = None,
    envelope: Envelope | None = None,
    *,
    kind: str = "mdm",
) -> Message:
    """Make document and message in one go; `kind` is ``mdm`` or ``oru``."""
    cda = make_cda(report)
    make = {"mdm": make_mdm, "oru": make_oru}[kind]
    return Message(report, cda, make(cda, report, action, restrictions, envelope))


def _report(args: argparse.Namespace) -> Report:
    """The report asked for; versions above 1 replace the one before."""
    report = demo_report(args.study, args.accession, number=args.number, viewer_root=args.viewer_root)
    if args.created is not None:
        report = replace(report, created=args.created)
    for _ in range(1, args.version):
        report = next_version(report)
    return report


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="report-maker", description="Compte-rendu fictif : CDA et message HL7")
    parser.add_argument("--study", required=True, help="StudyInstanceUID")
    parser.add_argument("--accession", required=True, help="numéro d'accession")
    parser.add_argument("--number", type=int, default=1, help="numéro du document parmi ceux de la démonstration")
    parser.add_argument("--version", type=int, default=1)
    parser.add_argument("--action", choices=[a.value for a in Action], default="create")
    parser.add_argument("--kind", choices=["mdm", "oru"], default="mdm")
    parser.add_argument("--yes", action="append", default=[], choices=[code for code, _ in METADATA], metavar="CODE")
    parser.add_argument("--viewer-root", default="https://vi.drimbox.example")
    parser.add_argument("--created", type=datetime.fromisoformat, help="date et heure avec fuseau, ISO 8601")
    parser.add_argument("--control-id", default="C0001")
    parser.add_argument("--line-feed", action="store_true", help="segments terminés par LF, comme dans les exemples")
    parser.add_argument("--out", type=Path, help="fichier du message (sortie standard par défaut)")
    parser.add_argument("--cda-out", type=Path, help="fichier du document CDA")
    return parser


def main(argv: Sequence[str]) -> int:
    """Write one message, and its document where asked."""
    args = _parser().parse_args(list(argv))
    if args.created is not None and args.created.tzinfo is None:
        print("--created : fuseau horaire absent", file=sys.stderr)
        return 2
    report = _report(args)
    envelope = Envelope(control_id=args.control_id, sent_at=report.created, separator="\n" if args.line_feed else "\r")
    message = make_message(report, args.action, Restrictions.of(*args.yes), envelope, kind=args.kind)
    if args.cda_out is not None:
        args.cda_out.write_bytes(message.cda)
    if args.out is not None:
        args.out.write_bytes(message.hl7)
    else:
        sys.stdout.buffer.write(message.hl7)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
