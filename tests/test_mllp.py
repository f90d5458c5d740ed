# SPDX-License-Identifier: AGPL-3.0-or-later
"""MLLP: any segmentation gives the same messages, every message is answered, no connection harms another."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drimbox.config import MllpSection
from drimbox.errors import ConfigurationError, MessageError
from drimbox.hl7_verdicts import refusal
from drimbox.mllp import KEPT_BYTES, MllpFramer, MllpServer, State

log = logging.getLogger("test.mllp")


def block(message: bytes) -> bytes:
    return b"\x0b" + message + b"\x1c\r"


# --- the framer -----------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.binary(max_size=40), st.binary(max_size=6), st.booleans()), max_size=5),
    st.lists(st.integers(1, 9), min_size=1, max_size=12),
)
def test_any_segmentation_gives_the_same_messages(blocks: list[tuple[bytes, bytes, bool]], cuts: list[int]) -> None:
    forbidden = bytes([0x0B, 0x1C])
    expected, stream = [], b""
    for body, noise, with_cr in blocks:
        body = body.translate(None, forbidden)
        expected.append(body)
        stream += noise.translate(None, forbidden) + b"\x0b" + body + b"\x1c" + (b"\r" if with_cr else b"")
    assert MllpFramer(1000).feed(stream) == expected
    framer, got, position, turn = MllpFramer(1000), [], 0, 0
    while position < len(stream):
        size = cuts[turn % len(cuts)]
        got += framer.feed(stream[position : position + size])
        position, turn = position + size, turn + 1
    assert got == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=30), max_size=20))
def test_the_framer_takes_any_bytes_and_never_keeps_more_than_its_limit(pieces: list[bytes]) -> None:
    framer = MllpFramer(50)
    for piece in pieces:
        assert all(len(message) <= 50 for message in framer.feed(piece))
    assert len(framer.kept()) <= KEPT_BYTES


_CELLS = {
    (State.OUTSIDE, b"\x0b"): (State.INSIDE, []),
    (State.OUTSIDE, b"\x1c"): (State.OUTSIDE, []),
    (State.OUTSIDE, b"\r"): (State.OUTSIDE, []),
    (State.OUTSIDE, b"x"): (State.OUTSIDE, []),
    (State.INSIDE, b"x"): (State.INSIDE, []),
    (State.INSIDE, b"\r"): (State.INSIDE, []),
    (State.INSIDE, b"\x1c"): (State.OUTSIDE, [b""]),
    (State.INSIDE, b"\x0b"): (State.INSIDE, []),
    (State.INSIDE, b"x" * 11): (State.OVERFLOWN, []),
    (State.OVERFLOWN, b"\x1c\r\x0bx\x1c"): (State.OVERFLOWN, []),
}


@pytest.mark.parametrize("cell", _CELLS, ids=lambda cell: f"{cell[0].value}-{cell[1][:4]!r}")
def test_every_cell_of_the_framers_table(cell: tuple[State, bytes]) -> None:
    start, data = cell
    framer = MllpFramer(10)
    if start is not State.OUTSIDE:
        framer.feed(b"\x0b")
    if start is State.OVERFLOWN:
        framer.feed(b"x" * 11)
    assert framer.state is start
    after, messages = _CELLS[cell]
    assert framer.feed(data) == messages
    assert framer.state is after


def test_the_size_limit_holds_byte_by_byte() -> None:
    assert MllpFramer(10).feed(block(b"x" * 10)) == [b"x" * 10]
    framer = MllpFramer(10)
    assert framer.feed(block(b"ok") + block(b"x" * 11) + block(b"lost")) == [b"ok"]
    assert framer.state is State.OVERFLOWN
    assert framer.kept() == b"x" * 11


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_the_beginning_kept_of_a_large_message_is_capped(extra: int) -> None:
    framer = MllpFramer(KEPT_BYTES + extra)
    framer.feed(b"\x0bMSH" + b"x" * KEPT_BYTES * 2)
    kept = framer.kept()
    assert kept == (b"MSH" + b"x" * KEPT_BYTES)[:KEPT_BYTES]


def test_a_message_begun_again_is_taken_at_its_last_start() -> None:
    framer = MllpFramer(1000)
    assert framer.feed(b"\x0bMSH|half") == []
    assert framer.feed(b"\x0bMSH|whole\x1c\r") == [b"MSH|whole"]
    assert MllpFramer(1000).feed(block(b"MSH|a\x0bb")) == [b"MSH|a\x0bb"]


def test_sixty_megabytes_in_small_pieces_take_linear_time() -> None:
    framer = MllpFramer(64 * 1024 * 1024)
    piece = b"A" * 1024
    start = time.monotonic()
    framer.feed(b"\x0b")
    for _ in range(60 * 1024):
        assert framer.feed(piece) == []
    (message,) = framer.feed(b"\x1c\r")
    assert len(message) == 60 * 1024 * 1024
    assert time.monotonic() - start < 5


# --- the server -----------------------------------------------------------------------------------


class Ris:
    """A sender."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._rest = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self) -> bytes:
        while b"\x1c\r" not in self._rest:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError
            self._rest += data
        message, _, self._rest = self._rest.partition(b"\x1c\r")
        assert message[:1] == b"\x0b"
        return message[1:]

    def ask(self, message: bytes) -> bytes:
        self.send(block(message))
        return self.answer()

    def closed(self) -> bool:
        try:
            return self.socket.recv(1) == b""
        except ConnectionError:
            return True


