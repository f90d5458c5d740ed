# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which DICOMweb requests a viewer's session may make.  Pure, deny by default.

One table of routes: what OHIF asks for, GET alone, always within a study that the session has opened.
Paths are matched as the client sent them: a percent sign, a doubled slash or a dot segment matches nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qsl, urlencode

ROOT = "/dicom-web"

# PS3.5 9.1; a UID longer than 64 characters is one of a study that nobody has opened
_U = r"((?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))+)"
_SERIES = rf"/studies/{_U}/series/{_U}"
_INSTANCE = rf"{_SERIES}/instances/{_U}"


class Route(StrEnum):
    """Routes of DICOMweb that a viewer knows (PS3.18 chapter 10)."""

    STUDIES = "qido-studies"
    SERIES = "qido-series"
    METADATA = "metadata"
    FRAMES = "frames"
    BULK = "bulk-data"


# Answered by ourselves after rewriting; the others go on to Orthanc as they are.
ANSWERED = frozenset({Route.STUDIES, Route.SERIES})

_ROUTES: tuple[tuple[Route, re.Pattern[str]], ...] = (
    (Route.STUDIES, re.compile(r"/studies/?")),
    (Route.SERIES, re.compile(rf"/studies/{_U}/series/?")),
    (Route.METADATA, re.compile(rf"{_SERIES}/metadata")),
    (Route.FRAMES, re.compile(rf"{_INSTANCE}/frames/[1-9][0-9]{{0,5}}")),
    # a tag, or one within the items of sequences: 00420011, 00409096/1/00409211
    (Route.BULK, re.compile(rf"{_INSTANCE}/bulk/[0-9A-Fa-f]{{8}}(?:/[0-9]{{1,6}}/[0-9A-Fa-f]{{8}})*")),
)

STUDY_UID_TAG, PATIENT_ID_TAG, RETRIEVE_URL_TAG = "0020000D", "00100020", "00081190"
MODALITY_TAG, MODALITIES_TAG, MANIFEST = "00080060", "00080061", "KO"
_STUDY_UID_NAMES = frozenset({"studyinstanceuid", STUDY_UID_TAG.lower()})
_PATIENT_ID_NAMES = frozenset({"patientid", PATIENT_ID_TAG})


@dataclass(frozen=True, slots=True)
class ViewerSession:
    """What the filter knows of a session: the studies that it has opened."""

    studies: frozenset[str]


@dataclass(frozen=True, slots=True)
class Verdict:
    """`allowed`, the reason code, and what was asked; `study_uid` is empty for a list of studies."""

    allowed: bool
    reason: str
    route: Route | None = None
    study_uid: str = ""


@dataclass(frozen=True, slots=True)
class StudiesQuery:
    """A list of studies, cut down to the session's; `patient_id` filters the answer where it was given."""

    studies: tuple[str, ...]
    patient_id: str | None = None


def allowed(method: str, path: str, query: str, session: ViewerSession) -> Verdict:
    """Give the verdict on one request.

    `path` begins with ``/dicom-web``, undecoded; `query` is the undecoded query string.  Reasons:
    ``allowed``, ``method-refused``, ``route-unknown``, ``query-refused``, ``other-study``.
    """
    if method != "GET":
        return Verdict(False, "method-refused")
    if not path.startswith(ROOT + "/"):
        return Verdict(False, "route-unknown")
    for route, pattern in _ROUTES:
        found = pattern.fullmatch(path[len(ROOT) :])
        if found is not None:
            return _verdict(route, found.groups(), query, session)
    return Verdict(False, "route-unknown")


def _verdict(route: Route, groups: tuple[str, ...], query: str, session: ViewerSession) -> Verdict:
    if route is Route.STUDIES:
        wanted = studies_query(query, session)
        return Verdict(True, "allowed", route) if wanted.studies else Verdict(False, "other-study", route)
    study_uid = groups[0]
    if route is not Route.SERIES and query:
        return Verdict(False, "query-refused", route, study_uid)
    if study_uid not in session.studies:
        return Verdict(False, "other-study", route, study_uid)
    return Verdict(True, "allowed", route, study_uid)


def studies_query(query: str, session: ViewerSession) -> StudiesQuery:
    """Cut a QIDO-RS search down to the session's studies: those it names, or all where it names a patient.

    A search by anything else finds nothing, as does a malformed or repeated parameter.
    """
    named: list[str] = []
    patients: list[str] = []
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=40)
    except ValueError:
        return StudiesQuery(())
    for name, value in pairs:
        if name.lower() in _STUDY_UID_NAMES:
            named += re.split(r"[,\\]", value)
        elif name.lower() in _PATIENT_ID_NAMES:
            patients.append(value)
    if named:
        return StudiesQuery(tuple(dict.fromkeys(uid for uid in named if uid in session.studies)))
    if len(patients) == 1:
        return StudiesQuery(tuple(sorted(session.studies)), patients[0])
    return StudiesQuery(())


def study_search(study_uid: str) -> str:
    """Path and query of the search that we make ourselves for one study."""
    fields = [("includefield", tag) for tag in (MODALITIES_TAG, "00081030", "00100030", "00201206", "00201208")]
    return f"/studies?{urlencode([(STUDY_UID_TAG, study_uid), *fields])}"


def series_search(study_uid: str) -> str:
    """Path and query of the search that we make ourselves for the series of a study."""
    pairs = [("includefield", tag) for tag in ("00080021", "00080031", "0008103E", "00200011")]
    return f"/studies/{study_uid}/series?{urlencode(pairs)}"


def clean_studies(rows: Iterable[dict[str, Any]], query: StudiesQuery) -> list[dict[str, Any]]:
    """Rows of QIDO-RS that the query covers, without internal addresses nor the manifests' modality."""
    kept = [row for row in rows if _value(row, STUDY_UID_TAG) in query.studies]
    if query.patient_id is not None:
        kept = [row for row in kept if _value(row, PATIENT_ID_TAG) == query.patient_id]
    return [_without_manifest(_without_address(row)) for row in kept]


def clean_series(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of QIDO-RS without the manifests (modality KO), which OHIF would show as broken series."""
    return [_without_address(row) for row in rows if _value(row, MODALITY_TAG) != MANIFEST]


def read_rows(answer: bytes) -> list[dict[str, Any]]:
    """Read the DICOM JSON that Orthanc gave; an empty answer is an empty list.  Raises `ValueError`."""
    rows = json.loads(answer) if answer.strip() else []
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("not a DICOM JSON array")
    return rows


def _value(row: dict[str, Any], tag: str) -> Any:
    values = row.get(tag, {}).get("Value") or [None]
    return values[0]


def _without_address(row: dict[str, Any]) -> dict[str, Any]:
    return {tag: element for tag, element in row.items() if tag != RETRIEVE_URL_TAG}


def _without_manifest(row: dict[str, Any]) -> dict[str, Any]:
    element = row.get(MODALITIES_TAG)
    if element is None or MANIFEST not in (element.get("Value") or []):
        return row
    return {**row, MODALITIES_TAG: {**element, "Value": [m for m in element["Value"] if m != MANIFEST]}}
