# SPDX-License-Identifier: AGPL-3.0-or-later
"""Access tokens of Pro Santé Connect, as a DRIMbox serving images must check them (spec `psc.md`, section 9).

First by ourselves: one Bearer, signature by a key of the issuer's own set, claims, level.  Then at PSC by
introspection, which alone knows of revocation; without PSC's answer the door stays shut (503).
Nothing in a token's header chooses where a key comes from.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from jwt.exceptions import PyJWTError

from drimbox.clock import Clock
from drimbox.config import PscSection
from drimbox.errors import NationalServiceError, Refusal, TokenError

MAXIMUM_BYTES: Final = 8 * 1024
LEVELS: Final = ("eidas1", "eidas2", "eidas3")
_SEGMENT: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
# 8 + RPPS, or structure/local identifier
_SUBJECT: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z ._/@-]{0,126}[0-9A-Za-z]", re.ASCII)
_KEY_TYPES: Final = {"RS": "RSA", "PS": "RSA", "ES": "EC"}
_CACHE_SIZE: Final = 2048
# headers that would let a token bring or point at its own key, or change what is signed (RFC 7515, 4.1)
_FORBIDDEN_HEADERS: Final = frozenset({"jwk", "jku", "x5u", "x5c", "crit", "b64", "enc", "zip", "p2c"})


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """What an accepted token says; `jti_hash` may be logged, the token may not."""

    subject: str  # SubjectNameID
    sub: str = field(repr=False)
    azp: str
    acr: str
    expires_at: datetime
    jti_hash: str
    jti: str = field(repr=False)
    cnf: str | None = None  # cnf["x5t#S256"]


class KeySource(Protocol):
    """The issuer's published keys."""

    def key(self, kid: str) -> Mapping[str, Any] | None:
        """Give the JWK of that identifier, or None.  Raises `NationalServiceError`."""
        ...


class Introspection(Protocol):
    """PSC's introspection endpoint (RFC 7662)."""

    def introspect(self, token: str) -> Mapping[str, Any]:
        """Give PSC's answer.  Raises `NationalServiceError` where there is none."""
        ...


class TokenVerifier:
    """Checks tokens; one for the process, used by all threads."""

    def __init__(self, settings: PscSection, keys: KeySource, introspection: Introspection, clock: Clock) -> None:
        self._settings = settings
        self._keys = keys
        self._introspection = introspection
        self._clock = clock
        self._active: OrderedDict[bytes, float] = OrderedDict()
        self._lock = threading.Lock()

    def verify(self, authorization: Sequence[str], certificate: x509.Certificate | None = None) -> TokenClaims:
        """Check the ``Authorization`` values of a request, whole.

        Raises `TokenError` (401) with a ``token-*`` reason, or `Refusal` (503, ``psc-unavailable``).
        """
        token = bearer(authorization)
        try:
            claims = self.check_locally(token)
            self._check_binding(claims, certificate)
            self._check_active(token, claims)
        except NationalServiceError as error:
            raise Refusal(
                f"PSC: {error.reason}",
                reason="psc-unavailable",
                status=503,
                public="Pro Santé Connect ne répond pas : le jeton ne peut être vérifié. Réessayez dans un instant.",
            ) from error
        return claims

    def check_locally(self, token: str) -> TokenClaims:
        """Check signature and claims, given the issuer's keys.  Raises `TokenError`, `NationalServiceError`."""
        segments = token.split(".")
        if len(token) > MAXIMUM_BYTES or len(segments) != 3 or not all(map(_SEGMENT.fullmatch, segments)):
            raise _refused("token-malformed", "not a compact JWS of at most 8 KiB")
        header = _json_object(segments[0])
        algorithm = header.get("alg")
        if algorithm not in self._settings.algorithms or _FORBIDDEN_HEADERS & header.keys():
            raise _refused("token-algorithm", "algorithm not admitted, or a header that we never honour")
        kid = header.get("kid")
        if not isinstance(kid, str) or not 0 < len(kid) <= 256:
            raise _refused("token-key-unknown", "no key identifier")
        key = self._keys.key(kid)
        if key is None:
            raise _refused("token-key-unknown", "the issuer publishes no such key")
        _check_signature(token, str(algorithm), key)
        return self._check_claims(_json_object(segments[1]))

    def _check_claims(self, claims: Mapping[str, Any]) -> TokenClaims:
        now = self._clock.now().timestamp()
        settings = self._settings
        if claims.get("iss") != settings.issuer or not settings.issuer:
            raise _refused("token-issuer", "another issuer")
        if claims.get("typ") != "Bearer":
            raise _refused("token-type", "not an access token")
        issued, expires = _instant(claims, "iat"), _instant(claims, "exp")
        starts = _instant(claims, "nbf") if "nbf" in claims else issued
        if expires <= now - settings.skew_seconds:
            raise _refused("token-expired", "past its end")
        if max(issued, starts) > now + settings.skew_seconds:
            raise _refused("token-not-yet-valid", "before its begin")
        if not 0 < expires - issued <= settings.longest_token_seconds:
            raise _refused("token-lifetime", "claims a life longer than any that PSC gives")
        acr = claims.get("acr")
        if acr not in LEVELS or LEVELS.index(acr) < LEVELS.index(settings.acr):
            raise _refused("token-level", "level of authentication too low or unknown")
        scopes = str(claims.get("scope", "")).split()
        if not set(settings.token_scopes) <= set(scopes):
            raise _refused("token-scope", "a required scope is absent")
        return TokenClaims(
            subject=_text(claims, "SubjectNameID", _SUBJECT),
            sub=_text(claims, "sub"),
            azp=_text(claims, "azp"),
            acr=acr,
            expires_at=datetime.fromtimestamp(0, UTC) + timedelta(seconds=expires),
            jti_hash=hashlib.sha256(_text(claims, "jti").encode()).hexdigest()[:32],
            jti=_text(claims, "jti"),
            cnf=_confirmation(claims),
        )

    def _check_binding(self, claims: TokenClaims, certificate: x509.Certificate | None) -> None:
        if self._settings.certificate_binding == "ignore" or claims.cnf is None:
            return
        if certificate is None or not matches_certificate(claims.cnf, certificate):
            raise _refused("token-binding", "bound to another certificate")

    def _check_active(self, token: str, claims: TokenClaims) -> None:
        digest = hashlib.sha256(token.encode("ascii")).digest()
        with self._lock:
            until = self._active.get(digest, 0.0)
        if self._clock.monotonic() < until:
            return
        answer = self._introspection.introspect(token)
        if answer.get("active") is not True:
            raise _refused("token-inactive", "PSC says inactive")
        for name, mine in (("sub", claims.sub), ("azp", claims.azp), ("jti", claims.jti)):
            if answer.get(name) != mine:
                raise _refused("token-introspection-mismatch", f"PSC speaks of another token ({name})")
        if answer.get("SubjectNameID", claims.subject) != claims.subject:
            raise _refused("token-introspection-mismatch", "PSC speaks of another person")
        self._remember(digest, claims)

    def _remember(self, digest: bytes, claims: TokenClaims) -> None:
        left = (claims.expires_at - self._clock.now()).total_seconds()
        seconds = min(self._settings.introspection_cache_seconds, left)
        if seconds <= 0:
            return
        with self._lock:
            self._active[digest] = self._clock.monotonic() + seconds
            self._active.move_to_end(digest)
            while len(self._active) > _CACHE_SIZE:
                self._active.popitem(last=False)


