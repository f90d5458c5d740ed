# SPDX-License-Identifier: AGPL-3.0-or-later
"""The published TEST whitelist."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from drimbox.config import WhitelistSection
from drimbox.errors import WhitelistError
from drimbox.whitelist import describe, find_peer, verify_whitelist
from tests import guard_data as g

pytestmark = pytest.mark.official
AT = datetime(2026, 11, 21, tzinfo=UTC)
SETTINGS = WhitelistSection()


@pytest.fixture(scope="module")
def data(official: Path) -> bytes:
    return (official / "whitelist" / "LISTEBLANCHE_DRIM-M_SIGNEE_TEST.xml").read_bytes()


@pytest.fixture(scope="module")
def trust(data: bytes) -> list[x509.Certificate]:
    """The root of its own KeyInfo: good for a test, not for a site."""
    found = [
        x509.load_der_x509_certificate(base64.b64decode(m)) for m in re.findall(rb"<ds:X509Certificate>([^<]+)<", data)
    ]
    return [c for c in found if c.subject == c.issuer]


def test_the_published_list_verifies(data: bytes, trust: list[x509.Certificate]) -> None:
    listed = verify_whitelist(data, trust, SETTINGS, AT)
    assert len(listed.peers) == 17
    assert listed.version == "1.0.0"
    assert listed.generated_at == datetime(2026, 6, 19, 18, 6, 52, tzinfo=UTC)
    assert listed.signing_time == datetime(2026, 9, 17, 8, 27, 36, tzinfo=UTC)
    assert listed.signer.startswith("CN=Liste Blanche DRIM-M,OU=318751275100020,")
    assert listed.peers[0].db_host == "db3.test.mesimagesmedicales.fr"
    assert describe(data, trust, SETTINGS, AT)["entries"] == 17


def test_a_certificate_with_accents_finds_its_entry(data: bytes, trust: list[x509.Certificate]) -> None:
    listed = verify_whitelist(data, trust, SETTINGS, AT)
    subject = g.name(
        C="FR",
        ST="Côte-d'Or (21)",
        O="MINISTERE DE TEST3198",
        OU="300000001831981",
        CN="db175.test.mesimagesmedicales.fr",
    )
    found = find_peer(listed, g.issue(subject, None, 3).certificate)
    assert found is not None
    assert found.identifier == "175"


@pytest.mark.parametrize("step", range(40))
def test_any_byte_changed_in_the_content_is_refused(data: bytes, trust: list[x509.Certificate], step: int) -> None:
    begin, end = data.index(b"<DateDeGeneration>"), data.index(b"</ListeDomaines>")
    position = begin + (end - begin) * step // 40
    while not chr(data[position]).isalnum():
        position += 1
    changed = data[:position] + (b"Z" if data[position : position + 1] != b"Z" else b"Y") + data[position + 1 :]
    with pytest.raises(WhitelistError) as caught:
        verify_whitelist(changed, trust, SETTINGS, AT)
    assert caught.value.reason in {"digest-mismatch", "xml-not-wellformed"}


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"/descendant::ds:Signature<", b"/*/*<", "xpath-unexpected"),
        (b'Filter="subtract"', b'Filter="intersect"', "xpath-unexpected"),
        (b"<ds:SignatureValue Id=", b"<ds:SignatureValue Ib=", ""),
        (b">mCRs", b">nCRs", "signature-invalid"),
        (b"2026-09-17T08:27:36Z", b"2026-09-18T08:27:36Z", "digest-mismatch"),
        (b">kwGt", b">lwGt", "digest-mismatch"),
        (b'versionFormat="1.0.0"', b'versionFormat="1.0.1"', "digest-mismatch"),
        (b"xmldsig-more#rsa-sha256", b"xmldsig-more#hmac-sha256", "algorithm-unexpected"),
    ],
)
def test_each_change_of_the_signature_has_its_reason(
    data: bytes, trust: list[x509.Certificate], old: bytes, new: bytes, reason: str
) -> None:
    changed = data.replace(old, new)
    assert changed != data
    assert (describe(changed, trust, SETTINGS, AT)["reason"] or "") == reason


def test_without_its_signature_it_is_refused(data: bytes, trust: list[x509.Certificate]) -> None:
    bare = re.sub(rb"<ds:Signature .*</ds:Signature>", b"", data, flags=re.DOTALL)
    assert describe(bare, trust, SETTINGS, AT)["reason"] == "signature-missing"


def test_it_is_refused_before_and_after_its_signers_life_and_under_another_root(
    data: bytes, trust: list[x509.Certificate]
) -> None:
    assert describe(data, trust, SETTINGS, datetime(2026, 9, 1, tzinfo=UTC))["reason"] == "signer-not-yet-valid"
    assert describe(data, trust, SETTINGS, datetime(2029, 9, 15, tzinfo=UTC))["reason"] == "signer-expired"
    assert describe(data, [g.root().certificate], SETTINGS, AT)["reason"] == "chain-untrusted"
    assert describe(data, [], SETTINGS, AT)["reason"] == "chain-untrusted"
    other = WhitelistSection(signer_organizational_unit="1")
    assert describe(data, trust, other, AT)["reason"] == "signer-unexpected"
