# SPDX-License-Identifier: AGPL-3.0-or-later
"""Stand-in of Pro Santé Connect: issuer, wallet (login page) on another port, test handles on a third.

``python -m sandbox.psc_server --port P --wallet-port Q --pki DIR --data DIR --redirect-uri URI``
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sandbox.common import Answer, Request, Server, banner, refuse_production, serve, server_context
from sandbox.psc_admin import Absence, Admin
from sandbox.psc_clients import load, subject_of
from sandbox.psc_endpoints import REALM_PATH, Issuer
from sandbox.psc_tokens import Realm
from sandbox.psc_wallet import Wallet


@dataclass(frozen=True, slots=True)
class Options:
    """Where it listens and what it starts from; a port 0 takes a free one, an `admin_port` of None opens none."""

    pki: Path
    data: Path
    host: str = "localhost"
    bind: str = "127.0.0.1"
    port: int = 0
    wallet_port: int = 0
    admin_port: int | None = None
    redirect_uris: tuple[str, ...] = ()
    post_logout_redirect_uris: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Running:
    """A started stand-in."""

    realm: Realm
    issuer: str
    authorization_endpoint: str
    admin_url: str
    servers: tuple[Server, ...]

    def stop(self) -> None:
        """Close every port; each takes a moment to see it, so all are told at once."""
        with ThreadPoolExecutor(len(self.servers)) as pool:
            list(pool.map(Server.stop, self.servers))


def _starting(_: Request) -> Answer:
    return Answer(503, b"", headers=(("Retry-After", "1"),))


def start(options: Options, now: Callable[[], float] = time.time) -> Running:
    """Bind and serve.  Raises ProductionName for a national host name, OSError for a port that is taken."""
    refuse_production(options.host, *options.redirect_uris, *options.post_logout_redirect_uris)
    options.data.mkdir(parents=True, exist_ok=True)
    certificate, key = options.pki / "psc-server.pem", options.pki / "psc-server.key"
    # A client certificate is asked for and may be absent: secrets and user browsers come here too.
    asking = server_context(certificate, key, client_ca=options.pki / "igc-ca.pem", client_optional=True)
    issuer_server = serve(_starting, host=options.bind, port=options.port, context=asking)
    wallet_server = serve(
        _starting, host=options.bind, port=options.wallet_port, context=server_context(certificate, key)
    )
    issuer = f"https://{options.host}:{issuer_server.port}{REALM_PATH}"
    authorization = f"https://{options.host}:{wallet_server.port}/auth"
    clients = load(
        options.data / "clients.json", options.redirect_uris,
        subject_of((options.pki / "psc-client.pem").read_bytes()), options.post_logout_redirect_uris,
    )  # fmt: skip
    realm = Realm(issuer, clients, now)
    absence = Absence(now)
    issuer_server.app = absence.wrap(Issuer(realm, authorization))
    wallet_server.app = absence.wrap(Wallet(realm, f"psc_simulateur_{wallet_server.port}"))
    servers, admin_url = [issuer_server, wallet_server], ""
    if options.admin_port is not None:
        admin = serve(Admin(realm, absence), host="127.0.0.1", port=options.admin_port)
        servers.append(admin)
        admin_url = f"http://127.0.0.1:{admin.port}/"
    return Running(realm, issuer, authorization, admin_url, tuple(servers))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="psc-server", description="SIMULATEUR de Pro Santé Connect")
    parser.add_argument("--pki", type=Path, required=True, help="dossier des certificats jetables")
    parser.add_argument("--data", type=Path, required=True, help="dossier de clients.json")
    parser.add_argument("--host", default="localhost", help="nom sous lequel le service répond")
    parser.add_argument("--bind", default="127.0.0.1", help="adresse d'écoute")
    parser.add_argument("--port", type=int, required=True, help="port de l'émetteur")
    parser.add_argument("--wallet-port", type=int, required=True, help="port de la page de connexion")
    parser.add_argument("--admin-port", type=int, help="port local des commandes d'essai (fermé par défaut)")
    parser.add_argument("--redirect-uri", action="append", default=[], help="adresse de retour (répétable)")
    parser.add_argument("--post-logout-redirect-uri", action="append", default=[], help="retour après déconnexion")
    return parser


def main(argv: Sequence[str]) -> int:
    """Serve until SIGTERM or SIGINT."""
    args = _parser().parse_args(list(argv))
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    running = start(
        Options(
            args.pki, args.data, args.host, args.bind, args.port, args.wallet_port, args.admin_port,
            tuple(args.redirect_uri), tuple(args.post_logout_redirect_uri),
        )
    )  # fmt: skip
    lines = (f"émetteur {running.issuer}", f"connexion {running.authorization_endpoint}", running.admin_url)
    print(banner("PRO SANTÉ CONNECT", *filter(None, lines)), flush=True)
    stopped.wait()
    running.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
