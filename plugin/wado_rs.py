# SPDX-License-Identifier: AGPL-3.0-or-later
"""WADO-RS for other DRIMboxes: the `db` face (spec `drimbox_wado_rs.md`), as a Flask blueprint.

Each request ends in exactly one audit record: at once where refused, at the end of the stream where
served.  Images go out as stored.

Hook left open: the national text wants the INS in OtherPatientIDsSequence of the images served.  It
belongs in an `InstanceLocator` that wraps another (a part is `size` bytes and a `read`), since the length is
announced before the first byte.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from cryptography import x509
from flask import Blueprint, Response, request
from flask.blueprints import BlueprintSetupState
from werkzeug.routing import BaseConverter

from drimbox import accept
from drimbox.certificates import Revocations
from drimbox.clock import Clock
from drimbox.config import WadoSection
from drimbox.errors import DrimboxError, Refusal
from drimbox.journal import AuditRecord
from drimbox.tls_identity import CERTIFICATE_HEADER, VERIFY_HEADER, PeerCertificate, read_peer_certificate
from drimbox.tokens import TokenClaims
from drimbox.wado_files import InstanceLocator, StoredInstance
from drimbox.wado_guard import (
    KOS_HEADER,
    METHODS,
    Allow,
    Deny,
    GuardContext,
    HeldManifest,
    ManifestArchive,
    Target,
    Verdict,
    WadoRequest,
    admit_peer,
    decide,
    deny,
    is_uid,
    parse_path,
)
from drimbox.wado_stream import Delivery, MultipartAnswer
from drimbox.whitelist import Whitelist

log = logging.getLogger(__name__)

_ALL_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class TokenCheck(Protocol):
    """`drimbox.tokens.TokenVerifier`, as this door uses it."""

    def verify(self, authorization: Sequence[str], certificate: x509.Certificate | None = None) -> TokenClaims:
        """Check the Authorization values of a request.  Raises `DrimboxError`."""
        ...


@dataclass(frozen=True, slots=True)
class Health:
    """Answer of the service's root: ``UP`` or ``DOWN``, and the checks behind it (name, status)."""

    up: bool
    checks: Mapping[str, bool]


@dataclass(frozen=True, slots=True)
class WadoDeps:
    """What the door needs; everything but `settings` is asked at each request."""

    whitelist: Callable[[], Whitelist | None]
    tokens: TokenCheck
    archive: ManifestArchive
    locator: InstanceLocator
    audit: Callable[[AuditRecord], None]
    health: Callable[[], Health]
    clock: Clock
    settings: WadoSection
    revocations: Callable[[], Revocations] = Revocations
    retry_after_seconds: int = 30


@dataclass(slots=True)
class _Exchange:
    """One request on its way to its one audit record."""

    target: Target
    method: str
    begin: float
    kos: Sequence[str]
    actor: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


class _AnyPath(BaseConverter):
    """Whatever follows the root; Werkzeug's own `path` lets double slashes and line ends fall through."""

    regex = "(?s:.+)"
    weight = 300
    part_isolating = False


def _add_converter(state: BlueprintSetupState) -> None:
    state.app.url_map.converters["wado_path"] = _AnyPath


def create_blueprint(deps: WadoDeps) -> Blueprint:
    """Make the blueprint, to be registered with the service's root as ``url_prefix``."""
    blueprint = Blueprint("wado_rs", __name__)

    def door(path: str = "") -> Response:
        return _Door(deps).answer(path)

    # one view takes every path and method below the root: what is not ours is refused, and audited, by us
    blueprint.record_once(_add_converter)
    for rule, endpoint in (("/", "root"), ("/<wado_path:path>", "door")):
        blueprint.add_url_rule(
            rule,
            endpoint,
            door,
            methods=_ALL_METHODS,
            strict_slashes=False,
            merge_slashes=False,
            provide_automatic_options=False,
        )
    return blueprint


