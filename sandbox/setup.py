# SPDX-License-Identifier: AGPL-3.0-or-later
"""Prepares a sandboxed instance: throw-away certificates, a site file, the list of stand-ins to run.

``python3 -m sandbox.setup --state DIR --base-port N`` prints JSON: ``{"site", "processes": [{"name", "argv", "ports"}],
"addresses"}``.  What it makes stays in DIR/sandbox, so that a restart keeps certificates and published documents.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sandbox import pki
from sandbox.ports import Ports

HOST = "localhost"
STRUCTURE_ID = "1750803447"
STRUCTURE_NAME = "CENTRE DE RADIOLOGIE DU BAC A SABLE"
PSC_CLIENT = "drimbox-sandbox"
WADO_PATH = "/wado-rs"


def site(ports: Ports, folder: Path) -> dict[str, Any]:
    """Site file of an instance that knows the stand-ins alone."""
    keys = folder / "pki"
    url = f"https://{HOST}"

    def face(port: int, certificate: str, **more: object) -> dict[str, Any]:
        return {
            "Host": HOST,
            "Port": port,
            "Certificate": str(keys / f"{certificate}.pem"),
            "Key": str(keys / f"{certificate}.key"),
            **more,
        }

    issuer = f"{url}:{ports.psc}/auth/realms/esante-wallet"
    return {
        "Authorities": str(keys / "all-ca.pem"),
        "Faces": {
            "Db": face(
                ports.db,
                "db-server",
                ClientAuthorities=str(keys / "igc-ca.pem"),
                Crl=str(keys / "crl-bundle.pem"),
            ),
            "Vi": face(ports.vi, "public-server"),
            "Conso": face(ports.conso, "public-server"),
            "Admin": face(ports.admin, "public-server"),
        },
        "Orthanc": {
            "Name": "DRIMbox (bac à sable)",
            "HttpPort": ports.orthanc,
            "DicomPort": ports.dicom,
            "StableAge": 3,
            # A throw-away archive: whoever knows the port may send images to it.
            "DicomAlwaysAllowStore": True,
            "DicomAlwaysAllowEcho": True,
            "DicomCheckCalledAet": False,
            "DicomCheckModalityHost": False,
        },
        "DrimBox": {
            "Sandbox": True,
            "SiteName": "Centre de radiologie du bac à sable",
            "Mllp": {"Port": ports.mllp},
            "Messages": {"ProcessingIds": ["P", "T", "D"]},
            "Dmp": {
                "Url": f"{url}:{ports.dmp}/si-dmp-server/v2/services/",
                "ClientCertificate": str(keys / "structure-auth.pem"),
                "ClientKey": str(keys / "structure-auth.key"),
                "SignatureCertificate": str(keys / "structure-sign.pem"),
                "SignatureKey": str(keys / "structure-sign.key"),
                "TrustFile": str(keys / "igc-ca.pem"),
                "StructureId": STRUCTURE_ID,
                "StructureName": STRUCTURE_NAME,
                "HomologationNumber": "SANDBOX-0001",
                "SourceId": "1.2.250.1.999.1.1.7898.1",
            },
            "Outbox": {"FirstDelaySeconds": 2, "LongestDelaySeconds": 30, "PollSeconds": 0.5},
            "Wado": {"Root": f"{url}:{ports.db}{WADO_PATH}"},
            "Whitelist": {
                "Url": f"{url}:{ports.publisher}/liste-blanche.xml",
                "TrustFile": str(keys / "igc-root.pem"),
                "TransportTrustFile": str(keys / "igc-ca.pem"),
            },
            "Psc": {
                "Issuer": issuer,
                "ClientId": PSC_CLIENT,
                "ClientCertificate": str(keys / "psc-client.pem"),
                "ClientKey": str(keys / "psc-client.key"),
                "TrustFile": str(keys / "igc-ca.pem"),
            },
            "Viewer": {"PublicUrl": f"{url}:{ports.vi}"},
        },
    }


def processes(ports: Ports, folder: Path) -> list[dict[str, Any]]:
    """The stand-ins: name, command line, ports that open once it is ready."""
    keys = str(folder / "pki")

    def module(name: str, **options: object) -> list[str]:
        argv = [sys.executable, "-m", f"sandbox.{name}", "--pki", keys, "--data", str(folder / name)]
        for key, value in options.items():
            argv += [f"--{key.replace('_', '-')}", str(value)]
        return argv

    return [
        {
            "name": "dmp",
            "argv": module("dmp_server", port=ports.dmp, admin_port=ports.dmp_admin),
            "ports": [ports.dmp, ports.dmp_admin],
        },
        {
            "name": "psc",
            "argv": module(
                "psc_server",
                port=ports.psc,
                wallet_port=ports.psc_wallet,
                admin_port=ports.psc_admin,
                redirect_uri=f"https://{HOST}:{ports.vi}/connexion/psc/retour",
            ),
            "ports": [ports.psc, ports.psc_wallet, ports.psc_admin],
        },
        {
            "name": "publisher",
            "argv": module("whitelist_publisher", port=ports.publisher, http_port=ports.publisher_http),
            "ports": [ports.publisher, ports.publisher_http],
        },
    ]


def prepare(state: Path, base_port: int) -> dict[str, Any]:
    """Make everything that is missing; gives what the supervisor needs."""
    ports, folder = Ports(base_port), state / "sandbox"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    keys = folder / "pki"
    pki.make_pki(
        keys,
        hosts=(HOST,),
        structure_id=STRUCTURE_ID,
        structure_name=STRUCTURE_NAME,
        crl_url=f"http://{HOST}:{ports.publisher_http}/crl.der",
    )
    bundle = b"".join((keys / name).read_bytes() for name in ("igc-ca.pem", "public-ca.pem"))
    (keys / "all-ca.pem").write_bytes(bundle)
    for name in ("dmp_server", "psc_server", "whitelist_publisher"):
        (folder / name).mkdir(exist_ok=True)
    path = folder / "site.json"
    path.write_text(json.dumps(site(ports, folder), indent=2, ensure_ascii=False), "utf-8")
    return {
        "site": str(path),
        "processes": processes(ports, folder),
        "addresses": {
            "dmp": f"http://127.0.0.1:{ports.dmp_admin}/",
            "psc": f"http://127.0.0.1:{ports.psc_admin}/",
            "whitelist": f"https://{HOST}:{ports.publisher}/liste-blanche.xml",
        },
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare and print."""
    parser = argparse.ArgumentParser(prog="sandbox.setup")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--base-port", type=int, required=True)
    args = parser.parse_args(arguments)
    # what the parts print while they prepare must not mix with the description
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    json.dump(prepare(args.state, args.base_port), out)
    out.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
