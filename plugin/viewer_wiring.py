# SPDX-License-Identifier: AGPL-3.0-or-later
"""Puts the viewer's door on the archive, the session table and Pro Santé Connect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import flask

from drimbox.archive import Archive
from drimbox.clock import Clock
from drimbox.config import DrimboxConfig
from drimbox.journal import Journal
from drimbox.oidc import PscClient
from drimbox.psc_http import Discovery, Jwks, RequestsTransport
from drimbox.records import Restrictions
from drimbox.request_filter import Rule
from drimbox.session_store import DatabaseSessionStore
from drimbox.sessions import Limits, Sessions
from drimbox.store import Store
from drimbox.viewer import create_app, redirect_uri
from drimbox.viewer_door import ViewableExam, ViewerDeps, ViewerDoor
from drimbox.xds import submission_from_json


@dataclass(frozen=True, slots=True)
class ViewerParts:
    """The face's application, its rule on Orthanc's own routes, and its periodic job."""

    app: flask.Flask
    orthanc_rule: Rule
    purge: Callable[[], None]


class ArchivedExams:
    """`viewer_door.ExamArchive` on the local archive."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def viewable(self, study_uid: str) -> ViewableExam | None:
        """Give an exam that was published."""
        found = self._archive.of_study(study_uid)
        if found is None:
            return None
        manifest = found.manifest
        return ViewableExam(
            study_uid=study_uid,
            state=found.state,
            traits=manifest.traits,
            report_ids=self._archive.document_ids(study_uid),
            accession=manifest.accession,
            description=manifest.study.description,
            study_date=manifest.study.study_date,
            restrictions=self._restrictions(found.sop_instance_uid),
        )

    def still_viewable(self, study_uid: str) -> bool:
        """Tell whether the study's manifest is live."""
        head = self._archive.head_of_study(study_uid)
        return head is not None and head[1] == "live"

    def _restrictions(self, sop_instance_uid: str) -> Restrictions:
        text = self._archive.submission_of(sop_instance_uid)
        return submission_from_json(text).restrictions if text else Restrictions()


def build_viewer(
    config: DrimboxConfig,
    store: Store,
    archive: Archive,
    journal: Journal,
    clock: Clock,
    dicomweb: Callable[[str], bytes],
) -> ViewerParts:
    """Make the viewer's door; `dicomweb` is an in-process GET below Orthanc's DICOMweb root."""
    psc = config.psc
    transport = RequestsTransport(psc)
    discovery = Discovery(psc, transport, clock)
    keys = Jwks(discovery, transport, clock)
    limits = Limits(
        timedelta(minutes=config.sessions.idle_minutes), timedelta(minutes=config.sessions.absolute_minutes)
    )
    sessions = Sessions(DatabaseSessionStore(store), limits, clock)
    deps = ViewerDeps(
        archive=ArchivedExams(archive),
        professionals=PscClient(psc, redirect_uri(config.viewer.public_url), discovery, keys, clock),
        sessions=sessions,
        audit=journal.audit,
        dicomweb=dicomweb,
        clock=clock,
        settings=config.viewer,
        site_name=config.site_name,
    )

    def purge() -> None:
        sessions.purge()

    return ViewerParts(create_app(deps), ViewerDoor(deps).admits, purge)
