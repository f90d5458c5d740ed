# SPDX-License-Identifier: AGPL-3.0-or-later
"""Real child processes under a real supervisor."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from drimbox import supervisor
from drimbox.appliance import Layout
from drimbox.supervisor import Child, Supervisor, appliance_children, port_free, port_open

REPOSITORY = Path(__file__).resolve().parent.parent


def until[T](read: Callable[[], T], seconds: float = 10) -> T:
    deadline = time.monotonic() + seconds
    while not (found := read()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.02)
    return found


def lives(pid: int) -> bool:
    """Whether a process runs; one that ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


class Running:
    """A supervisor as a process."""

    def __init__(self, state: Path, scenario: str, *more: str) -> None:
        self.state = state
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.supervised", str(state), scenario, *more],
            cwd=REPOSITORY,
            stderr=subprocess.PIPE,
            text=True,
        )

    def facts(self) -> dict[str, Any]:
        with contextlib.suppress(OSError):
            return dict(json.loads((self.state / "status.json").read_text()))
        return {}

    def ready(self) -> dict[str, Any]:
        return until(lambda: self.facts() if self.facts().get("ready") else {})

    def pid(self, name: str) -> int:
        return int(self.facts().get("processes", {}).get(name, {}).get("pid") or 0)

    def pids(self) -> list[int]:
        return [p["pid"] for p in self.facts()["processes"].values() if p["pid"]]

    def ended(self) -> int:
        code = self.process.wait(10)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code


Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    made: list[Running] = []

    def begin(scenario: str, *more: str) -> Running:
        made.append(Running(tmp_path / "state", scenario, *more))
        return made[-1]

    yield begin
    for running in made:
        if running.process.poll() is None:
            running.process.kill()
        running.ended()


def test_processes_are_started_in_turn_and_reported(start: Start) -> None:
    running = start("well")
    facts = running.ready()
    assert facts["supervisor"] == running.process.pid
    assert facts["urls"] == {"admin": "https://localhost:1"}
    assert not facts["stopped"]
    assert facts["failed"] == ""
    assert list(facts["processes"]) == ["first", "second"]
    assert all(lives(pid) for pid in running.pids())
    assert stat.S_IMODE((running.state / "status.json").stat().st_mode) == 0o644


def test_output_and_environment_of_a_process(start: Start) -> None:
    running = start("told")
    running.ready()
    log = running.state / "log" / "second.log"
    assert until(lambda: log.read_text()) == "said blue\n"


def test_a_process_that_dies_is_started_again_and_reported(start: Start) -> None:
    running = start("well")
    running.ready()
    victim, other = running.pid("second"), running.pid("first")
    os.kill(victim, signal.SIGKILL)
    until(lambda: running.pid("second") not in (0, victim))
    facts = running.ready()
    assert facts["processes"]["second"] == {"pid": running.pid("second"), "restarts": 1, "lastExit": -9}
    assert facts["processes"]["first"] == {"pid": other, "restarts": 0, "lastExit": None}
    os.kill(running.pid("second"), signal.SIGKILL)
    until(lambda: running.facts()["processes"]["second"]["restarts"] == 2)


def test_while_a_process_is_down_the_appliance_is_not_ready(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    running = start("well")
    running.ready()
    os.kill(running.pid("first"), signal.SIGKILL)
    seen = until(lambda: running.facts() if not running.facts().get("ready", True) else {})
    assert seen["processes"]["first"]["pid"] is None


@pytest.mark.parametrize("how", ["file", "SIGTERM", "SIGINT"])
def test_stopping_leaves_nothing_behind(start: Start, how: str) -> None:
    running = start("well")
    running.ready()
    pids = running.pids()
    if how == "file":
        (running.state / "stop").touch()
    else:
        running.process.send_signal(getattr(signal, how))
    assert running.ended() == 0
    assert not any(lives(pid) for pid in pids)
    facts = running.facts()
    assert (facts["ready"], facts["stopped"], facts["failed"]) == (False, True, "")
    assert running.pids() == []


def test_a_process_that_does_not_want_to_end_is_ended(start: Start) -> None:
    running = start("stubborn")
    running.ready()
    pids = running.pids()
    time.sleep(0.2)  # for its trap to be set
    (running.state / "stop").touch()
    assert running.ended() == 0
    assert not any(lives(pid) for pid in pids)


def test_processes_do_not_outlive_a_supervisor_that_was_killed(start: Start) -> None:
    running = start("well")
    running.ready()
    pids = running.pids()
    running.process.kill()
    running.process.wait()
    until(lambda: not any(lives(pid) for pid in pids))


@pytest.mark.parametrize(("scenario", "code"), [("ends", 3), ("absent", 127), ("silent", None)])
def test_a_start_that_fails_is_reported_and_leaves_nothing_behind(
    start: Start, scenario: str, code: int | None
) -> None:
    running = start(scenario)
    assert running.ended() == 1
    first = int((running.state / "first.pid").read_text())
    facts = running.facts()
    assert (facts["ready"], facts["failed"], facts["stopped"]) == (False, "second", False)
    if code is not None:
        assert facts["processes"]["second"]["lastExit"] == code
    assert running.pids() == [], "what was started is ended, and told so"
    assert not lives(first)


def test_why_a_program_could_not_be_run_is_in_its_log(start: Start) -> None:
    running = start("absent")
    assert running.ended() == 1
    assert "/nonexistent/program: No such file" in (running.state / "log" / "second.log").read_text()


def test_asked_to_stop_while_it_starts_it_stops_and_nothing_failed(start: Start) -> None:
    running = start("silent", "30")
    until(lambda: running.pid("second"))
    pids = running.pids()
    (running.state / "stop").touch()
    assert running.ended() == 0
    assert (running.facts()["stopped"], running.facts()["failed"]) == (True, "")
    assert not any(lives(pid) for pid in pids)


# --- restarts --------------------------------------------------------------------------------------------------------


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path / "state", tmp_path / "run")
    made.prepare()
    return made


