# SPDX-License-Identifier: AGPL-3.0-or-later
"""Certificate revocation lists: which serial numbers an authority has withdrawn (RFC 5280, section 5).

Only lists signed by an authority that we were given count; fetching them is somebody else's work.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey


@dataclass(frozen=True, slots=True)
class Revocations:
    """Lists whose signature was checked, for quick look-ups."""

    lists: tuple[x509.CertificateRevocationList, ...] = ()

    def revokes(self, certificate: x509.Certificate) -> bool:
        """Whether a list of the certificate's issuer names its serial number.

        A list past its nextUpdate still counts: a revocation is not undone by time.
        """
        return any(
            crl.issuer == certificate.issuer and _listed(crl, certificate.serial_number) for crl in self.lists
        )  # fmt: skip

    def covers(self, certificate: x509.Certificate, at: datetime) -> bool:
        """Whether a list of the certificate's issuer is fresh at the (aware) instant `at`."""
        return any(
            crl.issuer == certificate.issuer
            and crl.last_update_utc <= at
            and (crl.next_update_utc is None or at <= crl.next_update_utc)
            for crl in self.lists
        )


def check_lists(
    lists: Iterable[x509.CertificateRevocationList], authorities: Iterable[x509.Certificate]
) -> Revocations:
    """Keep the lists that one of `authorities` signed; the others are left out."""
    known = tuple(authorities)
    return Revocations(tuple(crl for crl in lists if any(_signed_by(crl, ca) for ca in known)))


def _signed_by(crl: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    key = authority.public_key()
    if crl.issuer != authority.subject or not isinstance(key, RSAPublicKey | EllipticCurvePublicKey):
        return False
    try:
        return crl.is_signature_valid(key)
    except (InvalidSignature, TypeError, ValueError):
        return False


def _listed(crl: x509.CertificateRevocationList, serial: int) -> bool:
    return crl.get_revoked_certificate_by_serial_number(serial) is not None
