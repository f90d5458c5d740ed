# SPDX-License-Identifier: AGPL-3.0-or-later
"""The archive as the doors see it: manifests ready for a verdict, those last asked for kept at hand."""

from __future__ import annotations

import threading
from collections import OrderedDict

from drimbox.archive import Archive, ArchivedKos
from drimbox.wado_guard import HeldManifest

KEPT = 64


class GuardArchive:
    """`wado_guard.ManifestArchive` on the database.

    What a KOS references never changes, so it is kept by UID; its state is read at each request.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, HeldManifest] = OrderedDict()

    def by_study(self, study_uid: str) -> HeldManifest | None:
        """Give the study's manifest in force, else its latest one, else None."""
        head = self._archive.head_of_study(study_uid)
        return None if head is None else self.by_sop_instance(head[0])

    def by_sop_instance(self, sop_instance_uid: str) -> HeldManifest | None:
        """Give one version by its own UID, whatever its state."""
        state = self._archive.state_of(sop_instance_uid)
        if state is None:
            return None
        with self._lock:
            held = self._kept.get(sop_instance_uid)
            if held is not None:
                self._kept.move_to_end(sop_instance_uid)
        if held is None:
            found = self._archive.by_uid(sop_instance_uid)
            if found is None:
                return None
            held = held_manifest(found)
        if held.state != state:
            held = HeldManifest(held.study_uid, held.sop_instance_uid, state, held.series, held.modalities)
        with self._lock:
            self._kept[sop_instance_uid] = held
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return held


def held_manifest(found: ArchivedKos) -> HeldManifest:
    """What the guard needs of an archived version."""
    study = found.manifest.study
    return HeldManifest(
        study_uid=found.study_uid,
        sop_instance_uid=found.sop_instance_uid,
        state=found.state,
        series={s.series_uid: tuple(i.sop_instance_uid for i in s.instances) for s in study.series},
        modalities={s.series_uid: s.modality for s in study.series},
    )
