# SPDX-License-Identifier: AGPL-3.0-or-later
"""The clients registered at the PSC stand-in (``clients.json``) and how they prove who they are (RFC 6749, 8705)."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import unquote_plus

from cryptography import x509

DEFAULT_CLIENT = "drimbox-sandbox"
SCOPES = frozenset(("openid", "scope_all", "rpps", "referentiel", "identity", "interop", "eidas1", "eidas2", "eidas3"))


class OAuthError(Exception):
    """An error of RFC 6749 section 5.2, or of the endpoint beside it."""

    def __init__(self, error: str, description: str = "", status: int = 400) -> None:
        super().__init__(f"{error}: {description}")
        self.error, self.description, self.status = error, description, status


@dataclass(frozen=True, slots=True)
class Client:
    """One registration; an empty `tls_subject` or `secret` closes that way of authentication."""

    client_id: str
    redirect_uris: tuple[str, ...] = ()
    post_logout_redirect_uris: tuple[str, ...] = ()
    tls_subject: str = ""
    secret: str = ""


def subject_of(pem: bytes) -> str:
    """Subject of the first certificate of a PEM text, as registrations hold it (RFC 4514)."""
    return x509.load_pem_x509_certificate(pem).subject.rfc4514_string()


def load(
    path: Path, redirect_uris: Sequence[str], tls_subject: str, post_logout: Sequence[str] = ()
) -> dict[str, Client]:
    """Read ``clients.json``, made with the default client where absent.

    Addresses given here replace those of the default client, so that a restart on other ports works.
    """
    clients: dict[str, Client] = {}
    if path.exists():
        for fields in json.loads(path.read_text("utf-8")):
            lists = {k: tuple(fields.get(k, ())) for k in ("redirect_uris", "post_logout_redirect_uris")}
            clients[fields["client_id"]] = Client(**{**fields, **lists})
    known = clients.get(DEFAULT_CLIENT, Client(DEFAULT_CLIENT))
    clients[DEFAULT_CLIENT] = replace(
        known,
        redirect_uris=tuple(redirect_uris) or known.redirect_uris,
        post_logout_redirect_uris=tuple(post_logout) or known.post_logout_redirect_uris,
        tls_subject=tls_subject,
    )
    rows = [asdict(client) for client in clients.values()]
    path.write_text(json.dumps(rows, ensure_ascii=False, indent=2) + "\n", "utf-8")
    return clients


def _basic(header: str) -> tuple[str, str] | None:
    """Identifier and secret of an ``Authorization: Basic`` (each form-encoded, RFC 6749 section 2.3.1)."""
    kind, _, value = header.partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        name, _, secret = base64.b64decode(value.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise OAuthError("invalid_client", "authentification illisible", 401) from error
    return unquote_plus(name), unquote_plus(secret)


def authenticate(
    clients: Mapping[str, Client], form: Mapping[str, str], authorization: str, peer: bytes | None
) -> Client:
    """The client that speaks: by its secret (basic or form), or by its TLS certificate and `client_id`.

    Raises OAuthError ``invalid_client``, status 401.
    """
    basic = _basic(authorization)
    name = basic[0] if basic else form.get("client_id", "")
    secret = basic[1] if basic else form.get("client_secret")
    client = clients.get(name)
    refused = OAuthError("invalid_client", "client inconnu ou mal authentifié", 401)
    if client is None or (basic and form.get("client_id", name) != name):
        raise refused
    if secret is not None:
        if client.secret and hmac.compare_digest(secret.encode(), client.secret.encode()):
            return client
        raise refused
    if peer is None or not client.tls_subject:
        raise refused
    if x509.load_der_x509_certificate(peer).subject.rfc4514_string() != client.tls_subject:
        raise refused
    return client
