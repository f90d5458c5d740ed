# SPDX-License-Identifier: AGPL-3.0-or-later
"""HL7 v2 text as segments and fields, tolerant of what real senders do (spec `hl7_pitfalls.md`).

The `hl7` library splits; line ends, character sets, separators, escapes and missing parts are ours,
since the library loses text or raises there (spec `hl7_library_check.md` 3).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import hl7

from drimbox.hl7_verdicts import refusal

STANDARD: Final = "|^~\\&"
_CODECS: Final = {
    "UNICODE UTF-8": "utf-8",
    "UTF-8": "utf-8",
    "UNICODE": "utf-8",
    "ASCII": "ascii",
    "8859/1": "latin-1",
    "8859/15": "iso8859-15",
}
MAXIMUM_PARTS: Final = 200_000  # separators in a message; each costs an object, base64 holds none
MAXIMUM_LINE_ENDS: Final = 4_000_000  # base64 wrapped at 64 characters needs two millions in 64 MB
_HEADER_BYTES: Final = 16 * 1024
_LINE_ENDS: Final = re.compile(r"[\r\n]+")
_BARE: Final = re.compile(
    r"EVN|PID|PD1|NTE|PV1|PV2|ORC|OBR|OBX|TXA|PRT|TQ1|TQ2|SFT|UAC|IPC|AL1|ROL"
)  # without any field
_ESCAPED_BYTES: Final = re.compile(r"[0-9A-Fa-f]+")


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment; positions count from 1 as in the standard, whatever is missing reads ""."""

    name: str
    raw: Any  # hl7.Segment
    separators: str

    def text(self, field: int, component: int = 1, subcomponent: int = 1, repetition: int = 1) -> str:
        """One unescaped and stripped value."""
        return unescape(self.part(field, component, subcomponent, repetition), self.separators).strip()

    def part(self, field: int, component: int = 1, subcomponent: int = 1, repetition: int = 1) -> str:
        """One value as it came, escapes included."""
        node = self.raw
        for position in (field, repetition - 1, component - 1, subcomponent - 1):
            if isinstance(node, str):  # the library splits no further what holds no separator
                if position:
                    return ""
            elif position < len(node):
                node = node[position]
            else:
                return ""
        return str(node)

    def whole(self, field: int) -> str:
        """A field as it came, separators and escapes included, stripped."""
        return str(self.raw[field]).strip() if field < len(self.raw) else ""

    def repetitions(self, field: int) -> range:
        """Numbers of the repetitions of a field, to give to `text`."""
        return range(1, len(self.raw[field]) + 1) if field < len(self.raw) else range(0)


@dataclass(frozen=True, slots=True)
class Fields:
    """A message as segments in order; `encoding` is the codec that its bytes were read with."""

    segments: tuple[Segment, ...]
    encoding: str
    declared: str
    ascii: bool

    def first(self, name: str) -> Segment | None:
        """First segment of a name."""
        return next((s for s in self.segments if s.name == name), None)

    def all(self, name: str) -> tuple[Segment, ...]:
        """Every segment of a name, in order."""
        return tuple(s for s in self.segments if s.name == name)


def header_line(raw: bytes) -> bytes:
    """MSH as bytes, within the first 16 KiB; empty where the message begins otherwise."""
    start = raw[:_HEADER_BYTES].lstrip(b"\x0b\r\n \t").removeprefix(b"\xef\xbb\xbf").lstrip(b"\x0b\r\n \t")
    return re.split(rb"[\r\n\x1c]", start, maxsplit=1)[0] if start.startswith(b"MSH") else b""


def separators_of(line: str) -> str | None:
    """Field, component, repetition, escape and subcomponent separators of an MSH line; None if unusable.

    Read as text: one site's repetition separator is U+02DC, two bytes in UTF-8.
    """
    if len(line) < 5 or not line.startswith("MSH"):
        return None
    told = line[4:].split(line[3], 1)[0]
    found = line[3] + told[:4] + STANDARD[len(told[:4]) + 1 :]
    usable = all(c.isprintable() and not c.isalnum() and not c.isspace() for c in found)
    return found if usable and len(set(found)) == 5 else None


def declared_charset(line: bytes) -> str:
    """First value of MSH-18, as written."""
    fields = line[4:].split(line[3:4]) if len(line) > 4 else []
    return re.split(rb"[~\xcb]", fields[16])[0].decode("ascii", "replace").strip() if len(fields) > 16 else ""


