# SPDX-License-Identifier: AGPL-3.0-or-later
"""The appliance's site file: what a site decides, in one JSON document.

``{"Orthanc": {…}, "Faces": {"Db": {…}, "Vi": {…}, "Conso": {…}, "Admin": {…}}, "DrimBox": {…}}``: overrides of
Orthanc's keys, one entry for each face that nginx serves, and our own section.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, model_validator

from drimbox.config import Section
from drimbox.errors import ConfigurationError


class Face(Section):
    """One server block of nginx."""

    host: str = Field(description="Public name of the face.")
    listen: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(443, ge=1, le=65535, description="TCP port.")
    certificate: Path = Field(description="PEM chain of the server certificate.")
    key: Path = Field(description="Its private key.")
    client_authorities: Path | None = Field(None, description="PEM of the authorities of client certificates (mTLS).")
    require_client_certificate: bool = Field(True, description="Refuse at TLS level who has none.")
    crl: Path | None = Field(None, description="PEM of their revocation lists.")

    def url(self) -> str:
        """Public address, without path."""
        return f"https://{self.host}" + ("" if self.port == 443 else f":{self.port}")


class Faces(Section):
    """The four faces; one that is absent is not served."""

    db: Face | None = None
    vi: Face | None = None
    conso: Face | None = None
    admin: Face | None = None

    def named(self) -> dict[str, Face]:
        """Those that are served."""
        found = {"db": self.db, "vi": self.vi, "conso": self.conso, "admin": self.admin}
        return {name: face for name, face in found.items() if face is not None}


class Site(Section):
    """The whole file."""

    authorities: Path | None = Field(None, description="PEM of the authorities of the faces, told by `status`.")
    orthanc: dict[str, Any] = Field(default_factory=dict)
    faces: Faces = Faces()
    drim_box: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _coherent(self) -> Site:
        db = self.faces.db
        if db is not None and db.client_authorities is None:
            raise ValueError("Faces.Db.ClientAuthorities is missing: other DRIMboxes are known by their certificate")
        return self

    def wado_path(self) -> str:
        """Path of the WADO-RS service, from DrimBox.Wado.Root."""
        root = str((self.drim_box.get("Wado") or {}).get("Root", ""))
        return urlsplit(root).path.rstrip("/") or "/wado-rs"


def read_site(path: Path) -> Site:
    """Read a site file.  Raises `ConfigurationError` naming what is wrong."""
    try:
        raw = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigurationError(f"{path} is no JSON: {error}") from error
    try:
        return Site.model_validate(raw)
    except ValidationError as error:
        lines = [
            f"{'.'.join(map(str, e['loc'])) or path}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors()
        ]
        raise ConfigurationError("; ".join(lines)) from error
