# SPDX-License-Identifier: AGPL-3.0-or-later
"""The issuer's endpoints of the PSC stand-in: discovery, keys, token, userinfo, introspection, revocation, logout.

Paths: spec `psc.md`, section 1.  No CORS header on purpose.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from sandbox import psc_pages
from sandbox.common import Answer, Request
from sandbox.psc_clients import SCOPES, Client, OAuthError, authenticate
from sandbox.psc_people import ACR_LEVELS
from sandbox.psc_tokens import Realm

REALM_PATH = "/auth/realms/esante-wallet"
DISCOVERY = f"{REALM_PATH}/.well-known/wallet-openid-configuration"
CONNECT = f"{REALM_PATH}/protocol/openid-connect"
NO_STORE = (("Cache-Control", "no-store"), ("Pragma", "no-cache"))


def json_answer(status: int, content: object, headers: tuple[tuple[str, str], ...] = NO_STORE) -> Answer:
    """An answer in JSON, never cached."""
    body = json.dumps(content, ensure_ascii=False).encode()
    return Answer(status, body, "application/json; charset=utf-8", headers)


def discovery(issuer: str, authorization: str) -> dict[str, Any]:
    """The provider's metadata (OpenID Connect Discovery 1.0, RFC 8414, RFC 8705)."""
    connect = f"{issuer}/protocol/openid-connect"
    endpoints = {
        "token_endpoint": f"{connect}/token",
        "introspection_endpoint": f"{connect}/token/introspect",
        "userinfo_endpoint": f"{connect}/userinfo",
        "end_session_endpoint": f"{connect}/logout",
        "revocation_endpoint": f"{connect}/revoke",
    }
    ways = ["client_secret_basic", "client_secret_post", "tls_client_auth"]
    return {
        "issuer": issuer,
        "authorization_endpoint": authorization,
        **endpoints,
        "jwks_uri": f"{connect}/certs",
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "code_challenge_methods_supported": ["S256"],
        "acr_values_supported": list(ACR_LEVELS),
        "scopes_supported": sorted(SCOPES),
        "token_endpoint_auth_methods_supported": ways,
        "introspection_endpoint_auth_methods_supported": ways,
        "revocation_endpoint_auth_methods_supported": ways,
        "claims_parameter_supported": False,
        "request_parameter_supported": False,
        "tls_client_certificate_bound_access_tokens": True,
        "authorization_response_iss_parameter_supported": True,
        "mtls_endpoint_aliases": endpoints,
    }


class Issuer:
    """Application of the issuer's port."""

    def __init__(self, realm: Realm, authorization_endpoint: str) -> None:
        self._realm = realm
        self._metadata = discovery(realm.issuer, authorization_endpoint)
        self._routes: Mapping[tuple[str, str], Callable[[Request], Answer]] = {
            ("GET", DISCOVERY): lambda _: json_answer(200, self._metadata),
            ("GET", f"{CONNECT}/certs"): lambda _: json_answer(200, self._realm.jwks()),
            ("POST", f"{CONNECT}/token"): self._token,
            ("POST", f"{CONNECT}/token/introspect"): self._introspect,
            ("GET", f"{CONNECT}/userinfo"): self._userinfo,
            ("POST", f"{CONNECT}/userinfo"): self._userinfo,
            ("POST", f"{CONNECT}/revoke"): self._revoke,
            ("GET", f"{CONNECT}/logout"): self._logout,
            ("POST", f"{CONNECT}/logout"): self._logout,
        }

    def __call__(self, request: Request) -> Answer:
        """Route one request."""
        route = self._routes.get((request.method, request.path))
        if route is None:
            methods = sorted(m for m, path in self._routes if path == request.path)
            if methods:
                return Answer(405, headers=(("Allow", ", ".join(methods)),))
            return json_answer(404, {"error": "not_found"})
        try:
            return route(request)
        except OAuthError as error:
            headers = (
                (*NO_STORE, ("WWW-Authenticate", 'Basic realm="esante-wallet"')) if error.status == 401 else NO_STORE
            )
            return json_answer(error.status, {"error": error.error, "error_description": error.description}, headers)

    def _form(self, request: Request) -> dict[str, str]:
        """The form's fields, each once, form-encoded (RFC 6749 section 3.2)."""
        if request.header("Content-Type").split(";")[0].strip().lower() != "application/x-www-form-urlencoded":
            raise OAuthError("invalid_request", "formulaire attendu")
        pairs = request.form()
        fields = dict(pairs)
        if len(fields) != len(pairs):
            raise OAuthError("invalid_request", "paramètre répété")
        return fields

    def _client(self, request: Request, form: Mapping[str, str]) -> Client:
        return authenticate(self._realm.clients, form, request.header("Authorization"), request.peer)

    def _token(self, request: Request) -> Answer:
        form = self._form(request)
        client = self._client(request, form)
        grant = form.get("grant_type")
        if grant == "authorization_code":
            made = self._realm.redeem(
                client, form.get("code", ""), form.get("redirect_uri", ""), form.get("code_verifier", ""), request.peer
            )
        elif grant == "refresh_token":
            made = self._realm.refresh(client, form.get("refresh_token", ""), request.peer)
        else:
            raise OAuthError("unsupported_grant_type", str(grant))
        return json_answer(200, made)

    def _introspect(self, request: Request) -> Answer:
        form = self._form(request)
        client = self._client(request, form)
        if not form.get("token"):
            raise OAuthError("invalid_request", "token absent")
        return json_answer(200, self._realm.introspect(client, form["token"]))

    def _userinfo(self, request: Request) -> Answer:
        kind, _, token = request.header("Authorization").partition(" ")
        claims = self._realm.userinfo(token.strip()) if kind.lower() == "bearer" else None
        if claims is None:
            challenge = ("WWW-Authenticate", 'Bearer realm="esante-wallet", error="invalid_token"')
            return json_answer(401, {"error": "invalid_token"}, (*NO_STORE, challenge))
        return json_answer(200, claims)

    def _revoke(self, request: Request) -> Answer:
        form = self._form(request)
        self._realm.revoke(self._client(request, form), form.get("token", ""))
        return Answer(200, headers=NO_STORE)

    def _logout(self, request: Request) -> Answer:
        """RP-initiated logout (OpenID Connect RP-Initiated Logout 1.0)."""
        values = dict(request.query if request.method == "GET" else request.form())
        client = self._realm.logout(values.get("id_token_hint", ""))
        target = values.get("post_logout_redirect_uri")
        if target is None:
            return Answer(
                200, psc_pages.message("Déconnexion", "Vous êtes déconnecté."), "text/html; charset=utf-8",
                psc_pages.HEADERS,
            )  # fmt: skip
        if target not in client.post_logout_redirect_uris:
            raise OAuthError("invalid_request", "post_logout_redirect_uri non enregistrée")
        if "state" in values:
            target += ("&" if urlsplit(target).query else "?") + urlencode({"state": values["state"]})
        return Answer(302, headers=(("Location", target), *NO_STORE))
