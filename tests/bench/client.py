# SPDX-License-Identifier: AGPL-3.0-or-later
"""A client that costs little: one TLS request, read into one buffer, timed."""

from __future__ import annotations

import socket
import ssl
import time
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Download:
    """One answer: bytes of its body, seconds to the first of them, to the end of the first part, to the end."""

    status: int
    size: int
    first_byte: float
    first_part: float
    total: float

    @property
    def rate(self) -> float:
        """Megabytes a second."""
        return self.size / self.total / 1e6


def tls(authorities: str, certificate: tuple[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authorities)
    context.load_cert_chain(*certificate)
    return context


def download(url: str, context: ssl.SSLContext, headers: dict[str, str], first_part_bytes: int) -> Download:
    """GET; the connection is new each time, so that no variant profits from another's."""
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    lines = [f"GET {parts.path} HTTP/1.1", f"Host: {parts.netloc}", "Connection: close"]
    request = "\r\n".join([*lines, *(f"{k}: {v}" for k, v in headers.items()), "", ""]).encode()
    buffer = memoryview(bytearray(1 << 20))
    with socket.create_connection((parts.hostname, parts.port)) as plain:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with context.wrap_socket(plain, server_hostname=parts.hostname) as link:
            begin = time.perf_counter()
            link.sendall(request)
            head = b""
            while b"\r\n\r\n" not in head:
                piece = link.recv(65536)
                if not piece:
                    break
                head += piece
            status = int(head.split(b" ", 2)[1])
            size = len(head.split(b"\r\n\r\n", 1)[1])
            first_byte = first_part = 0.0
            while True:
                if size and not first_byte:
                    first_byte = time.perf_counter() - begin
                if size >= first_part_bytes and not first_part:
                    first_part = time.perf_counter() - begin
                count = link.recv_into(buffer)
                if not count:
                    break
                size += count
            return Download(status, size, first_byte, first_part, time.perf_counter() - begin)
