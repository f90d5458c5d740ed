# SPDX-License-Identifier: AGPL-3.0-or-later
"""Starts the appliance's processes, keeps them running, says what happened, stops them all.

``python3 -m drimbox.supervisor --state DIR --base-port N (--sandbox | --site FILE) [--viewer DIR]``.  Its whole
knowledge is in ``status.json``; a file named ``stop`` beside it asks it to end.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drimbox.appliance import Layout, write_files, write_private
from drimbox.errors import ConfigurationError, DrimboxError
from drimbox.site import read_site

FASTEST_RESTART_SECONDS = 1.0
SLOWEST_RESTART_SECONDS = 60.0
STABLE_SECONDS = 60.0
START_SECONDS = 60.0
STOP_SECONDS = 8.0
CANNOT_RUN = 127  # as a shell says it
LARGEST_LOG_BYTES = 16 * 1024 * 1024
PR_SET_PDEATHSIG = 1


@dataclass(slots=True)
class Child:
    """One process: how to start it, and what has become of it."""

    name: str
    argv: Sequence[str]
    ready: Callable[[], bool]
    env: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    restarts: int = 0
    last_exit: int | None = None
    restart_at: float = 0.0


def port_open(port: int, host: str = "127.0.0.1") -> bool:
    """Whether something listens."""
    try:
        with socket.create_connection((host, port), timeout=0.3):
            return True
    except OSError:
        return False


def port_free(port: int) -> bool:
    """Whether we could listen."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _sweep(group: int) -> None:
    """Kill what a dead process left behind in its group (nginx's workers outlive a killed master)."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def sweep_leftovers(layout: Layout) -> int:
    """Kill what a supervisor that was itself killed left behind; gives how many processes."""
    path = layout.state / "groups"
    if not path.exists():
        return 0
    groups = {int(word) for word in path.read_text().split() if word.isdigit()}
    path.unlink()
    killed = 0
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            name, _, rest = entry.read_text().partition("(")[2].rpartition(")")
            group, owner = int(rest.split()[2]), entry.stat().st_uid
            # a number may have gone to somebody else since: only programs that we start, of our own user
            if group in groups and owner == os.geteuid() and name in ("nginx", "Orthanc", "python3"):
                os.kill(int(entry.parent.name), signal.SIGKILL)
                killed += 1
    return killed


class Supervisor:
    """Keeps the children of one instance."""

    def __init__(self, layout: Layout, children: Sequence[Child], facts: dict[str, Any]) -> None:
        self._layout = layout
        self._children = list(children)
        self._facts = facts
        self._stopping = False
        self._ready = False
        self._written = ""

    def run(self) -> int:
        """Start everything, then watch until asked to stop; 0 after a clean stop, 1 where the start failed."""
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, self._on_signal)
        for child in self._children:
            if not self._start_in_turn(child):
                self._stop_all()
                asked = self._asked_to_stop()
                self._write(stopped=asked, failed="" if asked else child.name)
                return 0 if asked else 1
        self._ready = True
        while not self._asked_to_stop():
            self._watch()
            self._write()
            time.sleep(0.2)
        self._stop_all()
        self._ready = False
        self._write(stopped=True)
        return 0

    def _asked_to_stop(self) -> bool:
        return self._stopping or self._layout.stop.exists()

    def _on_signal(self, _number: int, _frame: object) -> None:
        self._stopping = True

    def _start_in_turn(self, child: Child) -> bool:
        """Start one child and wait until it answers; False where it ended or never did."""
        self._start(child)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and not self._asked_to_stop():
            self._write()
            if child.process is None:
                return False
            if child.process.poll() is not None:
                child.last_exit = child.process.returncode
                return False
            if child.ready():
                return True
            time.sleep(0.05)
        return False

    def _start(self, child: Child) -> None:
        path = self._layout.log / f"{child.name}.log"
        if path.exists() and path.stat().st_size > LARGEST_LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))
        child.started = time.monotonic()
        with path.open("ab") as log:
            try:
                child.process = subprocess.Popen(
                    list(child.argv),
                    env={**os.environ, **child.env},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    preexec_fn=_die_with_parent,
                    start_new_session=True,
                )
                self._remember_groups()
            except OSError as error:  # no such program, no more processes: as one that ended at once
                log.write(f"{child.argv[0]}: {error.strerror}\n".encode())
                child.process, child.last_exit = None, CANNOT_RUN
                child.restart_at = child.started + SLOWEST_RESTART_SECONDS

    def _watch(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if child.process is not None and child.process.poll() is not None:
                child.last_exit = child.process.returncode
                _sweep(child.process.pid)
                child.process = None
                quick = now - child.started < STABLE_SECONDS
                doublings = min(child.restarts, 16) if quick else 0
                wait = min(FASTEST_RESTART_SECONDS * 2**doublings, SLOWEST_RESTART_SECONDS)
                child.restart_at = now + wait
                print(f"{child.name} ended with {child.last_exit}; again in {wait:.0f} s", file=sys.stderr, flush=True)
            if child.process is None and now >= child.restart_at:
                child.restarts += 1
                self._start(child)

    def _stop_all(self) -> None:
        alive = [c.process for c in reversed(self._children) if c.process is not None and c.process.poll() is None]
        for process in alive:
            process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in alive:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            _sweep(process.pid)

    def _remember_groups(self) -> None:
        """For the next start, should this supervisor be killed: children die with it, their own children do not."""
        pids = [str(c.process.pid) for c in self._children if c.process is not None]
        (self._layout.state / "groups").write_text("\n".join(pids))

    def _write(self, *, stopped: bool = False, failed: str = "") -> None:
        processes = {
            c.name: {
                "pid": c.process.pid if c.process and c.process.poll() is None else None,
                "restarts": c.restarts,
                "lastExit": c.last_exit,
            }
            for c in self._children
        }
        running = all(p["pid"] for p in processes.values())
        facts = {
            **self._facts,
            "ready": self._ready and running and not stopped,
            "stopped": stopped,
            "failed": failed,
            "supervisor": os.getpid(),
            "processes": processes,
        }
        text = json.dumps(facts, indent=2)
        if text != self._written:
            write_private(self._layout.status, text)
            self._layout.status.chmod(0o644)
            self._written = text


def appliance_children(layout: Layout, config: dict[str, Any], face_ports: Sequence[int]) -> list[Child]:
    """Orthanc, then nginx."""
    mllp = config["DrimBox"].get("Mllp", {})
    waits = [int(config["HttpPort"])]
    if mllp.get("Enabled", True):
        waits.append(int(mllp.get("Port", 2575)))
    return [
        Child(
            "orthanc",
            ["Orthanc", str(layout.etc / "orthanc.json")],
            lambda: layout.socket.exists() and all(port_open(p) for p in waits),
            # C-STORE is 15 times slower without it (Nagle against delayed acknowledgements)
            {"TCP_NODELAY": "1", "MALLOC_ARENA_MAX": "4"},
        ),
        Child(
            "nginx",
            ["nginx", "-e", "stderr", "-c", str(layout.etc / "nginx.conf")],
            lambda: all(port_open(p) for p in face_ports),
        ),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run an instance until it is asked to stop."""
    parser = argparse.ArgumentParser(prog="drimbox.supervisor")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--base-port", type=int, required=True)
    parser.add_argument("--site", type=Path)
    parser.add_argument("--sandbox", action="store_true")
    parser.add_argument("--viewer", type=Path)
    args = parser.parse_args(arguments)
    layout = Layout.of(args.state.absolute())
    layout.prepare()
    with (layout.state / "lock").open("w") as lock:
        try:  # held as long as we live: `status` reads it, and a second start is refused
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"drimbox: an appliance already runs with --state {layout.state}", file=sys.stderr)
            return 2
        layout.stop.unlink(missing_ok=True)
        layout.status.unlink(missing_ok=True)
        if left := sweep_leftovers(layout):
            print(f"{left} process(es) of an interrupted run ended", file=sys.stderr)
        return _guarded(args, layout)


