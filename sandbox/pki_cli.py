# SPDX-License-Identifier: AGPL-3.0-or-later
"""``sandbox pki``: make the throw-away certificates if they are missing, and tell where they are."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from sandbox.common import refuse_production
from sandbox.pki import DEFAULT_STRUCTURE_ID, DEFAULT_STRUCTURE_NAME, make_pki, paths


def main(argv: Sequence[str], folder: Path | None = None) -> int:
    """Run the verb; ``folder`` is the launcher's default.  Without ``--make`` nothing is written."""
    parser = argparse.ArgumentParser(prog="drimbox sandbox pki", description="Certificats jetables du bac à sable.")
    parser.add_argument("--dir", type=Path, default=folder, required=folder is None, help="dossier des certificats")
    parser.add_argument("--json", action="store_true", help="sortie JSON")
    parser.add_argument("--make", action="store_true", help="fabriquer ce qui manque")
    parser.add_argument("--host", action="append", default=[], help="nom d'hôte (répétable)")
    parser.add_argument("--structure-id", default=DEFAULT_STRUCTURE_ID)
    parser.add_argument("--structure-name", default=DEFAULT_STRUCTURE_NAME)
    parser.add_argument("--crl-url")
    args = parser.parse_args(argv)
    hosts = tuple(args.host) or ("localhost",)
    refuse_production(*hosts)
    if args.make:
        make_pki(args.dir, hosts=hosts, structure_id=args.structure_id, structure_name=args.structure_name,
                 crl_url=args.crl_url)  # fmt: skip
    found = paths(args.dir)
    if not Path(str(found["ca"])).is_file():
        print(f"Pas de certificats dans {args.dir} (ajoutez --make).")
        return 1
    if args.json:
        print(json.dumps(found, ensure_ascii=False, indent=1))
        return 0
    for name, value in found.items():
        print(f"{name:18} {value['cert'] if isinstance(value, dict) else value}")
    return 0
