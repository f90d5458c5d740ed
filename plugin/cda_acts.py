# SPDX-License-Identifier: AGPL-3.0-or-later
"""Orders and acts of an imaging report (CI-SIS "volet compte-rendu d'imagerie", DICOM PS3.20)."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from lxml import etree

from drimbox.cda_nodes import attribute, child, children, code, identifier, instant
from drimbox.cda_people import professional
from drimbox.records import Act, Code, Identifier, Order
from drimbox.xml_safe import local_name

DICOM_TERMS: Final = "1.2.840.10008.2.16.4"
SNOMED: Final = "2.16.840.1.113883.6.96"
CCAM_OIDS: Final = ("1.2.250.1.215.300.1", "1.2.250.1.213.2.5")
_MODALITY: Final = "121139"  # DCM "Modality"
_REGION: Final = "39111-0"  # LOINC "Body site"
_CCAM: Final = re.compile(r"[A-Z]{4}[0-9]{3}")
_UID: Final = re.compile(r"[0-9]+(\.[0-9]+)+")  # leading zeros pass: archives hold such UIDs


def read_orders(root: etree._Element) -> tuple[Order, ...]:
    """Every order with a number; the accession number stands in DICOM's namespace, here in any."""
    found = []
    for node in children(root, "inFulfillmentOf", "order"):
        numbers = (identifier(n) for n in children(node, "id"))
        placer = next((n for n in numbers if n is not None), None)
        accession = next((a for n in node if local_name(n) == "accessionNumber" if (a := _accession(n))), None)
        if placer or accession:
            found.append(Order(placer, accession))
    return tuple(found)


def _accession(node: etree._Element) -> Identifier | None:
    """An accession number; its authority may be missing, then the root is ""."""
    extension = attribute(node, "extension")
    root = attribute(node, "root")
    return Identifier(root, extension or None) if root or extension else None


def read_acts(root: etree._Element) -> tuple[tuple[Act, ...], tuple[str, ...]]:
    """Every act, one for each study it names, and warnings."""
    acts: list[Act] = []
    warnings: list[str] = []
    for node in children(root, "documentationOf", "serviceEvent"):
        act, said = _read_act(node)
        warnings.extend(said)
        studies = dict.fromkeys(uid for n in children(node, "id") if (uid := study_uid(n)))
        for uid in studies or (None,):
            acts.append(Act(uid, act.code, act.ccam, act.modalities, act.regions, act.start, act.stop,
                            act.performer, act.practice_setting))  # fmt: skip
    return tuple(acts), tuple(dict.fromkeys(warnings))


def study_uid(node: etree._Element) -> str | None:
    """Give the Study Instance UID that a ``serviceEvent/id`` holds.

    Only where the root is a UID and the extension absent or literally ``studyInstanceUID``: other
    documents keep order numbers in the same place.
    """
    root = attribute(node, "root")
    marked = attribute(node, "extension").lower() in ("", "studyinstanceuid")
    return root if marked and len(root) <= 64 and _UID.fullmatch(root) else None


def _read_act(node: etree._Element) -> tuple[Act, list[str]]:
    """One act without its study."""
    main = child(node, "code")
    translations = children(main, "translation") if main is not None else []
    modalities, warnings = _modalities(translations)
    regions = [c for n in translations if _qualified(n, _REGION) and (c := code(n))]
    own = code(main)
    ccam = next((c for n in translations if _is_ccam(n) and (c := code(n))), None)
    if own is not None and own.system in CCAM_OIDS:
        if _CCAM.fullmatch(own.code):
            ccam = ccam or own
        elif own.code.isdigit():
            # old reports put a body region of SNOMED CT under the OID of CCAM
            own = Code(own.code, SNOMED, own.display)
            regions = regions or [own]
            warnings.append("act-code-is-region")
    start, stop, said = _period(node)
    performer = child(node, "performer", "assignedEntity")
    setting = child(node, "performer", "assignedEntity", "representedOrganization", "standardIndustryClassCode")
    act = Act(None, own, ccam, tuple(modalities), tuple(regions), start, stop, professional(performer), code(setting))
    return act, warnings + said


def _modalities(translations: list[etree._Element]) -> tuple[list[Code], list[str]]:
    found = [c for n in translations if (_qualified(n, _MODALITY) or _bare_dicom(n)) and (c := code(n))]
    if not any(c.code == "RM" for c in found):
        return found, []
    return [Code("MR", DICOM_TERMS, c.display) if c.code == "RM" else c for c in found], ["modality-corrected: RM"]


def _qualified(node: etree._Element, name: str) -> bool:
    return any(attribute(n, "code") == name for n in children(node, "qualifier", "name"))


def _bare_dicom(node: etree._Element) -> bool:
    return attribute(node, "codeSystem") == DICOM_TERMS and child(node, "qualifier") is None


def _is_ccam(node: etree._Element) -> bool:
    return attribute(node, "codeSystemName").upper() == "CCAM" or attribute(node, "codeSystem") in CCAM_OIDS


def _period(node: etree._Element) -> tuple[datetime | None, datetime | None, list[str]]:
    """``low`` and ``high``, or one instant; a time that cannot be read is told."""
    period = child(node, "effectiveTime")
    if period is None:
        return None, None, []
    low = attribute(child(period, "low"), "value") or attribute(period, "value")
    high = attribute(child(period, "high"), "value")
    start, stop = instant(low), instant(high)
    unread = (low and start is None) or (high and stop is None)
    return start, stop, ["act-time-unreadable"] if unread else []
