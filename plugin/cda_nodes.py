# SPDX-License-Identifier: AGPL-3.0-or-later
"""Small readers of CDA R2 nodes: paths, identifiers, codes, instants.

An element with a `nullFlavor` counts as absent, as does an empty attribute; text is stripped.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from lxml import etree

from drimbox.records import Code, Identifier

V3: Final = "urn:hl7-org:v3"
CIVIL_TIME: Final = "Europe/Paris"  # of a time without zone (spec `cda.md` 5)
_TIME: Final = re.compile(r"(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?(?:[.,](\d{1,9}))?([+-]\d{4})?", re.ASCII)
_YEARS: Final = range(1850, 2200)  # keeps every later change of zone within what datetime can hold


def children(node: etree._Element, *path: str) -> list[etree._Element]:
    """Every element at the end of a path of child names, in document order."""
    found = [node]
    for name in path:
        tag = f"{{{V3}}}{name}"
        found = [child for parent in found for child in parent.iterchildren(tag) if not child.get("nullFlavor")]
    return found


def child(node: etree._Element, *path: str) -> etree._Element | None:
    """First element at the end of a path."""
    return next(iter(children(node, *path)), None)


def attribute(node: etree._Element | None, name: str) -> str:
    """An attribute, stripped; "" where the node or the attribute is absent."""
    return (node.get(name) or "").strip() if node is not None else ""


def text(node: etree._Element | None) -> str:
    """All text of a node, white space folded; "" where absent."""
    return " ".join("".join(str(t) for t in node.itertext(tag=etree.Element)).split()) if node is not None else ""


def identifier(node: etree._Element | None) -> Identifier | None:
    """HL7 v3 II; None without a root."""
    root = attribute(node, "root")
    return Identifier(root, attribute(node, "extension") or None) if root else None


def identifier_among(nodes: list[etree._Element], preferred_root: str) -> Identifier | None:
    """The identifier under `preferred_root`, else the first that has a root."""
    found = [i for i in map(identifier, nodes) if i is not None]
    return next((i for i in found if i.root == preferred_root), found[0] if found else None)


def code(node: etree._Element | None) -> Code | None:
    """HL7 v3 CE; None without a code."""
    value = attribute(node, "code")
    return Code(value, attribute(node, "codeSystem"), attribute(node, "displayName")) if value else None


def instant(value: str) -> datetime | None:
    """Read an HL7 TS (``YYYY[MM[DD[HH[MM[SS[.f]]]]]][±ZZZZ]``) as an aware datetime; None where unreadable.

    Without zone it is French civil time; what is left out is the beginning of the period.
    """
    match = _TIME.fullmatch(value.strip())
    if match is None or int(match[1]) not in _YEARS:
        return None
    year, month, day, hour, minute, second = (int(part) if part else None for part in match.groups()[:6])
    micro = int((match[7] or "0").ljust(6, "0")[:6])
    try:
        return datetime(
            year or 0, month or 1, day or 1, hour or 0, minute or 0, second or 0, micro, tzinfo=_zone(match[8])
        )
    except ValueError:
        return None


def _zone(offset: str | None) -> tzinfo:
    if not offset:
        return ZoneInfo(CIVIL_TIME)
    hours, minutes = int(offset[1:3]), int(offset[3:5])
    if hours > 14 or minutes > 59:
        raise ValueError("no such zone")
    length = timedelta(hours=hours, minutes=minutes)
    return timezone(-length if offset[0] == "-" else length)
