# SPDX-License-Identifier: AGPL-3.0-or-later
"""A small DICOM data set from anywhere, read within bounds (PS3.5 section 7, PS3.10 section 7).

pydicom makes an object of every element, recurses as deep as the file says and inflates what is deflated:
a hostile file of some megabytes then costs gigabytes.  This reader keeps only the tags it is asked for, never
copies what it skips, counts what it visits, and raises nothing but `DocumentError`.

Understood: Explicit and Implicit VR Little Endian, defined and undefined lengths, sequences of VR UN, files
without preamble or meta information.  Not understood: Big Endian (retired), deflated and encapsulated data.
"""

from __future__ import annotations

import struct
from collections.abc import Container

from drimbox.errors import DocumentError

type Value = bytes | list[Item]
type Item = dict[int, Value]

REASON = "dicom-invalid"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
MAXIMUM_DEPTH = 12  # a manifest with key images needs 6
MAXIMUM_ELEMENTS = 1_000_000  # visited, kept or not: a manifest has 11 to 13 for each instance

_TRANSFER_SYNTAX = 0x0002_0010
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFE_E000, 0xFFFE_E00D, 0xFFFE_E0DD
_UNDEFINED = 0xFFFF_FFFF
_LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
_TAG = struct.Struct("<HH")
_SHORT = struct.Struct("<H")
_LONG = struct.Struct("<L")


def read_file(data: bytes, *, sequences: Container[int], values: Container[int]) -> tuple[Item, Item]:
    """Read a file; give its meta information and its data set, both cut down to the tags asked for.

    `sequences` are the tags of sequences to enter, `values` those whose bytes are kept as they are, at any
    level.  Raises `DocumentError` (``dicom-invalid``, or ``dicom-too-large`` above the bounds).
    """
    start = 132 if data[128:132] == b"DICM" else 4 if data[:4] == b"DICM" else 0
    meta: Item = {}
    if data[start : start + 2] == b"\x02\x00":
        header = _Reader(data, sequences, {_TRANSFER_SYNTAX, *_meta_tags(values)}, implicit=False)
        meta, start = header.elements(start, len(data), 0, only_group=2)
    syntax = meta.get(_TRANSFER_SYNTAX, b"")
    name = syntax.rstrip(b"\0 ").decode("ascii", "replace") if isinstance(syntax, bytes) else ""
    if name not in ("", IMPLICIT, EXPLICIT):
        raise DocumentError(f"transfer syntax {name[:64]!r} is not one of a manifest", reason=REASON)
    # What the file says of itself is wrong at times: the bytes decide
    body, _ = _Reader(data, sequences, values, implicit=not _looks_explicit(data, start)).elements(start, len(data), 0)
    return meta, body


def _meta_tags(values: Container[int]) -> list[int]:
    return [tag for tag in range(0x0002_0000, 0x0002_0020) if tag in values]


def _looks_explicit(data: bytes, start: int) -> bool:
    """Two capitals after the first tag: a VR.  As an implicit length they would mean 16 KiB and more."""
    vr = data[start + 4 : start + 6]
    return len(vr) == 2 and vr.isalpha() and vr.isupper()


