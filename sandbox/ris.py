# SPDX-License-Identifier: AGPL-3.0-or-later
"""A RIS that sends one message over MLLP and shows the acknowledgement (HL7 "MLLP release 1" framing)."""

from __future__ import annotations

import argparse
import json
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

START = b"\x0b"
END = b"\x1c\x0d"
ACK_LIMIT = 1 << 20


class NoAnswer(Exception):
    """The receiver is absent, silent, closed the connection or answered no MLLP block."""


def send(host: str, port: int, message: bytes, timeout: float = 30.0) -> bytes:
    """Send the bytes as they are, framed only, and give the acknowledgement's bytes unframed.

    `timeout` is the whole exchange in seconds.  Raises NoAnswer.
    """
    deadline = time.monotonic() + timeout
    try:
        with socket.create_connection((host, port), timeout=timeout) as link:
            link.settimeout(timeout)
            link.sendall(START + message + END)
            return _receive(link, deadline)
    except OSError as error:
        raise NoAnswer(f"{host}:{port}: {error}") from error


def _receive(link: socket.socket, deadline: float) -> bytes:
    block = b""
    while END not in block:
        left = deadline - time.monotonic()
        if left <= 0:
            raise NoAnswer("no complete acknowledgement in time")
        link.settimeout(left)
        chunk = link.recv(65536)
        if not chunk:
            raise NoAnswer("connection closed before the acknowledgement's end")
        block += chunk
        if len(block) > ACK_LIMIT:
            raise NoAnswer("acknowledgement without end")
    block = block[: block.index(END)]
    if not block.startswith(START):
        raise NoAnswer("the answer does not begin as an MLLP block")
    return block[1:]


def segments(message: bytes) -> list[str]:
    """The segments as text, whatever ends them; undecodable bytes are shown as escapes."""
    text = message.decode("utf-8", "backslashreplace")
    return [line for line in text.replace("\r\n", "\r").replace("\n", "\r").split("\r") if line.strip()]


def _field(lines: Sequence[str], segment: str, position: int) -> str:
    """Field `position` (HL7 counting) of the first such segment, or ""; MSH-1 is the separator."""
    for line in lines:
        if line.startswith(segment):
            separator = line[3:4] if segment == "MSH" else "|"
            fields = line.split(separator)
            index = position - 1 if segment == "MSH" else position
            return fields[index] if index < len(fields) else ""
    return ""


def summary(ack: bytes) -> dict[str, str]:
    """The acknowledgement's meaning: MSA-1, MSA-2, MSH-9 and, for a refusal, ERR-2, 3 and 5."""
    lines = segments(ack)
    return {
        "ack": _field(lines, "MSA", 1),
        "controlId": _field(lines, "MSA", 2),
        "type": _field(lines, "MSH", 9),
        "location": _field(lines, "ERR", 2),
        "error": _field(lines, "ERR", 3),
        "applicationError": _field(lines, "ERR", 5),
    }


def main(argv: Sequence[str], host: str = "127.0.0.1", port: int = 2575) -> int:
    """``send FILE [--json]``: 0 where MSA-1 is AA, 1 for another, 2 where no answer came."""
    parser = argparse.ArgumentParser(prog="ris", description="RIS simulé : envoi d'un message HL7 en MLLP")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("send", help="envoie un fichier HL7 et affiche l'acquittement")
    verb.add_argument("file", type=Path)
    verb.add_argument("--json", action="store_true")
    verb.add_argument("--host", default=host)
    verb.add_argument("--port", type=int, default=port)
    verb.add_argument("--timeout", type=float, default=60.0, help="secondes")
    args = parser.parse_args(list(argv))
    try:
        message = args.file.read_bytes()
        ack = send(args.host, args.port, message, args.timeout)
    except (NoAnswer, OSError) as error:
        print(json.dumps({"ack": None, "detail": str(error)}) if args.json else f"Pas de réponse : {error}")
        return 2
    facts = summary(ack)
    if args.json:
        print(json.dumps({**facts, "segments": segments(ack)}, ensure_ascii=False))
    else:
        print("\n".join(segments(ack)))
    return 0 if facts["ack"] == "AA" else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
