# SPDX-License-Identifier: AGPL-3.0-or-later
"""The authorization endpoint of the PSC stand-in: ``/auth`` and its login form, on an address of its own.

OpenID Connect Core 3.1.2, RFC 7636: `state`, `nonce` and PKCE S256 are mandatory here.
"""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlencode, urlsplit, urlunsplit

from sandbox import psc_pages
from sandbox.common import Answer, Request
from sandbox.psc_clients import SCOPES, Client, OAuthError
from sandbox.psc_people import ACR_LEVELS, find, reaches
from sandbox.psc_tokens import Realm, Session

PENDING_SECONDS = 600
PENDING_MAXIMUM = 1000
HTML = "text/html; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Asked:
    """A checked authorization request."""

    client: Client
    redirect_uri: str
    state: str
    nonce: str
    challenge: str
    scope: str
    acr: str
    prompt: str


def _single(pairs: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Parameters as a table; a repeated one is an error (RFC 6749 section 3.1)."""
    table = dict(pairs)
    if len(table) != len(pairs):
        raise OAuthError("invalid_request", "paramètre répété")
    return table


def _redirect(address: str, **parameters: str) -> Answer:
    parts = urlsplit(address)
    query = "&".join(filter(None, (parts.query, urlencode(parameters))))
    target = urlunsplit(parts._replace(query=query))
    return Answer(302, headers=(("Location", target), ("Cache-Control", "no-store")))


def _checked(client: Client, redirect_uri: str, values: Mapping[str, str]) -> Asked:
    """The request's parameters after those that rule where errors go.  Raises OAuthError."""
    if values.get("response_type") != "code":
        raise OAuthError("unsupported_response_type", "seul le code est admis")
    scope = values.get("scope", "").split()
    if "openid" not in scope or not SCOPES.issuperset(scope):
        raise OAuthError("invalid_scope", "scope openid absent, ou scope inconnu")
    if not values.get("state") or not values.get("nonce"):
        raise OAuthError("invalid_request", "state et nonce sont obligatoires")
    challenge = values.get("code_challenge", "")
    if values.get("code_challenge_method") != "S256" or not re.fullmatch(r"[A-Za-z0-9_-]{43}", challenge):
        raise OAuthError("invalid_request", "PKCE S256 est obligatoire")
    levels = values.get("acr_values", "").split()
    if not levels or not set(levels) <= set(ACR_LEVELS):
        raise OAuthError("invalid_request", "acr_values absent ou inconnu")
    wanted = min(levels, key=ACR_LEVELS.index)
    return Asked(
        client, redirect_uri, values["state"], values["nonce"], challenge, " ".join(scope), wanted,
        values.get("prompt", ""),
    )  # fmt: skip


class Wallet:
    """Application of the wallet's port.  `cookie` names the single sign-on cookie."""

    def __init__(self, realm: Realm, cookie: str = "psc_simulateur") -> None:
        self._realm, self._cookie = realm, cookie
        self._lock = threading.Lock()
        self._pending: dict[str, tuple[float, Asked]] = {}

    def __call__(self, request: Request) -> Answer:
        """Route one request."""
        try:
            if request.path == "/auth" and request.method in ("GET", "POST"):
                return self._authorize(request)
            if request.path == "/auth/choix" and request.method == "POST":
                return self._choose(request)
        except OAuthError as error:
            return self._page(error.status, "Demande refusée", error.description)
        return self._page(404, "Page inconnue", "Rien à cette adresse.")

    def _page(self, status: int, title: str, text: str) -> Answer:
        return Answer(status, psc_pages.message(title, text), HTML, psc_pages.HEADERS)

    def _authorize(self, request: Request) -> Answer:
        """Check the request; errors go to the page until client and redirect address are known."""
        values = _single(request.query if request.method == "GET" else request.form())
        client = self._realm.clients.get(values.get("client_id", ""))
        if client is None:
            raise OAuthError("invalid_request", "client_id inconnu")
        redirect_uri = values.get("redirect_uri", "")
        if redirect_uri not in client.redirect_uris:
            raise OAuthError("invalid_request", "redirect_uri non enregistrée")
        try:
            asked = _checked(client, redirect_uri, values)
        except OAuthError as error:
            return self._failed(redirect_uri, values.get("state", ""), error.error, error.description)
        session = self._signed_on(request)
        if session is not None and asked.prompt != "login" and reaches(session.acr, asked.acr):
            return self._granted(asked, session)
        if asked.prompt == "none":
            return self._failed(redirect_uri, asked.state, "login_required", "")
        return self._form(asked)

    def _form(self, asked: Asked) -> Answer:
        ident, now = str(uuid.uuid4()), self._realm.now()
        with self._lock:
            self._pending = {k: v for k, v in self._pending.items() if v[0] + PENDING_SECONDS > now}
            while len(self._pending) >= PENDING_MAXIMUM:
                del self._pending[next(iter(self._pending))]
            self._pending[ident] = (now, asked)
        body = psc_pages.login("/auth/choix", ident, self._realm.people, asked.client.client_id, asked.acr)
        return Answer(200, body, HTML, psc_pages.HEADERS)

    def _choose(self, request: Request) -> Answer:
        values = _single(request.form())
        with self._lock:
            _, asked = self._pending.pop(values.get("request", ""), (0.0, None))
        if asked is None:
            raise OAuthError("invalid_request", "Cette demande de connexion a expiré : recommencez.")
        if "refuse" in values:
            return self._failed(asked.redirect_uri, asked.state, "access_denied", "refus de la personne")
        person = find(self._realm.people, values.get("person", ""))
        level = values.get("acr") or (person.acr if person else "")
        if person is None or level not in ACR_LEVELS:
            raise OAuthError("invalid_request", "personne ou niveau inconnu")
        if not reaches(level, asked.acr):
            return self._failed(asked.redirect_uri, asked.state, "access_denied", "niveau insuffisant")
        return self._granted(asked, self._realm.login(person, level))

    def _granted(self, asked: Asked, session: Session) -> Answer:
        code = self._realm.issue_code(
            session, asked.client, redirect_uri=asked.redirect_uri, nonce=asked.nonce, challenge=asked.challenge,
            scope=asked.scope,
        )  # fmt: skip
        answer = _redirect(
            asked.redirect_uri, state=asked.state, session_state=session.sid, iss=self._realm.issuer, code=code
        )
        cookie = f"{self._cookie}={session.sid}; Path=/auth; Secure; HttpOnly; SameSite=Lax"
        return Answer(answer.status, headers=(*answer.headers, ("Set-Cookie", cookie)))

    def _failed(self, address: str, state: str, error: str, description: str) -> Answer:
        parameters = {"error": error, "error_description": description, "state": state, "iss": self._realm.issuer}
        return _redirect(address, **{name: value for name, value in parameters.items() if value})

    def _signed_on(self, request: Request) -> Session | None:
        try:
            morsel = SimpleCookie(request.header("Cookie")).get(self._cookie)
        except CookieError:
            return None
        return self._realm.session(morsel.value) if morsel is not None else None