class _Reader:
    """One pass over one data set; `position`s are offsets in `data`."""

    def __init__(self, data: bytes, sequences: Container[int], values: Container[int], *, implicit: bool) -> None:
        self._data = data
        self._sequences = sequences
        self._values = values
        self._implicit = implicit
        self._visited = 0

    def elements(
        self, position: int, end: int, depth: int, *, delimited: bool = False, only_group: int | None = None
    ) -> tuple[Item, int]:
        """Read elements up to `end` or, where `delimited`, to the item delimiter; give them and where they end.

        With `only_group` they end at the first element of another group.
        """
        found: Item = {}
        while position < end:
            tag = self._tag(position, end)
            if delimited and tag == _ITEM_END:
                return found, position + 8
            if only_group is not None and tag >> 16 != only_group:
                return found, position
            value, position = self._element(tag, position, end, depth)
            if value is None:
                continue
            if tag in found:
                raise DocumentError(f"element {tag:08X} stands twice", reason=REASON)  # readers would differ
            found[tag] = value
        if delimited:
            raise DocumentError("an item has no end", reason=REASON)
        return found, position

    def _element(self, tag: int, position: int, end: int, depth: int) -> tuple[Value | None, int]:
        """Read one element; its value is None where nobody asked for it."""
        self._count()
        vr, length, position = self._header(tag, position, end)
        if length == _UNDEFINED:
            return self._undefined(tag, vr, position, end, depth)
        value_end = position + length
        if value_end > end:
            raise DocumentError(f"element {tag:08X} at {position} is longer than what holds it", reason=REASON)
        if tag in self._sequences and vr in (b"SQ", b"", b"UN"):
            items, _ = self._items(position, value_end, depth, delimited=False, implicit=vr == b"UN")
            return items, value_end
        return (self._data[position:value_end] if tag in self._values else None), value_end

    def _undefined(self, tag: int, vr: bytes, position: int, end: int, depth: int) -> tuple[Value | None, int]:
        """Only sequences have undefined length here; one of VR UN is in implicit VR (PS3.5 6.2.2)."""
        if vr not in (b"SQ", b"", b"UN"):
            raise DocumentError(f"element {tag:08X} of VR {vr!r} has no length", reason=REASON)
        items, position = self._items(position, end, depth, delimited=True, implicit=vr == b"UN")
        return (items if tag in self._sequences else None), position

    def _items(self, position: int, end: int, depth: int, *, delimited: bool, implicit: bool) -> tuple[list[Item], int]:
        """Read the items of a sequence, up to `end` or, where `delimited`, to its delimiter."""
        if depth >= MAXIMUM_DEPTH:
            raise DocumentError(f"sequences nested more than {MAXIMUM_DEPTH} deep", reason="dicom-too-large")
        before, self._implicit = self._implicit, self._implicit or implicit
        found: list[Item] = []
        while position < end:
            tag = self._tag(position, end)
            length = int(_LONG.unpack_from(self._data, position + 4)[0])
            position += 8
            if tag == _SEQUENCE_END and delimited:
                self._implicit = before
                return found, position
            if tag != _ITEM:
                raise DocumentError(f"{tag:08X} at {position - 8} where an item was due", reason=REASON)
            item, position = self._item(position, length, end, depth)
            found.append(item)
        if delimited:
            raise DocumentError("a sequence has no end", reason=REASON)
        self._implicit = before
        return found, position

    def _item(self, position: int, length: int, end: int, depth: int) -> tuple[Item, int]:
        self._count()
        if length != _UNDEFINED:
            item_end = position + length
            if item_end > end:
                raise DocumentError(f"the item at {position} is longer than its sequence", reason=REASON)
            item, _ = self.elements(position, item_end, depth + 1)
            return item, item_end
        return self.elements(position, end, depth + 1, delimited=True)

    def _count(self) -> None:
        self._visited += 1
        if self._visited > MAXIMUM_ELEMENTS:
            raise DocumentError(f"more than {MAXIMUM_ELEMENTS} elements and items", reason="dicom-too-large")

    def _tag(self, position: int, end: int) -> int:
        if position + 8 > end:
            raise DocumentError(f"the data end within an element, at {position}", reason=REASON)
        group, element = _TAG.unpack_from(self._data, position)
        return int(group << 16 | element)

    def _header(self, tag: int, position: int, end: int) -> tuple[bytes, int, int]:
        """VR (empty in implicit VR), length, and where the value begins."""
        if self._implicit:
            return b"", int(_LONG.unpack_from(self._data, position + 4)[0]), position + 8
        vr = self._data[position + 4 : position + 6]
        if vr not in _LONG_VRS:
            if not (vr.isalpha() and vr.isupper()):
                raise DocumentError(f"element {tag:08X} at {position} has no VR", reason=REASON)
            return vr, int(_SHORT.unpack_from(self._data, position + 6)[0]), position + 8
        if position + 12 > end:
            raise DocumentError(f"the data end within an element, at {position}", reason=REASON)
        return vr, int(_LONG.unpack_from(self._data, position + 8)[0]), position + 12
