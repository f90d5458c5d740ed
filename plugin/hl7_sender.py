# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who sent the report: segment PRT with PRT-4.1 ``SB`` (HL7 v2.9, pre-adopted by the CI-SIS guide)."""

from __future__ import annotations

import re
from typing import Final

from drimbox.cda_people import responsible_structure
from drimbox.hl7_fields import Fields, Segment
from drimbox.hl7_verdicts import warning
from drimbox.records import PROFESSIONAL_OID, STRUCTURE_OID, CdaReport, Identifier, Organization, Professional

_OID: Final = re.compile(r"[0-2](\.[0-9]+)+")


def read_sender(fields: Fields, number: int) -> Professional | None:
    """Read the sender that follows the document's OBX (of rank `number`), else any in the message."""
    seen = 0
    after: list[Segment] = []
    elsewhere: list[Segment] = []
    for segment in fields.segments:
        if segment.name == "OBX":
            seen += 1
        elif segment.name == "PRT" and segment.text(4).upper() == "SB":
            (after if seen == number else elsewhere).append(segment)
    chosen = next(iter(after + elsewhere), None)
    return _professional(chosen) if chosen is not None else None


def _professional(prt: Segment) -> Professional:
    person, structure = prt.text(5), prt.text(8, 10)
    name = prt.text(8)
    return Professional(
        identifier=Identifier(_authority(prt, 5, 9) or PROFESSIONAL_OID, person) if person else None,
        family=prt.text(5, 2),
        given=prt.text(5, 3),
        organization=Organization(
            Identifier(_authority(prt, 8, 6) or STRUCTURE_OID, structure) if structure else None, name
        )
        if name or structure
        else None,
        device=prt.text(10),
    )


def _authority(prt: Segment, field: int, component: int) -> str:
    """OID of an HD: its second subcomponent, or the bare OID that some write."""
    for position in (2, 1):
        value = prt.text(field, component, position)
        if _OID.fullmatch(value):
            return value
    return ""


def structure_warning(report: CdaReport, sender: Professional | None) -> tuple[str, ...]:
    """Warn where the sender's structure is not that of the report (the CDA wins, ANS FAQ)."""
    ours = responsible_structure(report)
    told = sender.organization if sender else None
    if ours is None or told is None or ours.identifier is None or told.identifier is None:
        return ()
    numbers = {_without_type(i.extension or "") for i in (ours.identifier, told.identifier)}
    return () if len(numbers) == 1 else (warning("sender-structure-differs"),)


def _without_type(number: str) -> str:
    """A FINESS number without its type digit: senders write both."""
    return number[1:] if len(number) == 10 and number.startswith("1") else number
