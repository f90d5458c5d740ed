# SPDX-License-Identifier: AGPL-3.0-or-later
"""The peer's certificate as nginx hands it over."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import example, given
from hypothesis import strategies as st

from drimbox.certificates import Revocations, check_lists, load_certificate
from drimbox.errors import Refusal
from drimbox.tls_identity import der, read_peer_certificate
from tests import guard_data as g


def refused(verify: str, escaped: str, **rest: Any) -> tuple[str, int]:
    with pytest.raises(Refusal) as caught:
        read_peer_certificate(verify, escaped, **({"at": g.NOW} | rest))
    return caught.value.reason, caught.value.status


def test_a_verified_certificate_gives_its_holder() -> None:
    found = read_peer_certificate("SUCCESS", g.listed().escaped(), g.NOW)
    assert found.subject_dn == g.LISTED_DN
    assert found.fingerprint == g.listed().certificate.fingerprint(hashes.SHA256()).hex()
    assert found.not_after == g.listed().certificate.not_valid_after_utc
    assert der(found) == g.listed().certificate.public_bytes(Encoding.DER)


# G1 of the abuse list
@pytest.mark.parametrize(
    ("verify", "escaped", "reason"),
    [
        ("", "", "certificate-missing"),
        ("NONE", "", "certificate-missing"),
        ("NONE", g.listed().escaped(), "certificate-missing"),
        ("SUCCESS", "", "certificate-missing"),
        ("FAILED:unable to get local issuer certificate", g.listed().escaped(), "certificate-not-verified"),
        ("FAILED:self-signed certificate", g.listed().escaped(), "certificate-not-verified"),
        ("FAILED:certificate has expired", g.listed().escaped(), "certificate-expired"),
        ("FAILED:certificate is not yet valid", g.listed().escaped(), "certificate-not-yet-valid"),
        ("FAILED:certificate revoked", g.listed().escaped(), "certificate-revoked"),
        ("success", g.listed().escaped(), "certificate-not-verified"),
        ("SUCCESS", g.peer(end=g.NOW - g.DAY).escaped(), "certificate-expired"),
        ("SUCCESS", g.peer(start=g.NOW + g.DAY).escaped(), "certificate-not-yet-valid"),
        ("SUCCESS", "CN=db9.example.test", "certificate-malformed"),
        ("SUCCESS", quote("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"), "certificate-malformed"),
        ("SUCCESS", "%ff%fe", "certificate-malformed"),
        ("SUCCESS", "é", "certificate-malformed"),
        ("SUCCESS", "A" * 40_000, "certificate-malformed"),
    ],
)
def test_any_other_certificate_is_refused_with_its_reason(verify: str, escaped: str, reason: str) -> None:
    assert refused(verify, escaped) == (reason, 403)


def test_the_last_second_of_a_certificate_counts() -> None:
    end = g.listed().certificate.not_valid_after_utc
    assert read_peer_certificate("SUCCESS", g.listed().escaped(), end)
    assert refused("SUCCESS", g.listed().escaped(), at=end + g.DAY)[0] == "certificate-expired"


def test_a_revoked_certificate_is_refused_even_by_a_list_past_its_time() -> None:
    lists = check_lists([g.crl(g.listed().certificate)], [g.authority().certificate])
    assert refused("SUCCESS", g.listed().escaped(), revocations=lists)[0] == "certificate-revoked"
    assert (
        refused("SUCCESS", g.listed().escaped(), revocations=lists, at=g.NOW + 30 * g.DAY)[0] == "certificate-revoked"
    )
    assert lists.covers(g.listed().certificate, g.NOW)
    assert not lists.covers(g.listed().certificate, g.NOW + 30 * g.DAY)
    assert not lists.covers(g.listed().certificate, g.NOW - 30 * g.DAY)
    assert read_peer_certificate("SUCCESS", g.unlisted().escaped(), g.NOW, lists)


def test_a_list_that_the_authority_did_not_sign_is_left_out() -> None:
    forged = g.crl(g.listed().certificate, issuer=g.Holder(g.authority().certificate, g.key(6)))
    assert check_lists([forged], [g.authority().certificate]) == Revocations()
    assert check_lists([g.crl()], [g.root().certificate]) == Revocations()
    elliptic = g.Holder(g.authority().certificate, ec.generate_private_key(ec.SECP256R1()))  # type: ignore[arg-type]
    assert check_lists([g.crl(issuer=elliptic)], [g.authority().certificate]) == Revocations()
    assert not Revocations().covers(g.listed().certificate, g.NOW)


def test_a_key_of_an_unknown_kind_is_a_value_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """cryptography raises its own error, and late, for what it cannot read."""
    der = bytearray(g.listed().certificate.public_bytes(Encoding.DER))
    rsa_oid = bytes.fromhex("06092a864886f70d010101")
    der[der.index(rsa_oid) + 10] = 0x7F
    with pytest.raises(ValueError, match="Unsupported"):
        load_certificate(bytes(der))


@given(st.binary(max_size=300))
def test_whatever_bytes_come_they_are_a_certificate_or_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        load_certificate(data)


@example(position=15, flip=128)  # a negative serial number
@given(st.integers(0, 2000), st.integers(1, 255))
def test_a_damaged_certificate_is_a_certificate_or_a_value_error(position: int, flip: int) -> None:
    data = bytearray(g.listed().certificate.public_bytes(Encoding.DER))
    data[position % len(data)] ^= flip
    try:
        assert isinstance(load_certificate(bytes(data)), x509.Certificate)
    except ValueError:
        return
