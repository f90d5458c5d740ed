# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest

from drimbox.errors import StudyNotFound
from drimbox.evidence import Find, find_request, study_content
from drimbox.records import InstanceRef
from tests.manifest_data import CT, ENHANCED_MR, KEY_NOTE, ORTHANC_ANSWERS, STUDY, orthanc_find

Answers = dict[str, list[dict[str, Any]]]


@pytest.fixture
def answers() -> Answers:
    return copy.deepcopy(ORTHANC_ANSWERS)


def finding(answers: Answers) -> Find:
    def find(body: Mapping[str, Any]) -> list[dict[str, Any]]:
        return answers[body["Level"]]

    return find


def test_a_study_is_read_from_three_lists() -> None:
    bodies: list[Mapping[str, Any]] = []

    def find(body: Mapping[str, Any]) -> list[dict[str, Any]]:
        bodies.append(body)
        return orthanc_find(body)

    content = study_content(find, STUDY)
    assert [b["Level"] for b in bodies if "Since" not in b] == ["Study", "Instance", "Series"]
    assert [b["Since"] for b in bodies if "Since" in b] == [1, 4, 3]
    assert content.orthanc_id == "5513e323-15c5d8f1-a4aabcc1-62f8147e-5c104dc6"
    assert (content.patient_id, content.accession, content.study_id) == ("IPP900", "ACC900", "S900")
    assert (content.study_date, content.study_time) == ("20260102", "101500")
    assert (content.description, content.referring_physician) == ("Scanner crâne", "DOC^ANNE")


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_answers_that_orthanc_cuts_are_asked_on(limit: int) -> None:
    def find(body: Mapping[str, Any]) -> list[dict[str, Any]]:
        return orthanc_find(body)[:limit]

    assert study_content(find, STUDY) == study_content(orthanc_find, STUDY)


def test_two_patients_are_seen_even_one_at_a_time(answers: Answers) -> None:
    answers["Study"].append(answers["Study"][0] | {"ID": "other"})

    def find(body: Mapping[str, Any]) -> list[dict[str, Any]]:
        return answers[body["Level"]][body.get("Since", 0) :][:1]

    with pytest.raises(StudyNotFound, match="2 patients"):
        study_content(find, STUDY)


def test_series_come_by_number_and_instances_by_number_those_without_last() -> None:
    content = study_content(orthanc_find, STUDY)
    assert [(s.series_uid, s.number, s.modality) for s in content.series] == [
        (f"{STUDY}.1", 3, "CT"),
        (f"{STUDY}.3", 59, "KO"),
        (f"{STUDY}.2", None, "MR"),
    ]
    assert content.series[0].instances == (InstanceRef(CT, f"{STUDY}.1.1", 1), InstanceRef(CT, f"{STUDY}.1.2", 2))
    assert content.series[2].instances == (InstanceRef(ENHANCED_MR, f"{STUDY}.2.1", None, 12),)
    assert (content.series[0].body_part, content.series[0].description) == ("HEAD", "Crâne sans injection")


def test_our_own_manifests_are_left_out_and_key_image_notes_stay() -> None:
    assert KEY_NOTE in {i.sop_class_uid for s in study_content(orthanc_find, STUDY).series for i in s.instances}
    content = study_content(orthanc_find, STUDY, exclude_series={f"{STUDY}.3"})
    assert [s.modality for s in content.series] == ["CT", "MR"]


def test_a_study_that_holds_only_our_manifests_is_empty() -> None:
    excluded = {f"{STUDY}.{n}" for n in (1, 2, 3)}
    assert study_content(orthanc_find, STUDY, exclude_series=excluded).instance_count() == 0


def test_an_unknown_study_is_not_found() -> None:
    with pytest.raises(StudyNotFound) as caught:
        study_content(orthanc_find, "1.2.3.999")
    assert caught.value.reason == "study-not-found"


@pytest.mark.parametrize("uid", ["", "*", "1.2.*", "1.2\\1.3", "1.2\n", "1" * 65, "1.2?", "NULL"])
def test_what_is_no_uid_is_never_asked_because_orthanc_would_match_any_study(uid: str) -> None:
    def find(body: Mapping[str, Any]) -> list[dict[str, Any]]:
        raise AssertionError(body)

    with pytest.raises(StudyNotFound):
        study_content(find, uid)


def test_a_study_shared_by_two_patients_is_refused(answers: Answers) -> None:
    answers["Study"].append(answers["Study"][0] | {"ID": "other"})
    with pytest.raises(StudyNotFound) as caught:
        study_content(finding(answers), STUDY)
    assert caught.value.reason == "study-ambiguous"


def test_a_sop_class_that_the_index_lacks_is_asked_from_the_files(answers: Answers) -> None:
    del answers["Instance"][0]["Metadata"]["SopClassUid"]
    orthanc_id = answers["Instance"][0]["ID"]

    def find(body: Mapping[str, Any]) -> list[dict[str, Any]]:
        if "RequestedTags" in body:
            return [{"ID": orthanc_id, "MainDicomTags": {}, "RequestedTags": {"SOPClassUID": CT}, "Type": "Instance"}]
        return answers[body["Level"]]

    content = study_content(find, STUDY)
    assert {i.sop_class_uid for i in content.series[0].instances} == {CT}


@pytest.mark.parametrize("number", ["abc", "1.5", "", "99999999999", "１２", "1_0", " "])
def test_a_number_that_is_none_is_left_out(answers: Answers, number: str) -> None:
    for instance in answers["Instance"]:
        instance["MainDicomTags"]["InstanceNumber"] = number
    assert {i.instance_number for s in study_content(finding(answers), STUDY).series for i in s.instances} == {None}


def test_a_series_deleted_between_the_requests_is_left_out(answers: Answers) -> None:
    del answers["Series"][0]
    assert [s.modality for s in study_content(finding(answers), STUDY).series] == ["KO", "MR"]


def test_a_series_that_came_between_the_requests_waits_for_the_next_reading(answers: Answers) -> None:
    answers["Series"].append(answers["Series"][0] | {"ID": "new"})
    assert len(study_content(finding(answers), STUDY).series) == 3


def test_the_body_asks_for_what_holds_the_sop_class() -> None:
    assert find_request(STUDY) == {
        "Level": "Instance",
        "Query": {"StudyInstanceUID": STUDY},
        "ResponseContent": ["MainDicomTags", "Metadata", "Parent"],
    }
