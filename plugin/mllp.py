# SPDX-License-Identifier: AGPL-3.0-or-later
"""MLLP over TCP: blocks ``VT message FS CR`` in, acknowledgements out (HL7 v2 transport specification, MLLP R1).

One thread a connection, messages of a connection in order, each answered before the next is read.
What a message means is not known here.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
import traceback
from collections.abc import Callable
from enum import Enum
from typing import Final

from drimbox.config import MllpSection
from drimbox.errors import ConfigurationError, MessageError
from drimbox.hl7_verdicts import refusal

VT: Final = b"\x0b"
FS: Final = b"\x1c"
CR: Final = b"\r"
KEPT_BYTES: Final = 64 * 1024  # of a message that is too large or cut short
_PIECE: Final = 256 * 1024
_LINGER_SECONDS: Final = 5.0  # to let a sender finish and read why it is refused
_STOP_SECONDS: Final = 1.5


class State(Enum):
    """Where the framer stands."""

    OUTSIDE = "outside"  # before a block: anything but VT is noise
    INSIDE = "inside"  # within a block, until FS
    OVERFLOWN = "overflown"  # a block passed the limit: nothing more is read


# state -> byte that ends it, and the state that follows
_TABLE: Final = {State.OUTSIDE: (VT, State.INSIDE), State.INSIDE: (FS, State.OUTSIDE)}


class MllpFramer:
    """Cuts a stream of bytes into messages, however it is segmented.

    Noise before VT is dropped; CR after FS may be missing, since it is noise too.  A sender that starts a
    message again without ending the one before is taken at its last start.  Time is linear in the bytes fed.
    """

    def __init__(self, maximum_bytes: int) -> None:
        self._maximum = maximum_bytes
        self._body = bytearray()
        self.state = State.OUTSIDE

    def feed(self, data: bytes) -> list[bytes]:
        """Take some bytes; give the messages they complete, without framing, in order."""
        complete: list[bytes] = []
        position = 0
        while position < len(data) and self.state in _TABLE:
            mark, after = _TABLE[self.state]
            found = data.find(mark, position)
            end = len(data) if found < 0 else found
            if self.state is State.INSIDE and not self._keep(data, position, end):
                break
            position = end + 1
            if found >= 0:
                if self.state is State.INSIDE:
                    complete.append(self._take())
                self.state = after
        return complete

    def kept(self) -> bytes:
        """Beginning of the message that is not complete: 64 KiB at most."""
        return bytes(self._body[:KEPT_BYTES])

    def _keep(self, data: bytes, start: int, end: int) -> bool:
        """Add a piece to the body; False where the limit is passed, then only the beginning stays."""
        if len(self._body) + end - start <= self._maximum:
            self._body += data[start:end]
            return True
        del self._body[KEPT_BYTES:]
        self._body += data[start : min(end, start + KEPT_BYTES - len(self._body))]
        self.state = State.OVERFLOWN
        return False

    def _take(self) -> bytes:
        body = bytes(self._body)
        self._body = bytearray()
        restart = body.rfind(VT + b"MSH")
        return body if restart < 0 else body[restart + 1 :]


class MllpServer:
    """Listener: gives each message to `handle` and sends back the acknowledgement that it returns.

    `handle` and `refuse` take the message and the peer's address; a `MessageError` of `handle` goes to
    `refuse`, as does any other exception (AR 207).  `port` is the one listened on, also where 0 was asked.
    """

    def __init__(
        self,
        settings: MllpSection,
        handle: Callable[[bytes, str], bytes],
        refuse: Callable[[bytes, str, MessageError], bytes],
        log: logging.Logger,
    ) -> None:
        self._settings = settings
        self._handle = handle
        self._refuse = refuse
        self._log = log
        self._listener: socket.socket | None = None
        self._open: dict[socket.socket, threading.Thread] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._accepter: threading.Thread | None = None
        self.port = settings.port

    def start(self) -> None:
        """Listen.  Raises `ConfigurationError` where the address cannot be had."""
        host, port = self._settings.host, self._settings.port
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            listener = socket.create_server((host, port), family=family, backlog=64)
        except OSError as error:
            raise ConfigurationError(
                f"Mllp.Host and Mllp.Port: cannot listen on {host} port {port} ({error.strerror}); give a free port"
            ) from error
        self._stopping.clear()
        self._listener = listener
        self.port = listener.getsockname()[1]
        self._accepter = threading.Thread(target=self._accept, args=(listener,), name="mllp", daemon=True)
        self._accepter.start()
        self._log.info("MLLP: listening on %s port %d", host, self.port)

    def stop(self) -> None:
        """Stop within two seconds: nothing more is read, a message in hand is still answered if it can be."""
        self._stopping.set()
        listener, self._listener = self._listener, None
        if listener is not None:
            _shut(listener, socket.SHUT_RDWR)
            listener.close()
        with self._lock:
            threads = dict(self._open)
        for peer in threads:
            _shut(peer, socket.SHUT_RD)
        limit = time.monotonic() + _STOP_SECONDS
        for thread in (*threads.values(), *([self._accepter] if self._accepter else [])):
            thread.join(max(0.0, limit - time.monotonic()))
        for peer in threads:
            _shut(peer, socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        while not self._stopping.is_set():
            try:
                peer, address = listener.accept()
            except OSError as error:
                if self._stopping.wait(0.1):  # also spares the processor when descriptors run out
                    return
                self._log.warning("MLLP: a connection could not be accepted: %s", error.strerror)
                continue
            self._admit(peer, f"{address[0]}:{address[1]}")

    def _admit(self, peer: socket.socket, origin: str) -> None:
        """Start a connection's thread, or close it at once where there are too many."""
        thread = threading.Thread(target=self._serve, args=(peer, origin), name=f"mllp {origin}", daemon=True)
        with self._lock:
            full = len(self._open) >= self._settings.maximum_connections or self._stopping.is_set()
            if not full:
                self._open[peer] = thread
        if full:
            self._log.warning("MLLP: connection of %s closed: too many are open", origin)
            peer.close()
            return
        try:
            thread.start()
        except RuntimeError:  # the system gives no more threads
            self._log.error("MLLP: connection of %s closed: no thread for it", origin)
            self._forget(peer)

    def _forget(self, peer: socket.socket) -> None:
        with self._lock:
            self._open.pop(peer, None)
        peer.close()

    def _serve(self, peer: socket.socket, origin: str) -> None:
        try:
            _keep_alive(peer)
            self._converse(peer, origin)
        except OSError as error:
            self._log.info("MLLP: connection of %s lost: %s", origin, error)
        finally:
            self._forget(peer)

    def _converse(self, peer: socket.socket, origin: str) -> None:
        framer = MllpFramer(self._settings.maximum_bytes)
        while not self._stopping.is_set():
            inside = framer.state is State.INSIDE
            peer.settimeout(self._settings.message_seconds if inside else self._settings.idle_seconds or None)
            try:
                data = peer.recv(_PIECE)
            except TimeoutError:
                if inside:
                    self._give_up(peer, origin, framer, refusal("message-incomplete", "no end of block in time"))
                return
            if not data:
                if inside:
                    self._log.warning("MLLP: %s left within a message", origin)
                return
            for message in framer.feed(data):
                if self._stopping.is_set():
                    return
                self._send(peer, self._answer(message, origin))
            if framer.state is State.OVERFLOWN:
                limit = self._settings.maximum_bytes
                self._give_up(peer, origin, framer, refusal("message-too-large", f"more than {limit} bytes"))
                return

    def _answer(self, message: bytes, origin: str) -> bytes | None:
        """Acknowledgement of a message, whatever happens; None where not even a refusal can be made."""
        try:
            return self._handle(message, origin)
        except MessageError as error:
            return self._refused(message, origin, error)
        except Exception as error:  # noqa: BLE001 (edge of the connection: a defect costs one message, not the line)
            self._log.error("MLLP: a message of %s could not be handled: %s", origin, _place(error))
            return self._refused(message, origin, refusal("internal-error", "defect while handling"))

    def _refused(self, message: bytes, origin: str, error: MessageError) -> bytes | None:
        try:
            return self._refuse(message, origin, error)
        except Exception as failure:  # noqa: BLE001 (same edge)
            self._log.error("MLLP: a refusal to %s could not be written: %s", origin, _place(failure))
            return None

    def _give_up(self, peer: socket.socket, origin: str, framer: MllpFramer, error: MessageError) -> None:
        """Refuse what came of a message, then let the sender finish: an early close would lose the answer."""
        self._log.warning("MLLP: message of %s given up: %s", origin, error)
        self._send(peer, self._refused(framer.kept(), origin, error))
        peer.shutdown(socket.SHUT_WR)
        limit = time.monotonic() + _LINGER_SECONDS
        while (left := limit - time.monotonic()) > 0 and not self._stopping.is_set():
            peer.settimeout(left)
            try:
                if not peer.recv(_PIECE):
                    return
            except TimeoutError:
                return

    def _send(self, peer: socket.socket, answer: bytes | None) -> None:
        if answer is None:
            raise OSError("no acknowledgement could be made")
        peer.settimeout(self._settings.message_seconds)
        peer.sendall(VT + answer + FS + CR)


def _keep_alive(peer: socket.socket) -> None:
    """Notice a peer that vanished: idle connections are kept for days."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for name, value in (("TCP_KEEPIDLE", 120), ("TCP_KEEPINTVL", 30), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, name):
            peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _place(error: Exception) -> str:
    """Kind and place of a defect; never its text, which may quote the message."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {frame.name}, {frame.filename.rpartition('/')[2]} line {frame.lineno}"


def _shut(end: socket.socket, how: int) -> None:
    with contextlib.suppress(OSError):  # gone already
        end.shutdown(how)
