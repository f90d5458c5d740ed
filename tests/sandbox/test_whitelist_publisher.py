# SPDX-License-Identifier: AGPL-3.0-or-later
"""The publisher serves a verifiable list with HTTP validators, follows its file, and publishes CRLs in clear."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests
from cryptography import x509

from sandbox import pki, whitelist_publisher
from sandbox.common import ProductionName, Server, serve, server_context
from sandbox.whitelist_check import BadList, check
from sandbox.whitelist_publisher import Publisher, crl_app, list_app
from sandbox.whitelist_sign import subject_dn


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki")
    pki.make_pki(folder)
    return folder


@pytest.fixture
def server(keys: Path, tmp_path: Path) -> Iterator[Server]:
    context = server_context(keys / "publisher-server.pem", keys / "publisher-server.key")
    running = serve(list_app(Publisher(keys, tmp_path)), context=context)
    yield running
    running.stop()


def fetch(server: Server, keys: Path, **headers: str) -> requests.Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    url = f"https://localhost:{server.port}/liste-blanche.xml"
    return requests.get(url, headers=names, verify=str(keys / "igc-ca.pem"), timeout=10)


def rewrite(folder: Path, **content: object) -> None:
    file = folder / "entries.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **content}))
    os.utime(file, (1_800_000_000, 1_800_000_000))


def test_the_default_list_verifies_and_holds_us_and_the_peer_alone(server: Server, keys: Path) -> None:
    answer = fetch(server, keys)
    assert answer.headers["Content-Type"] == "application/xml"
    found = check(answer.content, (keys / "igc-root.pem").read_bytes())
    names = [
        subject_dn(x509.load_pem_x509_certificate((keys / f"{n}.pem").read_bytes())) for n in ("db-server", "peer")
    ]
    assert [e.dn for e in found.entries] == names
    assert [e.db for e in found.entries] == ["localhost", "db2.sandbox.test"]
    assert "ST=Côte-d'Or (21)" in found.entries[1].dn
    assert len(found.chain) == 3
    assert "CN=Liste Blanche DRIM-M" in subject_dn(found.chain[0])


def test_an_unchanged_list_is_not_sent_again(server: Server, keys: Path) -> None:
    first = fetch(server, keys)
    assert fetch(server, keys, If_None_Match=first.headers["ETag"]).status_code == 304
    assert fetch(server, keys, If_None_Match='"other"').status_code == 200
    assert fetch(server, keys, If_Modified_Since=first.headers["Last-Modified"]).status_code == 304
    assert fetch(server, keys, If_Modified_Since="Mon, 01 Jan 2024 00:00:00 GMT").status_code == 200
    assert fetch(server, keys, If_Modified_Since="hier").status_code == 200
    assert fetch(server, keys).content == first.content


def test_an_edited_file_is_signed_anew(server: Server, keys: Path, tmp_path: Path) -> None:
    first = fetch(server, keys)
    entry = {"identifier": "9", "dn": "CN=db9,C=FR", "db": "db9.example", "vi": "", "name": "Neuve"}
    rewrite(tmp_path, entries=[entry])
    second = fetch(server, keys, If_None_Match=first.headers["ETag"])
    found = check(second.content, (keys / "igc-root.pem").read_bytes())
    assert [(e.dn, e.db, e.vi) for e in found.entries] == [("CN=db9,C=FR", "db9.example", "")]
    assert found.generated_at == datetime.fromtimestamp(1_800_000_000, UTC)


@pytest.mark.parametrize(
    ("mode", "said"), [("unsigned", "0 found"), ("tampered", "digest of reference ''"), ("garbage", "unexpected root")]
)
def test_bad_modes_give_lists_to_be_refused(server: Server, keys: Path, tmp_path: Path, mode: str, said: str) -> None:
    rewrite(tmp_path, mode=mode)
    with pytest.raises(BadList, match=said):
        check(fetch(server, keys).content, (keys / "igc-root.pem").read_bytes())


def test_an_unavailable_publisher_says_503(server: Server, keys: Path, tmp_path: Path) -> None:
    rewrite(tmp_path, mode="unavailable")
    assert fetch(server, keys).status_code == 503


def test_only_the_list_is_there_and_only_to_be_read(server: Server, keys: Path) -> None:
    base = f"https://localhost:{server.port}"
    ca = str(keys / "igc-ca.pem")
    assert requests.get(base + "/", verify=ca, timeout=10).status_code == 404
    assert requests.post(base + "/liste-blanche.xml", verify=ca, timeout=10).status_code == 405
    head = requests.head(base + "/liste-blanche.xml", verify=ca, timeout=10)
    assert (head.status_code, head.content) == (200, b"")


def test_revocation_lists_are_published_in_der(keys: Path) -> None:
    running = serve(crl_app(keys))
    try:
        base = f"http://127.0.0.1:{running.port}"
        crl = x509.load_der_x509_crl(requests.get(base + "/crl.der", timeout=10).content)
        revoked = x509.load_pem_x509_certificate((keys / "revoked.pem").read_bytes())
        assert crl.get_revoked_certificate_by_serial_number(revoked.serial_number) is not None
        root = x509.load_der_x509_crl(requests.get(base + "/root-crl.der", timeout=10).content)
        assert root.issuer == x509.load_pem_x509_certificate((keys / "igc-root.pem").read_bytes()).subject
        assert requests.get(base + "/whitelist-signer.key", timeout=10).status_code == 404
    finally:
        running.stop()


def test_the_command_writes_one_list_and_refuses_a_national_name(keys: Path, tmp_path: Path) -> None:
    out = tmp_path / "liste.xml"
    argv = ["--pki", str(keys), "--data", str(tmp_path)]
    assert whitelist_publisher.main([*argv, "--write", str(out)]) == 0
    assert len(check(out.read_bytes(), (keys / "igc-root.pem").read_bytes()).entries) == 2
    with pytest.raises(ProductionName):
        whitelist_publisher.main([*argv, "--host", "db1.mesimagesmedicales.fr", "--write", str(out)])
