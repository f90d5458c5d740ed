# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
import pytest
from flask.testing import FlaskClient

from drimbox.admin_api import AdminDeps, create_blueprint
from drimbox.errors import StoreError
from drimbox.health import Check, Health
from drimbox.journal import AuditRecord
from tests.core_data import OTHER_STUDY, Core, FakeDmp, report
from tests.reports_data import INS, STUDY

USERS = {"admin": "s3cret-é", "empty": ""}
ROUTES = ["/drimbox/journal", "/drimbox/audit", "/drimbox/outbox", "/drimbox/reports"]


class World:
    """The routes on a database where one report was published."""

    def __init__(self, folder: Path) -> None:
        self.core = Core(folder, dmp=FakeDmp())
        self.core.receive(report(STUDY, OTHER_STUDY))
        self.core.run()
        self.core.journal.audit(
            AuditRecord("db", "series", "denied", "peer-not-listed", "CN=x", STUDY, {"status": 403})
        )
        self.reason = ""
        health = Health((Check("PACS", lambda: self.reason),), lambda: {"orthanc": "1.12.7"})
        app = flask.Flask("test", static_folder=None)
        app.register_blueprint(create_blueprint(AdminDeps(USERS, health, self.core.journal, self.core.store)))
        self.client: FlaskClient = app.test_client()

    def get(self, path: str, password: str | None = "s3cret-é", name: str = "admin") -> Any:
        return self.client.get(path, auth=None if password is None else (name, password))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.core.close()


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    ("name", "password"), [("admin", None), ("admin", "wrong"), ("admin", ""), ("nobody", "s3cret-é"), ("", "\0")]
)
def test_nobody_reads_without_an_operators_password(world: World, path: str, name: str, password: str | None) -> None:
    answer = world.get(path, password, name)
    assert answer.status_code == 401
    assert answer.json == {"reason": "operator-unknown", "message": "Identifiant ou mot de passe inconnu."}
    assert answer.headers["WWW-Authenticate"].startswith('Basic realm="DRIMbox"')


@pytest.mark.parametrize(
    "header", ["Bearer x", "Basic", "Basic !!!", "Basic YWRtaW4=", "Digest username=admin", "Basic /w==", ""]
)
def test_other_credentials_are_none(world: World, header: str) -> None:
    for path in ROUTES:
        assert world.client.get(path, headers={"Authorization": header}).status_code == 401


@pytest.mark.parametrize("path", ROUTES)
def test_an_operator_reads_json(world: World, path: str) -> None:
    answer = world.get(path)
    assert answer.status_code == 200
    assert answer.content_type.startswith("application/json")
    assert isinstance(answer.json, list)
    assert answer.json


@pytest.mark.parametrize("path", ROUTES)
def test_routes_only_read(world: World, path: str) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert world.client.open(path, method=method, auth=("admin", "s3cret-é")).status_code == 405


def test_lists_come_latest_first_and_bounded(world: World) -> None:
    events = world.get("/drimbox/journal").json
    assert [e["id"] for e in events] == sorted((e["id"] for e in events), reverse=True)
    assert world.get("/drimbox/journal?limit=1").json == events[:1]
    for odd in ("0", "-5"):
        assert len(world.get(f"/drimbox/journal?limit={odd}").json) == 1
    assert len(world.get("/drimbox/journal?limit=999999999").json) == len(events)
    assert len(world.get("/drimbox/journal?limit=abc").json) == len(events)
    assert [r["study_uid"] for r in world.get("/drimbox/outbox").json] == [OTHER_STUDY, STUDY]


def test_the_audit_is_told_with_its_facts(world: World) -> None:
    (record,) = world.get("/drimbox/audit").json
    assert (record["reason"], record["facts"]) == ("peer-not-listed", {"status": 403})


def test_no_message_and_no_identity_is_in_a_list(world: World) -> None:
    (kept,) = world.get("/drimbox/reports").json
    assert kept["state"] == "accepted"
    assert not {"message", "acknowledgement"} & set(kept)
    assert "submission" not in world.get("/drimbox/outbox").json[0]
    for path in ROUTES:
        text = world.get(path).get_data(as_text=True)
        assert INS not in text
        assert "MARTINEAU" not in text


def test_the_health_is_for_everybody_and_its_reasons_for_operators(world: World) -> None:
    assert world.get("/health", None).json == {"status": "UP", "checks": [{"name": "PACS", "status": "UP"}]}
    world.reason = "Le disque est plein."
    public = world.get("/health", "wrong")
    assert public.status_code == 503
    assert public.json == {"status": "DOWN", "checks": [{"name": "PACS", "status": "DOWN"}]}
    full = world.get("/health")
    assert full.json["checks"][0]["reason"] == "Le disque est plein."
    assert full.json["versions"] == {"orthanc": "1.12.7"}


def test_a_database_that_fails_is_told_as_json_without_detail(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise StoreError("secret detail")

    monkeypatch.setattr(world.core.store, "read", broken)
    for path in ROUTES:
        answer = world.get(path)
        assert answer.status_code == 503
        assert answer.json["reason"] == "store-error"
        assert "secret" not in answer.get_data(as_text=True)
