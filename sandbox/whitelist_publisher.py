# SPDX-License-Identifier: AGPL-3.0-or-later
"""Stand-in of the public place that publishes the white list, and of the authority's revocation lists.

Over TLS ``/liste-blanche.xml``, signed anew whenever ``entries.json`` changes; over plain HTTP, as the real
ones are, ``/crl.der`` and ``/root-crl.der``.  ``entries.json`` may be edited while it runs::

    {"mode": "signed", "entries": [{"identifier": "1", "certificate": "db-server", "name": "…", …}]}

An entry names a certificate of the PKI's folder (its subject gives `dn` and, by its CN, `db`) or gives both.
Modes: ``signed``, ``unsigned``, ``tampered`` (an entry changed after signing), ``garbage``, ``unavailable``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID

from sandbox.common import Answer, Request, banner, refuse_production, serve, server_context
from sandbox.whitelist_sign import Entry, sign_whitelist, subject_dn, unsigned_whitelist

LIST_PATH = "/liste-blanche.xml"
MODES = ("signed", "unsigned", "tampered", "garbage", "unavailable")
DEFAULT_ENTRIES: tuple[dict[str, str], ...] = (
    {"identifier": "1", "certificate": "db-server", "name": "DRIMbox du bac à sable"},
    {"identifier": "2", "certificate": "peer", "vi": "vi2.sandbox.test", "name": "DRIMbox voisine fictive"},
)


@dataclass(frozen=True, slots=True)
class Published:
    """One state of the list: its bytes, when they were made, and the status to answer with."""

    body: bytes
    made_at: datetime
    status: int = 200

    @property
    def etag(self) -> str:
        """Strong validator (RFC 9110 section 8.8.3)."""
        return f'"{hashlib.sha256(self.body).hexdigest()[:32]}"'


def _common_name(certificate: x509.Certificate) -> str:
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""


def entry_of(fields: Mapping[str, str], pki: Path, generated_at: datetime) -> Entry:
    """One entry of ``entries.json``; raises KeyError where neither `dn` nor `certificate` is given."""
    subject = host = ""
    if "certificate" in fields:
        certificate = x509.load_pem_x509_certificate((pki / f"{fields['certificate']}.pem").read_bytes())
        subject, host = subject_dn(certificate), _common_name(certificate)
    updated = fields.get("updated")
    return Entry(
        identifier=fields["identifier"],
        db=fields.get("db", host),
        vi=fields.get("vi", host),
        name=fields.get("name", ""),
        dn=fields["dn"] if "dn" in fields else subject or fields["certificate"],
        contact=fields.get("contact", "support@drimbox.example"),
        updated=datetime.fromisoformat(updated) if updated else generated_at,
    )


def signer(pki: Path) -> tuple[RSAPrivateKey, tuple[x509.Certificate, ...]]:
    """The list's signer: its key, and its chain down to the root as the real list carries it."""
    key = load_pem_private_key((pki / "whitelist-signer.key").read_bytes(), None)
    if not isinstance(key, RSAPrivateKey):
        raise TypeError("the signer's key must be RSA")
    chain = x509.load_pem_x509_certificates((pki / "whitelist-signer.pem").read_bytes())
    root = x509.load_pem_x509_certificate((pki / "igc-root.pem").read_bytes())
    return key, (*chain, *([] if root in chain else [root]))


