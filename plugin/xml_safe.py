# SPDX-License-Identifier: AGPL-3.0-or-later
"""The one XML parser of the product: every byte of XML that comes from outside passes here.

A DOCTYPE is refused, so no entity can be declared or fetched; nothing is read from the network or
the disk; size, depth and counts are bounded by us, since libxml2's own limit (10 MB per text node) is
too low for a report that holds a PDF, and since libxml2 2.9 needs quadratic time for an element with
very many attributes.  Expat, which needs linear time, looks at the shape first; lxml builds the tree.
"""

from __future__ import annotations

from typing import Final
from xml.parsers import expat

from lxml import etree

from drimbox.errors import DocumentError

MAXIMUM_BYTES: Final = 64 * 1024 * 1024
MAXIMUM_DEPTH: Final = 200
MAXIMUM_NODES: Final = 400_000
MAXIMUM_ATTRIBUTES: Final = 256
_MAXIMUM_PREFIXES: Final = 512  # namespace declarations in scope at one place
_BOM: Final = b"\xef\xbb\xbf"
_WHITE: Final = b" \t\r\n"
_PIECE: Final = 1024 * 1024


def parse_xml(data: bytes, *, maximum_bytes: int = MAXIMUM_BYTES) -> etree._Element:
    """Parse `data` and return its root element.

    A BOM and leading white space are dropped; the encoding is that of the XML declaration.  Raises
    `DocumentError` with reason ``xml-too-large``, ``xml-doctype``, ``xml-too-deep`` or
    ``xml-not-wellformed``; the detail never quotes the document.
    """
    if len(data) > maximum_bytes:
        raise DocumentError(f"XML of {len(data)} bytes, at most {maximum_bytes} are read", reason="xml-too-large")
    clean = data.lstrip(_WHITE).removeprefix(_BOM).lstrip(_WHITE)
    if not clean:
        raise DocumentError("empty XML document", reason="xml-not-wellformed")
    _Shape().check(clean)
    # the options below repeat what the shape has excluded: a second lock on the same door
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False, huge_tree=True
    )
    try:
        return etree.fromstring(clean, parser)
    except etree.XMLSyntaxError as error:
        raise DocumentError(f"XML is not well-formed (line {error.lineno})", reason="xml-not-wellformed") from None


class _Shape:
    """Counts what a document holds while it is read, and stops at the first excess."""

    def __init__(self) -> None:
        self._nodes = 0
        self._prefixes = [0]  # declarations in scope, one entry per open element

    def check(self, data: bytes) -> None:
        """Raise `DocumentError` where `data` is not a reasonable document."""
        parser = expat.ParserCreate()
        parser.ordered_attributes = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.StartDoctypeDeclHandler = self._doctype
        parser.CommentHandler = self._other
        parser.ProcessingInstructionHandler = self._other
        try:
            for start in range(0, len(data), _PIECE):
                parser.Parse(data[start : start + _PIECE], False)
            parser.Parse(b"", True)
        except expat.ExpatError as error:
            raise DocumentError(f"XML is not well-formed (line {error.lineno})", reason="xml-not-wellformed") from None
        except (LookupError, ValueError):  # an encoding that Python does not know, or of several bytes
            raise DocumentError("XML in an encoding that is not read", reason="xml-not-wellformed") from None

    def _count(self) -> None:
        self._nodes += 1
        if self._nodes > MAXIMUM_NODES:
            raise DocumentError(f"XML of more than {MAXIMUM_NODES} nodes", reason="xml-too-large")

    def _start(self, _name: str, attributes: list[str]) -> None:
        self._count()
        if len(attributes) > 2 * MAXIMUM_ATTRIBUTES:
            raise DocumentError(f"XML element of more than {MAXIMUM_ATTRIBUTES} attributes", reason="xml-too-large")
        declared = sum(1 for name in attributes[::2] if name.startswith("xmlns"))
        self._prefixes.append(self._prefixes[-1] + declared)
        if len(self._prefixes) - 1 > MAXIMUM_DEPTH:
            raise DocumentError(f"XML of more than {MAXIMUM_DEPTH} levels", reason="xml-too-deep")
        if self._prefixes[-1] > _MAXIMUM_PREFIXES:
            raise DocumentError(f"XML with more than {_MAXIMUM_PREFIXES} prefixes in scope", reason="xml-too-large")

    def _end(self, _name: str) -> None:
        self._prefixes.pop()

    def _other(self, *_content: str) -> None:
        self._count()

    def _doctype(self, *_content: object) -> None:
        raise DocumentError("XML with a DOCTYPE is refused", reason="xml-doctype")


def local_name(element: etree._Element) -> str:
    """Name of an element without its namespace; "" for a comment or processing instruction."""
    return etree.QName(element).localname if isinstance(element.tag, str) else ""
