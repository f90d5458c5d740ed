# SPDX-License-Identifier: AGPL-3.0-or-later
"""Doubles of Orthanc: of its module `orthanc` (as `typings/orthanc.pyi` names it), and of `application.Port`.

`tests/system/test_orthanc_double.py` holds the first against the real module.
"""

from __future__ import annotations

import importlib
import json
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

import drimbox
from drimbox.errors import DrimboxError
from tests.manifest_data import ORTHANC_ANSWERS
from tests.manifest_data import STUDY as RECORDED_STUDY


class OrthancException(Exception):
    """As the real one: `args` are a number and a text."""


class ChangeType:
    ORTHANC_STARTED = 10
    ORTHANC_STOPPED = 11


class HttpMethod:
    GET = 1
    POST = 2
    PUT = 3
    DELETE = 4


class MetricsType:
    DEFAULT = 0
    TIMER = 1


UNKNOWN_RESOURCE = 17


@dataclass
class OrthancDouble:
    """What the module answers, and what it was told; an answer that is an exception is raised."""

    configuration: dict[str, Any] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)
    posted: list[tuple[str, Any]] = field(default_factory=list)
    logged: list[tuple[str, str]] = field(default_factory=list)
    metrics: list[tuple[str, float, int]] = field(default_factory=list)
    request_filter: Callable[..., Any] | None = None
    change: Callable[[int, int, str | None], None] | None = None

    def module(self) -> types.ModuleType:
        """A module with the names of the real one, bound to this object."""
        made = types.ModuleType("orthanc")
        for kind in (OrthancException, ChangeType, HttpMethod, MetricsType):
            setattr(made, kind.__name__, kind)
        for name in (
            "GetConfiguration",
            "RestApiGet",
            "RestApiPost",
            "RestApiGetAfterPlugins",
            "LogInfo",
            "LogWarning",
            "LogError",
            "SetMetricsValue",
            "RegisterIncomingHttpRequestFilter",
            "RegisterOnChangeCallback",
        ):
            setattr(made, name, getattr(self, name))
        return made

    def GetConfiguration(self) -> str:  # noqa: N802
        return json.dumps(self.configuration)

    def RestApiGet(self, uri: str) -> bytes:  # noqa: N802
        if uri not in self.answers:
            raise OrthancException(UNKNOWN_RESOURCE, "Unknown resource")
        found = self.answers[uri]
        if isinstance(found, Exception):
            raise found
        return found if isinstance(found, bytes) else json.dumps(found).encode()

    def RestApiPost(self, uri: str, body: str | bytes) -> bytes:  # noqa: N802
        self.posted.append((uri, json.loads(body)))
        return self.RestApiGet(uri)

    def RestApiGetAfterPlugins(self, uri: str) -> bytes:  # noqa: N802
        return self.RestApiGet(uri)

    def LogInfo(self, message: str) -> None:  # noqa: N802
        self._log("info", message)

    def LogWarning(self, message: str) -> None:  # noqa: N802
        self._log("warning", message)

    def LogError(self, message: str) -> None:  # noqa: N802
        self._log("error", message)

    def _log(self, level: str, message: str) -> None:
        try:
            message.encode()
        except UnicodeEncodeError:
            message = "\0"
        if "\0" in message:
            raise TypeError("Bad types for the arguments (1 arguments expected)")
        self.logged.append((level, message))

    def SetMetricsValue(self, name: str, value: float, type: int) -> None:  # noqa: N802
        self.metrics.append((name, value, type))

    def RegisterIncomingHttpRequestFilter(self, callback: Callable[..., bool]) -> None:  # noqa: N802
        self.request_filter = callback

    def RegisterOnChangeCallback(self, callback: Callable[[int, int, str | None], None]) -> None:  # noqa: N802
        self.change = callback


def install(monkeypatch: pytest.MonkeyPatch) -> tuple[OrthancDouble, Any]:
    """Put a double in the place of `orthanc`; gives it and a fresh `drimbox.orthanc_port`.  Undone by monkeypatch."""
    double = OrthancDouble()
    monkeypatch.setitem(sys.modules, "orthanc", double.module())
    monkeypatch.setattr(drimbox, "orthanc_port", None, raising=False)
    monkeypatch.setitem(sys.modules, "drimbox.orthanc_port", types.ModuleType("forgotten"))
    del sys.modules["drimbox.orthanc_port"]
    return double, importlib.import_module("drimbox.orthanc_port")


def recorded_study(study_uid: str) -> dict[str, list[dict[str, Any]]]:
    """The answers recorded of Orthanc 1.12.7, by level, for a study of another UID: two CT, one MR, one KO."""
    found: dict[str, list[dict[str, Any]]] = json.loads(json.dumps(ORTHANC_ANSWERS).replace(RECORDED_STUDY, study_uid))
    return found


class PacsDown(DrimboxError):
    """As `orthanc_port.PacsError`, which only the module `orthanc` gives."""

    reason = "pacs-error"
    status = 502
    retryable = True
    public = "Le PACS n'a pas répondu comme attendu."


class FakePort:
    """`application.Port` in memory."""

    def __init__(self, *study_uids: str) -> None:
        self.studies: dict[str, dict[str, list[dict[str, Any]]]] = {}
        self.documents: dict[str, Any] = {"/system": {"Version": "1.12.7"}, "/statistics": {"CountStudies": 0}}
        self.files: dict[str, bytes] = {}
        self.asked: list[dict[str, Any]] = []
        self.down = False
        for uid in study_uids:
            self.hold(uid)

    def hold(self, study_uid: str) -> None:
        """Receive the recorded study under a UID."""
        self.studies[study_uid] = recorded_study(study_uid)

    def find(self, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        self._check()
        self.asked.append(dict(body))
        query = dict(body["Query"])
        study = self.studies.get(query.pop("StudyInstanceUID"))
        found = study[body["Level"]] if study else []
        matching = [r for r in found if all(r["MainDicomTags"].get(k) == v for k, v in query.items())]
        return matching[body.get("Since", 0) :]

    def get_json(self, path: str) -> Any:
        self._check()
        return self.documents[path]

    def instance_file(self, orthanc_id: str) -> bytes:
        self._check()
        return self.files[orthanc_id]

    def dicomweb(self, path: str) -> bytes:
        self._check()
        return json.dumps(self.documents.get(path, [])).encode()

    def _check(self) -> None:
        if self.down:
            raise PacsDown("GET /system: (2,)")
