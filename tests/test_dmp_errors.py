# SPDX-License-Identifier: AGPL-3.0-or-later
"""The table of the DMP's errors."""

from __future__ import annotations

import pytest

from drimbox.dmp_errors import CODES, Kind, error_for, kind_of, local_code, masked, worst
from drimbox.errors import OutcomeUnknown, ServiceRefused, ServiceUnavailable


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("XDSRegistryBusy", Kind.UNAVAILABLE),
        ("XDSRepositoryOutOfResources", Kind.UNAVAILABLE),
        ("XDSRegistryOutOfResources", Kind.UNAVAILABLE),
        ("XDSDuplicateUniqueIdInRegistry", Kind.DUPLICATE),
        ("XDSRegistryDuplicateUniqueIdInMessage", Kind.DUPLICATE),
        ("XDSRepositoryDuplicateUniqueIdInMessage", Kind.DUPLICATE),
        ("XDSNonIdenticalHash", Kind.DUPLICATE),
        ("DMPInvalidCertificate", Kind.CONFIGURATION),
        ("DMPClosed", Kind.PATIENT),
        ("XDSUnknownPatientId", Kind.PATIENT),
        ("XDSRegistryMetadataError", Kind.DOCUMENT),
        ("XDSRepositoryMetadataError", Kind.DOCUMENT),
        ("XDSMissingDocumentMetadata", Kind.DOCUMENT),
        ("XDSMissingDocument", Kind.DOCUMENT),
        ("XDSReplaceFailed", Kind.REPLACE),
        ("XDSRegistryDeprecatedDocumentError", Kind.REPLACE),
        ("XDSMetadataUpdateError", Kind.REPLACE),
        ("UnresolvedReferenceException", Kind.REPLACE),
        ("NeverSeen", None),
        ("", None),
    ],
)
def test_known_codes_have_their_class(code: str, kind: Kind | None) -> None:
    assert kind_of(code) is kind


def test_no_code_is_listed_twice() -> None:
    patterns = [pattern for pattern, _ in CODES]
    assert len(patterns) == len(set(patterns))


def test_every_known_code_gives_an_error_of_its_class_with_a_french_sentence() -> None:
    for pattern, kind in CODES:
        error = error_for(pattern.replace("*", "X"), "")
        if kind is Kind.UNAVAILABLE:
            assert isinstance(error, ServiceUnavailable)
        else:
            assert isinstance(error, ServiceRefused)
            assert error.scope == kind
        assert "DMP" in error.public


def test_an_unknown_code_is_permanent_and_asks_for_a_person() -> None:
    error = error_for("urn:x:Bizarre", "pourquoi")
    assert isinstance(error, ServiceRefused)
    assert (error.scope, error.code) == ("document", "Bizarre")
    assert "intervention" in error.public
    assert "Bizarre" in error.public


@pytest.mark.parametrize(
    ("text", "scope"),
    [
        ("Aucun AuthorInstitution ne correspond au VIHF", "configuration"),
        ("Erreur d'authentification de la personne morale", "configuration"),
        ("Structure 1990000001 inconnue ou inactive", "configuration"),
        ("Le DMP est fermé", "patient"),
        ("La structure du document est invalide", "document"),
        ("", "document"),
    ],
)
def test_a_text_speaks_only_where_the_code_does_not(text: str, scope: str) -> None:
    error = error_for("", text)
    assert isinstance(error, ServiceRefused)
    assert error.scope == scope
    known = error_for("XDSReplaceFailed", text)
    assert isinstance(known, ServiceRefused)
    assert known.scope == "replace"


def test_the_error_that_binds_most_is_raised_and_the_others_are_told() -> None:
    errors = [("XDSRegistryBusy", "a", True), ("XDSReplaceFailed", "b", True), ("DMPClosed", "c", True)]
    error = worst(errors)
    assert error.code == "DMPClosed"
    assert all(code in error.detail for code, _, _ in errors)
    assert isinstance(worst(errors[:1]), ServiceUnavailable)


def test_warnings_count_only_alone() -> None:
    assert worst([("DMPClosed", "", False), ("XDSRegistryBusy", "", True)]).code == "XDSRegistryBusy"
    assert worst([("DMPClosed", "", False)]).code == "DMPClosed"
    assert isinstance(worst([]), OutcomeUnknown)


def test_national_numbers_and_line_ends_do_not_reach_the_journal() -> None:
    assert masked("INS 260058815400233\nabsent, document 1.2.250.12345678901234.1") == (
        "INS … absent, document 1.2.250.12345678901234.1"
    )
    assert "260058815400233" not in error_for("X", "patient 260058815400233^^^&1.2").detail
    assert len(masked("x" * 5000)) == 300


def test_a_code_is_reduced_to_safe_characters() -> None:
    assert local_code("urn:oasis:DMPClosed") == "DMPClosed"
    assert local_code("{urn:x}Évil <b>\n") == "vilb"
    assert len(local_code("x" * 999)) == 80
