# SPDX-License-Identifier: AGPL-3.0-or-later
"""Login by Pro Santé Connect: OpenID Connect code flow with PKCE, state and nonce (spec `psc.md`, sections 1 to 5).

The client authenticates by its certificate (``tls_client_auth``, RFC 8705): its identifier goes in the form,
no secret exists.  Tokens stay on the server.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol, cast

import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry

from drimbox.clock import Clock
from drimbox.config import PscSection
from drimbox.errors import DrimboxError, NationalServiceError, ServiceRefused, ServiceUnavailable, TokenError
from drimbox.psc_http import Endpoints
from drimbox.psc_user import PscUser, read_userinfo

LEVELS: Final = ("eidas1", "eidas2", "eidas3")
LARGEST_TOKEN: Final = 16 * 1024  # bytes
LARGEST_CODE: Final = 2048  # characters
PUBLIC: Final = "La connexion par Pro Santé Connect n'a pas abouti. Ouvrez de nouveau le lien du compte rendu."
PUBLIC_DOWN: Final = "Pro Santé Connect ne répond pas. Attendez quelques minutes, puis ouvrez de nouveau le lien."


class EndpointSource(Protocol):
    """Where PSC's addresses come from (`psc_http.Discovery`)."""

    def endpoints(self) -> Endpoints:
        """Give the addresses.  Raises `NationalServiceError`."""
        ...


class KeySource(Protocol):
    """Where PSC's published keys come from (`psc_http.Jwks`)."""

    def key(self, kid: str) -> Mapping[str, Any] | None:
        """Give a JWK by its identifier.  Raises `NationalServiceError`."""
        ...


@dataclass(frozen=True, slots=True)
class LoginStart:
    """A login about to leave: where the browser goes, and what must come back or be sent with the code."""

    url: str = field(repr=False)
    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class PscLogin:
    """A login that succeeded."""

    user: PscUser
    acr: str
    id_token: str = field(repr=False)
    access_token: str = field(repr=False)
    refresh_token: str = field(default="", repr=False)


class PscClient:
    """One registered redirection address at PSC."""

    def __init__(
        self,
        settings: PscSection,
        redirect_uri: str,
        endpoints: EndpointSource,
        keys: KeySource,
        clock: Clock,
        connect: Callable[[], requests.Session] | None = None,
    ) -> None:
        self._settings = settings
        self._redirect_uri = redirect_uri
        self._endpoints = endpoints
        self._keys = keys
        self._clock = clock
        self._connect = connect or self.session

    def session(self) -> OAuth2Session:
        """Make an HTTP session with our certificate and PSC's authorities; it follows no redirection."""
        settings = self._settings
        session = OAuth2Session(
            client_id=settings.client_id,
            token_endpoint_auth_method="none",  # noqa: S106 (RFC 8705: the identifier alone; the certificate proves)
            scope=settings.scope,
            redirect_uri=self._redirect_uri,
            code_challenge_method="S256",
            default_timeout=settings.timeout_seconds,
        )
        session.trust_env = False  # else REQUESTS_CA_BUNDLE would replace the pinned authorities
        session.verify = str(settings.trust_file) if settings.trust_file else True
        if settings.client_certificate and settings.client_key:
            session.cert = (str(settings.client_certificate), str(settings.client_key))
        return session

    def start(self) -> LoginStart:
        """Draw what protects one login and give PSC's address.  Raises `NationalServiceError`."""
        address = self._endpoints.endpoints().authorization
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        with self.session() as session:
            url, _ = session.create_authorization_url(
                address, state=state, code_verifier=verifier, nonce=nonce, acr_values=self._settings.acr
            )
        return LoginStart(url, state, nonce, verifier)

    def finish(self, code: str, nonce: str, verifier: str, issuer: str = "") -> PscLogin:
        """Exchange the code and read who logged in; `issuer` is the one that came back beside it (RFC 9207).

        Raises `TokenError` where what PSC gave does not hold, `NationalServiceError` where PSC fails.
        """
        if not 0 < len(code) <= LARGEST_CODE:
            raise _refused("login-code", "the code is empty or too long")
        if issuer and issuer != self._settings.issuer:
            raise _refused("login-issuer", "the code comes from another issuer")
        endpoints = self._endpoints.endpoints()
        with self._connect() as session:
            tokens = self._exchange(session, endpoints, code, verifier)
            id_token, access_token = tokens.get("id_token"), tokens.get("access_token")
            if not isinstance(id_token, str) or not isinstance(access_token, str):
                raise _refused("login-tokens", "PSC gave no ID token or no access token")
            claims = self._verified(id_token, access_token, nonce)
            user = read_userinfo(self._userinfo(session, endpoints, access_token), str(claims["sub"]))
        refresh = tokens.get("refresh_token")
        return PscLogin(
            user, str(claims["acr"]), id_token, access_token, refresh if isinstance(refresh, str) else ""
        )  # fmt: skip

    def _exchange(
        self, session: requests.Session, endpoints: Endpoints, code: str, verifier: str
    ) -> Mapping[str, Any]:  # fmt: skip
        try:
            tokens = cast(OAuth2Session, session).fetch_token(
                endpoints.token,
                grant_type="authorization_code",
                code=code,
                code_verifier=verifier,
                allow_redirects=False,
            )
        except OAuthError as error:
            if error.error == "invalid_grant":
                raise _refused("login-code", "PSC refuses the code") from error
            raise ServiceRefused(
                f"PSC refuses our client: {str(error.error)[:40]}", scope="configuration", public=PUBLIC
            ) from error
        except (requests.RequestException, OSError) as error:
            raise _down(error) from error
        except ValueError as error:
            raise NationalServiceError("PSC: the token answer is no JSON", public=PUBLIC) from error
        return tokens if isinstance(tokens, Mapping) else {}

    def _userinfo(self, session: requests.Session, endpoints: Endpoints, access_token: str) -> Mapping[str, Any]:
        headers = {"Authorization": f"Bearer {access_token}", "Accept": "application/json"}
        try:
            answer = cast(OAuth2Session, session).get(
                endpoints.userinfo, headers=headers, allow_redirects=False, withhold_token=True
            )
        except (requests.RequestException, OSError) as error:
            raise _down(error) from error
        if answer.status_code >= 500:
            raise ServiceUnavailable(f"PSC: userinfo, HTTP {answer.status_code}", public=PUBLIC_DOWN)
        try:
            claims = answer.json() if answer.status_code == 200 else None
        except ValueError:
            claims = None
        if not isinstance(claims, dict):
            raise NationalServiceError(f"PSC: userinfo, HTTP {answer.status_code}, no JSON object", public=PUBLIC)
        return claims

    def _verified(self, id_token: str, access_token: str, nonce: str) -> Mapping[str, Any]:
        algorithm, claims = self._signed_claims(id_token)
        check_id_token(
            claims,
            algorithm=algorithm,
            issuer=self._settings.issuer,
            client_id=self._settings.client_id,
            nonce=nonce,
            access_token=access_token,
            lowest_acr=self._settings.acr,
            now=self._clock.now(),
            skew_seconds=self._settings.skew_seconds,
        )
        return claims

    def _signed_claims(self, token: str) -> tuple[str, Mapping[str, Any]]:
        """Algorithm and claims of a token signed by one of PSC's published keys.  Raises `TokenError`."""
        if len(token) > LARGEST_TOKEN:
            raise _refused("id-token-malformed", "the ID token is too long")
        algorithms = list(self._settings.algorithms)
        try:
            header = jws.extract_compact(token.encode()).headers()
            kid, algorithm = header.get("kid"), header.get("alg")
            if algorithm not in algorithms:
                raise _refused("id-token-algorithm", "the ID token's algorithm is not accepted")
            key = self._keys.key(kid) if isinstance(kid, str) else None
            if key is None:
                raise _refused("id-token-key", "the ID token's key is not among PSC's")
            # the key is PSC's published one, whatever the header brings along
            signed = jws.deserialize_compact(token, JWKRegistry.import_key(dict(key)), algorithms=algorithms)
            claims = json.loads(signed.payload)
        except DrimboxError:
            raise
        except (JoseError, ValueError, TypeError, RecursionError) as error:
            raise _refused("id-token-signature", f"the ID token does not verify: {type(error).__name__}") from error
        if not isinstance(claims, dict):
            raise _refused("id-token-malformed", "the ID token's claims are no object")
        return str(algorithm), claims


