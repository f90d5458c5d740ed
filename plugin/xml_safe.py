# SPDX-License-Identifier: AGPL-3.0-or-later
"""The one XML parser of the product: every byte of XML that comes from outside passes here.

A DOCTYPE is refused, so no entity can be declared or fetched; nothing is read from the network or
the disk; size and depth are bounded by us, since libxml2's own limits (10 MB per text node) are too
low for a report that holds a PDF.
"""

from __future__ import annotations

from typing import Final

from lxml import etree

from drimbox.errors import DocumentError

MAXIMUM_BYTES: Final = 64 * 1024 * 1024
MAXIMUM_DEPTH: Final = 256
MAXIMUM_NODES: Final = 1_000_000
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
    target = _BoundedBuilder()
    # the target sees a DOCTYPE, a depth or a count while reading: a bomb stops before it is built
    parser = etree.XMLParser(
        target=target, resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False, huge_tree=True
    )
    try:
        for start in range(0, len(clean), _PIECE):
            parser.feed(clean[start : start + _PIECE])
        root = parser.close()
    except etree.XMLSyntaxError as error:
        raise DocumentError(f"XML is not well-formed (line {error.lineno})", reason="xml-not-wellformed") from None
    if not isinstance(root, etree._Element):
        raise DocumentError("XML without a root element", reason="xml-not-wellformed")
    return root
