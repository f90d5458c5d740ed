# SPDX-License-Identifier: AGPL-3.0-or-later
"""The patient of a message (PID, PAM.FR) and its agreement with the patient of the report."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

from drimbox.cda_people import INS_ARC
from drimbox.hl7_fields import Segment
from drimbox.hl7_verdicts import refusal, warning
from drimbox.records import INS_OIDS, Identifier, Traits

# 13 characters (Corsica has 2A and 2B) and the two digits of the key
_INS: Final = re.compile(r"[0-9]{5}[0-9AB][0-9AB][0-9]{6}([0-9]{2})?")


def read_pid(pid: Segment) -> Traits:
    """Read PID: the INS by type and OID, birth name by PID-5.7 ``L``, place of birth by PID-11.7 ``BDL``.

    `ins` is "" where PID-3 holds none.
    """
    numbers: list[Identifier] = []
    local: list[Identifier] = []
    for n in pid.repetitions(3):
        number, oid, kind = pid.text(3, 1, repetition=n), pid.text(3, 4, 2, n), pid.text(3, 5, repetition=n)
        if number and (kind == "INS" or oid in INS_OIDS):
            numbers.append(Identifier(oid, "".join(number.split())))
        elif number and not oid.startswith(INS_ARC):
            local.append(Identifier(oid or pid.text(3, 4, 1, n), number))
    ins = next((i for i in numbers if i.root in INS_OIDS), numbers[0] if numbers else Identifier("", ""))
    birth = _repetition(pid, 5, 7, "L") or 1
    used = _repetition(pid, 5, 7, "D")
    place = _repetition(pid, 11, 7, "BDL")
    return Traits(
        ins=ins.extension or "",
        ins_oid=ins.root,
        birth_family=pid.text(5, 1, repetition=birth),
        birth_given=pid.text(5, 2, repetition=birth),
        birth_givens=pid.text(5, 3, repetition=birth) or pid.text(5, 2, repetition=birth),
        used_family=pid.text(5, 1, repetition=used) if used else "",
        used_given=pid.text(5, 2, repetition=used) if used else "",
        birth_date=pid.text(7)[:8],
        sex=pid.text(8),
        birth_place=pid.text(11, 9, repetition=place) if place else "",
        local_ids=tuple(local),
    )


def _repetition(segment: Segment, field: int, component: int, value: str) -> int | None:
    return next((n for n in segment.repetitions(field) if segment.text(field, component, repetition=n) == value), None)


def compare(pid: Traits, report: Traits) -> tuple[str, ...]:
    """Compare the two patients; gives warnings that name no value.

    Raises `MessageError` (``patient-mismatch``, AE 207/904) where the INS or the birth dates differ: such
    messages exist, and publishing one would show a person's images to another.
    """
    if pid.ins and pid.ins != report.ins:
        raise refusal("patient-mismatch", "the INS of PID-3 is not that of the document", "PID^1^3")
    both_dates = len(pid.birth_date) == 8 and len(report.birth_date) == 8
    if both_dates and pid.birth_date != report.birth_date:
        raise refusal("patient-mismatch", "the birth date of PID-7 is not that of the document", "PID^1^7")
    told = []
    if not pid.ins:
        told.append(warning("pid-without-ins"))
    elif pid.ins_oid and pid.ins_oid != report.ins_oid:
        told.append(warning("ins-authority-differs"))
    if not _INS.fullmatch(report.ins):
        told.append(warning("ins-format"))
    if pid.birth_family and report.birth_family and _plain(pid.birth_family) != _plain(report.birth_family):
        told.append(warning("birth-name-differs"))
    if pid.sex and report.sex and pid.sex != report.sex:
        told.append(warning("sex-differs"))
    return tuple(told)


def qualification(pid: Segment, traits: Traits, qualified: Sequence[str]) -> tuple[str, ...]:
    """Warn ``identity-not-qualified`` unless PID holds the INS and every PID-32 value is one of `qualified`.

    An identity declared unknown (PID-31 ``Y``) is never qualified.
    """
    statuses = [pid.text(32, repetition=n) for n in pid.repetitions(32)]
    told = [s for s in statuses if s]
    if not told:
        return (warning("identity-not-qualified", "PID-32 empty"),)
    wrong = [s for s in told if s not in qualified]
    if wrong:
        return (warning("identity-not-qualified", f"PID-32 {wrong[0][:8]}"),)
    if pid.text(31) == "Y":
        return (warning("identity-not-qualified", "PID-31 Y"),)
    return () if traits.ins else (warning("identity-not-qualified", "no INS in PID-3"),)


def _plain(name: str) -> str:
    """Letters alone, without accents, upper case: how two systems write one name."""
    folded = unicodedata.normalize("NFKD", name).upper()
    return "".join(c for c in folded if c.isalpha())
