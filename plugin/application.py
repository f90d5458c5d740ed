# SPDX-License-Identifier: AGPL-3.0-or-later
"""Builds the objects of the product and wires them: the only place that knows all families.

Knows nothing of Orthanc's own module: it works on what `orthanc_port.OrthancPort` (or a test's double) gives.
"""

from __future__ import annotations

import functools
import logging
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import flask
import sqlalchemy as sa

from drimbox import selftest, uids
from drimbox.admin_api import AdminDeps
from drimbox.admin_api import create_blueprint as admin_blueprint
from drimbox.appliance import VIEWER_USER, write_private
from drimbox.archive import Archive
from drimbox.clock import Clock, iso
from drimbox.config import DrimboxConfig
from drimbox.dmp_client import Exchange, open_client
from drimbox.errors import DrimboxError
from drimbox.guard_archive import GuardArchive
from drimbox.health import Check, Health
from drimbox.http_server import FaceDispatcher, HttpServer, WsgiApp, read_secret
from drimbox.intake import Intake
from drimbox.journal import Journal
from drimbox.mllp import MllpServer
from drimbox.outbox_store import OutboxStore
from drimbox.psc_http import Discovery, HttpIntrospection, Jwks, RequestsTransport
from drimbox.publication import Dmp, Publisher, PublisherDeps
from drimbox.report_store import ReportStore
from drimbox.request_filter import RequestFilter, Rule, operator_rule
from drimbox.schema import exchanges
from drimbox.store import Store, sqlite_url
from drimbox.tokens import TokenVerifier
from drimbox.viewer_wiring import ViewerParts, build_viewer
from drimbox.wado_files import OrthancFiles
from drimbox.wado_rs import Health as WadoHealth
from drimbox.wado_rs import WadoDeps
from drimbox.wado_rs import create_blueprint as wado_blueprint
from drimbox.whitelist_keeper import WhitelistKeeper, http_fetch
from drimbox.worker import Job, OutboxWorker, Ticker

log = logging.getLogger(__name__)

WHITELIST_SECONDS = 24 * 3600.0
PURGE_SECONDS = 600.0
STOP_SECONDS = 4.5  # Orthanc's own stop waits for ours


