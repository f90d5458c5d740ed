# SPDX-License-Identifier: AGPL-3.0-or-later
"""The realm of the PSC stand-in: sessions, codes, tokens, introspection, revocation; no HTTP here.

Lifetimes and claims: spec `psc.md`, sections 3, 4 and 6.  Everything is in memory and forgotten when it
ends; one lock guards it all.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from sandbox.psc_clients import Client, OAuthError
from sandbox.psc_jws import CNF_VARIANTS, BadToken, Claims, Key, at_hash, challenge, confirmation, sign, verify
from sandbox.psc_people import PEOPLE, Person, find, with_acr

ACCESS_SECONDS = 120
REFRESH_SECONDS = 1800
CODE_SECONDS = 60
SESSION_SECONDS = 4 * 3600
IDLE_SECONDS = 1800
KEPT_KEYS = 3
MAXIMUM = 5000  # sessions, codes and refused identifiers kept at most; the oldest goes first


@dataclass(frozen=True, slots=True)
class Settings:
    """What the test handles may change."""

    cnf: str = "none"
    cross_client_introspection: bool = True
    access_seconds: int = ACCESS_SECONDS
    refresh_seconds: int = REFRESH_SECONDS
    rotate_refresh: bool = True

    def changed(self, values: Mapping[str, Any]) -> Settings:
        """The same with other values.  Raises ValueError for an unknown name or an unfit value."""
        for name, value in values.items():
            if name not in self.__slots__ or type(value) is not type(getattr(self, name)):
                raise ValueError(f"réglage inconnu ou de mauvais type : {name}")
        made = replace(self, **values)
        if made.cnf not in CNF_VARIANTS or made.access_seconds < 1 or made.refresh_seconds < 1:
            raise ValueError("valeur de réglage hors limites")
        return made


@dataclass(slots=True)
class Session:
    """A login of one person; `refresh` holds the identifiers of the refresh tokens in force, by client."""

    sid: str
    person: Person
    acr: str
    started: float
    used: float
    refresh: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Code:
    session: Session
    client_id: str
    redirect_uri: str
    nonce: str
    challenge: str
    scope: str
    made: float
    used: bool = False


def _bounded(table: dict[str, Any]) -> None:
    while len(table) > MAXIMUM:
        del table[next(iter(table))]


class Realm:
    """Everything that the stand-in knows; `now` gives epoch seconds, the skew is added to it."""

    def __init__(self, issuer: str, clients: Mapping[str, Client], now: Callable[[], float] = time.time) -> None:
        self.issuer, self.clients = issuer, dict(clients)
        self.people: tuple[Person, ...] = PEOPLE
        self.settings = Settings()
        self.skew = 0.0
        self._now = now
        self._lock = threading.RLock()
        self._keys = [Key.make()]
        self._stray = Key.make()
        self._sessions: dict[str, Session] = {}
        self._codes: dict[str, _Code] = {}
        self._refused: dict[str, float] = {}  # jti of revoked or "inactive" tokens, until their end

    def now(self) -> float:
        """Epoch seconds by the stand-in's own clock."""
        return self._now() + self.skew

    @contextmanager
    def _guarded(self) -> Iterator[float]:
        """The lock, with what has ended forgotten first."""
        with self._lock:
            now = self.now()
            for sid in [s.sid for s in self._sessions.values() if not _alive(s, now)]:
                del self._sessions[sid]
            for code in [c for c, x in self._codes.items() if x.made + 10 * CODE_SECONDS < now]:
                del self._codes[code]
            for jti in [j for j, end in self._refused.items() if end < now]:
                del self._refused[jti]
            for table in (self._sessions, self._codes, self._refused):
                _bounded(table)
            yield now

    # --- keys

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """The published keys, newest first; a key still hidden is left out."""
        with self._lock:
            now = self.now()
            return {"keys": [k.jwk() for k in self._keys if k.visible_at <= now]}

    def rotate(self, hidden_seconds: float = 0.0) -> str:
        """Sign with a fresh key from now on, published after `hidden_seconds`; gives its kid."""
        key = Key.make(self.now() + hidden_seconds)
        with self._lock:
            self._keys = [key, *self._keys][:KEPT_KEYS]
        return key.kid

    # --- sessions and codes

    def set_acr(self, levels: dict[str, str]) -> None:
        """Let people reach other levels.  Raises ValueError."""
        self.people = with_acr(self.people, levels)

    def login(self, person: Person, acr: str) -> Session:
        """Open a session."""
        with self._guarded() as now:
            session = Session(str(uuid.uuid4()), person, acr, now, now)
            self._sessions[session.sid] = session
            return session

    def session(self, sid: str) -> Session | None:
        """The session, if it still lives."""
        with self._guarded():
            return self._sessions.get(sid)

    def end_session(self, sid: str) -> None:
        """Close a session: all its tokens become inactive."""
        with self._lock:
            self._sessions.pop(sid, None)

    def issue_code(
        self, session: Session, client: Client, *, redirect_uri: str, nonce: str, challenge: str, scope: str
    ) -> str:
        """An authorization code, good once, for 60 seconds."""
        with self._guarded() as now:
            code = f"{uuid.uuid4()}.{session.sid}.{uuid.uuid4()}"
            self._codes[code] = _Code(session, client.client_id, redirect_uri, nonce, challenge, scope, now)
            session.used = now
            return code

    def redeem(
        self, client: Client, code: str, redirect_uri: str, verifier: str, certificate: bytes | None
    ) -> dict[str, Any]:
        """Tokens for a code (RFC 6749 4.1.3, RFC 7636 4.6); a second use ends the session.  Raises OAuthError."""
        with self._guarded() as now:
            found = self._codes.get(code)
            if found is None or found.client_id != client.client_id:
                raise OAuthError("invalid_grant", "code inconnu")
            if found.used:
                self.end_session(found.session.sid)
                raise OAuthError("invalid_grant", "code déjà utilisé")
            found.used = True
            if found.made + CODE_SECONDS < now or found.session.sid not in self._sessions:
                raise OAuthError("invalid_grant", "code expiré")
            if found.redirect_uri != redirect_uri:
                raise OAuthError("invalid_grant", "redirect_uri différente")
            if not 43 <= len(verifier) <= 128 or challenge(verifier) != found.challenge:
                raise OAuthError("invalid_grant", "PKCE : code_verifier faux")
            return self._grant(found.session, client, found.scope, found.nonce, certificate)

    def refresh(self, client: Client, token: str, certificate: bytes | None) -> dict[str, Any]:
        """Fresh tokens for a refresh token, which is used up.  Raises OAuthError."""
        with self._guarded() as now:
            claims = self._living(token, "Refresh", now)
            if claims is None or claims["azp"] != client.client_id:
                raise OAuthError("invalid_grant", "refresh_token refusé")
            session = self._sessions[claims["sid"]]
            session.used = now
            return self._grant(session, client, claims["scope"], claims.get("nonce", ""), certificate)

    # --- tokens

    def _common(self, session: Session, client_id: str, kind: str, seconds: float, now: float) -> Claims:
        return {
            "exp": int(now + seconds),
            "iat": int(now),
            "jti": str(uuid.uuid4()),
            "iss": self.issuer,
            "sub": session.person.subject,
            "typ": kind,
            "azp": client_id,
            "session_state": session.sid,
            "sid": session.sid,
        }

    def _access(self, session: Session, client_id: str, scope: str, nonce: str, seconds: float, now: float) -> Claims:
        return {
            **self._common(session, client_id, "Bearer", seconds, now),
            "auth_time": int(session.started),
            "nonce": nonce,
            "acr": session.acr,
            "scope": scope,
            "preferred_username": session.person.national_id,
            "SubjectNameID": session.person.national_id,
        }

    def _id_claims(self, session: Session, client_id: str, nonce: str, access: str, now: float) -> Claims:
        return {
            **self._common(session, client_id, "ID", self.settings.access_seconds, now),
            "auth_time": int(session.started),
            "nonce": nonce,
            "acr": session.acr,
            "aud": client_id,
            "at_hash": at_hash(access),
            "preferred_username": session.person.national_id,
            "SubjectNameID": session.person.national_id,
            "given_name": session.person.given,
            "family_name": session.person.family,
        }

    def _grant(
        self, session: Session, client: Client, scope: str, nonce: str, certificate: bytes | None
    ) -> dict[str, Any]:
        now, settings, name = self.now(), self.settings, client.client_id
        access = self._access(session, name, scope, nonce, settings.access_seconds, now)
        if certificate is not None:
            access |= confirmation(settings.cnf, certificate)
        refresh = self._common(session, name, "Refresh", settings.refresh_seconds, now)
        refresh |= {"aud": self.issuer, "scope": scope, "nonce": nonce}
        if settings.rotate_refresh or name not in session.refresh:
            session.refresh[name] = refresh["jti"]
        else:
            refresh["jti"] = session.refresh[name]
        key = self._keys[0]
        text = sign(key, access)
        return {
            "access_token": text,
            "expires_in": settings.access_seconds,
            "refresh_expires_in": settings.refresh_seconds,
            "refresh_token": sign(key, refresh),
            "token_type": "Bearer",
            "id_token": sign(key, self._id_claims(session, name, nonce, text, now)),
            "not-before-policy": 0,
            "session_state": session.sid,
            "scope": scope,
        }

    def _living(self, token: str, kind: str | None, now: float) -> Claims | None:
        """The claims of a token in force of that kind, else None."""
        try:
            claims = verify(token, self._keys)
        except BadToken:
            return None
        session = self._sessions.get(claims.get("sid", ""))
        if session is None or claims["iss"] != self.issuer or claims["jti"] in self._refused:
            return None
        if not claims["iat"] - 1 <= now < claims["exp"] or (kind and claims["typ"] != kind):
            return None
        if claims["typ"] == "Refresh" and session.refresh.get(claims["azp"]) != claims["jti"]:
            return None
        return claims

    def introspect(self, caller: Client, token: str) -> Claims:
        """RFC 7662 as PSC answers it: ``{"active": false}`` or the claims, SubjectNameID for access tokens only."""
        with self._guarded() as now:
            claims = self._living(token, None, now)
            foreign = claims is not None and claims["azp"] != caller.client_id
            if claims is None or claims["typ"] == "ID" or (foreign and not self.settings.cross_client_introspection):
                return {"active": False}
            return {**claims, "active": True, "client_id": claims["azp"], "token_type": claims["typ"]}

    def userinfo(self, token: str) -> Claims | None:
        """What PSC knows of the bearer, or None for a token that is not a living access token."""
        with self._guarded() as now:
            claims = self._living(token, "Bearer", now)
            if claims is None or "openid" not in claims["scope"].split():
                return None
            everything = self._sessions[claims["sid"]].person.userinfo()
            if "scope_all" in claims["scope"].split():
                return everything
            few = ("sub", "SubjectNameID", "preferred_username", "given_name", "family_name")
            return {name: everything[name] for name in few}

    def revoke(self, client: Client, token: str) -> None:
        """RFC 7009: a refresh token takes the session's with it; an unknown token is no error."""
        with self._guarded() as now:
            claims = self._living(token, None, now)
            if claims is None or claims["azp"] != client.client_id:
                return
            if claims["typ"] == "Refresh":
                self.end_session(claims["sid"])
            else:
                self._refused[claims["jti"]] = claims["exp"]

    def logout(self, id_token: str) -> Client:
        """End the session of an ID token, even an expired one; gives its client.  Raises OAuthError."""
        with self._lock:
            try:
                claims = verify(id_token, self._keys)
            except BadToken as error:
                raise OAuthError("invalid_request", "id_token_hint refusé") from error
            client = self.clients.get(claims.get("azp", ""))
            if claims.get("typ") != "ID" or client is None:
                raise OAuthError("invalid_request", "id_token_hint refusé")
            self.end_session(claims["sid"])
            return client

    # --- test handles

    def forge(self, request: TokenRequest) -> str:
        """A token without the login page, good or bad on purpose.  Raises ValueError."""
        person = find(self.people, request.person)
        if person is None or request.kind not in KINDS:
            raise ValueError(f"personne ou sorte inconnue : {request.person}, {request.kind}")
        session = self.login(person, request.acr or person.acr)
        with self._guarded() as now:
            if request.kind in ("refresh", "id"):
                made = self._grant(session, Client(request.client_id), request.scope, "", request.certificate)
                return str(made[f"{request.kind}_token"])
            issued = now - 3600 if request.kind == "expired" else now
            seconds = request.lifetime or self.settings.access_seconds
            claims = self._access(session, request.client_id, request.scope, str(uuid.uuid4()), seconds, issued)
            if request.certificate is not None:
                variant = request.cnf or self.settings.cnf
                claims |= confirmation(variant if variant != "none" else "rfc8705", request.certificate)
            if request.kind == "other-issuer":
                claims["iss"] = "https://autre.example/auth/realms/esante-wallet"
            if request.kind == "inactive":
                self._refused[claims["jti"]] = claims["exp"]
            key = self._stray if request.kind == "wrong-key" else self._keys[0]
            return sign(key, claims, self._keys[0].kid)


KINDS = ("valid", "expired", "wrong-key", "inactive", "other-issuer", "refresh", "id")


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """What `Realm.forge` is asked; empty values mean the person's or the realm's own."""

    person: str = PEOPLE[0].id
    kind: str = "valid"
    acr: str = ""
    lifetime: float = 0.0
    client_id: str = "drimbox-voisine"
    scope: str = "openid scope_all"
    cnf: str = ""
    certificate: bytes | None = None


def _alive(session: Session, now: float) -> bool:
    return now < min(session.started + SESSION_SECONDS, session.used + IDLE_SECONDS)