def _guarded(args: argparse.Namespace, layout: Layout) -> int:
    try:
        return _run(args, layout)
    except DrimboxError as error:
        print(f"drimbox: {error}", file=sys.stderr)
        return 2


def _run(args: argparse.Namespace, layout: Layout) -> int:
    children: list[Child] = []
    facts: dict[str, Any] = {"basePort": args.base_port, "sandbox": args.sandbox}
    path = args.site
    if args.sandbox:
        # the sandbox is data for us: a site file, processes to keep, addresses to tell
        made = subprocess.run(
            [sys.executable, "-m", "sandbox.setup", "--state", str(layout.state), "--base-port", str(args.base_port)],
            check=False,
            stdout=subprocess.PIPE,
            text=True,
        )
        if made.returncode:
            raise ConfigurationError("the sandbox could not be prepared; see above")
        described = json.loads(made.stdout)
        path = Path(described["site"])
        facts["stand-ins"] = described["addresses"]
        for item in described["processes"]:
            ports = list(item["ports"])
            children.append(Child(item["name"], item["argv"], lambda ports=ports: all(port_open(p) for p in ports)))  # type: ignore[misc]
    site = read_site(path)
    config = write_files(layout, site, args.viewer)
    faces = site.faces.named()
    wanted = {
        **{f"Faces.{name.capitalize()}.Port": face.port for name, face in faces.items()},
        "Orthanc.HttpPort": int(config["HttpPort"]),
        "Orthanc.DicomPort": int(config["DicomPort"]),
        "DrimBox.Mllp.Port": int(config["DrimBox"].get("Mllp", {}).get("Port", 2575)),
    }
    taken = [f"{key} = {port}" for key, port in wanted.items() if not port_free(port)]
    if taken:
        raise ConfigurationError(f"ports already in use: {', '.join(taken)}; choose others (--base-port)")
    facts |= {
        "urls": {name: face.url() for name, face in faces.items()},
        "ports": {
            "mllp": wanted["DrimBox.Mllp.Port"],
            "dicom": wanted["Orthanc.DicomPort"],
            "orthanc": wanted["Orthanc.HttpPort"],
        },
        "wado_root": config["DrimBox"].get("Wado", {}).get("Root", ""),
        "ca": str(site.authorities or ""),
        "viewer": str(args.viewer or ""),
        "admin": {"user": "admin", "passwordFile": str(layout.secrets / "admin-password")},
    }
    children += appliance_children(layout, config, [f.port for f in faces.values()])
    return Supervisor(layout, children, facts).run()


if __name__ == "__main__":
    sys.exit(main())
