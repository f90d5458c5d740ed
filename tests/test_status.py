# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

import base64
import fcntl
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from drimbox import __version__
from drimbox.status import collect, main

HEALTH = {
    "status": "UP",
    "checks": [{"name": "DRIMbox", "status": "UP"}, {"name": "PACS", "status": "UP"}],
    "versions": {"orthanc": "1.12.7", "lxml": "5.4"},
}


@contextmanager
def health_of(answer: Any) -> Iterator[tuple[str, list[str]]]:
    """A local face `admin`; gives its address and the credentials that it saw."""
    seen: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(str(self.headers.get("Authorization")))
            body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(200 if self.path == "/health" else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", seen
    server.shutdown()
    thread.join()
    server.server_close()


@contextmanager
def supervised(state: Path) -> Iterator[None]:
    """As long as a supervisor lives, it holds the lock."""
    with (state / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def written(state: Path, url: str = "", **changes: Any) -> None:
    (state / "password").write_text("p4ssword\n")
    facts: dict[str, Any] = {
        "ready": True,
        "stopped": False,
        "failed": "",
        "urls": {"db": "https://localhost:1", "admin": url} if url else {"db": "https://localhost:1"},
        "ports": {"mllp": 2575, "dicom": 4242, "orthanc": 8042},
        "wado_root": "https://localhost:1/wado-rs",
        "ca": "",
        "admin": {"user": "admin", "passwordFile": str(state / "password")},
        "processes": {"orthanc": {"pid": 7, "restarts": 0, "lastExit": None}},
    }
    (state / "status.json").write_text(json.dumps(facts | changes))


def test_without_an_appliance_it_is_not_ready(tmp_path: Path) -> None:
    found = collect(tmp_path / "absent")
    assert found["ready"] is False
    assert "--state" in found["reason"]


@pytest.mark.parametrize("text", ["", "{", '{"ready": tru'])
def test_a_file_that_cannot_be_read_is_no_appliance(tmp_path: Path, text: str) -> None:
    (tmp_path / "status.json").write_text(text)
    assert collect(tmp_path)["ready"] is False


def test_the_shape_that_outside_checks_rely_on(tmp_path: Path) -> None:
    with health_of(HEALTH) as (url, seen), supervised(tmp_path):
        written(tmp_path, url)
        found = collect(tmp_path)
    assert found["ready"] is True
    assert set(found) >= {"ready", "urls", "ports", "wado_root", "ca", "versions", "health"}
    assert found["health"] == {"status": "UP", "checks": HEALTH["checks"]}
    assert found["versions"] == {"drimbox": __version__, "orthanc": "1.12.7", "lxml": "5.4"}
    assert seen == ["Basic " + base64.b64encode(b"admin:p4ssword").decode()]


def test_who_may_not_read_the_password_gets_the_public_health(tmp_path: Path) -> None:
    with health_of({"status": "UP", "checks": []}) as (url, seen), supervised(tmp_path):
        written(tmp_path, url)
        (tmp_path / "password").unlink()
        found = collect(tmp_path)
    assert seen == ["None"]
    assert found["versions"] == {"drimbox": __version__}


def test_a_supervisor_that_died_without_a_word_is_noticed(tmp_path: Path) -> None:
    written(tmp_path)
    for lock in (False, True):
        if lock:
            (tmp_path / "lock").touch()
        found = collect(tmp_path)
        assert (found["ready"], found["reason"], found["health"]) == (False, "son superviseur est mort", {})


@pytest.mark.parametrize("answer", [b"<html>502</html>", None])
def test_a_face_that_does_not_answer_is_down(tmp_path: Path, answer: bytes | None) -> None:
    with health_of(answer or b"") as (url, _), supervised(tmp_path):
        written(tmp_path, url if answer else "http://127.0.0.1:9")
        found = collect(tmp_path)
    assert found["ready"] is True
    assert found["health"]["status"] == "DOWN"


def test_printed_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with supervised(tmp_path):
        written(tmp_path)
        assert main(["--state", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ports"]["mllp"] == 2575


def test_printed_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    down = {"status": "DOWN", "checks": [{"name": "PACS", "status": "DOWN", "reason": "Le PACS ne répond pas."}]}
    dead = {"pid": None, "restarts": 2, "lastExit": -9}
    with health_of(down) as (url, _), supervised(tmp_path):
        written(tmp_path, url, processes={"nginx": dead})
        assert main(["--state", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("prête\n")
    assert "ARRÊTÉ (code -9)  relancé 2 fois" in out
    assert "santé : DOWN" in out
    assert "Le PACS ne répond pas." in out


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"ready": False, "stopped": True}, "arrêtée (arrêt demandé)"), ({}, "arrêtée (son superviseur est mort)")],
)
def test_one_that_does_not_run_says_why_and_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], words: str
) -> None:
    written(tmp_path, **changes)
    assert main(["--state", str(tmp_path)]) == 1
    assert capsys.readouterr().out.startswith(words)


def test_nothing_started_says_so_in_french(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--state", str(tmp_path)]) == 1
    assert capsys.readouterr().out == f"arrêtée (aucune appliance n'a été démarrée avec --state {tmp_path})\n"
