# SPDX-License-Identifier: AGPL-3.0-or-later
"""The local archive: every version of every KOS, found by study or by its own UID."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from drimbox.clock import from_iso, iso
from drimbox.records import Identifier, Manifest
from drimbox.records_json import from_json, to_json
from drimbox.schema import kos, reports, submissions
from drimbox.store import Store


@dataclass(frozen=True, slots=True)
class ArchivedKos:
    """One version; `state` is pending, live, superseded or withdrawn; `document_ids` are the report's."""

    sop_instance_uid: str
    study_uid: str
    version: int
    state: str
    created_at: datetime
    report_id: str
    document_id: str
    manifest: Manifest


class Archive:
    """Queries on the archived manifests."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def next_version(self, connection: sa.Connection, study_uid: str) -> tuple[int, str | None]:
        """Number of the next version of a study's KOS, and the series UID that its versions share."""
        query = (
            sa.select(kos.c.version, kos.c.series_uid)
            .where(kos.c.study_uid == study_uid)
            .order_by(kos.c.version.desc())
            .limit(1)
        )
        found = connection.execute(query).first()
        return (1, None) if found is None else (found.version + 1, found.series_uid)

    def add(self, connection: sa.Connection, manifest: Manifest, data: bytes, report_id: str) -> None:
        """Keep a version that is about to be published."""
        connection.execute(
            sa.insert(kos).values(
                sop_instance_uid=manifest.sop_instance_uid,
                study_uid=manifest.study.study_uid,
                version=manifest.instance_number,
                series_uid=manifest.series_uid,
                state="pending",
                created_at=iso(manifest.created_at),
                report_id=report_id,
                ins=manifest.traits.ins,
                accession=(manifest.accession.extension or "") if manifest.accession else "",
                data=data,
                manifest=to_json(manifest),
            )
        )

    def publish(self, connection: sa.Connection, sop_instance_uid: str) -> None:
        """Make a version the one in force; the study's earlier live one is superseded."""
        study = sa.select(kos.c.study_uid).where(kos.c.sop_instance_uid == sop_instance_uid).scalar_subquery()
        connection.execute(
            sa.update(kos).where(kos.c.study_uid == study, kos.c.state == "live").values(state="superseded")
        )
        connection.execute(sa.update(kos).where(kos.c.sop_instance_uid == sop_instance_uid).values(state="live"))

    def data(self, sop_instance_uid: str) -> bytes:
        """Give the DICOM file.  Raises `KeyError`."""
        with self._store.read() as connection:
            found = connection.execute(sa.select(kos.c.data).where(kos.c.sop_instance_uid == sop_instance_uid)).scalar()
        if found is None:
            raise KeyError(sop_instance_uid)
        return bytes(found)

    def of_study(self, study_uid: str) -> ArchivedKos | None:
        """Give the study's version in force, else its latest one, else None."""
        order = sa.case((kos.c.state == "live", 0), else_=1)
        return self._one(sa.and_(kos.c.study_uid == study_uid), order)

    def head_of_study(self, study_uid: str) -> tuple[str, str] | None:
        """Give UID and state of the study's version in force, else of its latest one, else None."""
        query = (
            sa.select(kos.c.sop_instance_uid, kos.c.state)
            .where(kos.c.study_uid == study_uid)
            .order_by(sa.case((kos.c.state == "live", 0), else_=1), kos.c.version.desc())
            .limit(1)
        )
        with self._store.read() as connection:
            found = connection.execute(query).first()
        return None if found is None else (found.sop_instance_uid, found.state)

    def state_of(self, sop_instance_uid: str) -> str | None:
        """Give the state of a version, None where unknown."""
        with self._store.read() as connection:
            found = connection.execute(
                sa.select(kos.c.state).where(kos.c.sop_instance_uid == sop_instance_uid)
            ).scalar()
        return None if found is None else str(found)

    def document_ids(self, study_uid: str) -> tuple[Identifier, ...]:
        """Identifiers of every report that this study's manifests come from, latest first."""
        query = (
            sa.select(reports.c.document_id)
            .join(kos, kos.c.report_id == reports.c.id)
            .where(kos.c.study_uid == study_uid)
            .order_by(kos.c.version.desc())
        )
        with self._store.read() as connection:
            found = [str(row.document_id) for row in connection.execute(query)]
        return tuple(Identifier(*text.split("^", 1)) for text in dict.fromkeys(found))

    def submission_of(self, sop_instance_uid: str) -> str:
        """Give the submission (JSON) that carried a version, empty where there is none."""
        query = sa.select(submissions.c.submission).where(submissions.c.kos_uid == sop_instance_uid).limit(1)
        with self._store.read() as connection:
            return str(connection.execute(query).scalar() or "")

    def by_uid(self, sop_instance_uid: str) -> ArchivedKos | None:
        """Give a version by its SOP Instance UID."""
        return self._one(kos.c.sop_instance_uid == sop_instance_uid, sa.literal(0))

    def _one(self, where: sa.ColumnElement[bool], order: sa.ColumnElement[int]) -> ArchivedKos | None:
        query = (
            sa.select(kos, reports.c.document_id)
            .join(reports, reports.c.id == kos.c.report_id)
            .where(where)
            .order_by(order, kos.c.version.desc())
            .limit(1)
        )
        with self._store.read() as connection:
            row = connection.execute(query).mappings().first()
        if row is None:
            return None
        return ArchivedKos(
            sop_instance_uid=row["sop_instance_uid"],
            study_uid=row["study_uid"],
            version=row["version"],
            state=row["state"],
            created_at=from_iso(row["created_at"]),
            report_id=row["report_id"],
            document_id=row["document_id"],
            manifest=from_json(Manifest, row["manifest"]),
        )
