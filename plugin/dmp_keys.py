# SPDX-License-Identifier: AGPL-3.0-or-later
"""The structure's certificates and keys: loading from PEM, and whether they are fit for the DMP.

Two certificates of one structure (same subject): AUTH_CLI for TLS, SIGN ("cachet") for signatures;
both are needed by the indirect mode (spec `dmp_soap.md` 1, `vihf.md` 2).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from drimbox.errors import ConfigurationError

# the subject's short names that RFC 4514 leaves as numbers; the DMP reads ST and GN
_NAMES: Final = {NameOID.GIVEN_NAME: "GN", NameOID.SURNAME: "SN", NameOID.TITLE: "T"}


@dataclass(frozen=True, slots=True)
class Credential:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey = field(repr=False)

    def key_pem(self) -> bytes:
        """The private key as PKCS #8 PEM, for libraries that want text."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def load_credential(certificate: Path | None, key: Path | None, *, name: str, now: datetime) -> Credential:
    """Load a PEM certificate and its unencrypted PEM key.

    `name` starts the configuration keys' names (``Dmp.Client``).  Raises `ConfigurationError` naming the
    key that is missing, unreadable, of another certificate, expired or not yet valid.
    """
    loaded = _load_certificate(certificate, f"{name}Certificate")
    private = _load_key(key, f"{name}Key")
    if loaded.public_key() != private.public_key():
        raise _wrong(f"{name}Key", "is not the key of the certificate", "n'est pas la clé du certificat")
    if not loaded.not_valid_before_utc <= now:
        raise _wrong(f"{name}Certificate", "is not valid yet", "n'est pas encore valide")
    if now > loaded.not_valid_after_utc:
        raise _wrong(f"{name}Certificate", f"expired on {loaded.not_valid_after_utc:%Y-%m-%d}",
                     f"a expiré le {loaded.not_valid_after_utc:%d/%m/%Y}")  # fmt: skip
    return Credential(loaded, private)


def distinguished_name(name: x509.Name, *, spaced: bool = False) -> str:
    """A name as RFC 4514 text (``CN=…,OU=…,C=FR``), or in certificate order with spaces (``C=FR, …, CN=…``)."""
    if not spaced:
        return name.rfc4514_string(_NAMES)
    return ", ".join(rdn.rfc4514_string(_NAMES) for rdn in name.rdns)


def certificate_problems(
    client: x509.Certificate, signer: x509.Certificate, *, structure_id: str, now: datetime
) -> tuple[str, ...]:
    """French sentences saying why these certificates do not suit the DMP; empty where they do."""
    problems = []
    usage = _extension(signer, x509.KeyUsage)
    if usage is None or not (usage.content_commitment and usage.digital_signature):
        problems.append(
            "Dmp.SignatureCertificate : ce certificat n'est pas de classe ORG SIGN (cachet) : "
            "l'usage « non-répudiation » manque."
        )
    extended = _extension(client, x509.ExtendedKeyUsage)
    if extended is None or ExtendedKeyUsageOID.CLIENT_AUTH not in extended:
        problems.append(
            "Dmp.ClientCertificate : ce certificat n'est pas de classe ORG AUTH_CLI : "
            "l'usage « authentification du client TLS » manque."
        )
    if client.subject != signer.subject:
        problems.append(
            "Dmp.ClientCertificate et Dmp.SignatureCertificate n'ont pas le même sujet : "
            "le DMP exige deux certificats de la même structure."
        )
    units = [a.value for a in client.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)]
    if structure_id not in units:
        problems.append(
            "Dmp.StructureId diffère de l'identifiant de structure du certificat (OU) : "
            "le DMP refuserait l'authentification de la personne morale."
        )
    for key, certificate in (("Dmp.ClientCertificate", client), ("Dmp.SignatureCertificate", signer)):
        if now > certificate.not_valid_after_utc:
            problems.append(f"{key} : ce certificat a expiré le {certificate.not_valid_after_utc:%d/%m/%Y}.")
    return tuple(problems)


def _extension[E: x509.ExtensionType](certificate: x509.Certificate, kind: type[E]) -> E | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _load_certificate(path: Path | None, key: str) -> x509.Certificate:
    data = _read(path, key)
    try:
        return x509.load_pem_x509_certificates(data)[0]
    except ValueError as error:
        raise _wrong(key, "is no PEM certificate", "n'est pas un certificat au format PEM") from error


def _load_key(path: Path | None, key: str) -> rsa.RSAPrivateKey:
    data = _read(path, key)
    try:
        private = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        # TypeError: the key is encrypted
        raise _wrong(key, "is no unencrypted PEM key", "n'est pas une clé PEM non chiffrée") from error
    if not isinstance(private, rsa.RSAPrivateKey):
        raise _wrong(key, "is no RSA key", "n'est pas une clé RSA")
    return private


def _read(path: Path | None, key: str) -> bytes:
    if path is None:
        raise _wrong(key, "is missing", "n'est pas renseigné")
    try:
        return path.read_bytes()
    except OSError as error:
        raise _wrong(key, f"cannot be read ({error.strerror})", "n'est pas lisible") from error


def _wrong(key: str, english: str, french: str) -> ConfigurationError:
    return ConfigurationError(f"DrimBox.{key} {english}", public=f"DrimBox.{key} {french}.")