class Publisher:
    """Gives the current list, made again when ``entries.json`` or the signer changes."""

    def __init__(self, pki: Path, data: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._pki, self._now = pki, now
        self._file = data / "entries.json"
        self._lock = threading.Lock()
        self._made: tuple[object, Published] | None = None
        data.mkdir(parents=True, exist_ok=True)
        if not self._file.exists():
            text = json.dumps({"mode": "signed", "entries": DEFAULT_ENTRIES}, ensure_ascii=False, indent=2)
            self._file.write_text(text + "\n", "utf-8")

    def current(self) -> Published:
        """The list of now.  Raises OSError, ValueError or KeyError where ``entries.json`` is unusable."""
        with self._lock:
            files = (self._file, self._pki / "whitelist-signer.pem")
            mark = tuple((f.stat().st_mtime_ns, f.stat().st_size) for f in files)
            if self._made is None or self._made[0] != mark:
                self._made = (mark, self._make())
            return self._made[1]

    def _make(self) -> Published:
        content = json.loads(self._file.read_text("utf-8"))
        mode = content.get("mode", "signed")
        if mode not in MODES:
            raise ValueError(f"mode inconnu : {mode}")
        generated_at = datetime.fromtimestamp(int(self._file.stat().st_mtime), UTC)
        entries = tuple(entry_of(fields, self._pki, generated_at) for fields in content["entries"])
        made_at = self._now().replace(microsecond=0)
        if mode in ("garbage", "unavailable"):
            body = b"<html>maintenance</html>"
            return Published(body, made_at, 503 if mode == "unavailable" else 200)
        if mode == "unsigned":
            return Published(unsigned_whitelist(entries, generated_at), made_at)
        document = sign_whitelist(entries, *signer(self._pki), generated_at, made_at)
        if mode == "tampered":
            document = document.replace(b"<Denomination>", b"<Denomination>X", 1)
        return Published(document, made_at)


def _unchanged(request: Request, published: Published) -> bool:
    """Whether the caller's copy is current (RFC 9110 section 13.2.2: If-None-Match rules)."""
    known = request.header("If-None-Match")
    if known:
        tags = {tag.strip().removeprefix("W/") for tag in known.split(",")}
        return "*" in tags or published.etag in tags
    since = request.header("If-Modified-Since")
    try:
        return bool(since) and parsedate_to_datetime(since) >= published.made_at
    except (ValueError, TypeError):
        return False


def list_app(publisher: Publisher) -> Callable[[Request], Answer]:
    """Application of the TLS port."""

    def app(request: Request) -> Answer:
        if request.path != LIST_PATH:
            return Answer(404, b"Rien ici : simulateur de publication de la liste blanche.")
        if request.method not in ("GET", "HEAD"):
            return Answer(405, headers=(("Allow", "GET, HEAD"),))
        published = publisher.current()
        if published.status != 200:
            return Answer(published.status, published.body, headers=(("Retry-After", "60"),))
        headers = (("ETag", published.etag), ("Last-Modified", format_datetime(published.made_at, usegmt=True)))
        if _unchanged(request, published):
            return Answer(304, headers=headers)
        return Answer(200, published.body, "application/xml", headers)

    return app


def crl_app(pki: Path) -> Callable[[Request], Answer]:
    """Application of the plain HTTP port: the revocation lists in DER."""

    def app(request: Request) -> Answer:
        if request.path == "/crl.der":
            body = (pki / "crl.der").read_bytes()
        elif request.path == "/root-crl.der":
            body = x509.load_pem_x509_crl((pki / "root-crl.pem").read_bytes()).public_bytes(Encoding.DER)
        else:
            return Answer(404)
        if request.method not in ("GET", "HEAD"):
            return Answer(405, headers=(("Allow", "GET, HEAD"),))
        return Answer(200, body, "application/pkix-crl")

    return app


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="whitelist-publisher", description="SIMULATEUR de la publication de la liste blanche DRIM-M"
    )
    parser.add_argument("--pki", type=Path, required=True, help="dossier des certificats jetables")
    parser.add_argument("--data", type=Path, help="dossier de entries.json (par défaut celui des certificats)")
    parser.add_argument("--host", default="localhost", help="nom sous lequel le service répond")
    parser.add_argument("--bind", default="127.0.0.1", help="adresse d'écoute")
    parser.add_argument("--port", type=int, default=0, help="port TLS de la liste")
    parser.add_argument("--http-port", type=int, default=0, help="port HTTP des listes de révocation")
    parser.add_argument("--write", type=Path, metavar="FICHIER", help="écrire une liste signée et s'arrêter")
    return parser


def main(argv: Sequence[str]) -> int:
    """Publish until SIGTERM or SIGINT, or write one list."""
    args = _parser().parse_args(list(argv))
    refuse_production(args.host)
    publisher = Publisher(args.pki, args.data or args.pki)
    if args.write is not None:
        args.write.write_bytes(publisher.current().body)
        return 0
    publisher.current()
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    context = server_context(args.pki / "publisher-server.pem", args.pki / "publisher-server.key")
    tls = serve(list_app(publisher), host=args.bind, port=args.port, context=context)
    plain = serve(crl_app(args.pki), host=args.bind, port=args.http_port)
    where = (f"https://{args.host}:{tls.port}{LIST_PATH}", f"http://{args.host}:{plain.port}/crl.der")
    print(banner("LISTE BLANCHE DRIM-M", *where), flush=True)
    stopped.wait()
    tls.stop()
    plain.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