Start = Callable[..., MllpServer]
Dial = Callable[[int], Ris]


@pytest.fixture
def dial() -> Iterator[Dial]:
    opened: list[Ris] = []

    def make(port: int) -> Ris:
        opened.append(Ris(port))
        return opened[-1]

    yield make
    for ris in opened:
        ris.socket.close()


@pytest.fixture
def start() -> Iterator[Start]:
    servers: list[MllpServer] = []

    def make(
        handle: Callable[[bytes, str], bytes] = lambda message, _origin: b"AA " + message,
        refuse: Callable[[bytes, str, MessageError], bytes] | None = None,
        **changed: object,
    ) -> MllpServer:
        def default(message: bytes, _origin: str, error: MessageError) -> bytes:
            return f"{error.ack} {error.code} {error.reason} {len(message)}".encode()

        server = MllpServer(MllpSection(port=0, **changed), handle, refuse or default, log)  # type: ignore[arg-type]
        server.start()
        servers.append(server)
        return server

    yield make
    for server in servers:
        server.stop()


def test_messages_are_answered_in_order_on_one_connection(start: Start, dial: Dial) -> None:
    ris = dial(start().port)
    ris.send(block(b"one") + block(b"two") + b"\x0bthr")
    assert ris.answer() == b"AA one"
    assert ris.answer() == b"AA two"
    ris.send(b"ee\x1c")
    assert ris.answer() == b"AA three"


def test_one_byte_segments_and_noise_are_accepted(start: Start, dial: Dial) -> None:
    ris = dial(start().port)
    for byte in b"noise\r\n" + block(b"MSH|x"):
        ris.send(bytes([byte]))
    assert ris.answer() == b"AA MSH|x"


@pytest.mark.parametrize("size", [64 * 1024 - 1, 64 * 1024, 64 * 1024 + 1, 20 * 1024 * 1024])
def test_messages_of_any_size_are_answered(start: Start, dial: Dial, size: int) -> None:
    ris = dial(start(handle=lambda message, _o: str(len(message)).encode()).port)
    assert ris.ask(b"x" * size) == str(size).encode()


def test_a_message_too_large_is_refused_set_aside_and_the_connection_closed(start: Start, dial: Dial) -> None:
    aside: list[bytes] = []

    def refuse(message: bytes, _origin: str, error: MessageError) -> bytes:
        aside.append(message)
        return f"{error.ack} {error.reason}".encode()

    server = start(refuse=refuse, maximum_bytes=100_000)
    ris = dial(server.port)
    ris.send(block(b"MSH|small"))
    assert ris.answer() == b"AA MSH|small"
    # the sender writes everything before it reads: the answer must not be lost in a reset
    ris.send(block(b"MSH|" + b"x" * 3_000_000))
    assert ris.answer() == b"AE message-too-large"
    ris.socket.shutdown(socket.SHUT_WR)
    assert ris.closed()
    assert len(aside[0]) == KEPT_BYTES
    assert aside[0].startswith(b"MSH|xxx")
    assert dial(server.port).ask(b"next") == b"AA next"


def test_a_refusal_and_a_defect_are_answered_and_the_line_goes_on(
    start: Start, dial: Dial, caplog: pytest.LogCaptureFixture
) -> None:
    def handle(message: bytes, _origin: str) -> bytes:
        if message == b"bad":
            raise refusal("message-type", "detail")
        if message == b"defect":
            raise RuntimeError("SECRET NAME")
        return b"AA"

    ris = dial(start(handle=handle).port)
    assert ris.ask(b"bad") == b"AE 200 message-type 3"
    assert ris.ask(b"defect") == b"AR 207 internal-error 6"
    assert ris.ask(b"good") == b"AA"
    assert "SECRET" not in caplog.text
    assert "RuntimeError in handle" in caplog.text


def test_a_refusal_that_fails_closes_only_its_connection(start: Start, dial: Dial) -> None:
    def refuse(_message: bytes, _origin: str, _error: MessageError) -> bytes:
        raise ValueError("defect")

    def handle(message: bytes, _origin: str) -> bytes:
        if message == b"bad":
            raise refusal("message-type", "detail")
        return b"AA"

    server = start(handle=handle, refuse=refuse)
    other = dial(server.port)
    assert other.ask(b"good") == b"AA"
    ris = dial(server.port)
    ris.send(block(b"bad"))
    assert ris.closed()
    assert other.ask(b"good") == b"AA"


