# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who holds the other end of the TLS connection, as nginx tells it.

nginx verifies the chain and hands over ``$ssl_client_verify`` and ``$ssl_client_escaped_cert`` (the whole
PEM: its own form of the subject loses accents).  Dates and revocation are checked again here, so
that a kept-alive connection or a stale CRL in nginx does not outlive the certificate.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from urllib.parse import unquote

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from drimbox.certificates import Revocations, load_certificate
from drimbox.distinguished_name import display
from drimbox.errors import Refusal

VERIFY_HEADER: Final = "X-Drimbox-Client-Verify"
CERTIFICATE_HEADER: Final = "X-Drimbox-Client-Cert"
_MAXIMUM: Final = 32 * 1024
PUBLIC: Final = "Un certificat client IGC-Santé valide est exigé."
# what nginx says after "FAILED:" (OpenSSL's words), in the order looked for
_FAILURES: Final = (
    ("expired", "certificate-expired"),
    ("not yet valid", "certificate-not-yet-valid"),
    ("revoked", "certificate-revoked"),
)


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """A client certificate whose chain nginx verified; `fingerprint` is SHA-256 in hexadecimal."""

    subject_dn: str
    certificate: x509.Certificate = field(repr=False)
    fingerprint: str
    not_after: datetime


def read_peer_certificate(
    verify: str,
    escaped: str,
    at: datetime,
    revocations: Revocations = Revocations(),  # noqa: B008
) -> PeerCertificate:
    """Read both headers of nginx, at the (aware) instant `at`.

    Raises `Refusal` (403): ``certificate-missing``, ``-not-verified``, ``-malformed``, ``-expired``,
    ``-not-yet-valid``, ``-revoked``.
    """
    if verify in ("", "NONE"):
        raise _refusal("certificate-missing", "no client certificate")
    if verify != "SUCCESS":
        reason = next((r for words, r in _FAILURES if words in verify), "certificate-not-verified")
        raise _refusal(reason, f"nginx: {verify[:80]}")
    if not escaped:
        raise _refusal("certificate-missing", "verified, but no certificate was handed over")
    certificate = _load(escaped)
    if at < certificate.not_valid_before_utc:
        raise _refusal("certificate-not-yet-valid", "validity has not begun")
    if at > certificate.not_valid_after_utc:
        raise _refusal("certificate-expired", "validity has ended")
    if revocations.revokes(certificate):
        raise _refusal("certificate-revoked", "named by its authority's list")
    return PeerCertificate(
        subject_dn=display(certificate.subject),
        certificate=certificate,
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        not_after=certificate.not_valid_after_utc,
    )


def der(peer: PeerCertificate) -> bytes:
    """The certificate in DER."""
    return peer.certificate.public_bytes(Encoding.DER)


def _load(escaped: str) -> x509.Certificate:
    if len(escaped) > _MAXIMUM:
        raise _refusal("certificate-malformed", "header too long")
    try:
        return load_certificate(unquote(escaped, errors="strict").encode("ascii"))
    except ValueError as error:  # includes the Unicode errors
        raise _refusal("certificate-malformed", "the PEM is unreadable") from error


def _refusal(reason: str, detail: str) -> Refusal:
    return Refusal(detail, reason=reason, status=403, public=PUBLIC)
