# SPDX-License-Identifier: AGPL-3.0-or-later
"""Loading of certificates and keys, and their fitness for the DMP."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from drimbox.dmp_keys import certificate_problems, distinguished_name, load_credential
from drimbox.errors import ConfigurationError
from tests.dmp_data import NOW, STRUCTURE, authority, client, issue, name, signer, write_pem


def test_a_certificate_and_its_key_are_loaded(tmp_path: Path) -> None:
    loaded = load_credential(*write_pem(tmp_path, "c", client()), name="Dmp.Client", now=NOW)
    assert loaded.certificate == client().certificate
    assert loaded.key.private_numbers() == client().key.private_numbers()
    assert "key" not in repr(loaded)


def test_the_first_certificate_of_a_chain_is_the_one(tmp_path: Path) -> None:
    certificate, key = write_pem(tmp_path, "c", client())
    certificate.write_bytes(certificate.read_bytes() + authority().certificate.public_bytes(Encoding.PEM))
    assert load_credential(certificate, key, name="Dmp.Client", now=NOW).certificate == client().certificate


@pytest.mark.parametrize(
    ("spoil", "key", "words"),
    [
        ("no-path", "Dmp.ClientCertificate", "n'est pas renseigné"),
        ("absent", "Dmp.ClientKey", "n'est pas lisible"),
        ("garbage-certificate", "Dmp.ClientCertificate", "PEM"),
        ("garbage-key", "Dmp.ClientKey", "PEM"),
        ("encrypted-key", "Dmp.ClientKey", "non chiffrée"),
        ("elliptic-key", "Dmp.ClientKey", "n'est pas la clé du certificat"),
        ("other-key", "Dmp.ClientKey", "n'est pas la clé du certificat"),
    ],
)
def test_each_defect_is_named_by_its_key(tmp_path: Path, spoil: str, key: str, words: str) -> None:
    certificate, private = write_pem(tmp_path, "c", client())
    other = ec.generate_private_key(ec.SECP256R1())
    match spoil:
        case "absent":
            private.unlink()
        case "garbage-certificate":
            certificate.write_bytes(b"hello")
        case "garbage-key":
            private.write_bytes(b"hello")
        case "encrypted-key":
            private.write_bytes(
                client().key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
            )
        case "elliptic-key":
            private.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        case "other-key":
            write_pem(tmp_path, "other", signer())
            private = tmp_path / "other.key"
    with pytest.raises(ConfigurationError) as caught:
        load_credential(None if spoil == "no-path" else certificate, private, name="Dmp.Client", now=NOW)
    if spoil == "elliptic-key":
        words = "RSA"
    assert key in caught.value.detail
    assert words in caught.value.public
    assert str(tmp_path) not in caught.value.public


@pytest.mark.parametrize(("days", "words"), [(366, "a expiré le 21/11/2027"), (-31, "n'est pas encore valide")])
def test_a_certificate_outside_its_time_is_refused(tmp_path: Path, days: int, words: str) -> None:
    paths = write_pem(tmp_path, "c", client())
    with pytest.raises(ConfigurationError) as caught:
        load_credential(*paths, name="Dmp.Client", now=NOW + timedelta(days=days))
    assert words in caught.value.public


def test_a_right_pair_has_no_problem() -> None:
    assert certificate_problems(client().certificate, signer().certificate, structure_id=STRUCTURE, now=NOW) == ()


def test_each_unfit_pair_is_explained() -> None:
    fit = {"structure_id": STRUCTURE, "now": NOW}
    (swapped,) = certificate_problems(client().certificate, client().certificate, **fit)
    assert "cachet" in swapped
    (swapped,) = certificate_problems(signer().certificate, signer().certificate, **fit)
    assert "AUTH_CLI" in swapped
    other = issue("other-sign", name("AUTRE"), kind="sign", issuer=authority())
    (subjects,) = certificate_problems(client().certificate, other.certificate, **fit)
    assert "même sujet" in subjects
    (structure,) = certificate_problems(client().certificate, signer().certificate, structure_id="1990000002", now=NOW)
    assert "Dmp.StructureId" in structure
    late = certificate_problems(
        client().certificate, signer().certificate, structure_id=STRUCTURE, now=NOW + timedelta(days=400)
    )
    assert len(late) == 2
    bare = certificate_problems(authority().certificate, authority().certificate, structure_id="0000000000", now=NOW)
    assert len(bare) == 2


def test_given_names_are_spelt_gn() -> None:
    parts = [(NameOID.COUNTRY_NAME, "FR"), (NameOID.STATE_OR_PROVINCE_NAME, "Nord, (59)"), (NameOID.GIVEN_NAME, "Zoé")]
    subject = x509.Name([x509.NameAttribute(oid, text) for oid, text in parts])
    assert distinguished_name(subject) == "GN=Zoé,ST=Nord\\, (59),C=FR"