def test_the_origin_is_the_peers_address(start: Start, dial: Dial) -> None:
    ris = dial(start(handle=lambda _m, origin: origin.encode()).port)
    host, port = ris.socket.getsockname()
    assert ris.ask(b"x") == f"{host}:{port}".encode()


def test_an_idle_connection_is_closed_when_asked_and_kept_otherwise(start: Start, dial: Dial) -> None:
    short, long = dial(start(idle_seconds=0.1).port), dial(start(message_seconds=0.1).port)
    assert short.closed()
    time.sleep(0.3)
    assert long.ask(b"still") == b"AA still"


def test_a_message_that_stops_midway_is_refused_and_closed(start: Start, dial: Dial) -> None:
    ris = dial(start(message_seconds=0.2).port)
    ris.send(b"\x0bMSH|half")
    assert ris.answer() == b"AR 199 message-incomplete 8"
    ris.socket.shutdown(socket.SHUT_WR)
    assert ris.closed()


def test_a_sender_that_leaves_within_a_message_harms_nothing(start: Start, dial: Dial) -> None:
    handled: list[bytes] = []
    server = start(handle=lambda message, _o: handled.append(message) or b"AA")
    ris = dial(server.port)
    ris.send(b"\x0bMSH|half")
    ris.socket.close()
    assert dial(server.port).ask(b"next") == b"AA"
    assert handled == [b"next"]


def test_connections_above_the_cap_are_closed_and_places_come_back(start: Start, dial: Dial) -> None:
    server = start(maximum_connections=2)
    first, second = dial(server.port), dial(server.port)
    assert first.ask(b"1") == b"AA 1"
    assert second.ask(b"2") == b"AA 2"
    assert dial(server.port).closed()
    first.socket.close()
    for _ in range(50):
        try:
            if dial(server.port).ask(b"3") == b"AA 3":
                break
        except (EOFError, ConnectionError):
            time.sleep(0.02)
    else:
        pytest.fail("the place of a closed connection did not come back")


def test_many_connections_keep_the_order_of_each(start: Start, dial: Dial) -> None:
    server = start()
    wrong: list[object] = []

    def talk(number: int) -> None:
        ris = dial(server.port)
        expected = [f"{number}-{n}".encode() for n in range(20)]
        ris.send(b"".join(block(m) for m in expected))
        got = [ris.answer() for _ in expected]
        if got != [b"AA " + m for m in expected]:
            wrong.append(got)

    threads = [threading.Thread(target=talk, args=(n,)) for n in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not wrong


def test_stop_takes_less_than_two_seconds_with_connections_open_and_a_busy_handler(start: Start, dial: Dial) -> None:
    busy = threading.Event()

    def handle(message: bytes, _origin: str) -> bytes:
        if message == b"slow":
            busy.set()
            time.sleep(5)
        return b"AA"

    server = start(handle=handle)
    idle, half, slow = dial(server.port), dial(server.port), dial(server.port)
    assert idle.ask(b"x") == b"AA"
    half.send(b"\x0bhalf")
    slow.send(block(b"slow"))
    assert busy.wait(5)
    begun = time.monotonic()
    server.stop()
    assert time.monotonic() - begun < 2
    assert idle.closed()
    assert half.closed()
    with pytest.raises(ConnectionError):
        dial(server.port)


def test_a_message_in_hand_is_answered_before_the_stop(start: Start, dial: Dial) -> None:
    busy = threading.Event()

    def handle(_message: bytes, _origin: str) -> bytes:
        busy.set()
        time.sleep(0.3)
        return b"AA late"

    server = start(handle=handle)
    ris = dial(server.port)
    ris.send(block(b"x"))
    assert busy.wait(5)
    server.stop()
    assert ris.answer() == b"AA late"


def test_a_stopped_server_can_start_again(start: Start, dial: Dial) -> None:
    server = start()
    server.stop()
    server.stop()
    server.start()
    assert dial(server.port).ask(b"x") == b"AA x"


def test_a_port_in_use_is_told_with_its_key(start: Start) -> None:
    taken = start().port
    with pytest.raises(ConfigurationError, match=r"Mllp.Port.*give a free port"):
        MllpServer(MllpSection(port=taken), lambda _m, _o: b"", lambda _m, _o, _e: b"", log).start()


def test_connections_leave_no_thread_behind(start: Start, dial: Dial) -> None:
    server = start()
    before = threading.active_count()
    for _ in range(30):
        ris = dial(server.port)
        assert ris.ask(b"x") == b"AA x"
        ris.socket.close()
    limit = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < limit:
        time.sleep(0.02)
    assert threading.active_count() <= before
