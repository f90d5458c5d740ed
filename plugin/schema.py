# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tables of the store (SQLAlchemy Core).  Changes go through `plugin/migrations/`.

Instants are ISO 8601 text in UTC (`clock.iso`), which sorts on every database.  Identities live in
`reports` and `kos` alone; events and audit name them by identifier.
"""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

reports = sa.Table(
    "reports",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("received_at", sa.String(32), nullable=False, index=True),
    sa.Column("origin", sa.String(64), nullable=False),  # address of the sender
    sa.Column("sender", sa.String(255), nullable=False),  # MSH-3 | MSH-4
    sa.Column("control_id", sa.String(255), nullable=False),
    sa.Column("message_type", sa.String(32), nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),  # SHA-256 of the message as received
    sa.Column("message", sa.LargeBinary, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),  # accepted | refused
    sa.Column("reason", sa.String(64), nullable=False, default=""),
    sa.Column("detail", sa.Text, nullable=False, default=""),
    sa.Column("acknowledgement", sa.LargeBinary, nullable=False),
    sa.Column("action", sa.String(16), nullable=False, default=""),
    sa.Column("document_id", sa.String(255), nullable=False, default="", index=True),
    sa.Column("replaces_id", sa.String(255), nullable=False, default=""),
    sa.Index("ix_reports_message", "sender", "control_id", "digest"),
)

kos = sa.Table(
    "kos",
    metadata,
    sa.Column("sop_instance_uid", sa.String(64), primary_key=True),
    sa.Column("study_uid", sa.String(64), nullable=False, index=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("series_uid", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),  # pending | live | superseded | withdrawn
    sa.Column("created_at", sa.String(32), nullable=False),
    sa.Column("report_id", sa.String(36), sa.ForeignKey("reports.id"), nullable=False),
    sa.Column("ins", sa.String(32), nullable=False, index=True),
    sa.Column("accession", sa.String(64), nullable=False, default="", index=True),
    sa.Column("entry_uuid", sa.String(64), nullable=False, default=""),
    sa.Column("data", sa.LargeBinary, nullable=False),  # the DICOM file as published
    sa.Column("manifest", sa.Text, nullable=False),  # records.Manifest, JSON
    sa.UniqueConstraint("study_uid", "version", name="uq_kos_version"),
)

submissions = sa.Table(
    "submissions",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),  # its order decides within a study
    sa.Column("study_uid", sa.String(64), nullable=False, index=True),
    sa.Column("action", sa.String(16), nullable=False),  # create | replace | withdraw
    sa.Column("state", sa.String(16), nullable=False),  # outbox.State
    sa.Column("created_at", sa.String(32), nullable=False),
    sa.Column("due_at", sa.String(32), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("lease_owner", sa.String(64), nullable=False, default=""),
    sa.Column("lease_until", sa.String(32), nullable=False, default=""),
    sa.Column("sending", sa.Boolean, nullable=False, default=False),  # a request may have left: ask first
    sa.Column("report_id", sa.String(36), sa.ForeignKey("reports.id"), nullable=False),
    sa.Column("kos_uid", sa.String(64), sa.ForeignKey("kos.sop_instance_uid"), nullable=True),
    sa.Column("submission", sa.Text, nullable=False, default=""),  # xds.Submission, JSON, drawn once
    sa.Column("reason", sa.String(64), nullable=False, default=""),
    sa.Column("detail", sa.Text, nullable=False, default=""),
    sa.Column("public", sa.Text, nullable=False, default=""),  # French sentence for the operator
    sa.Column("done_at", sa.String(32), nullable=False, default=""),
    sa.Index("ix_submissions_due", "state", "due_at"),
)

exchanges = sa.Table(
    "exchanges",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("submission_id", sa.Integer, sa.ForeignKey("submissions.id"), nullable=False, index=True),
    sa.Column("at", sa.String(32), nullable=False),
    sa.Column("message_id", sa.String(64), nullable=False),
    sa.Column("action", sa.String(128), nullable=False),
    sa.Column("status", sa.Integer, nullable=False),
    sa.Column("request", sa.LargeBinary, nullable=False),
    sa.Column("answer", sa.LargeBinary, nullable=False),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("at", sa.String(32), nullable=False, index=True),
    sa.Column("kind", sa.String(48), nullable=False),
    sa.Column("severity", sa.String(8), nullable=False),  # info | warning | error
    sa.Column("study_uid", sa.String(64), nullable=False, default="", index=True),
    sa.Column("report_id", sa.String(36), nullable=False, default=""),
    sa.Column("reason", sa.String(64), nullable=False, default=""),
    sa.Column("text", sa.Text, nullable=False, default=""),  # French sentence
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("at", sa.String(32), nullable=False, index=True),
    sa.Column("face", sa.String(8), nullable=False),
    sa.Column("route", sa.String(32), nullable=False),
    sa.Column("outcome", sa.String(8), nullable=False),  # allowed | denied
    sa.Column("reason", sa.String(48), nullable=False),
    sa.Column("actor", sa.String(255), nullable=False, default=""),
    sa.Column("study_uid", sa.String(64), nullable=False, default=""),
    sa.Column("facts", sa.Text, nullable=False, default="{}"),  # JSON: status, objects, bytes, syntax…
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("id_hash", sa.String(64), primary_key=True),
    sa.Column("expires_at", sa.String(32), nullable=False, index=True),
    sa.Column("data", sa.Text, nullable=False),
)

whitelists = sa.Table(
    "whitelists",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("fetched_at", sa.String(32), nullable=False),
    sa.Column("etag", sa.String(255), nullable=False, default=""),
    sa.Column("data", sa.LargeBinary, nullable=False),
)
