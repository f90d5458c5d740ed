# SPDX-License-Identifier: AGPL-3.0-or-later
"""The only module, besides the entry point, that knows the module `orthanc`."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, cast

import orthanc

from drimbox.errors import DrimboxError

log = logging.getLogger(__name__)


class PacsError(DrimboxError):
    """Orthanc's own REST API refused or failed."""

    reason = "pacs-error"
    status = 502
    retryable = True
    public = "Le PACS n'a pas répondu comme attendu."


class OrthancPort:
    """Calls into Orthanc's process: REST, DICOMweb, metrics.  In-process calls bypass the request filter."""

    def configuration(self) -> dict[str, Any]:
        """Orthanc's whole configuration."""
        return cast(dict[str, Any], json.loads(orthanc.GetConfiguration()))

    def find(self, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        """POST /tools/find.  Raises `PacsError`."""
        return cast(list[dict[str, Any]], json.loads(self._post("/tools/find", json.dumps(body))))

    def get_json(self, path: str) -> Any:
        """GET a JSON document of Orthanc's REST API.  Raises `PacsError`."""
        return json.loads(self._get(path))

    def instance_file(self, orthanc_id: str) -> bytes:
        """Give the DICOM file of an instance as stored.  Raises `PacsError`."""
        return self._get(f"/instances/{orthanc_id}/file")

    def dicomweb(self, path: str) -> bytes:
        """GET below the DICOMweb root (path such as ``/studies?StudyInstanceUID=…``).  Raises `PacsError`."""
        try:
            return bytes(orthanc.RestApiGetAfterPlugins(f"/dicom-web{path}"))
        except orthanc.OrthancException as error:
            raise PacsError(f"DICOMweb: {error.args[:1]}") from error

    def version(self) -> str:
        """Orthanc's version."""
        return str(self.get_json("/system")["Version"])

    def on_life(self, started: Callable[[], None], stopped: Callable[[], None]) -> None:
        """Be told when Orthanc has started and before it stops."""
        steps = {int(orthanc.ChangeType.ORTHANC_STARTED): started, int(orthanc.ChangeType.ORTHANC_STOPPED): stopped}

        def change(kind: int, _level: int, _resource: str | None) -> None:
            step = steps.get(int(kind))
            if step is None:
                return
            try:
                step()
            except Exception:
                log.exception("life of the plugin")

        orthanc.RegisterOnChangeCallback(change)

    def filter_requests(self, admit: Callable[[str, str, Mapping[str, str], Mapping[str, str]], bool]) -> None:
        """Ask `admit` (path, method, headers in lower case, query) for every request on Orthanc's own routes."""

        kinds = orthanc.HttpMethod
        names = {int(kinds.GET): "GET", int(kinds.POST): "POST", int(kinds.PUT): "PUT", int(kinds.DELETE): "DELETE"}

        def admitted(uri: str, **request: Any) -> bool:
            # anything but True refuses; an exception does too, but as a 500
            method = names.get(int(request["method"]), "")
            return admit(uri, method, request.get("headers", {}), request.get("get", {})) is True

        orthanc.RegisterIncomingHttpRequestFilter(admitted)

    def plugins(self) -> list[str]:
        """Identifiers of the loaded plugins."""
        return cast(list[str], self.get_json("/plugins"))

    def metric(self, name: str, value: float) -> None:
        """Publish a gauge on Orthanc's Prometheus page."""
        orthanc.SetMetricsValue(name, value, orthanc.MetricsType.DEFAULT)

    def _get(self, path: str) -> bytes:
        try:
            return bytes(orthanc.RestApiGet(path))
        except orthanc.OrthancException as error:
            raise PacsError(f"GET {path.split('?', maxsplit=1)[0]}: {error.args[:1]}") from error

    def _post(self, path: str, body: str) -> bytes:
        try:
            return bytes(orthanc.RestApiPost(path, body))
        except orthanc.OrthancException as error:
            raise PacsError(f"POST {path}: {error.args[:1]}") from error


class OrthancLogHandler(logging.Handler):
    """Sends our log lines to Orthanc's log, at its levels."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line; one that cannot be written harms nobody."""
        write: Callable[[str], None] = orthanc.LogInfo
        if record.levelno >= logging.ERROR:
            write = orthanc.LogError
        elif record.levelno >= logging.WARNING:
            write = orthanc.LogWarning
        try:
            text = f"drimbox.{record.name.removeprefix('drimbox.')}: {self.format(record)}"
            # Orthanc takes UTF-8 without NUL
            write(text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0"))
        except Exception:  # noqa: BLE001 (as every logging handler: the line is lost, its caller goes on)
            self.handleError(record)
