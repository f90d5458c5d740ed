# SPDX-License-Identifier: AGPL-3.0-or-later
"""The document inside a message: which OBX carries it, its base64, its reading as a report."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from drimbox.cda import read_report
from drimbox.errors import DocumentError, MessageError
from drimbox.hl7_fields import Fields, Segment
from drimbox.hl7_restrictions import is_metadata
from drimbox.hl7_verdicts import refusal, warning
from drimbox.records import CdaReport

MAXIMUM_DOCUMENTS: Final = 2  # level 1 and level 3 of one document (CI-SIS guide, ORU)


@dataclass(frozen=True, slots=True)
class Payload:
    """The document kept, its OBX-11, and its place among the OBX (from 1)."""

    document: bytes
    report: CdaReport
    status: str
    number: int
    warnings: tuple[str, ...]


def read_payload(fields: Fields, document_types: Sequence[str]) -> Payload:
    """Find, decode and read the document.

    Of two documents (one report at two CDA levels) the first readable one is kept; both must be of one
    patient and one status.  Raises `MessageError`: ``document-segment-missing``, ``document-missing``,
    ``too-many-documents``, ``documents-disagree``, ``document-not-base64``, ``document-not-a-cda``,
    ``document-type``, ``patient-mismatch``.
    """
    numbered = list(enumerate(fields.all("OBX"), start=1))
    if not numbered:
        raise refusal("document-segment-missing", "no OBX", "OBX")
    carriers = [(n, obx) for n, obx in numbered if _carries_document(obx)]
    if not carriers:
        raise refusal("document-missing", "no OBX of type ED and format XML", "OBX^1^5")
    if len(carriers) > MAXIMUM_DOCUMENTS:
        raise refusal("too-many-documents", f"{len(carriers)} documents", f"OBX^{carriers[-1][0]}")
    read: list[Payload] = []
    failures: list[tuple[int, MessageError]] = []
    for number, obx in carriers:
        try:
            read.append(_read_one(number, obx, document_types))
        except MessageError as error:
            failures.append((number, error))
    if not read:
        raise failures[0][1]
    _check_agreement(read)
    kept = read[0]
    told = [warning("several-documents")] if len(carriers) > 1 else []
    told += [warning("document-unreadable", f"OBX {number}, {error.reason}") for number, error in failures]
    return Payload(kept.document, kept.report, kept.status, kept.number, (*kept.warnings, *told))


def _carries_document(obx: Segment) -> bool:
    """OBX-2 ``ED``, no metadata, and OBX-5.3 ``XML`` or base64 directly in OBX-5."""
    if obx.text(2).upper() != "ED" or is_metadata(obx):
        return False
    direct = len(obx.part(5)) > 0 and not any(obx.part(5, n) for n in range(2, 6))
    return direct or obx.text(5, 3).upper() == "XML"


def _read_one(number: int, obx: Segment, document_types: Sequence[str]) -> Payload:
    direct = not any(obx.part(5, n) for n in range(2, 6))
    encoded = obx.part(5, 1 if direct else 5)
    document = decode_base64(encoded, obx.separators[3])
    if document is None:
        raise refusal("document-not-base64", "OBX-5.5 is not base64", f"OBX^{number}^5^1^5")
    if not document:
        raise refusal("document-missing", "OBX-5.5 is empty", f"OBX^{number}^5^1^5")
    announced = obx.text(3)
    foreign = bool(announced) and announced not in document_types
    try:
        report = read_report(document, document_types)
    except DocumentError as error:
        if error.reason == "document-type" or foreign:
            raise refusal("document-type", f"document type {announced[:32]}", f"OBX^{number}^3") from error
        if error.reason == "several-patients":
            raise refusal("patient-mismatch", str(error), f"OBX^{number}^5") from error
        raise refusal("document-not-a-cda", f"{error.reason}: {error}", f"OBX^{number}^5^1^5") from error
    told = (warning("document-code-differs"),) if foreign else ()
    return Payload(document, report, obx.text(11).upper(), number, told)


def _check_agreement(read: list[Payload]) -> None:
    first = read[0]
    for other in read[1:]:
        location = f"OBX^{other.number}"
        ins = [p.report.patient.ins if p.report.patient else "" for p in (first, other)]
        if ins[0] != ins[1]:
            raise refusal("patient-mismatch", "the two documents are of two patients", location)
        if first.status != other.status:
            raise refusal("documents-disagree", "OBX-11 differs between the two documents", f"{location}^11")
        if set(first.report.study_uids()) != set(other.report.study_uids()):
            raise refusal("documents-disagree", "the two documents name different studies", location)


def decode_base64(encoded: str, escape: str = "\\") -> bytes | None:
    """Decode what senders call base64: wrapped, escaped by an interface engine, without padding.

    None where it is not base64 at all.
    """
    mark = re.escape(escape)
    if escape in encoded:
        # \.br\ , \X0D0A\ and the \X0D\X0A\ of some engines
        encoded = re.sub(rf"{mark}(?:(?:X[0-9A-Fa-f]{{2,8}}|\.[a-z]{{2}}|[A-Z]){mark})+", "", encoded)
    compact = "".join(encoded.split())
    if not compact.isascii() or len(compact) % 4 == 1:
        return None
    try:
        return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except binascii.Error:
        return None
