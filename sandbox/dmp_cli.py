# SPDX-License-Identifier: AGPL-3.0-or-later
"""``sandbox dmp list | get | fault``: what the DMP stand-in holds, and faults to inject, by its administration port."""

from __future__ import annotations

import argparse
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sandbox.dmp_faults import ACTIONS, KINDS

TIMEOUT = 10.0


class _Refused(Exception):
    """The administration port said no, or is not there."""


def main(argv: Sequence[str], admin_url: str) -> int:
    """Run the verb against ``http://127.0.0.1:PORT``.  0 when done, 1 when refused or unreachable."""
    args = _parser().parse_args(argv)
    run = {"list": _list, "get": _get, "fault": _fault}[args.verb]
    try:
        return run(args, admin_url.rstrip("/"))
    except _Refused as error:
        print(f"drimbox : {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="drimbox sandbox dmp", description="Contenu et fautes du simulateur du DMP.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    listing = verbs.add_parser("list", help="documents reçus")
    listing.add_argument("--json", action="store_true", help="sortie JSON")
    listing.add_argument("--all", action="store_true", help="documents de signature aussi")
    get = verbs.add_parser("get", help="un document, son entrée ebRIM ou tout l'échange")
    get.add_argument("uid", help="uniqueId du document")
    what = get.add_mutually_exclusive_group()
    what.add_argument("--metadata", action="store_true", help="son entrée ebRIM, telle que reçue")
    what.add_argument("--exchange", action="store_true", help="tout l'échange, tel qu'il a circulé")
    get.add_argument("--out", type=Path, help="fichier (sinon la sortie standard)")
    kinds = "\n".join(f"  {kind:20} {text}" for kind, text in KINDS.items())
    fault = verbs.add_parser("fault", help="injecter une faute", epilog=f"Genres :\n{kinds}",
                             formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    fault.add_argument("kind", nargs="?", choices=list(KINDS), metavar="GENRE")
    fault.add_argument("--action", default="*", help=f"{', '.join(ACTIONS.values())} ou * (défaut)")
    fault.add_argument("--count", type=int, default=1, help="nombre d'appels touchés")
    fault.add_argument("--seconds", type=float, default=30, help="attente du genre slow")
    fault.add_argument("--list", action="store_true", help="fautes à venir")
    fault.add_argument("--clear", action="store_true", help="retirer toutes les fautes")
    return parser


def _call(method: str, url: str, value: object = None) -> bytes:
    data = None if value is None else json.dumps(value).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    # No proxy: the administration port is on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=TIMEOUT) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            raise _Refused(_message(error.read())) from None
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        raise _Refused(f"le simulateur du DMP ne répond pas ({url}).") from None


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return "refus du simulateur."


def _list(args: argparse.Namespace, base: str) -> int:
    documents: list[dict[str, Any]] = json.loads(_call("GET", f"{base}/documents" + ("?all=1" if args.all else "")))
    if args.json:
        print(json.dumps(documents, ensure_ascii=False, indent=1))
        return 0
    for document in documents:
        codes = " ".join(document["confidentialityCodes"])
        print(f"{document['submittedAt']}  {document['availabilityStatus']:10}  {document['uniqueId']}  {codes}")
    if not documents:
        print("Aucun document.")
    return 0


def _get(args: argparse.Namespace, base: str) -> int:
    part = "/metadata" if args.metadata else "/exchange" if args.exchange else ""
    content = _call("GET", f"{base}/documents/{quote(args.uid, safe='')}{part}")
    if args.out:
        args.out.write_bytes(content)
    else:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    return 0


def _fault(args: argparse.Namespace, base: str) -> int:
    if args.clear:
        _call("DELETE", f"{base}/faults")
    if args.kind:
        wanted = {"kind": args.kind, "action": args.action, "count": args.count, "seconds": args.seconds}
        _call("POST", f"{base}/faults", wanted)
    elif not args.list and not args.clear:
        raise _Refused("un genre de faute, --list ou --clear est attendu.")
    if args.list:
        print(json.dumps(json.loads(_call("GET", f"{base}/faults")), ensure_ascii=False, indent=1))
    return 0