def check_id_token(
    claims: Mapping[str, Any],
    *,
    algorithm: str,
    issuer: str,
    client_id: str,
    nonce: str,
    access_token: str,
    lowest_acr: str,
    now: datetime,
    skew_seconds: float,
) -> None:
    """Check the claims of a verified ID token (OIDC Core 3.1.3.7 and 3.1.3.8).  Pure.

    Raises `TokenError` with the reason ``id-token-`` and the claim's name.
    """
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    instant = now.timestamp()
    expires, issued = _number(claims, "exp"), _number(claims, "iat")
    rules = (
        ("iss", claims.get("iss") == issuer),
        ("aud", client_id in audiences),
        ("azp", claims.get("azp", client_id) == client_id and (len(audiences) == 1 or "azp" in claims)),
        ("exp", expires is not None and instant < expires + skew_seconds),
        ("iat", issued is not None and issued <= instant + skew_seconds),
        ("nonce", _same(claims.get("nonce"), nonce)),
        ("at_hash", _same(claims.get("at_hash"), at_hash(access_token, algorithm))),
        ("acr", _level(claims.get("acr")) >= _level(lowest_acr) >= 0),
        ("sub", isinstance(claims.get("sub"), str) and bool(claims["sub"])),
    )
    for name, holds in rules:
        if not holds:
            raise _refused(f"id-token-{name.replace('_', '-')}", f"claim {name} of the ID token does not hold")


def at_hash(access_token: str, algorithm: str) -> str:
    """Left half of the token's hash, base64url without padding (OIDC Core 3.1.3.6); the hash is the algorithm's."""
    name = {"256": "sha256", "384": "sha384", "512": "sha512"}.get(algorithm[-3:], "sha256")
    digest = hashlib.new(name, access_token.encode("ascii", "replace")).digest()
    return base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()


def _level(acr: object) -> int:
    return LEVELS.index(acr) if isinstance(acr, str) and acr in LEVELS else -1


def _number(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _same(given: object, wanted: str) -> bool:
    return isinstance(given, str) and hmac.compare_digest(given.encode(), wanted.encode())


def _refused(reason: str, detail: str) -> TokenError:
    return TokenError(detail, reason=reason, status=400, public=PUBLIC)


def _down(error: Exception) -> ServiceUnavailable:
    return ServiceUnavailable(f"PSC: {type(error).__name__}", public=PUBLIC_DOWN)
