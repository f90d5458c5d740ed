# SPDX-License-Identifier: AGPL-3.0-or-later
"""Certificates that come from outside: reading them whole, and the lists of those withdrawn (RFC 5280).

cryptography reads lazily, so that a field that is no good would only fail at its use: everything used
later is looked at once.  Only revocation lists signed by an authority that we were given count; fetching
them is somebody else's work.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.utils import CryptographyDeprecationWarning


def load_certificate(data: bytes) -> x509.Certificate:
    """Read one certificate, PEM or DER.

    Raises `ValueError` where any part of it is unreadable, or against RFC 5280 (4.1.2.2: positive serial number).
    """
    pem = data.lstrip().startswith(b"-----BEGIN")
    try:
        certificate = x509.load_pem_x509_certificate(data) if pem else x509.load_der_x509_certificate(data)
        _ = (certificate.subject, certificate.issuer, certificate.extensions, certificate.public_key())
        _ = (certificate.not_valid_before_utc, certificate.not_valid_after_utc)
        if certificate.serial_number <= 0:
            raise ValueError("the serial number is not positive")
    except (UnsupportedAlgorithm, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise ValueError(type(error).__name__) from error
    except CryptographyDeprecationWarning as error:  # where warnings are errors: same finding, told by the library
        raise ValueError("the certificate is against RFC 5280") from error
    return certificate


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
    return crl.is_signature_valid(key)


def _listed(crl: x509.CertificateRevocationList, serial: int) -> bool:
    return crl.get_revoked_certificate_by_serial_number(serial) is not None
