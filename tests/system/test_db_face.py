# SPDX-License-Identifier: AGPL-3.0-or-later
"""The face of the other DRIMboxes: what is served, and every refusal with its reason, audited."""

from __future__ import annotations

import io
import subprocess
from typing import Any

import pydicom
import pytest
import requests

from tests.system.appliance import Instance, eventually
from tests.system.conftest import Published

pytestmark = pytest.mark.system

ACCEPT = 'multipart/related; type="application/dicom";transfer-syntax=*'
LISTED = ",".join(
    f'multipart/related; type="application/dicom";transfer-syntax={s};q=0.5;boundary=**,'
    for s in ("1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.1")
)


def url(appliance: Instance, published: Published, level: str = "series") -> str:
    root = f"{appliance.facts['wado_root']}/studies/{published.exam.study_uid}"
    return root if level == "study" else f"{root}/series/{published.exam.series_uids[0]}"


def ask(appliance: Instance, address: str, *, peer: str | None = "peer", **headers: str | None) -> requests.Response:
    given: dict[str, str] = {"Accept": LISTED}
    for name, value in headers.items():
        if value is not None:
            given[name.replace("_", "-")] = value
    return requests.get(
        address, headers=given, cert=appliance.peer(peer) if peer else None, verify=appliance.facts["ca"], timeout=30
    )


def parts(answer: requests.Response) -> list[bytes]:
    boundary = answer.headers["Content-Type"].split("boundary=")[1].split(";")[0].strip('"')
    pieces = answer.content.split(b"--" + boundary.encode())
    assert pieces[-1].strip() == b"--"
    return [p.split(b"\r\n\r\n", 1)[1][:-2] for p in pieces[1:-1]]


def test_a_peer_that_holds_the_kos_gets_every_image_as_stored(appliance: Instance, published: Published) -> None:
    answer = ask(appliance, url(appliance, published), KOS_SOPInstanceUID=published.kos_uid,
                 Authorization=f"Bearer {appliance.token()}")  # fmt: skip
    assert answer.status_code == 200, answer.text
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    got = [pydicom.dcmread(io.BytesIO(p)) for p in parts(answer)]
    sent = {d.SOPInstanceUID: d for d in map(pydicom.dcmread, published.exam.paths)}
    assert [d.InstanceNumber for d in got] == sorted(d.InstanceNumber for d in sent.values())
    assert {d.SOPInstanceUID for d in got} == set(sent)
    for data in got:
        assert data.PixelData == sent[data.SOPInstanceUID].PixelData
        assert data.file_meta.TransferSyntaxUID == sent[data.SOPInstanceUID].file_meta.TransferSyntaxUID
    record = eventually(
        lambda: [a for a in appliance.audit(published.exam.study_uid) if a["outcome"] == "allowed"], "the audit"
    )[0]
    assert record["facts"]["objects"] == len(sent)
    assert record["facts"]["complete"] is True


def test_no_certificate_ends_at_tls(appliance: Instance, published: Published) -> None:
    answer = ask(appliance, url(appliance, published), peer=None, KOS_SOPInstanceUID=published.kos_uid,
                 Authorization=f"Bearer {appliance.token()}")  # fmt: skip
    assert answer.status_code in (400, 403)
    assert answer.json()["reason"] == "certificate-missing"


REFUSALS: list[tuple[str, dict[str, Any], int, str]] = [
    ("unlisted", {}, 403, "peer-not-listed"),
    ("foreign", {}, 403, "certificate-not-verified"),
    ("expired", {}, 403, "certificate-expired"),
    ("revoked", {}, 403, "certificate-revoked"),
    ("peer", {"Authorization": None}, 401, "token-missing"),
    ("peer", {"Authorization": "--expired"}, 401, "token-expired"),
    ("peer", {"Authorization": "--wrong-key"}, 401, "token-signature"),
    ("peer", {"Authorization": "--inactive"}, 401, "token-inactive"),
    ("peer", {"KOS_SOPInstanceUID": None}, 400, "kos-header-missing"),
    ("peer", {"KOS_SOPInstanceUID": "1.2.3.4"}, 404, "kos-unknown"),
    ("peer", {"KOS_SOPInstanceUID": "another"}, 404, "kos-of-another-study"),
]


