# SPDX-License-Identifier: AGPL-3.0-or-later
"""Shapes of metadata values: identifiers, persons, institutions, instants (ITI TF-3 4.2.3.1.7, national profile)."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from sandbox.dmp_codes import PROFESSIONAL_ROOT, REFERENCE_STUDY, STRUCTURE_ROOT

_OID = re.compile(r"[0-2](\.(0|[1-9]\d*))+")
_DTM = re.compile(r"\d{4}(\d{2}){0,5}")
_SOURCE_PATIENT = re.compile(r"[^^&]+\^\^\^&([0-9.]+)&ISO\^(PI|NH)")
_REFERENCE = re.compile(r"([^^&]+)\^\^\^(?:&([0-9.]+)&ISO)?\^(urn:ihe:iti:xds:20(?:13|16):\w+)")
_PATIENT_INFO = re.compile(r"PID-(3|5|7|8|11|13)\|.+")


def is_oid(text: str) -> bool:
    """A dotted OID of at most 64 characters, or ``root^extension``."""
    root, _, extension = text.partition("^")
    return bool(_OID.fullmatch(root)) and len(root) <= 64 and len(extension) <= 16


def is_dtm(text: str) -> bool:
    """A UTC date and time without zone, at any precision, that exists."""
    return bool(_DTM.fullmatch(text)) and parse_dtm(text) is not None


def parse_dtm(text: str) -> datetime | None:
    """The earliest instant of a DTM, in UTC; None where impossible."""
    full = text + "00000101000000"[len(text) :]
    try:
        return datetime.strptime(full, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def is_person(xcn: str) -> bool:
    """``id^family^given^^^^^^&1.2.250.1.71.4.2.1&ISO^D^^^IDNPS`` (human) or ``…^U^^^EI`` (device, local id)."""
    parts = xcn.split("^")
    if len(parts) != 13 or not parts[0] or not parts[1]:
        return False
    authority = parts[8].split("&")
    root_fits = len(authority) == 3 and not authority[0] and is_oid(authority[1]) and authority[2] == "ISO"
    national = parts[12] != "IDNPS" or authority[1] == PROFESSIONAL_ROOT
    return root_fits and national and parts[9] in ("D", "U") and parts[12] in ("IDNPS", "EI")


def institution(xon: str) -> str:
    """The structure id of ``NAME^^^^^&1.2.250.1.71.4.2.2&ISO^IDNST^^^id``; empty where the shape is wrong."""
    parts = xon.split("^")
    right = len(parts) == 10 and parts[0] and parts[5] == f"&{STRUCTURE_ROOT}&ISO" and parts[6] == "IDNST"
    return parts[9] if right else ""


def is_source_patient(cx: str) -> bool:
    """The local identifier, or the INS, of the patient at the source."""
    match = _SOURCE_PATIENT.fullmatch(cx)
    return match is not None and is_oid(match[1])


def reference_kind(cxi: str) -> str:
    """The type of a CXi reference; empty where the shape is wrong (only a study UID may lack an authority)."""
    match = _REFERENCE.fullmatch(cxi)
    if match is None or (match[2] is None and match[3] != REFERENCE_STUDY):
        return ""
    if match[3] == REFERENCE_STUDY and not is_oid(match[1]):
        return ""
    return match[3]


def is_patient_info(text: str) -> bool:
    """One value of sourcePatientInfo."""
    if not _PATIENT_INFO.fullmatch(text):
        return False
    field, _, value = text.partition("|")
    if field == "PID-7":
        return bool(re.fullmatch(r"\d{8}", value)) and is_dtm(value)
    return field != "PID-8" or value in ("F", "M", "U", "O", "A", "N")
