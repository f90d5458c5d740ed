# SPDX-License-Identifier: AGPL-3.0-or-later
"""Face `admin`: health for probes; journal, audit trail and outbox as JSON for the operator.

The console (pages) comes on top of these.  Operators are Orthanc's own users.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any

import flask
import sqlalchemy as sa

from drimbox.errors import DrimboxError
from drimbox.health import Health
from drimbox.journal import Journal
from drimbox.schema import reports, submissions
from drimbox.store import Store

log = logging.getLogger(__name__)

LARGEST_PAGE = 1000


@dataclass(frozen=True, slots=True)
class AdminDeps:
    """What the routes read; `users` maps names to passwords (Orthanc's RegisteredUsers)."""

    users: Mapping[str, str]
    health: Health
    journal: Journal
    store: Store


def authenticated(users: Mapping[str, str], authorization: Any) -> bool:
    """Whether Basic credentials are those of an operator; takes the same time for a wrong name."""
    if authorization is None or authorization.type != "basic":
        return False
    expected = users.get(authorization.username or "")
    given = (authorization.password or "").encode()
    same = hmac.compare_digest((expected if expected is not None else "\0").encode(), given)
    return same and expected is not None


def create_blueprint(deps: AdminDeps) -> flask.Blueprint:
    """Make the routes."""
    blueprint = flask.Blueprint("admin", __name__)

    @blueprint.errorhandler(DrimboxError)
    def failed(error: DrimboxError) -> Any:
        log.error("operator's question: %s", error)
        return flask.jsonify(reason=error.reason, message=error.public), error.status

    def operator(view: Callable[[], Any]) -> Callable[[], Any]:
        @wraps(view)
        def checked() -> Any:
            if not authenticated(deps.users, flask.request.authorization):
                answer = flask.jsonify(reason="operator-unknown", message="Identifiant ou mot de passe inconnu.")
                answer.headers["WWW-Authenticate"] = 'Basic realm="DRIMbox", charset="UTF-8"'
                return answer, 401
            return view()

        return checked

    def limit() -> int:
        return max(1, min(flask.request.args.get("limit", 100, type=int), LARGEST_PAGE))

    @blueprint.get("/health")
    def health() -> Any:
        known = authenticated(deps.users, flask.request.authorization)
        found = deps.health.report(details=known)
        return flask.jsonify(found), 200 if found["status"] == "UP" else 503

    @blueprint.get("/drimbox/journal")
    @operator
    def journal() -> Any:
        return flask.jsonify(deps.journal.latest(limit()))

    @blueprint.get("/drimbox/audit")
    @operator
    def audit() -> Any:
        return flask.jsonify(deps.journal.verdicts(limit()))

    @blueprint.get("/drimbox/outbox")
    @operator
    def outbox() -> Any:
        hidden = {"submission"}
        columns = [c for c in submissions.c if c.name not in hidden]
        query = sa.select(*columns).order_by(submissions.c.id.desc()).limit(limit())
        with deps.store.read() as connection:
            return flask.jsonify([dict(r) for r in connection.execute(query).mappings()])

    @blueprint.get("/drimbox/reports")
    @operator
    def received() -> Any:
        hidden = {"message", "acknowledgement"}
        columns = [c for c in reports.c if c.name not in hidden]
        query = sa.select(*columns).order_by(reports.c.received_at.desc()).limit(limit())
        with deps.store.read() as connection:
            return flask.jsonify([dict(r) for r in connection.execute(query).mappings()])

    return blueprint
