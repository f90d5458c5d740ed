# SPDX-License-Identifier: AGPL-3.0-or-later
"""The metadata OBX of a message (table MetaDMPMSS): restrictions of access and destination."""

from __future__ import annotations

import re
from typing import Final, Literal

from drimbox.hl7_fields import Fields, Segment
from drimbox.hl7_verdicts import refusal, warning
from drimbox.records import Restrictions

# code -> field of `Restrictions`; the second lines are names of earlier versions of the guide
_NAMES: Final = {
    "MASQUE_PS": "masked_to_professionals",
    "INVISIBLE_PATIENT": "invisible_to_patient",
    "INVISIBLE_REP_LEGAUX": "invisible_to_representatives",
    "INVISIBLE_REPRENSANTS_LEGAUX": "invisible_to_representatives",
    "INVISIBLE_REPRESENTANTS_LEGAUX": "invisible_to_representatives",
    "CONNEXION_SECRETE": "secret_connection",
    "MODIF_CONF_CODE": "changed",
    "MODIF_CONFIDENTIALITYCODE": "changed",
    "DESTDMP": "for_dmp",
}
# a false N of these would open a document or a DMP
_PROTECTING: Final = (
    ("masked_to_professionals", "MASQUE_PS"),
    ("invisible_to_patient", "INVISIBLE_PATIENT"),
    ("invisible_to_representatives", "INVISIBLE_REP_LEGAUX"),
    ("secret_connection", "CONNEXION_SECRETE"),
)
_OTHERS: Final = (("changed", "MODIF_CONF_CODE"), ("for_dmp", "DESTDMP"))
_IGNORED: Final = re.compile(
    "DESTMSSANTEPS|DESTMSSANTEPAT|ACK_RECEPTION|ACK_LECTURE|ACK_LECTURE_MSS|CORPSMAIL_PS|CORPSMAIL_PATIENT|COMP_LOT|REPLY_TO"
)
_TABLE: Final = "METADMPMSS"


def is_metadata(obx: Segment) -> bool:
    """Tell a metadata OBX from the one that carries the document; early senders leave OBX-3.3 empty."""
    name = obx.text(3).upper()
    return obx.text(3, 3).upper() == _TABLE or name in _NAMES or _IGNORED.fullmatch(name) is not None


def read_restrictions(
    fields: Fields, missing: Literal["refuse", "open"], *, harmless: bool
) -> tuple[Restrictions, tuple[str, ...]]:
    """Read the flags by code, in any order; OBX-11 of these segments means nothing and is not read.

    `missing` says what an absent restriction does; `harmless` (a withdrawal opens nothing) reads it as N
    with a warning.  Raises `MessageError`: ``restriction-missing``, ``restriction-unknown`` (neither Y nor
    N), ``restriction-repeated``.
    """
    found: dict[str, bool] = {}
    for number, obx in enumerate(fields.all("OBX"), start=1):
        name = _NAMES.get(obx.text(3).upper())
        if name is None:
            continue
        value = obx.text(5).upper()
        if value not in ("Y", "N"):
            raise refusal("restriction-unknown", f"{obx.text(3)[:32]} is neither Y nor N", f"OBX^{number}^5")
        if found.setdefault(name, value == "Y") != (value == "Y"):
            raise refusal("restriction-repeated", f"{obx.text(3)[:32]} is given twice", f"OBX^{number}^5")
    absent = [code for name, code in _PROTECTING if name not in found]
    if absent and missing == "refuse" and not harmless:
        raise refusal("restriction-missing", f"no OBX for {', '.join(absent)}", "OBX^1^3")
    absent += [code for name, code in _OTHERS if name not in found]
    told = (warning("restriction-missing", ", ".join(absent)),) if absent else ()
    return Restrictions(**found), told