class _Door:
    def __init__(self, deps: WadoDeps) -> None:
        self._deps = deps

    def answer(self, path: str) -> Response:
        """Answer one request, whatever happens."""
        target = parse_path(path)
        if target.route == "health":
            return self._health()
        exchange = _Exchange(target, request.method, self._deps.clock.monotonic(), _values(KOS_HEADER))
        try:
            verdict = self._verdict(exchange)
            return self._refuse(exchange, verdict) if isinstance(verdict, Deny) else self._serve(exchange, verdict)
        except DrimboxError as error:
            return self._refuse(exchange, Deny(error.status, error.reason, error.public))
        except Exception:
            log.exception("WADO-RS request failed")
            return self._refuse(exchange, Deny(500, DrimboxError.reason, DrimboxError.public))

    def _health(self) -> Response:
        if request.method not in METHODS:
            return self._json_denial(deny("method-not-allowed"))
        health = self._deps.health()
        words = {True: "UP", False: "DOWN"}
        checks = [{"name": name, "status": words[up]} for name, up in health.checks.items()]
        return _json(200 if health.up else 503, {"status": words[health.up], "checks": checks})

    def _verdict(self, exchange: _Exchange) -> Verdict:
        deps, target = self._deps, exchange.target
        whitelist = deps.whitelist()
        peer = _attempt(self._peer)
        if isinstance(peer, PeerCertificate):
            exchange.actor = peer.subject_dn
            exchange.facts["certificate"] = peer.fingerprint
        admitted = admit_peer(peer, whitelist)
        if isinstance(admitted, Deny) or not isinstance(peer, PeerCertificate):
            return admitted if isinstance(admitted, Deny) else deny("peer-not-listed")
        exchange.facts["peer"] = admitted.identifier
        token = _attempt(lambda: deps.tokens.verify(_values("Authorization"), peer.certificate))
        if isinstance(token, TokenClaims):
            exchange.facts |= {"subject": token.subject, "azp": token.azp, "jti_hash": token.jti_hash}
        held, study_known = self._look_up(token, exchange.kos, target)
        return decide(
            WadoRequest(
                target.route, exchange.method, target.study, target.series, target.instance, peer, token, exchange.kos
            ),
            GuardContext(whitelist, held, study_known),
        )  # fmt: skip

    def _peer(self) -> PeerCertificate:
        return read_peer_certificate(
            request.headers.get(VERIFY_HEADER, ""),
            request.headers.get(CERTIFICATE_HEADER, ""),
            self._deps.clock.now(),
            self._deps.revocations(),
        )

    def _look_up(
        self, token: TokenClaims | DrimboxError, kos: Sequence[str], target: Target
    ) -> tuple[HeldManifest | None, bool]:
        """Ask the archive, only for what could be served."""
        if isinstance(token, DrimboxError) or len(kos) != 1 or not is_uid(kos[0]) or not is_uid(target.study):
            return None, False
        held = self._deps.archive.by_sop_instance(kos[0])
        if held is not None and held.study_uid == target.study:
            return held, True
        return held, self._deps.archive.by_study(target.study) is not None

    def _serve(self, exchange: _Exchange, verdict: Allow) -> Response:
        ranges = accept.parse_accept(request.headers.getlist("Accept"), self._deps.settings.accept_requires)
        wanted = sum(map(len, verdict.instances.values()))
        located = self._deps.locator.locate(verdict.manifest, verdict.instances)
        if not located:
            raise Refusal(
                "the PACS holds none of the instances",
                reason="images-unavailable",
                status=404,
                public="Les images de cet examen ne sont plus disponibles.",
            )
        sent = [i for i in located if accept.choose(ranges, i.transfer_syntax) == i.transfer_syntax]
        if not sent:
            raise Refusal(
                "no stored syntax is acceptable",
                reason="syntax-not-acceptable",
                status=406,
                public="Aucune syntaxe de transfert demandée ne convient à ces images.",
            )
        exchange.facts |= {"missing": wanted - len(sent)} if len(sent) < wanted else {}
        answer = MultipartAnswer(sent, self._location(exchange.target.study))
        status = 200 if len(sent) == wanted else self._deps.settings.partial_status
        return self._stream(exchange, verdict, answer, status)

    def _stream(self, exchange: _Exchange, verdict: Allow, answer: MultipartAnswer, status: int) -> Response:
        modalities = Counter(verdict.manifest.modalities.get(i.series_uid, "") for i in answer.instances)

        def ended(delivery: Delivery) -> None:
            exchange.facts |= {
                "objects": delivery.objects,
                "bytes": delivery.octets,
                "complete": delivery.complete,
                "syntaxes": dict(answer.syntaxes()),
                "modalities": dict(modalities),
            }
            self._audit(exchange, "allowed", status, "")

        headers = {
            "Content-Type": answer.content_type,
            "Content-Length": str(answer.length),
            "Cache-Control": "private, no-store",
        }
        if exchange.method == "HEAD":
            ended(Delivery(0, 0, complete=True))
            return Response(status=status, headers=headers)
        return Response(answer.stream(ended), status=status, headers=headers, direct_passthrough=True)

    def _location(self, study: str) -> Callable[[StoredInstance], str]:
        base = f"{self._deps.settings.root.rstrip('/')}/studies/{study}/series"
        return lambda instance: f"{base}/{instance.series_uid}/instances/{instance.sop_instance_uid}"

    def _refuse(self, exchange: _Exchange, denial: Deny) -> Response:
        self._audit(exchange, "denied", denial.status, denial.reason)
        return self._json_denial(denial)

    def _json_denial(self, denial: Deny) -> Response:
        response = _json(denial.status, {"reason": denial.reason, "message": denial.public})
        if denial.status == 401:
            error = "" if denial.reason == "token-missing" else ' error="invalid_token"'
            response.headers["WWW-Authenticate"] = f"Bearer{error}"
        elif denial.status == 503:
            response.headers["Retry-After"] = str(self._deps.retry_after_seconds)
        elif denial.status == 405:
            response.headers["Allow"] = ", ".join(METHODS)
        return response

    def _audit(self, exchange: _Exchange, outcome: str, status: int, reason: str) -> None:
        # runs after the request for a stream: nothing here may ask Flask for it
        target = exchange.target
        uids = {"series": target.series, "instance": target.instance, "kos": next(iter(exchange.kos), "")}
        duration = self._deps.clock.monotonic() - exchange.begin
        facts = {
            "status": status,
            "method": exchange.method,
            **{name: uid for name, uid in uids.items() if uid and is_uid(uid)},
            **exchange.facts,
            "milliseconds": round(duration * 1000),
        }
        study = target.study if is_uid(target.study) else ""
        self._deps.audit(AuditRecord("db", target.route, outcome, reason, exchange.actor, study, facts))


def _attempt[T](check: Callable[[], T]) -> T | DrimboxError:
    """Give what a check gives, or the error that it raises: the guard weighs both."""
    try:
        return check()
    except DrimboxError as error:
        return error


def _values(name: str) -> list[str]:
    """Every value of a header that may come once; a server on the way joins repeated ones with a comma."""
    return [v.strip() for line in request.headers.getlist(name) for v in line.split(",") if v.strip()]


def _json(status: int, body: Mapping[str, Any]) -> Response:
    response = Response(json.dumps(body, ensure_ascii=False) + "\n", status=status, mimetype="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response
