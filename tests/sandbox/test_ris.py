# SPDX-License-Identifier: AGPL-3.0-or-later
"""The simulated RIS frames the file's bytes, waits for one acknowledgement and tells its meaning."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sandbox import ris

ACK_AA = b"MSH|^~\\&|DRIMBOX|A|RIS|B|20261121||ACK^T02^ACK|9|T|2.6\rMSA|AA|C1\r"
ACK_AE = (
    b"MSH|^~\\&|DRIMBOX|A|RIS|B|20261121||ACK^T02^ACK|9|T|2.6\nMSA|AE|C1\nERR||OBX^1^5|102^Data type error^x|E|906\n"
)


@contextmanager
def receiver(answer: Callable[[socket.socket], None]) -> Iterator[tuple[int, list[bytes]]]:
    """A listener that keeps one framed message and lets `answer` write what it wants."""
    got: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run() -> None:
            link, _ = server.accept()
            with link:
                block = b""
                while not block.endswith(b"\x1c\x0d"):
                    block += link.recv(65536)
                got.append(block)
                answer(link)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield server.getsockname()[1], got
        thread.join(5)


def frame(ack: bytes) -> Callable[[socket.socket], None]:
    return lambda link: link.sendall(b"\x0b" + ack + b"\x1c\x0d")


@pytest.mark.parametrize("ending", [b"\r", b"\n", b"\r\n"])
def test_the_bytes_go_out_unchanged_but_for_the_frame(ending: bytes) -> None:
    message = ending.join([b"MSH|^~\\&|RIS", "PID|||é".encode("iso8859-15"), b""])
    with receiver(frame(ACK_AA)) as (port, got):
        assert ris.send("127.0.0.1", port, message) == ACK_AA
    assert got == [b"\x0b" + message + b"\x1c\x0d"]


def test_an_acknowledgement_in_pieces_is_put_together() -> None:
    def slowly(link: socket.socket) -> None:
        for octet in b"\x0b" + ACK_AA + b"\x1c\x0d":
            link.sendall(bytes([octet]))

    with receiver(slowly) as (port, _):
        assert ris.send("127.0.0.1", port, b"MSH|") == ACK_AA


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda link: None, "closed"),
        (lambda link: link.sendall(b"\x0bMSH|"), "closed"),
        (lambda link: link.sendall(b"HTTP/1.1 400\x1c\x0d"), "does not begin"),
        (lambda link: link.sendall(b"x" * (ris.ACK_LIMIT + 1)) or link.recv(1), "without end"),
    ],
)
def test_anything_else_than_a_block_is_no_answer(answer: Callable[[socket.socket], None], said: str) -> None:
    with receiver(answer) as (port, _), pytest.raises(ris.NoAnswer, match=said):
        ris.send("127.0.0.1", port, b"MSH|", timeout=5)


def test_a_silent_receiver_costs_no_more_than_the_timeout() -> None:
    gate = threading.Event()

    def silent(link: socket.socket) -> None:
        gate.wait(5)

    with receiver(silent) as (port, _):
        with pytest.raises(ris.NoAnswer, match="timed out"):
            ris.send("127.0.0.1", port, b"MSH|", timeout=0.2)
        gate.set()


def test_the_verb_prints_segments_and_tells_by_its_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "m.hl7"
    file.write_bytes(b"MSH|^~\\&|RIS\n")
    with receiver(frame(ACK_AA)) as (port, got):
        assert ris.main(["send", str(file)], "127.0.0.1", port) == 0
    assert got == [b"\x0bMSH|^~\\&|RIS\n\x1c\x0d"]
    assert capsys.readouterr().out.splitlines()[1] == "MSA|AA|C1"
    with receiver(frame(ACK_AE)) as (port, _):
        assert ris.main(["send", str(file), "--json"], "127.0.0.1", port) == 1
    facts = json.loads(capsys.readouterr().out)
    assert facts["ack"] == "AE"
    assert (facts["location"], facts["error"], facts["applicationError"]) == ("OBX^1^5", "102^Data type error^x", "906")
    assert facts["type"] == "ACK^T02^ACK"


def test_no_listener_and_no_file_are_told_apart_from_a_refusal(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    file = tmp_path / "m.hl7"
    file.write_bytes(b"MSH|")
    assert ris.main(["send", str(file)], "127.0.0.1", port) == 2
    assert ris.main(["send", str(tmp_path / "absent.hl7")], "127.0.0.1", port) == 2