@pytest.mark.parametrize(("peer", "change", "status", "reason"), REFUSALS, ids=[f"{r[0]}-{r[3]}" for r in REFUSALS])
def test_each_refusal_has_its_own_reason_and_is_audited(
    appliance: Instance,
    published: Published,
    another: Published,
    peer: str,
    change: dict[str, Any],
    status: int,
    reason: str,
) -> None:
    headers: dict[str, str | None] = {"KOS_SOPInstanceUID": published.kos_uid, "Authorization": ""}
    headers |= change
    if headers["KOS_SOPInstanceUID"] == "another":
        headers["KOS_SOPInstanceUID"] = another.kos_uid
    option = headers["Authorization"]
    if option is not None:
        headers["Authorization"] = f"Bearer {appliance.token(*([option] if option else []))}"
    before = len(appliance.audit(published.exam.study_uid))
    try:
        answer = ask(appliance, url(appliance, published), peer=peer, **headers)
    except requests.exceptions.SSLError:
        assert peer in ("foreign", "expired", "revoked"), "refused by the handshake itself"
        return
    assert (answer.status_code, answer.json()["reason"]) == (status, reason)
    assert answer.headers["Content-Type"] == "application/json"
    records = eventually(lambda: appliance.audit(published.exam.study_uid)[: -before or None], "the audit record")
    assert (records[0]["outcome"], records[0]["reason"]) == ("denied", reason)


def test_orthancs_own_port_gives_nothing_even_with_a_password(appliance: Instance, published: Published) -> None:
    port = appliance.facts["ports"]["orthanc"]
    study = f"/dicom-web/studies/{published.exam.study_uid}"
    for path in ("/system", "/instances", "/studies", study, "/dicom-web/studies", "/app/explorer.html", "/wado"):
        for headers in ({}, {"X-Drimbox-Proxy": "guess", "X-Drimbox-Face": "admin"}):
            answer = requests.get(f"http://127.0.0.1:{port}{path}", auth=("admin", "x"), headers=headers, timeout=5)
            assert answer.status_code in (401, 403), path


def test_the_health_probe_of_the_national_monitor_is_answered(appliance: Instance) -> None:
    answer = requests.get(appliance.facts["wado_root"], cert=appliance.peer(), verify=appliance.facts["ca"], timeout=5,
                          headers={"accept": "application/json"})  # fmt: skip
    assert answer.status_code == 200
    assert answer.json()["status"] == "UP"
    assert {c["name"] for c in answer.json()["checks"]} == {"DRIMbox", "PACS"}


@pytest.mark.parametrize(
    "path", ["/", "/system", "/instances", "/dicom-web/studies", "/ohif/", "/health", "/drimbox/journal"]
)
def test_nothing_else_lives_on_the_face(appliance: Instance, path: str) -> None:
    answer = requests.get(
        appliance.facts["urls"]["db"] + path, cert=appliance.peer(), verify=appliance.facts["ca"], timeout=5
    )
    assert answer.status_code == 404


def test_identity_headers_of_a_client_are_replaced(appliance: Instance, published: Published) -> None:
    forged = {"X-Drimbox-Face": "admin", "X-Drimbox-Client-Verify": "SUCCESS", "X-Drimbox-Client-Cert": "x"}
    answer = requests.get(url(appliance, published), headers=forged, cert=appliance.peer("unlisted"),
                          verify=appliance.facts["ca"], timeout=5)  # fmt: skip
    assert answer.json()["reason"] == "peer-not-listed"


def test_dcmtk_reads_what_is_served(appliance: Instance, published: Published, tmp_path: Any) -> None:
    answer = ask(appliance, url(appliance, published, "study"), KOS_SOPInstanceUID=published.kos_uid,
                 Authorization=f"Bearer {appliance.token()}")  # fmt: skip
    path = tmp_path / "one.dcm"
    path.write_bytes(parts(answer)[0])
    done = subprocess.run(["dcmdump", "+P", "SOPInstanceUID", str(path)], capture_output=True, text=True, check=True)
    assert "SOPInstanceUID" in done.stdout