def bearer(authorization: Sequence[str]) -> str:
    """The one Bearer token of a request.  Raises `TokenError`: ``token-missing``, ``token-malformed``."""
    values = [v for v in authorization if v.strip()]
    if not values:
        raise _refused("token-missing", "no Authorization header")
    scheme, _, token = values[0].strip().partition(" ")
    token = token.strip()
    # two headers joined by a server on the way show a comma, which no token holds
    if len(values) > 1 or scheme.lower() != "bearer" or not token or "," in token or " " in token:
        raise _refused("token-malformed", "not exactly one Bearer")
    return token


def matches_certificate(thumbprint: str, certificate: x509.Certificate) -> bool:
    """Compare ``cnf["x5t#S256"]`` with a certificate.

    Both written forms are known by their length: RFC 8705 (43 characters), and the CI-SIS guide's base64 of
    the hexadecimal text (88 characters).
    """
    digest = certificate.fingerprint(hashes.SHA256())
    if len(thumbprint) == 43:
        wanted = base64.urlsafe_b64encode(digest).rstrip(b"=")
    elif len(thumbprint) == 88:
        wanted = base64.b64encode(digest.hex().encode())
    else:
        return False
    return hmac.compare_digest(thumbprint.encode("utf-8", "replace"), wanted)


def _check_signature(token: str, algorithm: str, key: Mapping[str, Any]) -> None:
    if key.get("kty") != _KEY_TYPES.get(algorithm[:2]) or key.get("use", "sig") != "sig":
        raise _refused("token-key-unknown", "the key is not for this algorithm")
    if key.get("alg", algorithm) != algorithm:
        raise _refused("token-algorithm", "the key is published for another algorithm")
    try:
        jwt.PyJWS().decode(token, key=jwt.PyJWK(dict(key), algorithm=algorithm), algorithms=[algorithm])
    except (PyJWTError, ValueError) as error:
        raise _refused("token-signature", "the signature does not verify") from error


def _json_object(segment: str) -> dict[str, Any]:
    """Decode one segment: a JSON object in which no name comes twice."""
    try:
        raw = base64.b64decode(segment + "=" * (-len(segment) % 4), altchars=b"-_", validate=True)
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (binascii.Error, ValueError, RecursionError) as error:
        raise _refused("token-malformed", "a segment is no JSON object") from error
    if not isinstance(value, dict):
        raise _refused("token-malformed", "a segment is no JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name comes twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _instant(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 2**40:
        raise _refused("token-claims", f"{name} absent or no number")
    return float(value)


def _text(claims: Mapping[str, Any], name: str, pattern: re.Pattern[str] | None = None) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= 512 or (pattern and not pattern.fullmatch(value)):
        raise _refused("token-claims", f"{name} absent or ill-formed")
    return value


def _confirmation(claims: Mapping[str, Any]) -> str | None:
    cnf = claims.get("cnf")
    if cnf is None:
        return None
    value = cnf.get("x5t#S256") if isinstance(cnf, dict) else None
    if not isinstance(value, str):
        raise _refused("token-binding", "a confirmation that we do not understand")
    return value


def _refused(reason: str, detail: str) -> TokenError:
    return TokenError(detail, reason=reason)
