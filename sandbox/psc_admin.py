# SPDX-License-Identifier: AGPL-3.0-or-later
"""Test handles of the PSC stand-in, on a loopback port of their own: tokens, keys, clock, absence, settings."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from sandbox import psc_pages
from sandbox.common import Answer, App, Request
from sandbox.psc_endpoints import json_answer
from sandbox.psc_jws import CNF_VARIANTS
from sandbox.psc_people import ACR_LEVELS
from sandbox.psc_tokens import Realm, TokenRequest

ABSENCES = ("503", "drop")


@dataclass(slots=True)
class Absence:
    """When and how the service is away; shared by the issuer's and the wallet's ports."""

    now: Callable[[], float]
    until: float = 0.0
    how: str = "503"

    def wrap(self, app: App) -> App:
        """The application, away while it must be."""

        def wrapped(request: Request) -> Answer:
            left = self.until - self.now()
            if left <= 0:
                return app(request)
            if self.how == "drop":
                return Answer(drop=True)
            return Answer(503, b"Service indisponible", headers=(("Retry-After", str(int(left) + 1)),))

        return wrapped


def _certificate(value: str) -> bytes:
    """DER of a certificate given as PEM text or as the path of a PEM file."""
    pem = value.encode() if value.startswith("-----BEGIN") else Path(value).read_bytes()
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


def token_request(content: dict[str, Any]) -> TokenRequest:
    """Read the body of ``POST /tokens``.  Raises ValueError."""
    values = dict(content)
    certificate = values.pop("cnf_certificate", None)
    known = {"person", "kind", "acr", "lifetime", "client_id", "scope", "cnf"}
    if set(values) - known:
        raise ValueError(f"champs inconnus : {', '.join(sorted(set(values) - known))}")
    values = {name: value for name, value in values.items() if value is not None}
    made = TokenRequest(**values, certificate=_certificate(certificate) if certificate else None)
    if (made.acr and made.acr not in ACR_LEVELS) or (made.cnf and made.cnf not in CNF_VARIANTS):
        raise ValueError("niveau ou variante de cnf inconnu")
    if isinstance(made.lifetime, bool) or not isinstance(made.lifetime, int | float) or made.lifetime < 0:
        raise ValueError("durée : nombre de secondes attendu")
    return made


@dataclass(slots=True)
class Admin:
    """Application of the loopback port."""

    realm: Realm
    absence: Absence
    _posts: dict[str, Callable[[dict[str, Any]], object]] = field(init=False)

    def __post_init__(self) -> None:
        """Table of the handles."""
        self._posts = {
            "/tokens": lambda c: {"access_token": self.realm.forge(token_request(c))},
            "/rotate-keys": lambda c: {"kid": self.realm.rotate(float(c.get("hidden_seconds", 0)))},
            "/clock-skew": self._skew,
            "/unavailable": self._unavailable,
            "/settings": self._settings,
        }

    def __call__(self, request: Request) -> Answer:
        """Route one request; a browser's cross-site request carries an Origin and is refused."""
        if request.method == "GET" and request.path == "/":
            body = psc_pages.index(self.realm.people, self.realm.issuer)
            return Answer(200, body, "text/html; charset=utf-8", psc_pages.HEADERS)
        if request.method == "GET" and request.path == "/people":
            return json_answer(200, [asdict(person) for person in self.realm.people])
        handle = self._posts.get(request.path)
        if handle is None or request.method != "POST":
            return json_answer(404, {"error": "inconnu"})
        if request.header("Origin"):
            return json_answer(403, {"error": "réservé aux programmes"})
        try:
            content = json.loads(request.body or b"{}")
            if not isinstance(content, dict):
                raise TypeError("objet JSON attendu")
            return json_answer(200, handle(content))
        except (ValueError, TypeError, OSError) as error:
            return json_answer(400, {"error": str(error)})

    def _skew(self, content: dict[str, Any]) -> object:
        self.realm.skew = float(content.get("seconds", 0))
        return {"seconds": self.realm.skew}

    def _unavailable(self, content: dict[str, Any]) -> object:
        seconds, how = float(content.get("seconds", 0)), content.get("how", "503")
        if how not in ABSENCES:
            raise ValueError(f"how : {' ou '.join(ABSENCES)}")
        self.absence.until, self.absence.how = self.absence.now() + seconds, how
        return {"seconds": seconds, "how": how}

    def _settings(self, content: dict[str, Any]) -> object:
        values = dict(content)
        levels = values.pop("acr", {})
        changed = self.realm.settings.changed(values)
        self.realm.set_acr(levels)
        self.realm.settings = changed
        return {**asdict(changed), "acr": {p.id: p.acr for p in self.realm.people}}
