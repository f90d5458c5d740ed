# SPDX-License-Identifier: AGPL-3.0-or-later
"""Records as JSON and back."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drimbox.errors import DocumentError
from drimbox.records import Act, Action, CdaReport, Manifest, Professional, ReportMessage, Restrictions
from drimbox.records_json import from_json, to_json
from drimbox.xds import Submission, submission_from_json, submission_to_json
from tests.dmp_data import manifest, report, submission

aware = st.datetimes(timezones=st.just(UTC) | st.integers(-14, 14).map(lambda h: timezone(timedelta(hours=h))))
people = st.builds(Professional, specialty=..., organization=..., device=..., role=...)
acts = st.builds(
    Act, code=..., ccam=..., modalities=..., regions=..., start=st.none() | aware, stop=st.none() | aware,
    performer=st.none() | people, practice_setting=...,
)  # fmt: skip
reports = st.builds(
    CdaReport, effective_time=aware, acts=st.lists(acts, max_size=2).map(tuple),
    authors=st.lists(people, max_size=2).map(tuple), orders=..., set_id=..., version=..., replaces=..., warnings=...,
)  # fmt: skip
submissions = st.builds(
    Submission, report=reports, restrictions=st.builds(Restrictions, secret_connection=...), submitted_at=aware,
    manifest=st.builds(Manifest, created_at=aware, act_label=...), replaces_entry_uuid=...,
)  # fmt: skip


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(submissions)
def test_a_submission_comes_back_as_it_was(one: Submission) -> None:
    assert submission_from_json(submission_to_json(one)) == one


def test_a_report_message_comes_back_without_its_document() -> None:
    message = ReportMessage(
        "1", "RIS", "SITE", "MDM^T02", "2.6", "P", Action.CREATE, Restrictions(), None, "I", None, b"<CDA/>", report()
    )
    text = to_json(message)
    again = from_json(ReportMessage, text)
    assert "CDA/" not in text
    assert again.document == b""
    assert again.report == message.report
    assert again.action is Action.CREATE


def test_the_offset_of_an_instant_is_kept() -> None:
    zone = timezone(timedelta(hours=2))
    one = manifest(created_at=datetime(2026, 7, 1, 12, 0, 0, 123456, tzinfo=zone))
    assert from_json(Manifest, to_json(one)).created_at.isoformat() == "2026-07-01T12:00:00.123456+02:00"


def test_a_naive_instant_is_refused_on_both_ways() -> None:
    naive = datetime(2026, 7, 1)  # noqa: DTZ001
    with pytest.raises(TypeError):
        to_json(manifest(created_at=naive))
    plain = json.loads(to_json(manifest()))
    plain["created_at"] = "2026-07-01T12:00:00"
    with pytest.raises(DocumentError) as caught:
        from_json(Manifest, json.dumps(plain))
    assert caught.value.reason == "record-invalid"
    assert "created_at" in caught.value.detail


def test_a_row_of_another_version_is_readable() -> None:
    plain = json.loads(submission_to_json(submission()))
    plain["invented_later"] = 1
    del plain["replaces_entry_uuid"]
    assert submission_from_json(json.dumps(plain)) == submission()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "[" * 100_000,
        '{"report":1}',
        submission_to_json(submission()).replace('"kos_size":', '"kos_size":"x","was":'),
        submission_to_json(submission()).replace('"patient_class":"I"', '"patient_class":null'),
        submission_to_json(submission()).replace('"acts":[', '"acts":[1,'),
    ],
)
def test_a_damaged_row_is_refused_without_quoting_it(text: str) -> None:
    with pytest.raises(DocumentError) as caught:
        submission_from_json(text)
    assert caught.value.reason == "record-invalid"
    assert "ESSAI" not in str(caught.value)


@dataclass(frozen=True)
class Holder:
    """Every kind of field that the product's records do not have all."""

    action: Action
    pair: tuple[int, str]
    ratio: float = 0.5
    when: datetime | None = None
    tags: tuple[str, ...] = field(default_factory=tuple)


def test_other_kinds_of_fields_come_back() -> None:
    one = Holder(Action.REPLACE, (1, "a"), 0.25, datetime(2026, 1, 1, tzinfo=UTC), ("x",))
    assert from_json(Holder, to_json(one)) == one
    assert from_json(Holder, '{"action":"create","pair":[1,"a"],"ratio":1}') == Holder(Action.CREATE, (1, "a"), 1.0)


@pytest.mark.parametrize(
    "change",
    [
        {"action": "explode"},
        {"pair": [1]},
        {"pair": [True, "a"]},
        {"pair": {"0": 1}},
        {"ratio": "much"},
        {"when": "yesterday"},
        {"when": 12},
        {"tags": "x"},
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(change: dict[str, object]) -> None:
    plain = {"action": "create", "pair": [1, "a"], **change}
    with pytest.raises(DocumentError) as caught:
        from_json(Holder, json.dumps(plain))
    assert next(iter(change)) in caught.value.detail


def test_what_is_no_record_is_refused() -> None:
    with pytest.raises(TypeError):
        to_json({"a": 1})