def watched(layout: Layout, restarts: int, *, lived: float = 0.0) -> float:
    """Seconds until a process that has just ended is started again."""
    child = Child("c", ["true"], lambda: True, restarts=restarts)
    child.process = subprocess.Popen(["true"])
    child.process.wait()
    child.started = time.monotonic() - lived
    Supervisor(layout, [child], {})._watch()
    return child.restart_at - time.monotonic()


def test_restarts_are_slower_each_time_up_to_a_ceiling(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    waits = [round(watched(layout, n)) for n in (0, 1, 2, 5, 6, 100, 5000)]
    assert waits == [1, 2, 4, 32, 60, 60, 60]
    assert round(watched(layout, 100, lived=supervisor.STABLE_SECONDS + 1)) == 1, "one that was stable comes at once"
    assert "c ended with 0; again in 1 s" in capsys.readouterr().err


def test_a_log_that_grew_too_large_is_put_aside_at_a_start(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "LARGEST_LOG_BYTES", 10)
    (layout.log / "c.log").write_text("x" * 11)
    child = Child("c", ["sh", "-c", "echo new"], lambda: True)
    Supervisor(layout, [child], {})._start(child)
    assert child.process is not None
    child.process.wait()
    assert (layout.log / "c.log").read_text() == "new\n"
    assert (layout.log / "c.log.1").read_text() == "x" * 11


# --- the appliance ---------------------------------------------------------------------------------------------------


def test_the_appliance_is_orthanc_then_nginx(layout: Layout) -> None:
    with socket.create_server(("127.0.0.1", 0)) as http, socket.create_server(("127.0.0.1", 0)) as mllp:
        ports = [http.getsockname()[1], mllp.getsockname()[1]]
        config = {"HttpPort": ports[0], "DrimBox": {"Mllp": {"Port": ports[1]}}}
        orthanc, nginx = appliance_children(layout, config, [ports[0]])
        assert (orthanc.name, nginx.name) == ("orthanc", "nginx")
        assert orthanc.env["TCP_NODELAY"] == "1"
        assert not orthanc.ready(), "our own server is not there yet"
        layout.socket.touch()
        assert orthanc.ready()
        assert nginx.ready()
    assert not orthanc.ready()
    assert not nginx.ready()


def test_ports_are_seen_open_and_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert port_open(port)
        assert not port_free(port)
    assert not port_open(port)
    assert port_free(port)


def supervisor_main(state: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "drimbox.supervisor", "--state", str(state), "--base-port", "18000", *more],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    made = tmp_path / "state"
    yield made
    with contextlib.suppress(OSError):
        Layout.of(made).run.rmdir()


def test_a_second_supervisor_on_one_state_is_refused(state: Path) -> None:
    state.mkdir()
    (state / "status.json").write_text("{}")
    with (state / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = supervisor_main(state, "--site", str(state / "site.json"))
    assert done.returncode == 2
    assert f"an appliance already runs with --state {state}" in done.stderr
    assert (state / "status.json").exists(), "what the first one told stays"


@pytest.mark.parametrize(
    ("site", "words"),
    [
        (None, "No such file"),
        ('{"Nonsense": 1}', "Nonsense"),
        ('{"Orthanc": {"HttpPort": 18006, "DicomPort": PORT}, "DrimBox": {"Mllp": {"Port": 18007}}}', "ports already"),
    ],
)
def test_a_site_file_that_does_not_do_is_refused_with_a_sentence(state: Path, site: str | None, words: str) -> None:
    state.mkdir()
    path = state / "site.json"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        if site is not None:
            path.write_text(site.replace("PORT", str(taken.getsockname()[1])))
        done = supervisor_main(state, "--site", str(path))
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
