# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every error of the tree can be rendered at every edge: stable reason, status, French sentence without identity."""

from __future__ import annotations

import importlib
import pkgutil
import re

import pytest

import drimbox
from drimbox.errors import (
    DrimboxError,
    MessageError,
    NationalServiceError,
    ServiceRefused,
)
from tests.orthanc_double import install

KEBAB = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
FRENCH = re.compile(r"\b(le|la|les|un|une|des|du|de|est|à|n'est|n'a|cet|cette|refusé)\b|\bl'|\bd'", re.IGNORECASE)
ENGLISH = re.compile(r"\b(the|is|not|error|and|with|please|failed|of)\b", re.IGNORECASE)
NEED_ORTHANC = {"drimbox.drimbox_native", "drimbox.orthanc_port"}


def every_class(top: type[DrimboxError] = DrimboxError) -> list[type[DrimboxError]]:
    """The tree, with what each module adds to it."""
    for module in pkgutil.iter_modules(drimbox.__path__, "drimbox."):
        if module.name not in NEED_ORTHANC and not module.ispkg:
            importlib.import_module(module.name)
    found, left = [], [top]
    while left:
        kind = left.pop()
        found.append(kind)
        left += kind.__subclasses__()
    return sorted((k for k in set(found) if k.__module__.startswith("drimbox.")), key=lambda k: k.__name__)


CLASSES = every_class()


def test_the_tree_is_found_with_its_branches() -> None:
    names = {c.__name__ for c in CLASSES}
    assert {"DrimboxError", "MessageTooLarge", "OutcomeUnknown", "StoreError", "ImpossibleTransition"} <= names


@pytest.mark.parametrize("kind", CLASSES, ids=lambda k: k.__name__)
def test_each_error_has_the_shape_that_the_edges_render(kind: type[DrimboxError]) -> None:
    assert KEBAB.fullmatch(kind.reason), kind.reason
    assert len(kind.reason) <= 64, "the journal's column"
    assert 400 <= kind.status <= 599
    assert isinstance(kind.retryable, bool)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda k: k.__name__)
def test_each_error_tells_the_public_a_french_sentence_without_identity(kind: type[DrimboxError]) -> None:
    text = kind.public
    assert text[0].isupper()
    assert text.endswith(".")
    assert FRENCH.search(text), text
    assert not ENGLISH.search(text), text
    assert not re.search(r"[{}%/\\]|\d{4}", text), "nothing is filled in, no path, no number"


@pytest.mark.parametrize("kind", CLASSES, ids=lambda k: k.__name__)
def test_the_detail_is_for_the_journal_and_never_becomes_public(kind: type[DrimboxError]) -> None:
    error = kind("DETAIL")
    assert str(error) == error.detail == "DETAIL"
    assert "DETAIL" not in error.public
    assert error.reason == kind.reason
    assert error.status == kind.status


def test_reasons_of_the_classes_differ() -> None:
    reasons = [c.reason for c in CLASSES]
    assert sorted(set(reasons)) == sorted(reasons)


def test_the_error_of_the_pacs_has_the_shape_too(monkeypatch: pytest.MonkeyPatch) -> None:
    _, module = install(monkeypatch)
    test_each_error_has_the_shape_that_the_edges_render(module.PacsError)
    test_each_error_tells_the_public_a_french_sentence_without_identity(module.PacsError)


def test_an_instance_may_be_more_precise_than_its_class() -> None:
    error = DrimboxError("d", reason="more-precise", status=409, public="Plus précis.")
    assert (error.reason, error.status, error.public) == ("more-precise", 409, "Plus précis.")
    assert (DrimboxError.reason, DrimboxError.status) == ("internal-error", 500)
    assert str(DrimboxError()) == DrimboxError.public


def test_messages_and_services_carry_what_their_edge_needs() -> None:
    message = MessageError("d", code=101, ack="AR", application_code="906", location="PID^1", reason="r")
    assert (message.code, message.ack, message.application_code, message.location, message.reason) == (
        101,
        "AR",
        "906",
        "PID^1",
        "r",
    )
    service = NationalServiceError("d", code="DMPClosed", public="Fermé.")
    assert (service.code, service.exchange, service.public) == ("DMPClosed", None, "Fermé.")
    assert (ServiceRefused("d").scope, ServiceRefused("d", scope="patient").scope) == ("document", "patient")
