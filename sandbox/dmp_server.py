# SPDX-License-Identifier: AGPL-3.0-or-later
"""The DMP stand-in: ``python -m sandbox.dmp_server --port P --pki DIR --data DIR``.

TLS 1.2 or better with a client certificate of the imitated IGC-Santé (class AUTH_CLI, not revoked); services under
``/si-dmp-server/v2/services/``; an optional administration port on the loopback.
"""

from __future__ import annotations

import argparse
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from sandbox.common import Server, banner, refuse_production, serve, server_context
from sandbox.dmp_app import DmpApp
from sandbox.dmp_codes import PATH_PREFIX
from sandbox.dmp_pages import AdminApp
from sandbox.dmp_store import Store
from sandbox.dmp_trust import SIGNATURES, Trust
from sandbox.dmp_vihf import Rules


@dataclass
class DmpServers:
    """Both ports and the state behind them."""

    app: DmpApp
    national: Server
    admin: Server | None

    @property
    def url(self) -> str:
        """Base address of the services, ending with a slash."""
        return f"https://{self.national.server_name}:{self.national.port}{PATH_PREFIX}"

    @property
    def admin_url(self) -> str:
        """Address of the administration port, empty where there is none."""
        return f"http://{self.admin.server_name}:{self.admin.port}" if self.admin else ""

    def stop(self) -> None:
        """Close both ports and the store."""
        self.national.stop()
        if self.admin:
            self.admin.stop()
        self.app.store.close()


def start(pki: Path, data: Path, *, host: str = "127.0.0.1", port: int = 0, admin_port: int | None = 0,
          rules: Rules | None = None) -> DmpServers:  # fmt: skip
    """Start the stand-in in daemon threads.  ``admin_port`` None: no administration port."""
    refuse_production(host)
    app = DmpApp(Store(data), Trust.load(pki), rules or Rules())
    context = server_context(
        pki / "dmp-server.pem", pki / "dmp-server.key", client_ca=pki / "igc-ca.pem", crl=pki / "crl-bundle.pem"
    )
    national = serve(app, host=host, port=port, context=context)
    national.admit, national.sent = app.faults.admits, app.sent
    admin = serve(AdminApp(app), port=admin_port) if admin_port is not None else None
    return DmpServers(app, national, admin)


def _rules(args: argparse.Namespace) -> Rules:
    def methods(name: str) -> frozenset[str]:
        return frozenset(uri for uri in SIGNATURES if name == "any" or uri.endswith(name))

    versions = frozenset({"3.0", "4.0"}) if args.vihf_version == "any" else frozenset({args.vihf_version})
    tolerance = timedelta(seconds=args.tolerance)
    return Rules(versions, methods(args.vihf_algorithm), methods(args.dsig_algorithm), tolerance)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sandbox.dmp_server", description="Simulateur du DMP (bac à sable).")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--pki", type=Path, required=True, help="dossier des certificats du bac à sable")
    parser.add_argument("--data", type=Path, required=True, help="dossier des données")
    parser.add_argument("--admin-port", type=int, help="port d'administration, sur la boucle locale")
    parser.add_argument("--public-url", default="", help="adresse annoncée (contrôlée : pas de nom de production)")
    parser.add_argument("--vihf-version", choices=("any", "3.0", "4.0"), default="any")
    parser.add_argument("--vihf-algorithm", choices=("any", "sha1", "sha256"), default="any")
    parser.add_argument("--dsig-algorithm", choices=("any", "sha1", "sha256"), default="any")
    parser.add_argument("--tolerance", type=int, default=300, help="écart d'horloge admis, en secondes")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT."""
    args = _parser().parse_args(argv)
    refuse_production(args.host, urlsplit(args.public_url).hostname or "")
    servers = start(args.pki, args.data, host=args.host, port=args.port, admin_port=args.admin_port, rules=_rules(args))
    lines = [f"services : {servers.url}"] + ([f"administration : {servers.admin_url}/"] if servers.admin else [])
    print(banner("DMP", *lines), flush=True)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()
    servers.stop()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