class Port(Protocol):
    """What the application asks of Orthanc; see `orthanc_port.OrthancPort`."""

    def find(self, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        """POST /tools/find."""
        ...

    def get_json(self, path: str) -> Any:
        """GET a JSON document."""
        ...

    def instance_file(self, orthanc_id: str) -> bytes:
        """DICOM file of an instance."""
        ...

    def dicomweb(self, path: str) -> bytes:
        """GET below the DICOMweb root."""
        ...


class Application:
    """One DRIMbox: `start` opens its doors, `stop` closes them within 5 s."""

    def __init__(
        self,
        port: Port,
        config: DrimboxConfig,
        orthanc: Mapping[str, Any],
        clock: Clock,
        step: Callable[[str], None] = lambda _name: None,
    ) -> None:
        """`orthanc` is Orthanc's whole configuration.  Raises `ConfigurationError` or `StoreError`."""
        self.config = config
        self._port = port
        self._clock = clock
        self._step = step
        storage = Path(str(orthanc.get("StorageDirectory", "OrthancStorage")))
        folder = config.data_folder or storage / "drimbox"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.store = Store(config.store_url or sqlite_url(folder))
        try:
            self._wire(orthanc, storage, folder)
        except BaseException:
            self.store.close()
            raise

    def _wire(self, orthanc: Mapping[str, Any], storage: Path, folder: Path) -> None:
        config, clock, port = self.config, self._clock, self._port
        self.journal = Journal(self.store, clock)
        self.archive = Archive(self.store)
        self.outbox = OutboxStore(self.store, _node_name(folder))
        self.reports = ReportStore(self.store)
        self.whitelist = self._whitelist()
        users = orthanc.get("RegisteredUsers") or {}
        self._users = {str(k): str(v) for k, v in users.items() if k != VIEWER_USER}
        self._files = OrthancFiles(port.find, storage, port.instance_file)
        self.health = Health(
            (Check("DRIMbox", self._own_health), Check("PACS", self._pacs_health)),
            lambda: {**selftest.versions(), "orthanc": self._orthanc_version()},
        )
        self._viewer = self._make_viewer()
        secret = read_secret(config.http.proxy_secret_file)
        rules: dict[str, Rule] = {"admin": operator_rule(self._users)}
        if self._viewer is not None:
            rules["vi"] = self._viewer.orthanc_rule
        self.admit = RequestFilter(secret, rules).admit
        self._http = HttpServer(config.http.socket, FaceDispatcher(secret, self._faces()), config.http.threads)
        publisher = Publisher(self._publisher_deps())
        self.worker = OutboxWorker(self.outbox, publisher, clock, config.outbox)
        self._mllp = self._listener() if config.mllp.enabled else None
        self._ticker = Ticker(self._jobs(), clock)
        self._started: list[OutboxWorker | Ticker | HttpServer | MllpServer] = []

    def start(self) -> None:
        """Open the doors: what was interrupted is taken up first.

        Raises `ConfigurationError` where a door cannot open; none stays open then.
        """
        self.whitelist.load()
        try:
            for part in self._parts():
                part.start()
                self._started.append(part)
        except BaseException:
            self.stop()
            raise
        log.info("DRIMbox open")

    def stop(self) -> None:
        """Close the doors, then end the workers: what was started, no more, in 5 s."""
        deadline = time.monotonic() + STOP_SECONDS
        for part in self._started:
            if isinstance(part, OutboxWorker | Ticker):
                part.stop(0)  # told first: they finish while the doors close
        while self._started:
            part = self._started.pop()
            if isinstance(part, OutboxWorker | Ticker):
                part.stop(max(0.1, deadline - time.monotonic()))
            else:
                part.stop()
        self.store.close()
        log.info("DRIMbox closed")

    def _parts(self) -> list[OutboxWorker | Ticker | HttpServer | MllpServer]:
        """What runs, in the order of its start."""
        return [self.worker, self._ticker, self._http, *([self._mllp] if self._mllp is not None else [])]

    def _whitelist(self) -> WhitelistKeeper:
        settings = self.config.whitelist
        fetch = http_fetch(settings) if settings.url else None
        return WhitelistKeeper(self.store, self.journal, self._clock, settings, fetch)

    def _listener(self) -> MllpServer:
        intake = Intake(
            self.store,
            self.reports,
            self.outbox,
            self.journal,
            self._clock,
            self.config.messages,
            lambda: secrets.token_hex(10).upper(),
            self.worker.wake,
            self._step,
        )
        return MllpServer(self.config.mllp, intake.handle, intake.refuse, log)

    def _publisher_deps(self) -> PublisherDeps:
        return PublisherDeps(
            config=self.config,
            store=self.store,
            reports=self.reports,
            outbox=self.outbox,
            archive=self.archive,
            journal=self.journal,
            clock=self._clock,
            find=self._port.find,
            new_uid=functools.partial(uids.new_uid, self.config.manifest.uid_root),
            dmp=self._dmp(),
            keep_exchange=self._keep_exchange,
            step=self._step,
        )

    def _dmp(self) -> Dmp | None:
        if not self.config.dmp.url:
            return None
        return open_client(self.config.dmp, self._clock)

    def _keep_exchange(self, submission_id: int, exchange: Exchange) -> None:
        with self.store.write() as connection:
            connection.execute(
                sa.insert(exchanges).values(
                    submission_id=submission_id,
                    at=iso(self._clock.now()),
                    message_id=exchange.message_id,
                    action=exchange.action,
                    status=exchange.status,
                    request=exchange.envelope,
                    answer=exchange.answer,
                )
            )

    def _make_viewer(self) -> ViewerParts | None:
        if not self.config.viewer.public_url or not self.config.psc.issuer:
            return None
        return build_viewer(self.config, self.store, self.archive, self.journal, self._clock, self._port.dicomweb)

    def _faces(self) -> dict[str, WsgiApp]:
        faces: dict[str, WsgiApp] = {}
        if self.config.wado.enabled and self.config.wado.root and self.config.psc.issuer:
            faces["db"] = _face(wado_blueprint(self._wado_deps()), urlsplit(self.config.wado.root).path)
        if self._viewer is not None:
            faces["vi"] = self._viewer.app.wsgi_app
        admin = AdminDeps(self._users, self.health, self.journal, self.store)
        faces["admin"] = _face(admin_blueprint(admin), "")
        return faces

    def _wado_deps(self) -> WadoDeps:
        psc = self.config.psc
        transport = RequestsTransport(psc)
        discovery = Discovery(psc, transport, self._clock)
        keys = Jwks(discovery, transport, self._clock)
        tokens = TokenVerifier(psc, keys, HttpIntrospection(psc, discovery, transport), self._clock)
        return WadoDeps(
            whitelist=self.whitelist.current,
            tokens=tokens,
            archive=GuardArchive(self.archive),
            locator=self._files,
            audit=self.journal.audit,
            health=self._wado_health,
            clock=self._clock,
            settings=self.config.wado,
            retry_after_seconds=psc.retry_after_seconds,
        )

    def _wado_health(self) -> WadoHealth:
        report = self.health.report(details=False)
        return WadoHealth(report["status"] == "UP", {c["name"]: c["status"] == "UP" for c in report["checks"]})

    def _own_health(self) -> str:
        with self.store.read() as connection:
            connection.execute(sa.text("SELECT 1"))
        return ""

    def _pacs_health(self) -> str:
        self._port.get_json("/statistics")
        return ""

    def _orthanc_version(self) -> str:
        try:
            return str(self._port.get_json("/system")["Version"])
        except DrimboxError:  # the check of the PACS tells it
            return "inconnue"

    def _jobs(self) -> list[Job]:
        jobs = [Job("whitelist", WHITELIST_SECONDS, self.whitelist.refresh), Job("whitelist-first", 60, self._insist)]
        if self._viewer is not None:
            jobs.append(Job("sessions", PURGE_SECONDS, self._viewer.purge))
        return jobs

    def _insist(self) -> None:
        """Until there is a list, ask every minute: nobody can be served without one."""
        if self.whitelist.current() is None:
            self.whitelist.refresh()


def _face(blueprint: flask.Blueprint, prefix: str) -> WsgiApp:
    """One Flask application that has the routes of one face and no other."""
    app = flask.Flask(blueprint.name, static_folder=None)
    app.url_map.merge_slashes = False
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    app.register_blueprint(blueprint, url_prefix=prefix or None)
    return app.wsgi_app


def _node_name(folder: Path) -> str:
    """Name of this node, drawn once and kept with its data: after a crash it knows its own leases again."""
    path = folder / "node"
    if not path.exists():
        write_private(path, f"{socket.gethostname()[:40]}-{secrets.token_hex(6)}\n")
    return path.read_text().strip()
