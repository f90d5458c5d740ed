# SPDX-License-Identifier: AGPL-3.0-or-later
"""The technical acknowledgement, the only one that a DRIMbox sends (CI-SIS HL7 v2 guide, "accusés")."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from drimbox.cda_nodes import CIVIL_TIME
from drimbox.errors import MessageError
from drimbox.hl7_fields import codec_of
from drimbox.hl7_message import MessageHeader

# table 0357 as the guide limits it
CONDITIONS: Final = {
    0: "Message accepted",
    100: "Segment sequence error",
    101: "Required field missing",
    102: "Data type error",
    103: "Table value not found",
    198: "Non-conformant cardinality",
    199: "Other HL7 Error",
    200: "Unsupported message type",
    201: "Unsupported event code",
    202: "Unsupported processing",
    203: "Unsupported version",
    207: "Application error",
}
# user table 0533 of the guide, indicative
APPLICATION_ERRORS: Final = {
    "900": "Version is not the latest known",
    "901": "Author not allowed",
    "902": "Patient unknown",
    "903": "No INS in document",
    "904": "INS or traits differ",
    "905": "INS traits incomplete",
    "906": "Other error",
}
_DEFAULT_VERSION: Final = {"MDM": "2.6"}


def acknowledge(
    header: MessageHeader, when: datetime, control_id: str, error: MessageError | None = None, ack: str = "AA"
) -> bytes:
    """Write the acknowledgement of a message.

    `when` is aware, written in French civil time with its zone; `control_id` is our own MSH-10.  With an
    `error`, MSA-1 is `ack`, or the error's own where `ack` is ``AA``, and an ERR segment follows.  Ends
    with CR; in the character set that the message declares.
    """
    if error is not None and ack == "AA":
        ack = error.ack
    mark = header.separators
    kind = mark[1].join(("ACK", header.event, "ACK")) if header.event else "ACK"
    local = when.astimezone(ZoneInfo(CIVIL_TIME)).strftime("%Y%m%d%H%M%S%z")
    codec = codec_of(header.charset)
    fields = [
        header.receiving_application,
        header.receiving_facility,
        header.sending_application,
        header.sending_facility,
        local,
        "",
        kind,
        control_id,
        header.processing_id or "P",
        header.version or _DEFAULT_VERSION.get(header.message_type, "2.5"),
        *[""] * 4,
        "FRA",
        header.charset if codec else "UNICODE UTF-8",
    ]
    lines = [
        "MSH" + mark + mark[0] + mark[0].join(fields),
        mark[0].join(("MSA", ack, header.control_id)),
    ]
    if error is not None:
        lines.append(_error_segment(error, mark))
    return ("\r".join(lines) + "\r").encode(codec or "utf-8", "replace")


def _error_segment(error: MessageError, mark: str) -> str:
    """ERR-2 location, ERR-3 code, ERR-4 severity, ERR-5 application code where there is one."""
    component = mark[1]
    text = CONDITIONS.get(error.code, CONDITIONS[207])
    fields = [
        "ERR",
        "",
        error.location.replace("^", component),
        component.join((str(error.code), text, "messageErrorCondition")),
        "E",
    ]
    if error.application_code:
        told = APPLICATION_ERRORS.get(error.application_code, APPLICATION_ERRORS["906"])
        fields.append(component.join((error.application_code, told, "applicationErrorCondition")))
    return mark[0].join(fields)
