# SPDX-License-Identifier: AGPL-3.0-or-later
"""The sandbox's throw-away PKI: an imitation of IGC-Santé and of a public authority, in PEM files.

Everything is made at once, in memory, then written; a folder that is complete, asked with the same parameters
and valid for thirty days more is left alone.  Never use these certificates elsewhere.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from sandbox.pki_certs import (
    CLIENT,
    EMAIL,
    SERVER,
    Authority,
    Leaf,
    authority_name,
    key_pem,
    make_authority,
    make_crl,
    make_leaf,
    new_key,
    organisation_name,
    pem,
)  # fmt: skip

DEFAULT_STRUCTURE_ID = "1750803447"
DEFAULT_STRUCTURE_NAME = "CENTRE DE RADIOLOGIE DU BAC A SABLE"
PEER_HOST = "db2.sandbox.test"
WHITELIST_STRUCTURE_ID = "318751275100020"
MARGIN = timedelta(days=30)
LOCAL_HOSTS = ("localhost", "127.0.0.1")
STATE_FILE = "pki.json"
VERSION = 1

IGC_LEAVES = (
    "structure-auth", "structure-sign", "dmp-server", "psc-server", "publisher-server", "db-server", "peer", "unlisted",
    "expired", "revoked", "psc-client", "whitelist-signer",
)  # fmt: skip
LEAVES = (*IGC_LEAVES, "foreign", "public-server")
BUNDLES = (
    "igc-root.pem", "igc-intermediate.pem", "igc-ca.pem", "public-root.pem", "public-ca.pem", "foreign-ca.pem",
    "crl.der", "crl.pem", "root-crl.pem", "crl-bundle.pem",
)  # fmt: skip


@dataclass(frozen=True)
class Wanted:
    """Parameters of a PKI, kept beside it."""

    hosts: tuple[str, ...]
    structure_id: str
    structure_name: str
    crl_url: str | None

    def text(self) -> str:
        """Stable JSON for comparison."""
        fields = {"version": VERSION, "hosts": self.hosts, "structure_id": self.structure_id,
                  "structure_name": self.structure_name, "crl_url": self.crl_url}  # fmt: skip
        return json.dumps(fields, ensure_ascii=False, sort_keys=True)


def make_pki(folder: Path, *, hosts: Sequence[str] = ("localhost",), structure_id: str = DEFAULT_STRUCTURE_ID,
             structure_name: str = DEFAULT_STRUCTURE_NAME, now: datetime | None = None,
             crl_url: str | None = None) -> None:  # fmt: skip
    """Write the whole PKI into ``folder`` (made if missing).

    ``hosts``: DNS names or addresses of our faces and stand-ins, put in every server certificate beside localhost;
    the first is the CN of ``db-server``.  ``crl_url``: distribution point named in the leaves of the imitated
    IGC-Santé.  Safe to call from several processes.
    """
    wanted = Wanted(tuple(hosts), structure_id, structure_name, crl_url)
    instant = now or datetime.now(UTC)
    with _locked(folder):
        if is_current(folder, wanted, instant):
            return
        for name, content in _build(wanted, instant).items():
            _write(folder / name, content)


def is_current(folder: Path, wanted: Wanted, now: datetime) -> bool:
    """Tell whether the folder is complete, made for these parameters, and good for thirty more days."""
    try:
        if (folder / STATE_FILE).read_text("utf-8") != wanted.text():
            return False
        if not all((folder / name).is_file() for name in BUNDLES):
            return False
        crl = x509.load_der_x509_crl((folder / "crl.der").read_bytes())
        if crl.next_update_utc is None or crl.next_update_utc < now + MARGIN:
            return False
        return all(_leaf_is_good(folder, name, now) for name in LEAVES)
    except (OSError, ValueError):
        return False


def _leaf_is_good(folder: Path, name: str, now: datetime) -> bool:
    cert = x509.load_pem_x509_certificate((folder / f"{name}.pem").read_bytes())
    key = serialization.load_pem_private_key(
        (folder / f"{name}.key").read_bytes(), None, unsafe_skip_rsa_key_validation=True
    )
    fits = isinstance(key, rsa.RSAPrivateKey) and key.public_key() == cert.public_key()
    return fits and (name == "expired" or cert.not_valid_after_utc > now + MARGIN)


def paths(folder: Path) -> dict[str, Any]:
    """Where everything is: ``{"peer": {"cert", "key"}, …, "ca": path of igc-ca.pem, …}`` (absolute paths)."""
    base = folder.absolute()
    out: dict[str, Any] = {
        name: {"cert": str(base / f"{name}.pem"), "key": str(base / f"{name}.key")} for name in LEAVES
    }
    out["ca"] = str(base / "igc-ca.pem")
    out |= {name.removesuffix(".pem"): str(base / name) for name in BUNDLES if name.endswith(".pem")}
    return {**out, "crl-der": str(base / "crl.der"), "folder": str(base)}


def _leaves(wanted: Wanted) -> Mapping[str, Leaf]:
    """Every leaf of the imitated IGC-Santé, with the foreign one (another authority, the peer's own name)."""
    hosts = (*wanted.hosts, *LOCAL_HOSTS)
    number, organisation = wanted.structure_id, wanted.structure_name
    structure = organisation_name(organisation, number, organisation)
    agency = "AGENCE DU NUMERIQUE EN SANTE (BAC A SABLE)"
    peer = organisation_name(PEER_HOST, "318999999900017", "HÔPITAL D'ESSAI", "Côte-d'Or (21)")

    def other(host: str, structure_id: str) -> x509.Name:
        return organisation_name(host, structure_id, "CLINIQUE D'ESSAI")

    def stand_in(host: str) -> Leaf:
        return Leaf(organisation_name(host, WHITELIST_STRUCTURE_ID, agency), (SERVER,), (host, *hosts))

    both = (SERVER, CLIENT)
    return {
        "structure-auth": Leaf(structure, (CLIENT,)),
        "structure-sign": Leaf(structure, (EMAIL,), non_repudiation=True),
        "dmp-server": stand_in("dmp.sandbox.test"),
        "psc-server": stand_in("psc.sandbox.test"),
        "publisher-server": stand_in("publisher.sandbox.test"),
        "db-server": Leaf(organisation_name(wanted.hosts[0], number, organisation), both, hosts),
        "peer": Leaf(peer, both, (PEER_HOST, *hosts)),
        "unlisted": Leaf(other("db3.sandbox.test", "318999999900025"), both, ("db3.sandbox.test", *hosts)),
        "expired": Leaf(
            other("db4.sandbox.test", "318999999900033"), both, ("db4.sandbox.test", *hosts), begin=-800, end=-40
        ),
        "revoked": Leaf(other("db5.sandbox.test", "318999999900041"), both, ("db5.sandbox.test", *hosts)),
        "psc-client": Leaf(organisation_name("drimbox-bac-a-sable", number, organisation), (CLIENT,)),
        "whitelist-signer": Leaf(
            organisation_name("Liste Blanche DRIM-M", WHITELIST_STRUCTURE_ID, agency), (EMAIL,), non_repudiation=True
        ),
        "foreign": Leaf(peer, both, (PEER_HOST, *hosts)),
    }


def _build(wanted: Wanted, now: datetime) -> dict[str, bytes]:
    """Every file's content, the state file last."""
    names = [*LEAVES, "igc-root", "igc-intermediate", "public-root", "foreign-ca"]
    with ThreadPoolExecutor(4) as pool:
        keys = dict(zip(names, pool.map(lambda _: new_key(), names), strict=True))
    unit = "0002 000000000"
    root = make_authority(
        authority_name("BAC A SABLE AC RACINE IGC-SANTE ELEMENTAIRE", unit=unit), keys["igc-root"], now
    )
    igc = make_authority(
        authority_name("BAC A SABLE AC IGC-SANTE ELEMENTAIRE ORGANISATIONS", unit=unit),
        keys["igc-intermediate"], now, root,
    )  # fmt: skip
    public = make_authority(authority_name("Bac a sable, autorite publique imitee"), keys["public-root"], now)
    # The same names as the imitated IGC: only the key tells them apart.
    foreign = make_authority(igc.cert.subject, keys["foreign-ca"], now)
    out: dict[str, bytes] = {}
    made: dict[str, x509.Certificate] = {}

    def add(name: str, leaf: Leaf, issuer: Authority, crl: str | None) -> None:
        made[name] = make_leaf(leaf, keys[name], issuer, now, crl)
        out[f"{name}.pem"] = pem(made[name], *(issuer.chain or (issuer.cert,)))
        out[f"{name}.key"] = key_pem(keys[name])

    for name, leaf in _leaves(wanted).items():
        add(name, leaf, foreign if name == "foreign" else igc, wanted.crl_url)
    subject = authority_name(wanted.hosts[0], wanted.structure_name)
    add("public-server", Leaf(subject, (SERVER,), (*wanted.hosts, *LOCAL_HOSTS), end=390), public, None)
    crl = make_crl(igc, [made["revoked"]], now)
    out |= {
        "igc-root.pem": pem(root.cert),
        "igc-intermediate.pem": pem(igc.cert),
        "igc-ca.pem": pem(igc.cert, root.cert),
        "public-root.pem": pem(public.cert),
        "public-ca.pem": pem(public.cert),
        "foreign-ca.pem": pem(foreign.cert),
        "crl.der": crl.public_bytes(serialization.Encoding.DER),
        "crl.pem": crl.public_bytes(serialization.Encoding.PEM),
        "root-crl.pem": make_crl(root, [], now).public_bytes(serialization.Encoding.PEM),
    }
    out["crl-bundle.pem"] = out["crl.pem"] + out["root-crl.pem"]
    return {**out, STATE_FILE: wanted.text().encode()}


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; keys for the owner only."""
    work = path.with_name(path.name + ".new")
    work.unlink(missing_ok=True)
    handle = os.open(work, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if path.suffix == ".key" else 0o644)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    work.replace(path)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
