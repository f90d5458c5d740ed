# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drimbox.viewer_filter import (
    ANSWERED,
    Route,
    StudiesQuery,
    ViewerSession,
    allowed,
    clean_series,
    clean_studies,
    read_rows,
    series_search,
    studies_query,
    study_search,
)

MINE, OTHER = "1.2.3", "1.2.4"
SESSION = ViewerSession(frozenset({MINE}))

WANTED = [
    ("/dicom-web/studies/{}/series", "includefield=00080021", Route.SERIES),
    ("/dicom-web/studies/{}/series/", "", Route.SERIES),
    ("/dicom-web/studies/{}/series/1.2.3.1/metadata", "", Route.METADATA),
    ("/dicom-web/studies/{}/series/1.2.3.1/instances/1.2.3.1.1/frames/12", "", Route.FRAMES),
    ("/dicom-web/studies/{}/series/1.2.3.1/instances/1.2.3.1.1/bulk/00420011", "", Route.BULK),
    ("/dicom-web/studies/{}/series/1.2.3.1/instances/1.2.3.1.1/bulk/54000100/1/54001010", "", Route.BULK),
]


@pytest.mark.parametrize(("path", "query", "route"), WANTED)
def test_what_ohif_asks_for_is_allowed_for_the_session_s_study(path: str, query: str, route: Route) -> None:
    verdict = allowed("GET", path.format(MINE), query, SESSION)
    assert (verdict.allowed, verdict.reason, verdict.route, verdict.study_uid) == (True, "allowed", route, MINE)


@pytest.mark.parametrize(("path", "query", "route"), WANTED)
def test_another_study_is_refused_in_every_pattern(path: str, query: str, route: Route) -> None:
    verdict = allowed("GET", path.format(OTHER), query, SESSION)
    assert (verdict.allowed, verdict.reason, verdict.route) == (False, "other-study", route)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "get", ""])
def test_only_get_is_allowed(method: str) -> None:
    assert allowed(method, f"/dicom-web/studies/{MINE}/series", "", SESSION).reason == "method-refused"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/dicom-web",
        "/dicom-web/",
        "/studies",
        "/instances",
        "/dicom-web/series",
        "/dicom-web/instances",
        f"/dicom-web/studies/{MINE}",
        f"/dicom-web/studies/{MINE}/",
        f"/dicom-web/studies/{MINE}/metadata",
        f"/dicom-web/studies/{MINE}/instances",
        f"/dicom-web/studies/{MINE}/rendered",
        f"/dicom-web/studies/{MINE}/series/1.2.3.1",
        f"/dicom-web/studies/{MINE}/series/1.2.3.1/",
        f"/dicom-web/studies/{MINE}/series/1.2.3.1/metadata/",
        f"/dicom-web/studies/{MINE}/series/1.2.3.1/instances",
        f"/dicom-web/studies/{MINE}/series/1.2.3.1/instances/1.2.3.1.1",
        f"/dicom-web/studies/{MINE}/series/1.2.3.1/instances/1.2.3.1.1/metadata",
        f"/dicom-web/studies/{MINE}/series/1.2.3.1/instances/1.2.3.1.1/rendered",
        f"/dicom-web/studies/{MINE}/series/1.2.3.1/instances/1.2.3.1.1/frames/0",
        f"/dicom-web/studies/{MINE}/series/1.2.3.1/instances/1.2.3.1.1/frames/1,2",
        f"/dicom-web/studies/{MINE}/series/1.2.3.1/instances/1.2.3.1.1/frames/1/rendered",
        f"/dicom-web/studies/{MINE}/series/1.2.3.1/instances/1.2.3.1.1/bulk/",
        f"/dicom-web/studies/{MINE}/series/1.2.3.1/instances/1.2.3.1.1/bulk/../../x",
        f"/dicom-web/studies/{MINE}%2F../{OTHER}/series",
        f"/dicom-web/studies/{MINE}/../{OTHER}/series",
        f"/dicom-web//studies/{MINE}/series",
        f"/dicom-web/studies/{MINE}./series",
        f"/dicom-web/studies/0{MINE}/series",
        f"/dicom-web/studies/{MINE}/series\n",
        "/dicom-web/studies/1.2.٣/series",
        f"/DICOM-WEB/studies/{MINE}/series",
    ],
)
def test_anything_else_is_an_unknown_route(path: str) -> None:
    verdict = allowed("GET", path, "", SESSION)
    assert (verdict.allowed, verdict.reason) == (False, "route-unknown")


