# SPDX-License-Identifier: AGPL-3.0-or-later
"""MTOM packaging (multipart/related, XOP): writing requests, reading answers.

Written with CRLF and content-transfer-encoding binary; read tolerantly (base64, quoted-printable, bare
LF after headers), with bounds.  Sources: SOAP MTOM, XOP 1.0, RFC 2387, RFC 2392.
"""

from __future__ import annotations

import base64
import binascii
import quopri
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from email.message import Message
from typing import Final
from urllib.parse import quote, unquote

from drimbox.errors import DocumentError

XOP: Final = "http://www.w3.org/2004/08/xop/include"
MAXIMUM_PARTS: Final = 32
MAXIMUM_HEAD: Final = 16 * 1024
REASON: Final = "multipart-invalid"


@dataclass(frozen=True, slots=True)
class Part:
    """One part: content-id without angle brackets, media type with parameters, decoded bytes."""

    content_id: str
    content_type: str
    data: bytes = field(repr=False)


def include_href(content_id: str) -> str:
    """``cid:`` URL of a part, for ``xop:Include`` (RFC 2392)."""
    return "cid:" + quote(content_id, safe="@.-_")


def content_id_of(href: str) -> str | None:
    """Content-id that a ``cid:`` URL names, None for another URL."""
    return unquote(href[4:]) if href.startswith("cid:") else None


def write_multipart(parts: Sequence[Part], *, action: str, new_boundary: Callable[[], str]) -> tuple[str, bytes]:
    """Content type and body; the first part is the SOAP envelope.

    A boundary that occurs in a part is drawn again.
    """
    boundary = new_boundary()
    while any(boundary.encode("ascii") in p.data for p in parts):
        boundary = new_boundary()
    pieces = []
    for part in parts:
        head = (
            f"--{boundary}\r\n"
            f"Content-Type: {part.content_type}\r\n"
            "Content-Transfer-Encoding: binary\r\n"
            f"Content-ID: <{part.content_id}>\r\n\r\n"
        )
        pieces += [head.encode("ascii"), part.data, b"\r\n"]
    pieces.append(f"--{boundary}--\r\n".encode("ascii"))
    content_type = (
        f'multipart/related; type="application/xop+xml"; start="<{parts[0].content_id}>"; '
        f'start-info="application/soap+xml"; boundary="{boundary}"; action="{action}"'
    )
    return content_type, b"".join(pieces)


def media_type(content_type: str) -> str:
    """Type and subtype in lower case, without parameters."""
    return content_type.partition(";")[0].strip().lower()


def read_multipart(content_type: str, body: bytes) -> tuple[Part, ...]:
    """Parts of a multipart/related body, the root part first.

    Raises `DocumentError` (``multipart-invalid``) on a missing boundary, a truncated body, too many parts
    or an unknown transfer encoding.
    """
    boundary = _parameter(content_type, "boundary")
    if not boundary:
        raise DocumentError("multipart without boundary", reason=REASON)
    parts = [_part(chunk) for chunk in _split(body, boundary.encode("latin-1", "replace"))]
    start = _parameter(content_type, "start").strip("<>")
    for index, part in enumerate(parts):
        if start and part.content_id == start:
            return (part, *parts[:index], *parts[index + 1 :])
    return tuple(parts)


def _parameter(content_type: str, name: str) -> str:
    message = Message()
    message["Content-Type"] = " ".join(content_type.split())
    value = message.get_param(name)
    return value if isinstance(value, str) else ""


def _split(body: bytes, boundary: bytes) -> list[bytes]:
    # a delimiter stands at the start of a line; the CRLF before it belongs to it (RFC 2046 5.1.1)
    delimiter = b"--" + boundary
    position = 0 if body.startswith(delimiter) else body.find(b"\n" + delimiter) + 1
    if position == 0 and not body.startswith(delimiter):
        raise DocumentError("multipart boundary not found", reason=REASON)
    chunks: list[bytes] = []
    while True:
        position += len(delimiter)
        if body.startswith(b"--", position):
            break
        line_end = body.find(b"\n", position)
        after = body.find(b"\n" + delimiter, max(line_end, position))
        if line_end < 0 or after < 0:
            raise DocumentError("multipart body is truncated", reason=REASON)
        end = after - 1 if body[after - 1 : after] == b"\r" else after
        chunks.append(body[line_end + 1 : max(end, line_end + 1)])
        if len(chunks) > MAXIMUM_PARTS:
            raise DocumentError(f"more than {MAXIMUM_PARTS} parts", reason=REASON)
        position = after + 1
    if not chunks:
        raise DocumentError("multipart without a part", reason=REASON)
    return chunks


def _part(chunk: bytes) -> Part:
    head, data = _head_and_data(chunk)
    headers: dict[str, str] = {}
    for line in head.decode("latin-1").replace("\r\n ", " ").replace("\r\n\t", " ").splitlines():
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    encoding = headers.get("content-transfer-encoding", "binary").lower()
    return Part(
        headers.get("content-id", "").strip("<>"),
        headers.get("content-type", ""),
        _decode(data, encoding),
    )


def _head_and_data(chunk: bytes) -> tuple[bytes, bytes]:
    if chunk.startswith((b"\r\n", b"\n")):
        return b"", chunk.partition(b"\n")[2]
    ends = [(i, len(s)) for s in (b"\r\n\r\n", b"\n\n") if (i := chunk.find(s, 0, MAXIMUM_HEAD)) >= 0]
    if not ends:
        raise DocumentError("a part has no end of headers", reason=REASON)
    index, length = min(ends)
    return chunk[:index], chunk[index + length :]


def _decode(data: bytes, encoding: str) -> bytes:
    if encoding in ("binary", "8bit", "7bit", ""):
        return data
    if encoding == "base64":
        try:
            return base64.b64decode(b"".join(data.split()), validate=True)
        except binascii.Error as error:
            raise DocumentError("a part is not base64 as announced", reason=REASON) from error
    if encoding == "quoted-printable":
        return quopri.decodestring(data)
    raise DocumentError("a part has an unknown transfer encoding", reason=REASON)
