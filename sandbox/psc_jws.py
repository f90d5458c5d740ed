# SPDX-License-Identifier: AGPL-3.0-or-later
"""RS256 tokens by hand (RFC 7515, 7517, 7638, 8705), on `cryptography` alone: the product uses another library."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

Claims = dict[str, Any]


class BadToken(Exception):
    """A token that is not one of ours."""


def b64url(raw: bytes) -> str:
    """Base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def from_b64url(text: str) -> bytes:
    """Undo `b64url`; raises BadToken."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadToken("base64url") from error


@dataclass(frozen=True, slots=True)
class Key:
    """A signing key with its identifier (the thumbprint of RFC 7638); `visible_at` is when the JWKS shows it."""

    private: rsa.RSAPrivateKey = field(repr=False)
    kid: str
    visible_at: float = 0.0

    @classmethod
    def make(cls, visible_at: float = 0.0) -> Key:
        """A fresh RSA 2048 key."""
        private = rsa.generate_private_key(65537, 2048)
        members = json.dumps(_members(private), sort_keys=True, separators=(",", ":"))
        return cls(private, b64url(hashlib.sha256(members.encode()).digest()), visible_at)

    def jwk(self) -> dict[str, str]:
        """The public half for the JWKS."""
        return {**_members(self.private), "kid": self.kid, "use": "sig", "alg": "RS256"}


def _members(private: rsa.RSAPrivateKey) -> dict[str, str]:
    numbers = private.public_key().public_numbers()
    octets = (numbers.n.bit_length() + 7) // 8
    return {"e": b64url(numbers.e.to_bytes(3)), "kty": "RSA", "n": b64url(numbers.n.to_bytes(octets))}


def sign(key: Key, claims: Mapping[str, Any], kid: str | None = None) -> str:
    """Compact JWS; `kid` other than the key's own makes a token that must not verify."""
    header = {"alg": "RS256", "typ": "JWT", "kid": kid or key.kid}
    parts = (json.dumps(part, ensure_ascii=False, separators=(",", ":")).encode() for part in (header, claims))
    text = ".".join(b64url(part) for part in parts)
    return f"{text}.{b64url(key.private.sign(text.encode(), PKCS1v15(), hashes.SHA256()))}"


def verify(token: str, keys: Iterable[Key]) -> Claims:
    """The claims of a token signed by one of `keys`; times are the caller's matter.  Raises BadToken."""
    try:
        head, body, signature = token.split(".")
        header, claims = json.loads(from_b64url(head)), json.loads(from_b64url(body))
    except ValueError as error:
        raise BadToken("form") from error
    if not isinstance(header, dict) or not isinstance(claims, dict) or header.get("alg") != "RS256":
        raise BadToken("header")
    key = next((k for k in keys if k.kid == header.get("kid")), None)
    if key is None:
        raise BadToken("unknown key")
    try:
        key.private.public_key().verify(from_b64url(signature), f"{head}.{body}".encode(), PKCS1v15(), hashes.SHA256())
    except InvalidSignature as error:
        raise BadToken("signature") from error
    return claims


def at_hash(access_token: str) -> str:
    """Left half of the SHA-256 of the access token (OpenID Connect Core 3.1.3.6)."""
    return b64url(hashlib.sha256(access_token.encode()).digest()[:16])


def challenge(verifier: str) -> str:
    """PKCE S256 (RFC 7636 section 4.2)."""
    return b64url(hashlib.sha256(verifier.encode()).digest())


CNF_VARIANTS = ("none", "rfc8705", "hex-base64")


def confirmation(variant: str, certificate: bytes) -> dict[str, dict[str, str]]:
    """The ``cnf`` claim for a client certificate in DER.

    ``rfc8705``: base64url of the digest (43 characters); ``hex-base64``: base64 of its lower-case
    hexadecimal text, as national examples have it (88 characters); ``none``: no claim.
    """
    digest = hashlib.sha256(certificate)
    if variant == "rfc8705":
        return {"cnf": {"x5t#S256": b64url(digest.digest())}}
    if variant == "hex-base64":
        return {"cnf": {"x5t#S256": base64.b64encode(digest.hexdigest().encode()).decode()}}
    return {}