def test_a_query_on_what_orthanc_answers_is_refused() -> None:
    path = f"/dicom-web/studies/{MINE}/series/1.2.3.1/metadata"
    assert allowed("GET", path, "_method=delete", SESSION).reason == "query-refused"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (f"StudyInstanceUID={MINE}", StudiesQuery((MINE,))),
        (f"0020000D={MINE}&limit=101", StudiesQuery((MINE,))),
        (f"0020000d={MINE}", StudiesQuery((MINE,))),
        (f"StudyInstanceUID={MINE},{OTHER}", StudiesQuery((MINE,))),
        (f"StudyInstanceUID={MINE}%5C{OTHER}", StudiesQuery((MINE,))),
        (f"StudyInstanceUID={OTHER}", StudiesQuery(())),
        (f"StudyInstanceUID={OTHER}&00100020=P1", StudiesQuery(())),
        ("StudyInstanceUID=*", StudiesQuery(())),
        ("00100020=P1&limit=101", StudiesQuery((MINE,), "P1")),
        ("PatientID=*", StudiesQuery((MINE,), "*")),
        ("00100020=P1&PatientID=P2", StudiesQuery(())),
        ("", StudiesQuery(())),
        ("PatientName=A*", StudiesQuery(())),
        ("ModalitiesInStudy=CT", StudiesQuery(())),
        ("StudyInstanceUID=%ff", StudiesQuery(())),
        ("&".join(["limit=1"] * 50), StudiesQuery(())),
    ],
)
def test_a_search_is_cut_down_to_the_session_s_studies(query: str, expected: StudiesQuery) -> None:
    assert studies_query(query, SESSION) == expected
    assert allowed("GET", "/dicom-web/studies", query, SESSION).allowed is bool(expected.studies)


def row(study: str, patient: str) -> dict[str, object]:
    return {
        "0020000D": {"vr": "UI", "Value": [study]},
        "00100020": {"vr": "LO", "Value": [patient]},
        "00081190": {"vr": "UR", "Value": ["http://127.0.0.1:8042/dicom-web/studies/" + study]},
        "00080061": {"vr": "CS", "Value": ["CT", "KO"]},
    }


def test_rows_of_other_studies_and_internal_addresses_never_leave() -> None:
    rows = [row(MINE, "P1"), row(OTHER, "P1"), {"00100020": {"vr": "LO"}}]
    cleaned = clean_studies(rows, StudiesQuery((MINE,), "P1"))
    assert [r["0020000D"]["Value"] for r in cleaned] == [[MINE]]
    assert "00081190" not in cleaned[0]
    assert cleaned[0]["00080061"]["Value"] == ["CT"]
    assert rows[0]["00080061"] == {"vr": "CS", "Value": ["CT", "KO"]}


def test_a_search_by_patient_keeps_that_patient_alone() -> None:
    # two tabs on two patients share one session
    rows = [row(MINE, "P1"), row(OTHER, "P2")]
    found = clean_studies(rows, StudiesQuery((MINE, OTHER), "P2"))
    assert [r["0020000D"]["Value"][0] for r in found] == [OTHER]


def test_manifests_are_no_series_for_the_viewer() -> None:
    rows = [{"00080060": {"vr": "CS", "Value": [m]}, "00081190": {}} for m in ("CT", "KO", "SR")]
    assert [r["00080060"]["Value"][0] for r in clean_series(rows)] == ["CT", "SR"]


def test_our_own_searches_name_one_study() -> None:
    assert study_search(MINE).startswith(f"/studies?0020000D={MINE}&includefield=")
    assert series_search(MINE).startswith(f"/studies/{MINE}/series?includefield=")


def test_orthanc_s_answers_are_read_or_refused() -> None:
    assert read_rows(b"") == []
    assert read_rows(b"[{}]") == [{}]
    for bad in (b"{}", b"[1]", b"<html>"):
        with pytest.raises(ValueError, match=r"."):
            read_rows(bad)


@given(st.text(alphabet="/.0123456789%studieramnclbkwg-", max_size=120))
def test_no_path_reaches_orthanc_for_a_study_that_is_not_the_session_s(path: str) -> None:
    verdict = allowed("GET", "/dicom-web" + path, "", SESSION)
    if verdict.allowed and verdict.route not in ANSWERED:
        assert path.startswith(f"/studies/{MINE}/")
