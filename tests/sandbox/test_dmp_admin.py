# SPDX-License-Identifier: AGPL-3.0-or-later
"""Administration port, injected faults, persistence and command line of the DMP stand-in."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from sandbox.common import ProductionName
from sandbox.dmp_cli import main as cli
from sandbox.dmp_faults import KINDS, Faults
from sandbox.dmp_server import DmpServers, main, start
from tests.sandbox.dmp_messages import (
    EXISTENCE,
    GET_DOCUMENTS,
    INS,
    PATIENT,
    QUERY,
    Client,
    Publication,
    Reply,
    Vihf,
    existence,
    stored_query,
)  # fmt: skip

pytest_plugins = ("tests.sandbox.dmp_fixtures",)


def call(dmp: DmpServers, method: str, path: str, value: object = None, headers: dict[str, str] | None = None
         ) -> tuple[int, bytes, dict[str, str]]:  # fmt: skip
    connection = http.client.HTTPConnection("127.0.0.1", dmp.admin.port if dmp.admin else 0, timeout=10)
    try:
        connection.request(method, path, None if value is None else json.dumps(value), headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read(), dict(answer.getheaders())
    finally:
        connection.close()


def listed(dmp: DmpServers, query: str = "") -> list[dict[str, Any]]:
    status, body, _ = call(dmp, "GET", f"/documents{query}")
    assert status == 200
    return list(json.loads(body))


def found(dmp: DmpServers, uid: str) -> dict[str, Any]:
    return next(d for d in listed(dmp) if d["uniqueId"] == uid)


def test_the_list_has_the_shape_that_others_rely_on(pki: Path, dmp: DmpServers, client: Client) -> None:
    old = Publication(pki)
    assert client.publish(old).outcome == "Success"
    first = found(dmp, old.uid)
    new = Publication(pki, replaces=first["entryUuid"], confidentiality=("N", "MASQUE_PS"), study=old.study)
    assert client.publish(new).outcome == "Success"
    first, second = found(dmp, old.uid), found(dmp, new.uid)
    assert first["availabilityStatus"] == "Deprecated"
    assert second | {"submittedAt": "", "entryUuid": ""} == {
        "uniqueId": new.uid,
        "entryUuid": "",
        "availabilityStatus": "Approved",
        "patientId": f"{INS}^^^&1.2.250.1.213.1.4.10&ISO^NH",
        "confidentialityCodes": ["N", "MASQUE_PS"],
        "referenceIds": [
            "ACC1^^^&1.2.250.1.999.3&ISO^urn:ihe:iti:xds:2013:accession",
            f"{new.study}^^^&1.2.3.4.5.6&ISO^urn:ihe:iti:xds:2016:studyInstanceUID",
            "ORD1^^^&1.2.250.1.999.4&ISO^urn:ihe:iti:xds:2013:order",
        ],
        "replaces": first["entryUuid"],
        "submittedAt": "",
        "kind": "kos",
        "typeCode": "IMG-KOS",
        "title": "Reference d'Objets d'un Examen d'Imagerie",
        "eventCodes": [
            {"code": "MR", "scheme": "1.2.840.10008.2.16.4"},
            {"code": "774007", "scheme": "2.16.840.1.113883.6.96"},
            {"code": "ACQN001", "scheme": "1.2.250.1.213.2.5"},
        ],
        "mimeType": "application/dicom",
        "hash": second["hash"],
        "size": len(new.content),
        "submissionUid": new.set_uid,
        "structure": "1750803447",
        "receivedAttempts": 1,
        "acceptedAttempts": 1,
    }
    assert second["submittedAt"].endswith("Z")
    assert old.signature_uid not in [d["uniqueId"] for d in listed(dmp)]
    assert old.signature_uid in [d["uniqueId"] for d in listed(dmp, "?all=1")]


def test_document_entry_and_exchange_are_given_as_they_came(pki: Path, dmp: DmpServers, client: Client) -> None:
    sent = Publication(pki)
    reply = client.publish(sent)
    status, body, headers = call(dmp, "GET", f"/documents/{sent.uid}")
    assert (status, body, headers["Content-Type"]) == (200, sent.content, "application/dicom")
    assert headers["X-Simulator"] == "DRIMbox sandbox"
    _, entry, _ = call(dmp, "GET", f"/documents/{sent.uid}/metadata")
    assert entry.startswith(b"<rim:ExtrinsicObject")
    assert sent.uid.encode() in entry
    _, wire, headers = call(dmp, "GET", f"/documents/{sent.uid}/exchange")
    offset = int(headers["X-Answer-Offset"])
    assert wire.startswith(b"POST /si-dmp-server/v2/services/repository HTTP/1.1\r\n")
    assert sent.content in wire[:offset]
    assert wire[offset:].startswith(b"HTTP/1.1 200 OK\r\n")
    assert wire[offset:].endswith(reply.body)
    assert call(dmp, "GET", "/documents/1.2.3")[0] == 404
    assert call(dmp, "GET", f"/documents/{sent.uid}/other")[0] == 404


def test_exchanges_tell_how_each_call_ended(pki: Path, dmp: DmpServers, client: Client) -> None:
    client.publish(Publication(pki, content=b"x" * 300))
    client.call("patients", EXISTENCE, existence(), Vihf(structure="1999999999"))
    _, body, _ = call(dmp, "GET", "/exchanges")
    last, before = json.loads(body)[:2]
    assert (last["action"], last["outcome"], last["detail"]) == ("TD0.2", "fault", "vihf-structure")
    assert (before["action"], before["outcome"], before["detail"]) == ("ITI-41", "refused", "not-dicom")
    assert last["messageId"].startswith("urn:uuid:")
    assert b"POST /si-dmp-server/v2/services/patients" in call(dmp, "GET", f"/exchanges/{last['id']}")[1]
    assert call(dmp, "GET", "/exchanges/999999")[0] == 404


def test_the_page_says_that_it_is_a_simulator_and_escapes_what_it_shows(
    pki: Path, dmp: DmpServers, client: Client
) -> None:
    sent = Publication(
        pki, edit_kos=lambda text: text.replace("Examen d'Imagerie", "&lt;script&gt;alert(1)&lt;/script&gt;")
    )
    assert client.publish(sent).outcome == "Success"
    status, body, headers = call(dmp, "GET", "/")
    assert status == 200
    assert "SIMULATEUR — ce n'est pas le DMP" in body.decode()
    assert sent.uid.encode() in body
    assert b"<script" not in body
    assert b"&lt;script&gt;" in body
    assert "default-src 'none'" in headers["Content-Security-Policy"]


def test_the_administration_port_serves_programs_of_this_machine_only(dmp: DmpServers) -> None:
    assert call(dmp, "GET", "/documents", headers={"Host": "evil.test"})[0] == 403
    assert call(dmp, "POST", "/reset", {}, headers={"Origin": "https://evil.test"})[0] == 403
    assert call(dmp, "GET", "/documents", headers={"Host": "localhost:1"})[0] == 200
    assert call(dmp, "PUT", "/documents")[0] == 404
    assert dmp.admin is not None
    assert dmp.admin.server_name == "127.0.0.1"


def test_a_patient_can_be_closed(pki: Path, dmp: DmpServers, client: Client) -> None:
    ins = "188027512345711"
    patient = PATIENT.replace(INS, ins)
    assert call(dmp, "POST", "/patients", {"ins": ins, "state": "closed"})[0] == 200
    assert client.publish(Publication(pki, patient=patient), Vihf(patient=patient)).codes == ["DMPClosed"]
    assert call(dmp, "POST", "/patients", {"ins": ins, "state": "open"})[0] == 200
    assert client.publish(Publication(pki, patient=patient), Vihf(patient=patient)).outcome == "Success"
    assert call(dmp, "POST", "/patients", {"ins": ins, "state": "merged"})[0] == 400


# --- faults --------------------------------------------------------------------------------------------------------


def inject(dmp: DmpServers, kind: str, **more: object) -> None:
    assert call(dmp, "POST", "/faults", {"kind": kind, **more})[0] == 201


def publish_again(pki: Path, client: Client, first: Publication) -> Reply:
    return client.publish(Publication(pki, uid=first.uid, content=first.content))


@pytest.mark.parametrize(
    ("kind", "status", "sign"),
    [
        ("soap-fault", 500, b"env:Receiver"),
        ("fault-multipart", 500, b"env:Receiver"),
        ("html-502", 502, b"<!DOCTYPE html>"),
        ("http-500", 500, b""),
        ("expired-certificate", 500, b"DMPInvalidCertificate"),
        ("duplicate", 200, b"XDSDuplicateUniqueIdInRegistry"),
        ("busy", 200, b"XDSRepositoryBusy"),
        ("unknown-code", 200, b"XDSSandboxUnknownError"),
    ],
)
def test_a_fault_that_hinders_leaves_nothing_and_is_gone_afterwards(
    pki: Path, dmp: DmpServers, client: Client, kind: str, status: int, sign: bytes
) -> None:
    inject(dmp, kind, action="ITI-41")
    assert client.call("patients", EXISTENCE, existence()).status == 200
    sent = Publication(pki)
    reply = client.publish(sent)
    assert reply.status == status
    assert sign in reply.body
    assert dmp.app.store.by_unique_id(sent.uid) is None
    assert client.publish(sent).outcome == "Success"


def test_the_fault_in_a_multipart_is_one(pki: Path, dmp: DmpServers, client: Client) -> None:
    inject(dmp, "fault-multipart", action="ITI-41")
    inject(dmp, "soap-fault", action="ITI-41")
    assert client.publish(Publication(pki)).multipart
    assert not client.publish(Publication(pki)).multipart


def test_a_named_action_that_is_down_answers_503(pki: Path, dmp: DmpServers, client: Client) -> None:
    inject(dmp, "down", action="ITI-41", count=2)
    statuses = [client.publish(Publication(pki)).status for _ in range(3)]
    assert statuses == [503, 503, 200]


def test_the_whole_service_down_closes_connections(pki: Path, dmp: DmpServers, client: Client) -> None:
    inject(dmp, "down", count=2)
    for _ in range(2):
        with pytest.raises(OSError):  # noqa: PT011
            client.publish(Publication(pki))
    assert client.publish(Publication(pki)).outcome == "Success"


@pytest.mark.parametrize(("kind", "stored"), [("answer-lost", True), ("truncated", True), ("cut-before", False)])
def test_a_cut_connection_loses_the_answer_and_maybe_the_request(
    pki: Path, dmp: DmpServers, client: Client, kind: str, stored: bool
) -> None:
    inject(dmp, kind, action="ITI-41")
    sent = Publication(pki)
    with pytest.raises((OSError, http.client.HTTPException)):
        client.publish(sent)
    assert (dmp.app.store.by_unique_id(sent.uid) is not None) is stored
    assert len(client.entry_uuid(sent.uid)) == int(stored)
    again = publish_again(pki, client, sent)
    assert again.codes == (["XDSDuplicateUniqueIdInRegistry"] if stored else [])
    assert dmp.app.store.attempts(sent.uid) == ((2, 1) if stored else (1, 1))


def test_a_slow_answer_comes_late_after_processing(pki: Path, dmp: DmpServers, client: Client) -> None:
    inject(dmp, "slow", action="ITI-41", seconds=0.4)
    begin = time.monotonic()
    assert client.publish(Publication(pki)).outcome == "Success"
    assert time.monotonic() - begin > 0.4


def test_partial_success_is_said_after_processing(pki: Path, dmp: DmpServers, client: Client) -> None:
    inject(dmp, "partial-success", action="*", count=2)
    sent = Publication(pki)
    assert client.publish(sent).outcome == "PartialSuccess"
    reply = client.call("registry", QUERY, stored_query(GET_DOCUMENTS, [("UniqueId", f"('{sent.uid}')")]))
    assert reply.outcome == "PartialSuccess"
    assert dmp.app.store.by_unique_id(sent.uid) is not None


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"down", "answer-lost", "cut-before", "truncated", "slow"}))
def test_every_kind_has_an_answer_on_every_action(dmp: DmpServers, client: Client, kind: str) -> None:
    inject(dmp, kind, action="TD0.2")
    reply = client.call("patients", EXISTENCE, existence())
    assert reply.status in (500, 502)


def test_faults_are_listed_cleared_and_checked(dmp: DmpServers) -> None:
    inject(dmp, "slow", action="urn:ihe:iti:2010:UpdateDocumentSet", count=3, seconds=2)
    _, body, _ = call(dmp, "GET", "/faults")
    assert json.loads(body) == [{"action": "ITI-57", "kind": "slow", "remaining": 3, "seconds": 2.0}]
    assert call(dmp, "DELETE", "/faults")[0] == 200
    assert json.loads(call(dmp, "GET", "/faults")[1]) == []
    for wrong in ({"kind": "storm"}, {"kind": "slow", "action": "ITI-99"}, {"kind": "slow", "count": 0},
                  {"kind": "slow", "count": "x"}, ["slow"]):  # fmt: skip
        assert call(dmp, "POST", "/faults", wrong)[0] == 400


def test_the_list_of_faults_is_bounded() -> None:
    faults = Faults()
    for _ in range(1000):
        faults.add("slow")
    with pytest.raises(ValueError, match="Trop"):
        faults.add("slow")


# --- persistence ---------------------------------------------------------------------------------------------------


def test_what_was_published_survives_a_restart_and_a_reset_forgets_it(pki: Path, tmp_path: Path) -> None:
    first = start(pki, tmp_path)
    sent = Publication(pki)
    assert Client(pki, first.national.port).publish(sent).outcome == "Success"
    before = found(first, sent.uid)
    first.stop()
    second = start(pki, tmp_path)
    try:
        assert found(second, sent.uid) == before
        again = Publication(pki, uid=sent.uid, content=sent.content)
        assert Client(pki, second.national.port).publish(again).codes == ["XDSDuplicateUniqueIdInRegistry"]
        assert call(second, "GET", f"/documents/{sent.uid}/exchange")[0] == 200
        assert call(second, "POST", "/reset", {})[0] == 200
        assert listed(second, "?all=1") == []
    finally:
        second.stop()


def test_only_the_last_exchanges_are_kept_but_those_of_documents_stay(pki: Path, tmp_path: Path) -> None:
    servers = start(pki, tmp_path)
    try:
        client = Client(pki, servers.national.port)
        sent = Publication(pki)
        assert client.publish(sent).outcome == "Success"
        store = servers.app.store
        for _ in range(250):
            store.add_exchange(servers.app.clock(), "x", "", b"")
        assert len(store.exchanges(1000)) == 201
        assert call(servers, "GET", f"/documents/{sent.uid}/exchange")[0] == 200
    finally:
        servers.stop()


# --- command line --------------------------------------------------------------------------------------------------


def test_the_command_line_lists_gives_and_injects(
    pki: Path, dmp: DmpServers, client: Client, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    sent = Publication(pki)
    client.publish(sent)
    assert cli(["list", "--json"], dmp.admin_url) == 0
    assert sent.uid in [d["uniqueId"] for d in json.loads(capfdbinary.readouterr().out)]
    assert cli(["list"], dmp.admin_url + "/") == 0
    assert sent.uid.encode() in capfdbinary.readouterr().out
    out = tmp_path / "kos.dcm"
    assert cli(["get", sent.uid, "--out", str(out)], dmp.admin_url) == 0
    assert out.read_bytes() == sent.content
    assert cli(["get", sent.uid, "--metadata"], dmp.admin_url) == 0
    assert capfdbinary.readouterr().out.startswith(b"<rim:ExtrinsicObject")
    assert cli(["get", sent.uid, "--exchange"], dmp.admin_url) == 0
    assert capfdbinary.readouterr().out.startswith(b"POST ")
    assert cli(["get", "1.2.3"], dmp.admin_url) == 1
    assert "inconnu" in capfdbinary.readouterr().err.decode()
    assert cli(["fault", "busy", "--action", "ITI-41", "--count", "2"], dmp.admin_url) == 0
    assert cli(["fault", "--list"], dmp.admin_url) == 0
    assert json.loads(capfdbinary.readouterr().out)[0]["remaining"] == 2
    assert cli(["fault", "--clear"], dmp.admin_url) == 0
    assert dmp.app.faults.listed() == []
    assert cli(["fault"], dmp.admin_url) == 1
    assert cli(["fault", "busy", "--action", "X"], dmp.admin_url) == 1


def test_the_command_line_says_when_nobody_answers(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert cli(["list"], f"http://127.0.0.1:{port}") == 1
    assert "ne répond pas" in capsys.readouterr().err


def test_the_program_starts_says_what_it_is_and_ends_on_a_signal(pki: Path, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "sandbox.dmp_server", "--port", "0", "--pki", str(pki), "--data", str(tmp_path),
            "--admin-port", "0"]  # fmt: skip
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=os.environ.copy()) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        assert "SIMULATEUR DMP" in lines[0]
        assert "/si-dmp-server/v2/services/" in lines[1]
        admin = lines[2].split()[-1]
        with urllib.request.urlopen(f"{admin}documents", timeout=5) as answer:
            assert json.load(answer) == []
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


@pytest.mark.parametrize("host", ["lps2.dmp.gouv.fr", "dmp.gouv.fr"])
def test_the_program_refuses_a_production_name(pki: Path, tmp_path: Path, host: str) -> None:
    with pytest.raises(ProductionName):
        start(pki, tmp_path, host=host)
    with pytest.raises(ProductionName):
        main(["--port", "0", "--pki", str(pki), "--data", str(tmp_path), "--public-url", f"https://{host}/"])
