# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a study holds, from Orthanc's index (``POST /tools/find``, Orthanc 1.12.7).

Three lists for a study of any size, none of which opens a DICOM file: about 0.1 s for 1300 instances.  Orthanc's
``LimitFindInstances`` and ``LimitFindResults`` cut each answer without a word, so each list is asked on until
nothing new comes: an incomplete manifest would hide images.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

from drimbox.errors import StudyNotFound
from drimbox.records import InstanceRef, SeriesRef, StudyContent

Find = Callable[[dict[str, Any]], Sequence[Mapping[str, Any]]]

# Wider than PS3.5 9.1, as archives hold UIDs with leading zeros; no wildcard, no list, and not empty,
# because Orthanc takes an empty criterion for "any study"
_SEARCHABLE = re.compile(r"[0-9.]{1,64}")
_INTEGER = re.compile(r"[+-]?[0-9]{1,11}")
_CONTENT = {
    "Study": ["MainDicomTags"],
    "Series": ["MainDicomTags"],
    "Instance": ["MainDicomTags", "Metadata", "Parent"],
}


def find_request(study_uid: str, level: str = "Instance") -> dict[str, Any]:
    """Give the body of ``POST /tools/find`` for the Study, the Series or the Instance of one study.

    Raises `StudyNotFound` where `study_uid` cannot be the UID of a study.
    """
    if not _SEARCHABLE.fullmatch(study_uid):
        raise StudyNotFound(f"{study_uid[:80]!r} is not a Study Instance UID")
    return {"Level": level, "Query": {"StudyInstanceUID": study_uid}, "ResponseContent": _CONTENT[level]}


def study_content(find: Find, study_uid: str, *, exclude_series: Container[str] = ()) -> StudyContent:
    """Read a study: series by number then UID, instances by number then UID.

    `find` performs ``POST /tools/find`` and gives its JSON.  `exclude_series` are the series of our own
    manifests, which are no evidence of themselves; a site's key image notes stay.  The content is empty where
    nothing else is left.  Raises `StudyNotFound`, also where two patients share the UID
    (reason ``study-ambiguous``): nobody can tell which one the report means.
    """
    studies = _every(find, find_request(study_uid, "Study"))
    if not studies:
        raise StudyNotFound(f"Orthanc does not hold the study {study_uid}")
    if len(studies) > 1:
        raise StudyNotFound(
            f"{len(studies)} patients share the study {study_uid}",
            reason="study-ambiguous",
            public="Plusieurs patients du PACS portent cet examen.",
        )
    # Series after instances: one that arrives in between is complete at the next reading
    instances = _by_series(_every(find, find_request(study_uid)), lambda: _sop_classes(find, study_uid))
    series = [
        _series(found, instances[found["ID"]])
        for found in _every(find, find_request(study_uid, "Series"))
        if instances.get(found["ID"]) and _tag(found, "SeriesInstanceUID") not in exclude_series
    ]
    series.sort(key=lambda s: (s.number is None, s.number or 0, s.series_uid))
    return _study(studies[0], tuple(series))


def _every(find: Find, body: dict[str, Any]) -> list[Mapping[str, Any]]:
    """Ask page after page until one holds nothing new; give each resource once."""
    found: dict[str, Mapping[str, Any]] = {}
    while True:
        page = find(body | {"Since": len(found)} if found else body)
        new = {resource["ID"]: resource for resource in page if resource["ID"] not in found}
        if not new:
            return list(found.values())
        found |= new


def _by_series(
    found: Sequence[Mapping[str, Any]], sop_classes: Callable[[], Mapping[str, str]]
) -> dict[str, list[InstanceRef]]:
    """Instances by the Orthanc id of their series; `sop_classes` is asked only where the index lacks one."""
    missing = any(not _class(instance) for instance in found)
    fallback = sop_classes() if missing else {}
    groups: dict[str, list[InstanceRef]] = defaultdict(list)
    for instance in found:
        groups[instance["ParentSeries"]].append(
            InstanceRef(
                sop_class_uid=_class(instance) or fallback.get(instance["ID"], ""),
                sop_instance_uid=_tag(instance, "SOPInstanceUID"),
                instance_number=_number(instance, "InstanceNumber"),
                frames=_number(instance, "NumberOfFrames"),
            )
        )
    for group in groups.values():
        group.sort(key=lambda i: (i.instance_number is None, i.instance_number or 0, i.sop_instance_uid))
    return groups


def _sop_classes(find: Find, study_uid: str) -> dict[str, str]:
    """SOP class by Orthanc id, read from the files: for instances stored before Orthanc indexed it."""
    body = find_request(study_uid) | {"ResponseContent": [], "RequestedTags": ["SOPClassUID"]}
    return {i["ID"]: str(i.get("RequestedTags", {}).get("SOPClassUID", "")).strip() for i in _every(find, body)}


def _series(found: Mapping[str, Any], instances: list[InstanceRef]) -> SeriesRef:
    return SeriesRef(
        series_uid=_tag(found, "SeriesInstanceUID"),
        modality=_tag(found, "Modality"),
        instances=tuple(instances),
        description=_tag(found, "SeriesDescription"),
        number=_number(found, "SeriesNumber"),
        body_part=_tag(found, "BodyPartExamined"),
    )


def _study(found: Mapping[str, Any], series: tuple[SeriesRef, ...]) -> StudyContent:
    patient = found.get("PatientMainDicomTags", {})
    return StudyContent(
        study_uid=_tag(found, "StudyInstanceUID"),
        orthanc_id=found["ID"],
        series=series,
        patient_id=str(patient.get("PatientID", "")).strip(),
        accession=_tag(found, "AccessionNumber"),
        study_date=_tag(found, "StudyDate"),
        study_time=_tag(found, "StudyTime"),
        description=_tag(found, "StudyDescription"),
        referring_physician=_tag(found, "ReferringPhysicianName"),
        study_id=_tag(found, "StudyID"),
    )


def _tag(found: Mapping[str, Any], name: str) -> str:
    return str(found["MainDicomTags"].get(name, "")).strip()


def _class(found: Mapping[str, Any]) -> str:
    return str(found.get("Metadata", {}).get("SopClassUid", "")).strip()


def _number(found: Mapping[str, Any], name: str) -> int | None:
    """IS of the index (PS3.5 6.2: signed, 32 bits); archives hold all sorts of text there."""
    text = _tag(found, name)
    if not _INTEGER.fullmatch(text):
        return None
    value = int(text)
    return value if -(2**31) <= value < 2**31 else None
