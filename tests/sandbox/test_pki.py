# SPDX-License-Identifier: AGPL-3.0-or-later
"""The throw-away PKI: shapes of IGC-Santé, chains checked by OpenSSL, nothing redone without need."""

from __future__ import annotations

import json
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from sandbox.common import ProductionName
from sandbox.pki import IGC_LEAVES, LEAVES, make_pki, paths
from sandbox.pki_cli import main as cli

pytest_plugins = ("tests.sandbox.dmp_fixtures",)


def leaf(folder: Path, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / f"{name}.pem").read_bytes())


def purposes(cert: x509.Certificate) -> set[x509.ObjectIdentifier]:
    return set(cert.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def openssl_verify(folder: Path, name: str, *more: str, ca: str = "igc-root.pem") -> str:
    argv = ["openssl", "verify", "-x509_strict", "-CAfile", str(folder / ca), "-untrusted", str(folder / f"{name}.pem"),
            *more, str(folder / f"{name}.pem")]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20)
    return "OK" if done.returncode == 0 else done.stderr


def crl(folder: Path) -> tuple[str, ...]:
    return "-crl_check_all", "-CRLfile", str(folder / "crl-bundle.pem")


@pytest.mark.parametrize("name", sorted(set(IGC_LEAVES) - {"expired", "revoked"}))
def test_a_good_leaf_verifies_with_its_own_chain_and_is_not_revoked(pki: Path, name: str) -> None:
    assert openssl_verify(pki, name, *crl(pki)) == "OK"


def test_bad_leaves_fail_each_for_its_reason(pki: Path) -> None:
    assert "expired" in openssl_verify(pki, "expired")
    assert openssl_verify(pki, "revoked") == "OK"
    assert "revoked" in openssl_verify(pki, "revoked", *crl(pki))
    assert openssl_verify(pki, "foreign") != "OK"
    assert openssl_verify(pki, "foreign", ca="foreign-ca.pem") == "OK"
    assert openssl_verify(pki, "public-server") != "OK"
    assert openssl_verify(pki, "public-server", ca="public-ca.pem") == "OK"


@pytest.mark.parametrize("name", LEAVES)
def test_every_leaf_has_its_own_private_key_for_its_owner_only(pki: Path, name: str) -> None:
    path = pki / f"{name}.key"
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    assert key.key_size == 2048
    assert key.public_key() == leaf(pki, name).public_key()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")


def test_the_two_certificates_of_the_structure_share_their_subject_and_differ_in_use(pki: Path) -> None:
    auth, sign = leaf(pki, "structure-auth"), leaf(pki, "structure-sign")
    assert auth.subject == sign.subject
    name = "CENTRE DE RADIOLOGIE DU BAC A SABLE"
    assert auth.subject.rfc4514_string() == f"CN={name},OU=1750803447,O={name},ST=Paris (75),C=FR"
    assert purposes(auth) == {ExtendedKeyUsageOID.CLIENT_AUTH}
    assert purposes(sign) == {ExtendedKeyUsageOID.EMAIL_PROTECTION}
    usage = [c.extensions.get_extension_for_class(x509.KeyUsage).value for c in (auth, sign)]
    assert [u.digital_signature for u in usage] == [True, True]
    assert [u.content_commitment for u in usage] == [False, True]


def test_names_are_those_that_the_whitelist_and_the_tests_expect(pki: Path) -> None:
    signer = leaf(pki, "whitelist-signer").subject.rfc4514_string()
    assert signer.startswith("CN=Liste Blanche DRIM-M,OU=318751275100020,O=AGENCE DU NUMERIQUE EN SANTE (BAC A SABLE)")
    peer = leaf(pki, "peer")
    assert (
        peer.subject.rfc4514_string()
        == "CN=db2.sandbox.test,OU=318999999900017,O=HÔPITAL D'ESSAI,ST=Côte-d'Or (21),C=FR"
    )
    assert leaf(pki, "foreign").subject == peer.subject
    assert leaf(pki, "foreign").issuer == peer.issuer
    assert purposes(peer) == {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}


def test_server_certificates_name_the_hosts_and_the_loopback(tmp_path: Path) -> None:
    make_pki(tmp_path, hosts=("db1.sandbox.test", "192.0.2.7"), crl_url="http://localhost:1/crl.der")
    for name in ("db-server", "dmp-server", "psc-server", "publisher-server", "public-server", "peer"):
        names = leaf(tmp_path, name).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert {"db1.sandbox.test", "localhost"} <= set(names.get_values_for_type(x509.DNSName))
        addresses = {str(a) for a in names.get_values_for_type(x509.IPAddress)}
        assert addresses == {"192.0.2.7", "127.0.0.1"}
    assert leaf(tmp_path, "db-server").subject.rfc4514_string().startswith("CN=db1.sandbox.test,")
    points = leaf(tmp_path, "peer").extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    assert points[0].full_name is not None
    assert points[0].full_name[0].value == "http://localhost:1/crl.der"
    with pytest.raises(x509.ExtensionNotFound):
        leaf(tmp_path, "public-server").extensions.get_extension_for_class(x509.CRLDistributionPoints)


def _state(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_nothing_is_redone_without_need(tmp_path: Path) -> None:
    make_pki(tmp_path)
    before = _state(tmp_path)
    make_pki(tmp_path)
    assert _state(tmp_path) == before
    make_pki(tmp_path, now=datetime.now(UTC) + timedelta(days=330))
    assert _state(tmp_path) == before
    make_pki(tmp_path, now=datetime.now(UTC) + timedelta(days=340))
    assert _state(tmp_path)["peer.pem"] != before["peer.pem"]


@pytest.mark.parametrize("damage", ["missing", "swapped", "broken", "parameters"])
def test_a_damaged_or_different_folder_is_made_again(pki: Path, tmp_path: Path, damage: str) -> None:
    for path in pki.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    if damage == "missing":
        (tmp_path / "crl-bundle.pem").unlink()
    elif damage == "swapped":
        (tmp_path / "peer.key").write_bytes((pki / "revoked.key").read_bytes())
    elif damage == "broken":
        (tmp_path / "peer.pem").write_text("x")
    make_pki(tmp_path, structure_id="1999999999" if damage == "parameters" else "1750803447")
    assert openssl_verify(tmp_path, "peer", *crl(tmp_path)) == "OK"
    wanted = "1999999999" if damage == "parameters" else "1750803447"
    assert f"OU={wanted}," in leaf(tmp_path, "structure-auth").subject.rfc4514_string()


def test_paths_name_files_that_exist(pki: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli(["--dir", str(pki), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == paths(pki)
    for name in ("peer", "unlisted", "expired", "revoked", "foreign"):
        assert set(shown[name]) == {"cert", "key"}
        assert all(Path(p).is_file() for p in shown[name].values())
    assert shown["ca"].endswith("igc-ca.pem")
    assert all(Path(v).exists() for v in shown.values() if isinstance(v, str))


def test_the_command_line_makes_only_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli([], tmp_path / "a") == 1
    assert not (tmp_path / "a").exists()
    assert cli(["--make"], tmp_path / "a") == 0
    assert "structure-auth" in capsys.readouterr().out
    with pytest.raises(ProductionName):
        cli(["--make", "--host", "lps2.dmp.gouv.fr"], tmp_path / "b")
