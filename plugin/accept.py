# SPDX-License-Identifier: AGPL-3.0-or-later
"""The Accept header of WADO-RS requests between DRIMboxes (RFC 9110, 12.5.1; PS3.18, 8.7.3).

Official requests put one element per transfer syntax, each with its q, in one line or many, with a
trailing comma, with or without the media type, with ``boundary=**``.  q = 0 forbids a syntax.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from drimbox.errors import Refusal

ANY: Final = "*"
_MAXIMUM_CHARACTERS: Final = 16 * 1024
_MAXIMUM_ELEMENTS: Final = 128
_UID: Final = re.compile(r"[0-9]+(\.[0-9]+)*", re.ASCII)
_TYPE: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# a quoted-string, else a token; "/" is let through since senders leave type=application/dicom bare
_VALUE: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|([!#$%&\'*+.^_`|~0-9A-Za-z/-]+)')
_QVALUE: Final = re.compile(r"0(?:\.([0-9]{0,3}))?|1(?:\.0{0,3})?", re.ASCII)
_PUBLIC: Final = "L'en-tête Accept est absent ou illisible."


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One element of Accept.

    `media_type` is "" where the sender left it out; `quality` is q in thousandths (0 to 1000);
    `transfer_syntax` a UID, `ANY`, or "" where absent.
    """

    media_type: str
    part_type: str
    transfer_syntax: str
    quality: int
    boundary: str

    def is_dicom(self) -> bool:
        """Whether the element asks for DICOM files in a multipart answer."""
        return self.media_type in ("", "multipart/related", "multipart/*", "*/*") and self.part_type in (
            "",
            "application/dicom",
        )


def parse_accept(values: Sequence[str], required: Collection[str] = ("transfer-syntax",)) -> tuple[MediaRange, ...]:
    """Read every ``Accept`` line of a request, in order.

    `required` names the parameters without which an element is refused.  Raises `Refusal` (400,
    ``accept-malformed``), also where no element is left.
    """
    if sum(map(len, values)) > _MAXIMUM_CHARACTERS:
        raise _refusal("too long")
    pieces = [piece for value in values for piece in _split(value, ",")]
    ranges = tuple(_element(piece, required) for piece in pieces if piece)
    if not ranges:
        raise _refusal("absent or empty")
    if len(ranges) > _MAXIMUM_ELEMENTS:
        raise _refusal("too many elements")
    return ranges


def choose(
    ranges: Iterable[MediaRange], stored_syntax: str, targets: Sequence[str] = (), *, strict: bool = False
) -> str | None:
    """The transfer syntax to answer an instance in, None where none is acceptable (406).

    `targets` are the syntaxes that the instance could be transcoded to, best first.  What is stored
    goes out whenever its q is above 0; with `strict` only where no target has a higher q.
    """
    wanted = tuple(ranges)
    best, best_quality = None, 0
    for syntax in (stored_syntax, *targets):
        quality = quality_of(wanted, syntax)
        if quality > best_quality:
            best, best_quality = syntax, quality
            if not strict and syntax == stored_syntax:
                break
    return best


def quality_of(ranges: Iterable[MediaRange], syntax: str) -> int:
    """Highest q (thousandths) given to a syntax; an element that names it prevails over ``*``."""
    named, wild = [], []
    for item in ranges:
        if item.is_dicom() and item.transfer_syntax == syntax:
            named.append(item.quality)
        elif item.is_dicom() and item.transfer_syntax == ANY:
            wild.append(item.quality)
    return max(named or wild or [0])


def _split(text: str, separator: str) -> Iterator[str]:
    """Split outside quoted strings; pieces come stripped, empty ones included."""
    start, quoted, escaped = 0, False, False
    for position, character in enumerate(text):
        if escaped:
            escaped = False
        elif quoted and character == "\\":
            escaped = True
        elif character == '"':
            quoted = not quoted
        elif character == separator and not quoted:
            yield text[start:position].strip(" \t")
            start = position + 1
    if quoted:
        raise _refusal("a quoted string does not end")
    yield text[start:].strip(" \t")


def _element(text: str, required: Collection[str]) -> MediaRange:
    pieces = list(_split(text, ";"))
    media_type = ""
    if "=" not in pieces[0]:
        media_type = pieces.pop(0).lower()
        if not _TYPE.fullmatch(media_type):
            raise _refusal("media type")
    parameters = dict(_parameters(pieces))
    for name in required:
        if name not in parameters:
            raise _refusal(f"an element lacks {name}")
    syntax = parameters.get("transfer-syntax", "")
    if "transfer-syntax" in parameters and syntax != ANY and not (_UID.fullmatch(syntax) and len(syntax) <= 64):
        raise _refusal("transfer-syntax is no UID")
    return MediaRange(
        media_type=media_type,
        part_type=parameters.get("type", "").lower(),
        transfer_syntax=syntax,
        quality=_quality(parameters.get("q", "1")),
        boundary=parameters.get("boundary", ""),
    )


def _parameters(pieces: Iterable[str]) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for piece in pieces:
        if not piece:
            continue
        raw, _, raw_value = piece.partition("=")
        name = raw.strip(" \t").lower()
        value = _VALUE.fullmatch(raw_value.strip(" \t"))
        if value is None or not _NAME.fullmatch(name):
            raise _refusal("parameter")
        if name in seen:
            raise _refusal("a parameter is repeated")
        seen.add(name)
        quoted, token = value.groups()
        yield name, token if quoted is None else re.sub(r"\\(.)", r"\1", quoted)


def _quality(text: str) -> int:
    match = _QVALUE.fullmatch(text)
    if match is None:
        raise _refusal("q is not between 0 and 1 with three decimals")
    if text.startswith("1"):
        return 1000
    return int((match.group(1) or "").ljust(3, "0"))


def _refusal(detail: str) -> Refusal:
    return Refusal(f"Accept: {detail}", reason="accept-malformed", status=400, public=_PUBLIC)
