# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from drimbox import cli, kos_writer
from drimbox.cli import lines, main
from tests import guard_data as g
from tests import manifest_data
from tests.core_data import OTHER_STUDY, report
from tests.reports_data import INS, STUDY, Cda, Message, mdm_replacement, mdm_withdrawal, omi

AT = ["--at", "2026-11-21T09:00:00+00:00"]


@pytest.fixture
def file(tmp_path: Path) -> Callable[[bytes], str]:
    def write(data: bytes) -> str:
        path = tmp_path / f"file-{len(list(tmp_path.iterdir()))}"
        path.write_bytes(data)
        return str(path)

    return write


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, Any]]:
    """Run a verb with --json; gives its exit code and its answer."""

    def call(*words: str) -> tuple[int, Any]:
        code = main([*words, "--json"])
        out = capsys.readouterr().out
        return code, json.loads(out) if out else None

    return call


File = Callable[[bytes], str]
Run = Callable[..., tuple[int, Any]]


# --- hl7 check -------------------------------------------------------------------------------------------------------


def test_a_good_message_has_the_shape_that_outside_checks_rely_on(run: Run, file: File) -> None:
    raw = replace(Message().flagged(INVISIBLE_PATIENT="Y"), processing_id="D").raw()
    code, found = run("hl7", "check", file(raw))
    assert code == 0
    assert set(found) >= {"ack", "error", "action", "studies", "restrictions", "patient", "warnings"}
    assert (found["ack"], found["error"], found["action"]) == ("AA", None, "create")
    assert found["studies"] == [STUDY]
    assert found["restrictions"] == ["INVISIBLE_PATIENT"]
    assert found["patient"]["ins"] == INS
    assert isinstance(found["warnings"], list)


@pytest.mark.parametrize(
    ("raw", "action"), [(mdm_replacement().raw(), "replace"), (mdm_withdrawal().raw(), "withdraw"), (omi(), None)]
)
def test_what_a_message_asks_for_is_told(run: Run, file: File, raw: bytes, action: str | None) -> None:
    code, found = run("hl7", "check", file(raw))
    assert (code, found["ack"], found["action"]) == (0, "AA", action)


def test_studies_come_in_the_reports_order(run: Run, file: File) -> None:
    assert run("hl7", "check", file(report(OTHER_STUDY, STUDY)))[1]["studies"] == [OTHER_STUDY, STUDY]


@pytest.mark.parametrize(
    ("raw", "ack", "reason"),
    [
        (b"", "AR", "not-hl7"),
        (b"\x00\xff garbage", "AR", "not-hl7"),
        (replace(Message(), document=b"<other/>").raw(), "AE", "document-not-a-cda"),
    ],
)
def test_a_refused_message_says_why_and_fails(run: Run, file: File, raw: bytes, ack: str, reason: str) -> None:
    code, found = run("hl7", "check", file(raw))
    assert (code, found["ack"], found["error"]["reason"], found["action"]) == (1, ack, reason, None)
    assert set(found["error"]) >= {"code", "application_code", "location", "reason", "text"}


# --- cda, kos --------------------------------------------------------------------------------------------------------


def test_a_report_is_shown(run: Run, file: File) -> None:
    code, found = run("cda", "show", file(Cda().xml()))
    assert code == 0
    assert STUDY in json.dumps(found)


def test_a_manifest_is_shown(run: Run, file: File) -> None:
    data = kos_writer.write_manifest(manifest_data.manifest(), manifest_data.SETTINGS)
    code, found = run("kos", "show", file(data))
    assert code == 0
    assert found["study"]["uid"] == manifest_data.STUDY
    assert len(found["study"]["series"]) == 4


