# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where Orthanc keeps the files of instances, so that they are read without passing through Orthanc.

One POST /tools/find tells uuid, size and syntax of a whole series; the default storage area holds each
file at ``{StorageDirectory}/{uuid[0:2]}/{uuid[2:4]}/{uuid}``.  What is compressed, or lies elsewhere (object
storage, PostgreSQL), is asked of Orthanc itself.  Shapes of the answers verified on Orthanc 1.12.7.
"""

from __future__ import annotations

import functools
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol

from drimbox.wado_guard import HeldManifest

_DICOM: Final = 1  # FileContentType_Dicom
_CACHED_MANIFESTS: Final = 32


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """One DICOM file: `size` bytes, at `path` as they are where it is not None; `read` gives them in any case."""

    sop_instance_uid: str
    series_uid: str
    transfer_syntax: str
    size: int
    instance_number: int | None
    path: Path | None
    read: Callable[[], bytes] = field(repr=False, compare=False)


class InstanceLocator(Protocol):
    """What the WADO-RS door asks of the PACS."""

    def locate(self, manifest: HeldManifest, wanted: Mapping[str, Sequence[str]]) -> list[StoredInstance]:
        """Give the instances that the PACS still holds, among `wanted` (SOP Instance UIDs by series UID).

        Series in the order given, each by InstanceNumber.  Raises `DrimboxError` where the PACS fails.
        """
        ...


class OrthancFiles:
    """`InstanceLocator` on Orthanc; remembers the complete series of the manifests last asked for."""

    def __init__(
        self,
        find: Callable[[Mapping[str, Any]], list[dict[str, Any]]],
        storage: Path,
        fetch: Callable[[str], bytes],
    ) -> None:
        """`find` is POST /tools/find, `fetch` GET /instances/{id}/file."""
        self._find = find
        self._storage = storage
        self._fetch = fetch
        self._lock = threading.Lock()
        self._cache: OrderedDict[str, dict[str, tuple[StoredInstance, ...]]] = OrderedDict()

    def locate(self, manifest: HeldManifest, wanted: Mapping[str, Sequence[str]]) -> list[StoredInstance]:
        """Give the instances that Orthanc still holds; see `InstanceLocator`."""
        known = self._remembered(manifest.sop_instance_uid, wanted)
        unknown = [series for series in wanted if series not in known]
        if unknown:
            found = self._ask(manifest.study_uid, {s: wanted[s] for s in unknown})
            known.update(found)
            self._remember(manifest, found)
        result: list[StoredInstance] = []
        for series, uids in wanted.items():
            asked = set(uids)
            result += [i for i in known[series] if i.sop_instance_uid in asked]
        return result

    def _ask(self, study: str, wanted: Mapping[str, Sequence[str]]) -> dict[str, tuple[StoredInstance, ...]]:
        query = {"StudyInstanceUID": study}
        if len(wanted) == 1:
            query["SeriesInstanceUID"] = next(iter(wanted))
            uids = wanted[query["SeriesInstanceUID"]]
            if len(uids) == 1:
                query["SOPInstanceUID"] = uids[0]
        body = {
            "Level": "Instance",
            "Query": query,
            "CaseSensitive": True,
            "ResponseContent": ["MainDicomTags", "Metadata", "Attachments"],
        }
        series_of = {uid: series for series, uids in wanted.items() for uid in uids}
        found: dict[str, list[StoredInstance]] = {series: [] for series in wanted}
        for entry in self._find(body):
            uid = entry.get("MainDicomTags", {}).get("SOPInstanceUID", "")
            series = series_of.pop(uid, None)  # a copy under another patient id is left out
            if series is not None and (instance := self._instance(entry, uid, series)) is not None:
                found[series].append(instance)
        return {series: tuple(_ordered(items, wanted[series])) for series, items in found.items()}

    def _instance(self, entry: Mapping[str, Any], uid: str, series: str) -> StoredInstance | None:
        file = next((a for a in entry.get("Attachments", ()) if a.get("ContentType") == _DICOM), None)
        syntax = entry.get("Metadata", {}).get("TransferSyntax", "")
        if file is None or not syntax:
            return None
        plain = file["CompressedSize"] == file["UncompressedSize"] and file["CompressedMD5"] == file["UncompressedMD5"]
        uuid = str(file["Uuid"])
        instance = StoredInstance(
            sop_instance_uid=uid,
            series_uid=series,
            transfer_syntax=syntax,
            size=int(file["UncompressedSize"]),
            instance_number=_number(entry["MainDicomTags"].get("InstanceNumber", "")),
            path=self._storage / uuid[0:2] / uuid[2:4] / uuid if plain else None,
            read=functools.partial(self._fetch, str(entry["ID"])),
        )
        return instance if _in_place(instance) else replace(instance, path=None)

    def _remembered(self, kos: str, wanted: Mapping[str, Sequence[str]]) -> dict[str, tuple[StoredInstance, ...]]:
        with self._lock:
            series = dict(self._cache.get(kos, {}))
            if series:
                self._cache.move_to_end(kos)
        known = {s: series[s] for s in wanted if s in series}
        # a file that was deleted or replaced since then has left its place: ask again
        return {s: items for s, items in known.items() if all(map(_in_place, items))}

    def _remember(self, manifest: HeldManifest, found: Mapping[str, tuple[StoredInstance, ...]]) -> None:
        complete = {
            series: items
            for series, items in found.items()
            if len(items) == len(manifest.series.get(series, ())) and all(i.path for i in items)
        }
        if not complete:
            return
        with self._lock:
            self._cache.setdefault(manifest.sop_instance_uid, {}).update(complete)
            self._cache.move_to_end(manifest.sop_instance_uid)
            while len(self._cache) > _CACHED_MANIFESTS:
                self._cache.popitem(last=False)


def _ordered(items: Iterable[StoredInstance], uids: Sequence[str]) -> list[StoredInstance]:
    """By InstanceNumber; without number last, in the manifest's order."""
    place = {uid: n for n, uid in enumerate(uids)}
    return sorted(
        items, key=lambda i: (i.instance_number is None, i.instance_number or 0, place[i.sop_instance_uid])
    )  # fmt: skip


def _in_place(instance: StoredInstance) -> bool:
    """Whether the file is where it was said to be, with its size."""
    if instance.path is None:
        return False
    try:
        status = os.stat(instance.path)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == instance.size


def _number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None
