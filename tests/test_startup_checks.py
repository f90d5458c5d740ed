# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest

from drimbox import startup_checks

GOOD: dict[str, Any] = {
    "Python": {"AllowThreads": True},
    "WebDavEnabled": False,
    "MaximumStorageCacheSize": 16,
    "AuthenticationEnabled": True,
    "DicomAlwaysAllowStore": False,
    "DicomAlwaysAllowEcho": False,
    "DicomCheckCalledAet": True,
    "DicomCheckModalityHost": True,
    "Plugins": ["/p/libOrthancPython.so", "/p/libOrthancDicomWeb.so"],
}
HOSTS = "127.0.0.1 localhost\n127.0.1.1 pacs.example pacs # here\n"


def problems(changes: dict[str, Any] | None = None, *, sandbox: bool = False, **more: Any) -> list[str]:
    facts = {"environment": {"TCP_NODELAY": "1"}, "hosts": HOSTS, "hostname": "pacs", **more}
    return startup_checks.check_configuration({**GOOD, **(changes or {})}, sandbox=sandbox, **facts)


def test_a_safe_configuration_starts() -> None:
    assert problems() == []


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"Python": {}}, "AllowThreads"),
        ({"SslEnabled": True}, "SslEnabled"),
        ({"RemoteAccessAllowed": True}, "RemoteAccessAllowed"),
        ({"ExecuteLuaEnabled": True}, "ExecuteLuaEnabled"),
        ({"RestApiWriteToFileSystemEnabled": True}, "RestApiWriteToFileSystemEnabled"),
        ({"WebDavEnabled": True}, "WebDavEnabled"),
        ({"HttpsVerifyPeers": False}, "HttpsVerifyPeers"),
        ({"StorageCompression": True}, "StorageCompression"),
        ({"MaximumStorageCacheSize": 128}, "MaximumStorageCacheSize"),
        ({"Plugins": ["/p/libOrthancDicomWeb.so", "/p/libOrthancPython.so"]}, "before DICOMweb"),
        ({"Plugins": [*GOOD["Plugins"], "/p/libOrthancGdcm.so"]}, "GDCM"),
    ],
)
def test_each_trap_of_the_platform_refuses_the_start_even_in_the_sandbox(changes: dict[str, Any], key: str) -> None:
    found = problems(changes, sandbox=True)
    assert len(found) == 1
    assert key in found[0]


@pytest.mark.parametrize("key", [row[0] for row in startup_checks.WANTED_IN_PRODUCTION])
def test_unknown_callers_are_let_in_by_the_sandbox_alone(key: str) -> None:
    bad = {key: not GOOD.get(key, False)}
    assert key in problems(bad)[0]
    assert problems(bad, sandbox=True) == []


def test_a_slow_environment_is_refused() -> None:
    assert "TCP_NODELAY" in problems(environment={})[0]
    assert "/etc/hosts" in problems(hostname="elsewhere")[0]


def test_what_is_really_loaded_is_checked_after_the_start() -> None:
    assert startup_checks.check_loaded_plugins(["python", "dicom-web"]) == []
    assert "GDCM" in startup_checks.check_loaded_plugins(["python", "dicom-web", "gdcm"])[0]
    assert "DICOMweb" in startup_checks.check_loaded_plugins(["python"])[0]


def test_an_old_orthanc_is_refused_and_an_unnumbered_one_is_not() -> None:
    assert startup_checks.check_version("1.12.7") == []
    assert startup_checks.check_version("mainline") == []
    assert "too old" in startup_checks.check_version("1.12.6")[0]
