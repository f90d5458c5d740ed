# SPDX-License-Identifier: AGPL-3.0-or-later
"""From the report to the DMP, with the real Orthanc, sockets and stand-ins."""

from __future__ import annotations

import io
import os
import signal
import socket
import uuid
from pathlib import Path

import pydicom
import pytest

from sandbox import demo, exams, ris, story
from sandbox.report_hl7 import Envelope, make_mdm
from tests.system.appliance import Instance, eventually
from tests.system.conftest import Published

pytestmark = pytest.mark.system


def acknowledged(answer: bytes) -> str:
    return ris.summary(answer)["ack"]


def send(appliance: Instance, message: bytes) -> bytes:
    return ris.send("127.0.0.1", appliance.facts["ports"]["mllp"], message, 20)


def told(appliance: Instance, study_uid: str) -> None:
    eventually(lambda: any(e["kind"] == "kos-published" for e in appliance.journal(study_uid)), "the journal", 60)


def test_the_published_kos_is_listed_with_its_metadata_and_readable(appliance: Instance, published: Published) -> None:
    (entry,) = appliance.entries(published.exam.study_uid)
    assert entry["availabilityStatus"] == "Approved"
    assert entry["replaces"] is None
    assert entry["patientId"].startswith("2")
    path = appliance.state / "kos.dcm"
    appliance.run("sandbox", "dmp", "get", published.kos_uid, "--out", str(path))
    kos = pydicom.dcmread(io.BytesIO(path.read_bytes()))
    assert kos.SOPInstanceUID == published.kos_uid
    (evidence,) = kos.CurrentRequestedProcedureEvidenceSequence
    (series,) = evidence.ReferencedSeriesSequence
    assert len(series.ReferencedSOPSequence) == len(published.exam.paths)
    study = f"{appliance.facts['wado_root']}/studies/{published.exam.study_uid}"
    assert series.RetrieveURL == f"{study}/series/{published.exam.series_uids[0]}"
    metadata = appliance.run("sandbox", "dmp", "get", published.kos_uid, "--metadata").stdout
    assert "IMG-KOS" in metadata


def test_a_series_description_can_be_read_from_the_kos_text(appliance: Instance, another: Published) -> None:
    path = appliance.state / "kos2.dcm"
    appliance.run("sandbox", "dmp", "get", another.kos_uid, "--out", str(path))
    shown = appliance.read("kos", "show", str(path))
    assert shown["study"]["uid"] == another.exam.study_uid
    assert len(shown["study"]["series"]) == 2


def test_the_same_message_twice_gives_the_same_answer_and_one_entry(appliance: Instance, published: Published) -> None:
    first = send(appliance, published.message)
    second = send(appliance, published.message)
    assert first == second
    assert len(appliance.entries(published.exam.study_uid)) == 1


def test_a_report_of_an_absent_study_says_why_and_is_published_once_resent(appliance: Instance, tmp_path: Path) -> None:
    study_uid = f"2.25.{uuid.uuid4().int}"
    exam = exams.make_exam("cr", tmp_path, study_uid=study_uid)
    message = story.message_of(story.report_of(exam)).hl7
    assert acknowledged(send(appliance, message)) == "AA"
    event = eventually(lambda: [e for e in appliance.journal(study_uid) if e["severity"] == "error"], "the journal")[0]
    assert event["reason"] == "study-not-found"
    assert appliance.entries(study_uid) == []
    demo.send_images(exam, appliance.facts["ports"]["dicom"])
    assert acknowledged(send(appliance, message)) == "AA"
    assert len(eventually(lambda: appliance.entries(study_uid), "the KOS")) == 1


def test_sigkill_between_acknowledgement_and_publication_publishes_exactly_once(
    appliance: Instance, tmp_path: Path
) -> None:
    exam = exams.make_exam("cr", tmp_path, study_uid=f"2.25.{uuid.uuid4().int}", accession="ACC77")
    demo.send_images(exam, appliance.facts["ports"]["dicom"])
    appliance.run("sandbox", "dmp", "fault", "down", "--count", "1000")
    try:
        message = story.message_of(story.report_of(exam)).hl7
        assert acknowledged(send(appliance, message)) == "AA"
        victim = appliance.process("orthanc")
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: appliance.process("orthanc") not in (0, victim), "a new Orthanc")
        assert appliance.entries(exam.study_uid) == []
    finally:
        appliance.run("sandbox", "dmp", "fault", "--clear")
    assert len(eventually(lambda: appliance.entries(exam.study_uid), "the KOS", 90)) == 1
    told(appliance, exam.study_uid)
    assert len(appliance.entries(exam.study_uid)) == 1