def decode(raw: bytes, declared: str) -> tuple[str, str]:
    """Give the text and the codec: UTF-8 where the bytes are, whatever is declared, else the declared one.

    Accented 8859-15 text is hardly ever valid UTF-8, and senders lie about MSH-18 both ways.
    """
    try:
        return raw.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        codec = _CODECS.get(declared.upper(), "iso8859-15")
    if codec in ("utf-8", "ascii"):
        codec = "iso8859-15"
    if re.search(rb"[\x80-\x9f]", raw):
        codec = "cp1252"
    return raw.decode(codec, "replace"), codec


def codec_of(declared: str) -> str | None:
    """Python's name of an MSH-18 value; None where unknown."""
    return _CODECS.get(declared.upper())


def unescape(text: str, separators: str = STANDARD) -> str:
    r"""Resolve ``\F\ \S\ \T\ \R\ \E\``, ``\Xhh..\`` (UTF-8 or 8859-15) and ``\.br\``; keep anything else."""
    escape = separators[3]
    if escape not in text:
        return text
    parts = text.split(escape)
    known = dict(zip("FSRET", separators, strict=True)) | {".br": "\n", ".sp": "\n", "H": "", "N": ""}
    done = [parts[0]]
    position = 1
    while position < len(parts):
        name = parts[position]
        closed = position + 1 < len(parts)
        value = known.get(name) if closed else None
        if value is None and closed and name[:1] == "X" and _ESCAPED_BYTES.fullmatch(name[1:]):
            value = _from_hex(name[1:])
        if value is None:
            # a lone separator is text: an organisation called DU\PONT keeps its name
            done.append(escape + name)
            position += 1
        else:
            done.extend((value, parts[position + 1]))
            position += 2
    return "".join(done)


def _from_hex(digits: str) -> str | None:
    if len(digits) % 2:
        return None
    return decode(bytes.fromhex(digits), "")[0]


def split(raw: bytes) -> Fields:
    """Split a message.

    Raises `MessageError`: ``not-hl7``, ``header-invalid``, ``several-messages``, ``message-too-complex``.
    """
    line = header_line(raw)
    if not line:
        raise refusal("not-hl7", "no MSH at the start")
    declared = declared_charset(line)
    text, encoding = decode(raw, declared)
    if text.count("\r") + text.count("\n") > MAXIMUM_LINE_ENDS:
        raise refusal("message-too-complex", f"more than {MAXIMUM_LINE_ENDS} line ends")
    lines = [s for s in _LINE_ENDS.split(text.strip("\x0b\x1c\r\n \t\ufeff\x00")) if s.strip()]
    separators = separators_of(lines[0])
    if separators is None:
        raise refusal("header-invalid", "MSH-1 and MSH-2 hold no usable separators", "MSH^1^2")
    if sum(text.count(mark) for mark in separators) > MAXIMUM_PARTS:
        raise refusal("message-too-complex", f"more than {MAXIMUM_PARTS} separators")
    joined = _join(lines, separators[0])
    if any(s.startswith("MSH" + separators[0]) for s in joined[1:]):
        raise refusal("several-messages", "a second MSH in one block", "MSH")
    return Fields(_parse(joined, separators), encoding, declared, raw.isascii())


def split_header(raw: bytes) -> Segment | None:
    """MSH alone, from the beginning of a message; None where there is none.  Never raises."""
    line = header_line(raw)
    text = decode(line, declared_charset(line))[0]
    separators = separators_of(text)
    return _parse([text], separators)[0] if separators else None


def _parse(lines: list[str], separators: str) -> tuple[Segment, ...]:
    # an explicit MSH-2 of four separators spares the library what it does with others
    rest = lines[0][4:].partition(separators[0])[2]
    header = f"MSH{separators}{separators[0]}{rest}"
    parsed = hl7.parse("\r".join((header, *lines[1:])))
    return tuple(Segment(str(s[0]).strip(), s, separators) for s in parsed)


def _join(lines: list[str], separator: str) -> list[str]:
    """Put lines that begin no segment back to the one before (broken fields, wrapped base64)."""
    begins = re.compile(rf"[A-Z][A-Z0-9]{{2}}{re.escape(separator)}")
    joined: list[list[str]] = []
    for line in lines:
        if not joined or begins.match(line) or _BARE.fullmatch(line.strip()):
            joined.append([line])
        else:
            joined[-1].append(line)
    return ["".join(parts) for parts in joined]
