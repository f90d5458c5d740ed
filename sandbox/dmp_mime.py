# SPDX-License-Identifier: AGPL-3.0-or-later
"""Multipart/related with XOP (MTOM), read strictly and written for answers."""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesHeaderParser
from urllib.parse import unquote

from sandbox.dmp_errors import SoapFault

MAX_PARTS = 20
SOAP, XOP = "application/soap+xml", "application/xop+xml"


@dataclass(frozen=True)
class Part:
    """One part: its headers and its decoded bytes."""

    headers: Message
    content: bytes

    @property
    def content_id(self) -> str:
        """Content-ID with its angle brackets removed."""
        return str(self.headers.get("Content-ID") or "").strip().removeprefix("<").removesuffix(">")


@dataclass(frozen=True)
class Package:
    """The root part's XML and the other parts by content id; ``action`` is the media type's parameter."""

    xml: bytes
    parts: Mapping[str, Part]
    action: str
    multipart: bool


def param(headers: Message, name: str) -> str:
    """A parameter of Content-Type, empty where absent."""
    value = headers.get_param(name)
    return value if isinstance(value, str) else ""


def read_package(headers: Message, body: bytes) -> Package:
    """Read an HTTP body: plain SOAP 1.2 or multipart/related (MTOM).  Raises `SoapFault`."""
    kind = headers.get_content_type() if headers.get("Content-Type") else ""
    if kind == SOAP:
        _utf8(headers)
        return Package(body, {}, param(headers, "action"), False)
    if kind != "multipart/related":
        raise SoapFault("mime-type", f"Type de contenu refusé : {kind or 'absent'}.")
    return _read_multipart(headers, body)


def _read_multipart(headers: Message, body: bytes) -> Package:
    if param(headers, "type").lower() != XOP:
        raise SoapFault("mime-type-param", 'Le paramètre type doit être "application/xop+xml".')
    if param(headers, "start-info").lower() != SOAP:
        raise SoapFault("mime-start-info", 'Le paramètre start-info doit être "application/soap+xml".')
    start = param(headers, "start").removeprefix("<").removesuffix(">")
    if not start:
        raise SoapFault("mime-start", "Le paramètre start est absent.")
    parts = [_part(raw) for raw in split(body, param(headers, "boundary"))]
    by_id: dict[str, Part] = {}
    for part in parts:
        if not part.content_id or part.content_id in by_id:
            raise SoapFault("mime-content-id", "Content-ID absent ou présent deux fois.")
        by_id[part.content_id] = part
    if not parts or parts[0].content_id != start:
        raise SoapFault("mime-start", "La première partie n'est pas celle que nomme le paramètre start.")
    root = by_id.pop(start)
    if root.headers.get_content_type() != XOP or param(root.headers, "type").lower() != SOAP:
        raise SoapFault("mime-root-type", "La première partie doit être application/xop+xml de type SOAP 1.2.")
    _utf8(root.headers)
    action = param(headers, "action") or param(root.headers, "action")
    return Package(root.content, by_id, action, True)


def _utf8(headers: Message) -> None:
    if param(headers, "charset").lower() != "utf-8":
        raise SoapFault("mime-charset", "Le jeu de caractères doit être annoncé : charset=UTF-8.")


def split(body: bytes, boundary: str) -> list[bytes]:
    """Cut a multipart body into raw parts (RFC 2046 5.1.1, CRLF only).  Raises `SoapFault`."""
    if not boundary or len(boundary) > 70:
        raise SoapFault("mime-boundary", "Paramètre boundary absent ou trop long.")
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary.encode("latin-1", "replace"))
    if len(pieces) < 3 or not pieces[-1].startswith(b"--"):
        raise SoapFault("mime-truncated", "Corps multipart incomplet ou délimiteur introuvable.")
    inner = pieces[1:-1]
    if len(inner) > MAX_PARTS:
        raise SoapFault("mime-parts", "Trop de parties.")
    if any(not piece.lstrip(b" \t").startswith(b"\r\n") for piece in inner):
        raise SoapFault("mime-boundary", "Le délimiteur se trouve dans un contenu, ou une ligne ne finit pas par CRLF.")
    return [piece.lstrip(b" \t")[2:] for piece in inner]


def _part(raw: bytes) -> Part:
    head, found, content = raw.partition(b"\r\n\r\n")
    if not found or b"\n" in head.replace(b"\r\n", b""):
        raise SoapFault("mime-part-head", "En-têtes de partie mal formés (CRLF exigé).")
    headers = BytesHeaderParser().parsebytes(head + b"\r\n\r\n")
    coding = str(headers.get("Content-Transfer-Encoding") or "7bit").strip().lower()
    if coding == "base64":
        try:
            content = base64.b64decode(b"".join(content.split()), validate=True)
        except binascii.Error:
            raise SoapFault("mime-base64", "Partie base64 illisible.") from None
    elif coding not in ("binary", "8bit", "7bit"):
        raise SoapFault("mime-transfer-encoding", f"Content-Transfer-Encoding refusé : {coding}.")
    elif coding == "7bit" and any(byte > 127 for byte in content):
        raise SoapFault("mime-transfer-encoding", "Octets de plus de 7 bits dans une partie annoncée 7bit.")
    return Part(headers, content)


def referenced(href: str, parts: Mapping[str, Part]) -> Part:
    """The part that an `xop:Include` names: ``cid:`` and the URL-encoded content id.  Raises `SoapFault`."""
    if not href.startswith("cid:"):
        raise SoapFault("xop-href", "xop:Include doit désigner une partie par cid:.")
    found = parts.get(unquote(href[4:]))
    if found is None:
        raise SoapFault("xop-missing-part", "xop:Include désigne une partie absente.")
    return found


def write_package(xml: bytes, action: str, parts: Mapping[str, tuple[str, bytes]] | None = None) -> tuple[str, bytes]:
    """An MTOM answer: its Content-Type and its body.  ``parts``: content id to (media type, bytes)."""
    boundary = f"sandbox-{secrets.token_hex(16)}"
    root = f"root.{secrets.token_hex(8)}@dmp.sandbox.test"
    head = f'Content-Type: {XOP}; charset=UTF-8; type="{SOAP}"; action="{action}"\r\n'
    out = [_written(boundary, f"{head}Content-Transfer-Encoding: binary\r\nContent-ID: <{root}>", xml)]
    for content_id, (media, content) in (parts or {}).items():
        fields = f"Content-Type: {media}\r\nContent-Transfer-Encoding: binary\r\nContent-ID: <{content_id}>"
        out.append(_written(boundary, fields, content))
    kind = f'multipart/related; type="{XOP}"; start="<{root}>"; start-info="{SOAP}"; boundary="{boundary}"'
    return f'{kind}; action="{action}"', b"".join(out) + f"--{boundary}--\r\n".encode()


def _written(boundary: str, fields: str, content: bytes) -> bytes:
    return f"--{boundary}\r\n{fields}\r\n\r\n".encode() + content + b"\r\n"
