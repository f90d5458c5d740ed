# SPDX-License-Identifier: AGPL-3.0-or-later
"""X.509 building blocks of the throw-away PKI: authorities, leaves, revocation lists.

Shapes follow IGC-Santé's organisation certificates: subject ``C, ST, O, OU=structure id, CN`` (so that the
RFC 4514 text reads CN first), RSA 2048, SHA-256, critical key usage.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CLIENT, SERVER, EMAIL = (
    ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.EMAIL_PROTECTION,
)  # fmt: skip


def new_key() -> rsa.RSAPrivateKey:
    """A fresh RSA 2048 key."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def organisation_name(common_name: str, structure_id: str, organisation: str, state: str = "Paris (75)") -> x509.Name:
    """Subject of an IGC-Santé organisation certificate, in its order."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "FR"),
            x509.NameAttribute(NameOID.STATE_OR_PROVINCE_NAME, state),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, structure_id),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def authority_name(common_name: str, organisation: str = "BAC A SABLE DRIMBOX", unit: str | None = None) -> x509.Name:
    """Subject of an authority."""
    parts = [
        x509.NameAttribute(NameOID.COUNTRY_NAME, "FR"),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
    ]
    if unit:
        parts.append(x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit))
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_usage(*names: str) -> x509.KeyUsage:
    flags = dict.fromkeys(
        ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
         "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"), False)  # fmt: skip
    return x509.KeyUsage(**{**flags, **dict.fromkeys(names, True)})


@dataclass(frozen=True)
class Authority:
    """A certificate and its key, with the chain up to (not including) the root."""

    cert: x509.Certificate
    key: rsa.RSAPrivateKey
    chain: tuple[x509.Certificate, ...] = ()

    def identifier(self) -> x509.AuthorityKeyIdentifier:
        """Extension that its children carry."""
        ski = self.cert.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ski)


def make_authority(
    name: x509.Name, key: rsa.RSAPrivateKey, now: datetime, issuer: Authority | None = None
) -> Authority:
    """A root (no issuer) or an intermediate, valid ten years."""
    builder = (
        _builder(
            name, issuer.cert.subject if issuer else name, key, now - timedelta(days=1), now + timedelta(days=3650)
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0 if issuer else 1), critical=True)
        .add_extension(_key_usage("key_cert_sign", "crl_sign"), critical=True)
    )
    if issuer:
        builder = builder.add_extension(issuer.identifier(), critical=False)
    cert = builder.sign(issuer.key if issuer else key, hashes.SHA256())
    return Authority(cert, key, (cert, *issuer.chain) if issuer else ())


def _builder(name: x509.Name, issuer: x509.Name, key: rsa.RSAPrivateKey, begin: datetime, end: datetime
             ) -> x509.CertificateBuilder:  # fmt: skip
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin.replace(microsecond=0))
        .not_valid_after(end.replace(microsecond=0))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


@dataclass(frozen=True)
class Leaf:
    """What a leaf certificate says; ``begin`` and ``end`` in days from now."""

    name: x509.Name
    purposes: tuple[x509.ObjectIdentifier, ...]
    hosts: tuple[str, ...] = ()
    non_repudiation: bool = False
    begin: int = -1
    end: int = 3 * 365


def make_leaf(leaf: Leaf, key: rsa.RSAPrivateKey, issuer: Authority, now: datetime, crl_url: str | None
              ) -> x509.Certificate:  # fmt: skip
    """Sign a leaf certificate."""
    usages = ["digital_signature"] + (["content_commitment"] if leaf.non_repudiation else [])
    if SERVER in leaf.purposes:
        usages.append("key_encipherment")
    begin, end = now + timedelta(days=leaf.begin), now + timedelta(days=leaf.end)
    builder = (
        _builder(leaf.name, issuer.cert.subject, key, begin, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(*usages), critical=True)
        .add_extension(x509.ExtendedKeyUsage(leaf.purposes), critical=False)
        .add_extension(issuer.identifier(), critical=False)
    )
    if leaf.hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(_names(leaf.hosts))), critical=False)
    if crl_url:
        point = x509.DistributionPoint([x509.UniformResourceIdentifier(crl_url)], None, None, None)
        builder = builder.add_extension(x509.CRLDistributionPoints([point]), critical=False)
    return builder.sign(issuer.key, hashes.SHA256())


def _names(hosts: Iterable[str]) -> Iterable[x509.GeneralName]:
    for host in dict.fromkeys(hosts):
        try:
            yield x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            yield x509.DNSName(host)


def make_crl(issuer: Authority, revoked: Iterable[x509.Certificate], now: datetime, days: int = 365
             ) -> x509.CertificateRevocationList:  # fmt: skip
    """A revocation list, valid from yesterday for ``days``."""
    begin = (now - timedelta(days=1)).replace(microsecond=0)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.cert.subject)
        .last_update(begin)
        .next_update((now + timedelta(days=days)).replace(microsecond=0))
        .add_extension(x509.CRLNumber(int(now.timestamp())), critical=False)
        .add_extension(issuer.identifier(), critical=False)
    )
    for cert in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(cert.serial_number).revocation_date(begin)
        builder = builder.add_revoked_certificate(
            entry.add_extension(x509.CRLReason(x509.ReasonFlags.key_compromise), critical=False).build()
        )
    return builder.sign(issuer.key, hashes.SHA256())


def pem(*certs: x509.Certificate) -> bytes:
    """Certificates one after the other, in PEM."""
    return b"".join(cert.public_bytes(serialization.Encoding.PEM) for cert in certs)


def key_pem(key: rsa.RSAPrivateKey) -> bytes:
    """Unencrypted PKCS#8."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
