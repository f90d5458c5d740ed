# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

import json
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from drimbox import appliance, startup_checks
from drimbox.appliance import Layout, merge
from drimbox.config import parse_config
from drimbox.errors import ConfigurationError
from drimbox.site import Site, read_site


def face(**more: Any) -> dict[str, Any]:
    return {"Host": "localhost", "Certificate": "/c.pem", "Key": "/c.key", **more}


SITE: dict[str, Any] = {
    "Faces": {
        "Db": face(Port=9001, ClientAuthorities="/ca.pem", Crl="/crl.pem"),
        "Vi": face(Port=9002),
        "Admin": face(Port=9004),
    },
    "Orthanc": {"HttpPort": 9006, "DicomWeb": {"EnableMetadataCache": False}},
    "DrimBox": {"Wado": {"Root": "https://localhost:9001/rs"}, "Whitelist": {"TrustFile": "/root.pem"}},
}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "state", tmp_path / "run")


def test_the_shipped_orthanc_configuration_passes_our_own_start_up_checks(layout: Layout) -> None:
    layout.prepare()
    config = appliance.orthanc_configuration(layout, Site.model_validate(SITE), None, "p")
    problems = startup_checks.check_configuration(
        config, {"TCP_NODELAY": "1"}, "127.0.0.1 localhost here", "here", sandbox=False
    )
    assert problems == []
    assert parse_config(config["DrimBox"]).http.socket == layout.socket


def test_a_site_overrides_single_keys_and_keeps_the_rest(layout: Layout) -> None:
    layout.prepare()
    config = appliance.orthanc_configuration(layout, Site.model_validate(SITE), None, "p")
    assert config["HttpPort"] == 9006
    assert config["DicomWeb"]["EnableMetadataCache"] is False
    assert config["DicomWeb"]["Root"] == "/dicom-web/"
    assert merge({"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"b": 3}, "d": [2]}) == {"a": {"b": 3, "c": 2}, "d": [2]}


def test_files_with_secrets_are_private_and_the_proxy_secret_changes_at_each_start(layout: Layout) -> None:
    site = Site.model_validate(SITE)
    secrets = set()
    for _ in range(2):
        appliance.write_files(layout, site, None)
        secrets.add((layout.secrets / "proxy-secret").read_text())
    assert len(secrets) == 2
    for path in (layout.secrets / "proxy-secret", layout.etc / "orthanc.json", layout.etc / "nginx.conf"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_operators_password_is_drawn_once(layout: Layout) -> None:
    layout.prepare()
    assert appliance.admin_password(layout) == appliance.admin_password(layout)
    assert len(appliance.admin_password(layout)) >= 20


def test_nginx_accepts_its_configuration(layout: Layout, tmp_path: Path) -> None:
    nginx = shutil.which("nginx")
    assert nginx, "nginx belongs to the platform"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", tmp_path / "k", "-out", tmp_path / "c",
         "-subj", "/CN=localhost", "-days", "2"], check=True, capture_output=True,
    )  # fmt: skip
    text = json.dumps(SITE).replace("/c.pem", str(tmp_path / "c")).replace("/c.key", str(tmp_path / "k"))
    raw = json.loads(text.replace("/ca.pem", str(tmp_path / "c")))
    raw["Faces"]["Db"].pop("Crl")
    appliance.write_files(layout, Site.model_validate(raw), tmp_path)
    done = subprocess.run(
        [nginx, "-t", "-e", "stderr", "-c", layout.etc / "nginx.conf"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr


@pytest.mark.parametrize("value", ['a";', "a b; return 200", "a\nb", "${x}"])
def test_a_site_file_cannot_write_nginx_directives(layout: Layout, value: str) -> None:
    raw = json.loads(json.dumps(SITE))
    raw["Faces"]["Vi"]["Host"] = value
    with pytest.raises(ConfigurationError, match=r"Faces\.vi\.host"):
        appliance.write_files(layout, Site.model_validate(raw), None)


def test_a_run_folder_of_somebody_else_is_refused(layout: Layout) -> None:
    layout.run.mkdir(mode=0o755)
    layout.run.chmod(0o755)
    with pytest.raises(ConfigurationError, match="remove it"):
        layout.prepare()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Faces": {"Db": face()}}, "ClientAuthorities"),
        ({"Faces": {"Vi": {"Host": "x"}}}, "Certificate"),
        ({"Faces": {"Other": face()}}, "Other"),
        ({"Nonsense": 1}, "Nonsense"),
    ],
)
def test_a_wrong_site_file_is_refused_with_the_key(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "site.json"
    path.write_text(json.dumps(change))
    with pytest.raises(ConfigurationError, match=message):
        read_site(path)


def test_a_site_file_that_is_absent_or_no_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.json"):
        read_site(tmp_path / "absent.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ConfigurationError, match="no JSON"):
        read_site(tmp_path / "bad.json")