@pytest.mark.parametrize("verb", [("cda", "show"), ("kos", "show")])
@pytest.mark.parametrize("data", [b"", b"\x00" * 200, b"<a/>", b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"])
def test_a_document_that_cannot_be_used_has_a_reason_and_fails(
    run: Run, file: File, verb: tuple[str, str], data: bytes
) -> None:
    code, found = run(*verb, file(data))
    assert code == 1
    assert found["valid"] is False
    assert found["reason"] != "internal-error"
    assert found["detail"]


# --- whitelist verify ------------------------------------------------------------------------------------------------


def test_a_signed_list_verifies_under_its_root(run: Run, file: File) -> None:
    code, found = run("whitelist", "verify", file(g.sign()), "--root", file(g.root().pem()), *AT)
    assert code == 0
    assert set(found) >= {"valid", "reason", "detail", "entries", "signer"}
    assert (found["valid"], found["reason"], found["entries"]) == (True, None, 2)
    assert "Liste Blanche DRIM-M" in found["signer"]


def test_without_a_root_nothing_is_trusted_and_the_remedy_is_told(run: Run, file: File) -> None:
    code, found = run("whitelist", "verify", file(g.sign()), *AT)
    assert (code, found["valid"], found["reason"]) == (1, False, "chain-untrusted")
    assert "--root" in found["detail"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (g.sign().replace(b"db9.example.test", b"db8.example.test"), "digest-mismatch"),
        (g.unsigned().encode(), "signature-missing"),
        (b"not XML", "xml-not-wellformed"),
    ],
)
def test_a_list_that_does_not_verify_has_a_reason_and_fails(run: Run, file: File, data: bytes, reason: str) -> None:
    code, found = run("whitelist", "verify", file(data), "--root", file(g.root().pem()), *AT)
    assert (code, found["valid"], found["reason"], found["entries"]) == (1, False, reason, 0)


@pytest.mark.parametrize(
    ("at", "reason"),
    [
        ("2026-11-21", None),  # a date alone is that day at midnight, UTC
        ("2020-01-01", "signer-not-yet-valid"),
        ("2030-01-01T00:00:00+01:00", "signer-expired"),
    ],
)
def test_a_list_is_verified_at_the_date_that_is_given(run: Run, file: File, at: str, reason: str | None) -> None:
    found = run("whitelist", "verify", file(g.sign()), "--root", file(g.root().pem()), "--at", at)[1]
    assert found["reason"] == reason


# --- what is common --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", [" ".join(v) for v in cli.VERBS])
def test_a_file_that_cannot_be_read_is_another_exit_code(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (tmp_path / "absent", tmp_path):
        assert main([*verb.split(), str(path), "--json"]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith(f"drimbox : {path} : ")


def test_a_file_that_is_too_large_is_not_read(
    file: File, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "LARGEST_FILE", 1024 * 1024)
    assert main(["kos", "show", file(b"x" * (1024 * 1024 + 1))]) == 2
    assert "dépasse 1 Mio" in capsys.readouterr().err


@pytest.mark.parametrize("more", [["--at", "yesterday"], ["--root", "ROOT"]])
def test_an_argument_that_has_no_sense_is_told(file: File, capsys: pytest.CaptureFixture[str], more: list[str]) -> None:
    words = [file(b"no certificate") if w == "ROOT" else w for w in more]
    assert main(["whitelist", "verify", file(g.sign()), *words]) == 2
    assert capsys.readouterr().err.startswith("drimbox : ")


@pytest.mark.parametrize("words", [["hl7", "show"], ["pdf", "check"], ["kos", "verify"]])
def test_an_unknown_verb_tells_the_known_ones(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "file"]) == 2
    err = capsys.readouterr().err
    assert f"verbe inconnu « {' '.join(words)} »" in err
    assert "hl7 check | cda show | kos show | whitelist verify" in err


def test_people_read_lines(file: File, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hl7", "check", file(report())]) == 0
    out = capsys.readouterr().out
    assert "ack : AA\n" in out
    assert f"studies : {STUDY}\n" in out
    assert "error : —\n" in out


def test_nested_answers_are_indented() -> None:
    found = {"a": 1, "b": {"c": None, "d": [1, 2], "e": []}, "f": [{"g": "x"}, {"g": ""}]}
    assert lines(found) == ["a : 1", "b", "  c : —", "  d : 1, 2", "  e : —", "f 1", "  g : x", "f 2", "  g : —"]
