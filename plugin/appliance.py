# SPDX-License-Identifier: AGPL-3.0-or-later
"""The appliance's files: from a site file to Orthanc's and nginx's configuration, and the folders they use."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from drimbox.errors import ConfigurationError
from drimbox.site import Site

REPOSITORY = Path(__file__).resolve().parent.parent
CONFIGURATIONS = REPOSITORY / "orthanc-config"
VIEWER_USER = "drimbox-viewer"
NGINX_MODULES = Path("/usr/lib/nginx/modules")


@dataclass(frozen=True, slots=True)
class Layout:
    """Folders of one instance.  Sockets live apart: a Unix socket's path is limited to 108 bytes."""

    state: Path
    run: Path

    @classmethod
    def of(cls, state: Path) -> Layout:
        """Give the layout of a state folder."""
        name = hashlib.sha256(str(state).encode()).hexdigest()[:12]
        return cls(state, Path("/tmp") / f"drimbox-{name}")  # noqa: S108 (checked to be ours in `prepare`)

    @property
    def etc(self) -> Path:
        """Generated configuration."""
        return self.state / "etc"

    @property
    def log(self) -> Path:
        """Output of each process."""
        return self.state / "log"

    @property
    def secrets(self) -> Path:
        """Passwords, readable by the service alone."""
        return self.state / "secrets"

    @property
    def socket(self) -> Path:
        """Our HTTP server."""
        return self.run / "drimbox.sock"

    @property
    def status(self) -> Path:
        """What the supervisor knows."""
        return self.state / "status.json"

    @property
    def stop(self) -> Path:
        """Its presence asks the supervisor to stop."""
        return self.state / "stop"

    def prepare(self) -> None:
        """Make the folders.  Raises `ConfigurationError` where one is not ours."""
        for folder in (self.state / "orthanc", self.state / "drimbox", self.etc, self.log, self.secrets):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.run.mkdir(mode=0o700, exist_ok=True)
        facts = self.run.lstat()
        if facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
            raise ConfigurationError(f"{self.run} belongs to somebody else or is open to others: remove it")


def write_private(path: Path, text: str) -> None:
    """Write a file that the service alone can read, at once or not at all."""
    work = path.with_name(path.name + ".new")
    with os.fdopen(os.open(work, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as handle:
        handle.write(text)
    work.replace(path)


def admin_password(layout: Layout) -> str:
    """Give the operator's password, drawn at the first start."""
    path = layout.secrets / "admin-password"
    if not path.exists():
        write_private(path, secrets.token_urlsafe(18) + "\n")
    return path.read_text().strip()


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`base` with `over` laid on it; objects are merged, anything else is replaced."""
    out = dict(base)
    for key, value in over.items():
        mine = out.get(key)
        out[key] = merge(mine, value) if isinstance(mine, dict) and isinstance(value, dict) else value
    return out


def orthanc_configuration(layout: Layout, site: Site, viewer: Path | None, viewer_password: str) -> dict[str, Any]:
    """Orthanc's whole configuration; `viewer_password` is that of nginx for the viewer's routes."""
    text = (CONFIGURATIONS / "appliance/orthanc.json").read_text("utf-8")
    text = text.replace("@state@", str(layout.state)).replace("@plugin@", str(Path(__file__).resolve().parent))
    config = merge(json.loads(text), site.orthanc)
    if "RegisteredUsers" not in config:
        config["RegisteredUsers"] = {"admin": admin_password(layout)}
    config["RegisteredUsers"][VIEWER_USER] = viewer_password
    own: dict[str, Any] = {
        "DataFolder": str(layout.state / "drimbox"),
        "Http": {"Socket": str(layout.socket), "ProxySecretFile": str(layout.secrets / "proxy-secret")},
    }
    if viewer is not None:
        own["Viewer"] = {"Folder": str(viewer)}
    config["DrimBox"] = merge(own, site.drim_box)
    return config


def nginx_configuration(
    layout: Layout, site: Site, orthanc_port: int, secret: str, viewer: Path | None, viewer_password: str
) -> str:
    """nginx's whole configuration."""
    source = (CONFIGURATIONS / "nginx/nginx.conf.j2").read_text("utf-8")
    # a configuration file is no HTML: nothing to escape, and its values come from the site file
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)  # noqa: S701
    faces = [{"name": name, **face.model_dump()} for name, face in site.faces.named().items()]
    for face in faces:
        for key, value in face.items():
            if any(c in str(value) for c in "\"';{}\n"):
                raise ConfigurationError(f"Faces.{face['name']}.{key}: {value!r} has a character that nginx would obey")
    modules = [NGINX_MODULES / "ngx_http_brotli_static_module.so"]
    present = [str(m) for m in modules if m.exists()]
    return environment.from_string(source).render(
        faces=faces,
        modules=present,
        brotli=bool(present),
        run=layout.run,
        socket=layout.socket,
        secret=secret,
        orthanc_port=orthanc_port,
        wado_path=site.wado_path(),
        viewer=viewer or "",
        viewer_credentials=base64.b64encode(f"{VIEWER_USER}:{viewer_password}".encode()).decode(),
        workers=2,
    )


def write_files(layout: Layout, site: Site, viewer: Path | None) -> dict[str, Any]:
    """Write both configurations and a fresh proxy secret; gives Orthanc's configuration."""
    layout.prepare()
    secret = secrets.token_urlsafe(32)
    write_private(layout.secrets / "proxy-secret", secret + "\n")
    password = secrets.token_urlsafe(24)
    config = orthanc_configuration(layout, site, viewer, password)
    write_private(layout.etc / "orthanc.json", json.dumps(config, indent=2, ensure_ascii=False))
    text = nginx_configuration(layout, site, int(config["HttpPort"]), secret, viewer, password)
    write_private(layout.etc / "nginx.conf", text)
    return config
