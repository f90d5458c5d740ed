# SPDX-License-Identifier: AGPL-3.0-or-later
"""Our code tables against the published CI-SIS value sets."""

from __future__ import annotations

from pathlib import Path

import pytest
from lxml import etree

from drimbox import xds_codes
from drimbox.records import Code

pytestmark = pytest.mark.official
SVS = "{urn:ihe:iti:svs:2008}"


def concepts(official: Path, value_set: str) -> dict[tuple[str, str], str]:
    (file,) = (official / "value_sets").glob(f"{value_set}*.xml")
    found = etree.parse(file).iter(f"{SVS}Concept")
    return {(c.get("code", ""), c.get("codeSystem", "")): c.get("displayName", "") for c in found}


def test_our_modalities_are_exactly_the_value_set(official: Path) -> None:
    published = concepts(official, "JDV_ModaliteAcquisition")
    ours = set(xds_codes.MODALITIES) | xds_codes.MODALITIES_WITHOUT_LABEL
    assert {(m, xds_codes.DICOM_TERMS) for m in ours} == set(published)
    for code, label in xds_codes.MODALITIES.items():
        assert label == published[code, xds_codes.DICOM_TERMS]


def test_our_confidentialities_are_exactly_the_value_set(official: Path) -> None:
    published = concepts(official, "JDV_J08")
    ours = {*xds_codes.CONFIDENTIALITIES.values(), *xds_codes.VISIBILITIES.values()}
    assert {(c.code, c.system): c.display for c in ours} == published


def test_every_confidentiality_of_hl7_has_its_place(official: Path) -> None:
    for code, _ in concepts(official, "JDV_HL7_Confidentiality"):
        assert code in xds_codes.CONFIDENTIALITIES


def test_our_practice_settings_are_published(official: Path) -> None:
    published = concepts(official, "JDV_J04")
    for code, label in xds_codes.PRACTICES.items():
        assert published[code, xds_codes.PRACTICE] == label


@pytest.mark.parametrize(("value_set", "code"), [("JDV_J07", xds_codes.KOS_TYPE)])
def test_the_type_of_a_kos_is_published(official: Path, value_set: str, code: Code) -> None:
    assert (code.code, code.system) in concepts(official, value_set)
