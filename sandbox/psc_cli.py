# SPDX-License-Identifier: AGPL-3.0-or-later
"""``sandbox psc …``: tokens of fictitious professionals and test handles of the running PSC stand-in."""

from __future__ import annotations

import argparse
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

BAD_KINDS = ("expired", "wrong-key", "inactive", "other-issuer", "refresh", "id")


class HandleRefused(Exception):
    """The stand-in refused, or is not there."""


def call(admin_url: str, path: str, content: dict[str, Any] | None = None) -> Any:
    """One call of a test handle: POST where `content` is given.  Raises HandleRefused."""
    body = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(
        admin_url.rstrip("/") + path, body, {"Content-Type": "application/json"} if body else {}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            raise HandleRefused(error.read().decode("utf-8", "replace")) from error
    except (OSError, ValueError) as error:
        raise HandleRefused(f"le PSC simulé ne répond pas ({error})") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="drimbox sandbox psc", description="Pro Santé Connect simulé")
    verbs = parser.add_subparsers(dest="verb", required=True)
    token = verbs.add_parser("token", help="un jeton d'accès d'un professionnel fictif")
    token.add_argument("--person", default="radiologue")
    kinds = token.add_mutually_exclusive_group()
    for kind in BAD_KINDS:
        kinds.add_argument(f"--{kind}", dest="kind", action="store_const", const=kind, default="valid")
    token.add_argument("--acr", choices=["eidas1", "eidas2", "eidas3"])
    token.add_argument("--lifetime", type=float, help="secondes")
    token.add_argument("--client-id")
    token.add_argument("--cnf-certificate", help="fichier PEM auquel le jeton est lié")
    token.add_argument("--cnf", choices=["rfc8705", "hex-base64"])
    token.add_argument("--json", action="store_true")
    people = verbs.add_parser("people", help="les professionnels fictifs")
    people.add_argument("--json", action="store_true")
    rotate = verbs.add_parser("rotate-keys", help="changer la clé de signature")
    rotate.add_argument("--hidden", type=float, default=0.0, metavar="SECONDES")
    skew = verbs.add_parser("clock-skew", help="décaler l'horloge")
    skew.add_argument("seconds", type=float)
    away = verbs.add_parser("unavailable", help="rendre le service indisponible")
    away.add_argument("seconds", type=float)
    away.add_argument("--how", choices=["503", "drop"], default="503")
    return parser


def _token(args: argparse.Namespace, admin_url: str) -> None:
    asked = {
        "person": args.person,
        "kind": args.kind,
        "acr": args.acr,
        "lifetime": args.lifetime,
        "client_id": args.client_id,
        "cnf": args.cnf,
        "cnf_certificate": args.cnf_certificate,
    }
    made = call(admin_url, "/tokens", {name: value for name, value in asked.items() if value is not None})
    print(json.dumps(made) if args.json else made["access_token"])


def _run(args: argparse.Namespace, admin_url: str) -> None:
    if args.verb == "token":
        _token(args, admin_url)
    elif args.verb == "people":
        people = call(admin_url, "/people")
        lines = [f"{p['id']:16} {p['given']} {p['family']} - {p['label']}" for p in people]
        print(json.dumps(people, ensure_ascii=False) if args.json else "\n".join(lines))
    elif args.verb == "rotate-keys":
        print(call(admin_url, "/rotate-keys", {"hidden_seconds": args.hidden})["kid"])
    elif args.verb == "clock-skew":
        print(call(admin_url, "/clock-skew", {"seconds": args.seconds})["seconds"])
    else:
        print(call(admin_url, "/unavailable", {"seconds": args.seconds, "how": args.how})["how"])


def main(argv: Sequence[str], admin_url: str) -> int:
    """Run one verb; 1 where the stand-in refuses."""
    args = _parser().parse_args(list(argv))
    try:
        _run(args, admin_url)
    except HandleRefused as error:
        print(f"psc : {error}", file=sys.stderr)
        return 1
    return 0
