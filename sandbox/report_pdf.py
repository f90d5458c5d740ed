# SPDX-License-Identifier: AGPL-3.0-or-later
"""A small PDF by hand: one A4 page, Helvetica, French text, web links as annotations (PDF 1.7, ISO 32000-1)."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

LEFT, TOP, LEADING, SIZE = 56, 790, 15, 10
COLUMNS = 92  # characters of Helvetica 10 that fit between the margins


def _literal(text: str) -> bytes:
    """A PDF string (7.3.4.2) in WinAnsiEncoding; what it lacks becomes a question mark."""
    raw = text.encode("cp1252", "replace")
    return b"(" + raw.replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)") + b")"


def _text(text: str) -> bytes:
    """A text string outside a page's content (7.9.2.2): UTF-16BE, in hexadecimal."""
    return b"<FEFF" + text.encode("utf-16-be").hex().upper().encode() + b">"


def _wrapped(paragraphs: Iterable[str]) -> list[str]:
    lines: list[str] = []
    for paragraph in paragraphs:
        lines += [*textwrap.wrap(paragraph, COLUMNS), ""]
    return lines


def _content(title: str, lines: Sequence[str], links: Sequence[str]) -> tuple[bytes, list[int]]:
    """The page's operators, and the height of each link's line."""
    out = [b"BT /F2 15 Tf", f"{LEFT} {TOP} Td".encode(), _literal(title) + b" Tj ET", b"BT"]
    height = TOP - 2 * LEADING
    out += [f"/F1 {SIZE} Tf {LEFT} {height} Td {LEADING} TL".encode()]
    out += [_literal(line) + b" Tj T*" for line in lines]
    height -= LEADING * len(lines)
    heights = []
    out.append(b"0 0 0.7 rg")
    for label in links:
        out.append(_literal(label) + b" Tj T*")
        heights.append(height)
        height -= LEADING
    return b"\n".join([*out, b"ET"]), heights


def _annotation(address: str, height: int) -> bytes:
    """A link annotation with a URI action (12.5.6.5, 12.6.4.7)."""
    box = f"[{LEFT} {height - 3} {LEFT + 300} {height + SIZE}]".encode()
    action = b"<< /Type /Action /S /URI /URI " + _literal(address) + b" >>"
    return b"<< /Type /Annot /Subtype /Link /Rect " + box + b" /Border [0 0 0] /A " + action + b" >>"


def make_pdf(title: str, paragraphs: Sequence[str], links: Sequence[tuple[str, str]]) -> bytes:
    """One page; `links` are (label, address) written under the text.  The same input gives the same bytes."""
    content, heights = _content(title, _wrapped(paragraphs), [label for label, _ in links])
    annotations = [_annotation(address, height) for (_, address), height in zip(links, heights, strict=True)]
    numbers = b" ".join(f"{8 + i} 0 R".encode() for i in range(len(annotations)))
    font = b"<< /Type /Font /Subtype /Type1 /BaseFont /%s /Encoding /WinAnsiEncoding >>"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R /Lang (fr-FR) /ViewerPreferences << /DisplayDocTitle true >> >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Annots [" + numbers + b"]"
        b" /Resources << /Font << /F1 5 0 R /F2 6 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
        font % b"Helvetica",
        font % b"Helvetica-Bold",
        b"<< /Title " + _text(title) + b" /Producer (orthanc-drimbox sandbox) >>",
        *annotations,
    ]
    return _file(objects, info=7)


def _file(objects: Sequence[bytes], info: int) -> bytes:
    """Header, numbered objects, cross-reference table and trailer (7.5)."""
    out = bytearray(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")
    offsets = []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer\n<< /Size %d /Root 1 0 R /Info %d 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (
        len(objects) + 1,
        info,
        start,
    )
    return bytes(out)
