# SPDX-License-Identifier: AGPL-3.0-or-later
"""Refuse to start where Orthanc's configuration would crash, stall or open the site (spec `platform.md`).

Pure: takes what was read, gives sentences; each names the key and the remedy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

ORTHANC_MINIMUM = (1, 12, 7)

# key, wanted value, Orthanc's default, why
WANTED: tuple[tuple[str, Any, Any, str], ...] = (
    ("SslEnabled", False, False, "Orthanc 1.12.7 crashes at the first TLS request: nginx terminates TLS"),
    ("RemoteAccessAllowed", False, False, "only nginx, on this machine, may reach Orthanc's HTTP port"),
    ("ExecuteLuaEnabled", False, False, "it would let an administrator's browser run programs on the server"),
    ("RestApiWriteToFileSystemEnabled", False, False, "it would let REST calls write anywhere on the disk"),
    ("WebDavEnabled", False, True, "WebDAV gives every image without our verdict"),
    ("HttpsVerifyPeers", True, True, "outgoing connections must check certificates"),
    ("StorageCompression", False, False, "compressed files cannot be streamed as they are"),
    ("KeepAlive", True, True, "nginx keeps its connections open"),
    ("TcpNoDelay", True, True, "small answers would wait 40 ms"),
)
WANTED_IN_PRODUCTION: tuple[tuple[str, Any, Any, str], ...] = (
    ("AuthenticationEnabled", True, False, "Orthanc's own routes must ask for a password"),
    ("DicomAlwaysAllowStore", False, True, "any machine of the network could send images"),
    ("DicomCheckCalledAet", True, False, "associations must name this site"),
    ("DicomAlwaysAllowEcho", False, True, "unknown callers are refused"),
    ("DicomAlwaysAllowFind", False, False, "unknown callers are refused"),
    ("DicomAlwaysAllowGet", False, False, "unknown callers are refused"),
    ("DicomAlwaysAllowMove", False, False, "unknown callers are refused"),
    ("DicomCheckModalityHost", True, False, "an AE title alone proves nothing"),
)
LARGEST_STORAGE_CACHE_MB = 64


def check_configuration(
    orthanc: Mapping[str, Any], environment: Mapping[str, str], hosts: str, hostname: str, *, sandbox: bool
) -> list[str]:
    """Problems found in the configuration; empty where all is well.

    `orthanc` is the whole configuration, `environment` the process's, `hosts` the text of /etc/hosts.
    """
    problems = []
    python = orthanc.get("Python") or {}
    if python.get("AllowThreads") is not True:
        problems.append('set "Python": {"AllowThreads": true}: without it one stalled download freezes every request')
    rows = WANTED if sandbox else WANTED + WANTED_IN_PRODUCTION
    for key, wanted, default, why in rows:
        if orthanc.get(key, default) != wanted:
            problems.append(f'set "{key}": {str(wanted).lower()}: {why}')
    if int(orthanc.get("MaximumStorageCacheSize", 128)) > LARGEST_STORAGE_CACHE_MB:
        problems.append(
            f'set "MaximumStorageCacheSize" to at most {LARGEST_STORAGE_CACHE_MB} (MB): we read the files ourselves'
        )
    problems += _plugin_order(orthanc.get("Plugins") or [])
    if environment.get("TCP_NODELAY") != "1":
        problems.append("put TCP_NODELAY=1 in Orthanc's environment: C-STORE is 15 times slower without it")
    names = {word for line in hosts.splitlines() for word in line.split("#")[0].split()[1:]}
    if hostname not in names:
        problems.append(f"add the host name {hostname!r} to /etc/hosts: each new UID could wait 5 s for a DNS answer")
    return problems


def _plugin_order(plugins: Sequence[str]) -> list[str]:
    problems = []
    lower = [p.lower() for p in plugins]
    if any("gdcm" in p for p in lower):
        problems.append('remove the GDCM plugin from "Plugins": it crashes the server on every transcoding')
    python = next((i for i, p in enumerate(lower) if "python" in p), None)
    web = next((i for i, p in enumerate(lower) if "dicomweb" in p), None)
    if python is not None and web is not None and web < python:
        problems.append('put the Python plugin before DICOMweb in "Plugins": the first one listed answers')
    return problems


def check_loaded_plugins(plugins: Sequence[str]) -> list[str]:
    """Problems among the plugins that Orthanc really loaded, known once it has started."""
    problems = []
    names = [p.lower() for p in plugins]
    if "gdcm" in names:
        problems.append("the GDCM plugin is loaded: it crashes the server on every transcoding; remove it")
    if "dicom-web" not in names:
        problems.append("the DICOMweb plugin is not loaded: the viewer needs it")
    return problems


def check_version(version: str) -> list[str]:
    """Problems with Orthanc's version, such as ``1.12.7`` or ``mainline``."""
    try:
        parts = tuple(int(p) for p in version.split("."))
    except ValueError:
        return []
    if parts < ORTHANC_MINIMUM:
        return [f"Orthanc {version} is too old: {'.'.join(map(str, ORTHANC_MINIMUM))} or later is needed"]
    return []
