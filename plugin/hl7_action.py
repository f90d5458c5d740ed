# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a message asks for: initial transmission, replacement or withdrawal of a report.

The guide tells it three times (event, ORC-1, OBX-11 of the document).  Samples contradict themselves, so
OBX-11 decides and a contradiction is told, or refused where the site is strict.
"""

from __future__ import annotations

from typing import Final

from drimbox.hl7_fields import Fields, Segment
from drimbox.hl7_verdicts import refusal, warning
from drimbox.records import Action, CdaReport, Identifier

_BY_STATUS: Final = {"F": Action.CREATE, "C": Action.REPLACE, "D": Action.WITHDRAW}
_BY_EVENT: Final = {"T02": Action.CREATE, "T10": Action.REPLACE, "T04": Action.WITHDRAW}
_BY_ORDER: Final = {"NW": Action.CREATE, "RO": Action.REPLACE, "CA": Action.WITHDRAW}


def decide_action(
    fields: Fields, event: str, status: str, number: int, *, strict: bool
) -> tuple[Action, tuple[str, ...]]:
    """Give the action and warnings; `status` is OBX-11 of the document, the OBX of rank `number`.

    Raises `MessageError`: ``status-unknown``, ``status-missing``; where `strict`, ``order-missing`` and
    ``action-contradictory``.
    """
    order = fields.first("ORC")
    control = order.text(1).upper() if order else ""
    told: list[str] = []
    if status and status not in _BY_STATUS:
        raise refusal("status-unknown", f"OBX-11 {status[:8]!r}", f"OBX^{number}^11")
    action = _BY_STATUS.get(status) or _BY_EVENT.get(event) or _BY_ORDER.get(control)
    if action is None:
        raise refusal("status-missing", "OBX-11 is empty", f"OBX^{number}^11")
    if not status:
        told.append(warning("status-missing"))
    if strict and order is None:
        raise refusal("order-missing", "no ORC", "ORC")
    if order is None:
        told.append(warning("order-missing"))
    elif _BY_ORDER.get(control) is not action:
        _contradiction(strict, f"ORC-1 {control[:8]!r} against {action.value}", "ORC^1^1")
        told.append(warning("order-control-differs", control[:8] or "empty"))
    if event in _BY_EVENT and _BY_EVENT[event] is not action:
        _contradiction(strict, f"event {event} against {action.value}", "MSH^1^9^1^2")
        told.append(warning("event-differs", event))
    return action, tuple(told)


def _contradiction(strict: bool, detail: str, location: str) -> None:
    if strict:
        raise refusal("action-contradictory", detail, location)


def replaced_document(
    fields: Fields, report: CdaReport, action: Action, *, strict: bool
) -> tuple[Identifier | None, tuple[str, ...]]:
    """Give the id of the replaced document, from the report or else from TXA-13, and warnings.

    The CDA's ids win over TXA, which samples write in several wrong forms.  Raises `MessageError`
    (``replaced-document-missing``) where `strict` and a replacement names none.
    """
    txa = fields.first("TXA")
    told: list[str] = []
    if txa is not None and txa.text(12) and not _same(txa, 12, report.id):
        told.append(warning("txa-document-differs"))
    parent = _entity(txa, 13) if txa is not None and txa.text(13) else None
    if report.replaces is not None:
        if action is Action.CREATE:
            told.append(warning("replaced-document-unexpected"))
        if txa is not None and parent is not None and action is Action.REPLACE and not _same(txa, 13, report.replaces):
            told.append(warning("txa-parent-differs"))
        return report.replaces, tuple(told)
    if action is not Action.REPLACE:
        return None, tuple(told)
    if parent is not None:
        return parent, (*told, warning("replaced-document-from-txa"))
    if strict:
        raise refusal("replaced-document-missing", "neither relatedDocument RPLC nor TXA-13", "TXA^1^13")
    return None, (*told, warning("replaced-document-missing"))


def _entity(txa: Segment, field: int) -> Identifier:
    """EI as the guide writes it: ``root`` alone, or ``extension^^root^ISO``."""
    first, root = txa.text(field, 1), txa.text(field, 3)
    return Identifier(root, first) if root else Identifier(first)


def _same(txa: Segment, field: int, own: Identifier) -> bool:
    """Compare leniently: root, extension, and both glued in any known way."""
    first, root = txa.text(field, 1), txa.text(field, 3)
    if root and root != own.root:
        return False
    known = (
        {own.root} if own.extension is None else {own.extension, own.dotted(), own.joined(), own.root + own.extension}
    )
    return first in known
