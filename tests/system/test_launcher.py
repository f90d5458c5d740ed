# SPDX-License-Identifier: AGPL-3.0-or-later
"""The launcher's contract (docs/launcher.md), seen from outside."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.appliance import Instance, eventually, launcher, state_root

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def second() -> Iterator[Instance]:
    """An instance beside the session's own one."""
    state = state_root() / "second"
    launcher("down", "--state", str(state))
    yield Instance(state, 19500)
    launcher("down", "--state", str(state))


def running(state: Path) -> list[str]:
    """Processes whose command line or environment names a state folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(state) in line and "pytest" not in line:
                found.append(line)
    return found


def test_the_demonstration_tells_each_step_beside_another_instance(appliance: Instance, second: Instance) -> None:
    assert appliance.facts["ready"]
    done = launcher("demo", "--detach", "--state", str(second.state), "--base-port", str(second.base_port))
    for words in ("100 images", "acquitté AA", "KOS construit", "KOS publié dans le DMP", "token-missing", "WADO-RS"):
        assert words in done.stdout, words
    assert f"{second.facts['urls']['vi']}/IHEInvokeImageDisplay?" in done.stdout


def test_status_has_the_shape_that_outside_checks_rely_on(appliance: Instance) -> None:
    facts = appliance.read("status")
    assert facts["ready"] is True
    assert set(facts["urls"]) == {"db", "vi", "conso", "admin"}
    assert set(facts["ports"]) == {"mllp", "dicom", "orthanc"}
    assert facts["wado_root"].startswith(facts["urls"]["db"] + "/")
    assert Path(facts["ca"]).is_file()
    assert facts["versions"]["orthanc"]
    assert facts["health"]["status"] == "UP"


def test_a_process_that_dies_is_started_again_and_reported(second: Instance) -> None:
    second.up()
    victim = second.process("nginx")
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: second.process("nginx") not in (0, victim), "another nginx")
    status = eventually(
        lambda: (s := json.loads(second.run("status", "--json", check=False).stdout))["ready"] and s, "ready"
    )
    assert status["processes"]["nginx"]["restarts"] == 1
    assert status["processes"]["nginx"]["lastExit"] == -signal.SIGKILL
    assert "relancé 1 fois" in second.run("status").stdout


def test_ports_that_are_taken_are_named(appliance: Instance) -> None:
    state = state_root() / "third"
    done = launcher("up", "--state", str(state), "--base-port", str(appliance.base_port), check=False)
    assert done.returncode == 4
    assert "n'a pas démarré" in done.stderr


def test_a_wrong_site_file_is_refused_with_the_key(tmp_path: Path) -> None:
    site = tmp_path / "site.json"
    site.write_text('{"Faces": {"Db": {"Host": "x", "Certificate": "/c", "Key": "/k"}}}')
    done = launcher("up", "--state", str(state_root() / "fourth"), "--site", str(site), check=False)
    assert done.returncode == 4
    assert "ClientAuthorities" in done.stderr


def test_a_killed_supervisor_leaves_nothing_in_the_way(second: Instance) -> None:
    second.up()
    os.kill(int(json.loads((second.state / "status.json").read_text())["supervisor"]), signal.SIGKILL)
    eventually(lambda: second.run("status", check=False).returncode == 1, "the end of the appliance")
    second.up()
    assert second.read("status")["health"]["status"] == "UP"


def test_down_leaves_nothing_and_up_finds_everything_again(second: Instance) -> None:
    second.up()
    before = second.read("sandbox", "dmp", "list")
    second.down()
    assert eventually(lambda: not running(second.state), "the end of every process", 10)
    assert launcher("status", "--state", str(second.state), check=False).returncode == 1
    second.up()
    assert second.read("sandbox", "dmp", "list") == before


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("nonsense",), 2, "verbe inconnu"),
        (("hl7", "check", "/nonexistent/file"), 2, "No such file"),
        (("sandbox", "dmp", "list"), 3, "aucune appliance"),
        (("up", "--site", "/nonexistent.json"), 1, "introuvable"),
    ],
)
def test_wrong_use_gets_a_sentence_and_a_code(words: tuple[str, ...], code: int, sentence: str) -> None:
    done = launcher(*words, "--state", str(state_root() / "nowhere"), check=False)
    assert (done.returncode, sentence in done.stderr) == (code, True), done.stderr