def test_a_lost_answer_publishes_exactly_once(appliance: Instance, tmp_path: Path) -> None:
    exam = exams.make_exam("cr", tmp_path, study_uid=f"2.25.{uuid.uuid4().int}", accession="ACC78")
    demo.send_images(exam, appliance.facts["ports"]["dicom"])
    appliance.run("sandbox", "dmp", "fault", "answer-lost", "--count", "1")
    try:
        send(appliance, story.message_of(story.report_of(exam)).hl7)
        told(appliance, exam.study_uid)
    finally:
        appliance.run("sandbox", "dmp", "fault", "--clear")
    assert len(appliance.entries(exam.study_uid)) == 1
    kinds = [e["kind"] for e in appliance.journal(exam.study_uid)]
    assert "publication-waiting" in kinds


def with_document(document: bytes, exam: exams.ExamFiles) -> bytes:
    return make_mdm(document, story.report_of(exam), envelope=Envelope(control_id=uuid.uuid4().hex[:20]))


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (b"this is not XML", b"102"),
        (b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><ClinicalDocument xmlns="urn:hl7-org:v3"/>', b"102"),
        (b"<other/>", b"102"),
    ],
)
def test_a_document_that_is_no_report_is_refused_and_kept(
    appliance: Instance, published: Published, document: bytes, code: bytes
) -> None:
    before = len(appliance.operator("/drimbox/reports?limit=1000"))
    answer = send(appliance, with_document(document, published.exam))
    assert acknowledged(answer) == "AE"
    assert b"|" + code + b"^" in answer
    kept = appliance.operator("/drimbox/reports?limit=1000")
    assert len(kept) == before + 1
    assert kept[0]["state"] == "refused"


def test_garbage_on_the_port_harms_nothing(appliance: Instance, published: Published) -> None:
    for garbage in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x0b\x1c\r", b"\x0bMSH|broken\x1c\r", os.urandom(4096)):
        with socket.create_connection(("127.0.0.1", appliance.facts["ports"]["mllp"]), timeout=5) as link:
            link.sendall(garbage)
            link.shutdown(socket.SHUT_WR)
            while link.recv(4096):
                pass
    assert acknowledged(send(appliance, published.message)) == "AA"


def test_a_message_over_the_limit_is_refused_and_the_next_is_taken(appliance: Instance, published: Published) -> None:
    limit = 64 * 1024 * 1024
    with socket.create_connection(("127.0.0.1", appliance.facts["ports"]["mllp"]), timeout=20) as link:
        link.sendall(b"\x0b" + published.message[:2000])
        chunk = b"A" * (1024 * 1024)
        try:
            for _ in range(limit // len(chunk) + 2):
                link.sendall(chunk)
        except OSError:
            pass  # refused before the end was sent
        answer = b""
        try:
            while piece := link.recv(65536):
                answer += piece
        except ConnectionResetError:
            pass
    refused = [r for r in appliance.operator("/drimbox/reports") if r["reason"] == "message-too-large"]
    assert len(refused) == 1
    assert b"MSA|AE|" in answer
    assert acknowledged(send(appliance, published.message)) == "AA"


def test_pid_and_cda_of_two_patients_are_refused(appliance: Instance, published: Published) -> None:
    message = published.message
    lines = message.replace(b"\n", b"\r").split(b"\r")
    pid = next(line for line in lines if line.startswith(b"PID|"))
    ins = pid.split(b"|")[3].split(b"^")[0]
    other = bytes([*ins[:-1], (ins[-1] - 48 + 1) % 10 + 48])
    answer = send(appliance, message.replace(pid, pid.replace(ins, other)))
    assert acknowledged(answer) == "AE"
    assert b"904" in answer
