# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drimbox.errors import Refusal
from drimbox.records import Identifier
from drimbox.viewer_link import ViewerLink, is_uid, matches, parse_link

GOOD = "requestType=STUDY&studyUID=1.2.3&Accessionnumber=1.2.9.ACC1&idCDA=1.2.4"
LINK = ViewerLink("1.2.3", "1.2.9.ACC1", "1.2.4")
ACCESSION = Identifier("1.2.9", "ACC1")


@pytest.mark.parametrize(
    "query",
    [
        GOOD,
        "idCDA=1.2.4&accessionNumber=1.2.9.ACC1&studyUID=1.2.3&requestType=STUDY",
        "REQUESTTYPE=STUDY&STUDYUID=1.2.3&ACCESSIONNUMBER=1.2.9.ACC1&IDCDA=1.2.4",
        GOOD + "&viewerType=IHE_BIR&keyImagesOnly=false",
        GOOD.replace("1.2.9.ACC1", "1%2E2.9.ACC1"),
    ],
)
def test_every_spelling_of_the_link_is_read(query: str) -> None:
    assert parse_link(query) == LINK


def test_a_series_may_be_named() -> None:
    assert parse_link(GOOD + "&seriesUID=1.2.3.1").series_uid == "1.2.3.1"


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("", "link-incomplete"),
        ("requestType=STUDY&studyUID=1.2.3&idCDA=1.2.4", "link-incomplete"),
        (GOOD.replace("idCDA=1.2.4", "idCDA="), "link-incomplete"),
        (GOOD.replace("STUDY&", "PATIENT&"), "link-request-type"),
        (GOOD.replace("STUDY&", "study&"), "link-request-type"),
        (GOOD + "&studyUID=1.2.5", "link-repeated"),
        (GOOD + "&STUDYuid=1.2.3", "link-repeated"),
        (GOOD + "&accessionNumber=2", "link-repeated"),
        (GOOD.replace("1.2.3", "1.2.3/../9"), "link-malformed"),
        (GOOD.replace("1.2.3", "1.2.03"), "link-malformed"),
        (GOOD.replace("1.2.3", "1.2.3."), "link-malformed"),
        (GOOD.replace("1.2.3", "1.2.٣"), "link-malformed"),
        (GOOD.replace("1.2.3", "1." + "2" * 63), "link-malformed"),
        (GOOD.replace("idCDA=1.2.4", "idCDA=ABC"), "link-malformed"),
        (GOOD.replace("idCDA=1.2.4", "idCDA=1.2.4_"), "link-malformed"),
        (GOOD.replace("ACC1", "A%00B"), "link-malformed"),
        (GOOD.replace("ACC1", "A%0aB"), "link-malformed"),
        (GOOD.replace("ACC1", "%ff"), "link-malformed"),
        (GOOD + "&seriesUID=x", "link-malformed"),
        (GOOD + "&a=b" * 20, "link-malformed"),
        (GOOD + "&x=" + "y" * 3000, "link-too-long"),
    ],
)
def test_a_bad_link_is_refused_with_a_french_sentence_that_quotes_nothing(query: str, reason: str) -> None:
    with pytest.raises(Refusal) as caught:
        parse_link(query)
    assert (caught.value.reason, caught.value.status) == (reason, 400)
    assert caught.value.public.startswith("Ce lien est incomplet")
    assert "ACC1" not in caught.value.public


def test_the_canonical_query_reads_as_the_same_link() -> None:
    link = ViewerLink("1.2.3", "A B&C=D+E", "1.2.4_x y", "1.2.3.1")
    assert parse_link(link.query()) == link


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(query: str) -> None:
    with suppress(Refusal):
        link = parse_link(query)
        assert is_uid(link.study_uid)
        assert parse_link(link.query()) == link


ROOT_ONLY = Identifier("1.2.4")
WITH_EXTENSION = Identifier("1.2.4", "R1")


@pytest.mark.parametrize(
    ("cda_id", "known", "rule", "expected"),
    [
        ("1.2.4", ROOT_ONLY, "root", True),
        ("1.2.4", ROOT_ONLY, "exact", True),
        ("1.2.5", ROOT_ONLY, "root", False),
        ("1.2.4_R1", ROOT_ONLY, "root", False),
        ("1.2.4_R1", WITH_EXTENSION, "root", True),
        ("1.2.4_R1", WITH_EXTENSION, "exact", True),
        ("1.2.4_R2", WITH_EXTENSION, "root", False),
        ("1.2.4", WITH_EXTENSION, "root", True),
        ("1.2.4", WITH_EXTENSION, "exact", False),
        ("1.2", WITH_EXTENSION, "root", False),
    ],
)
def test_the_report_is_recognised_by_its_identifier(cda_id: str, known: Identifier, rule: str, expected: bool) -> None:
    link = ViewerLink("1.2.3", "ACC1", cda_id)
    assert matches(link, "1.2.3", [known], ACCESSION, rule) is expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("accession", "known", "expected"),
    [
        ("ACC1", ACCESSION, True),
        ("1.2.9.ACC1", ACCESSION, True),
        ("acc1", ACCESSION, False),
        ("ACC2", ACCESSION, False),
        ("1.2.9.", ACCESSION, False),
        ("anything", None, True),
        ("1.2.9", Identifier("1.2.9"), True),
        ("1.2.8", Identifier("1.2.9"), False),
    ],
)
def test_the_accession_number_is_compared_where_it_is_known(
    accession: str, known: Identifier | None, expected: bool
) -> None:
    assert matches(ViewerLink("1.2.3", accession, "1.2.4"), "1.2.3", [ROOT_ONLY], known) is expected


def test_any_version_of_the_report_opens_the_exam_but_not_another_study() -> None:
    versions = [Identifier("1.2.4"), Identifier("1.2.5")]
    assert matches(ViewerLink("1.2.3", "ACC1", "1.2.5"), "1.2.3", versions, ACCESSION)
    assert not matches(ViewerLink("1.2.7", "ACC1", "1.2.5"), "1.2.3", versions, ACCESSION)
    assert not matches(ViewerLink("1.2.3", "ACC1", "1.2.5"), "1.2.3", [], ACCESSION)
