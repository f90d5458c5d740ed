# SPDX-License-Identifier: AGPL-3.0-or-later
"""The verdict on a request of another DRIMbox: a pure function, and the table that says what it must be.

Order of the checks (spec `drimbox_wado_rs.md`, section 5): certificate, whitelist, token, path, possession of
the manifest, content of the manifest.  What no check allows is denied.  `DENIALS` gives each reason its
status and its public sentence; `OUTCOMES` states, for each route and each actor, what happens: the
tests are generated from it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal, Protocol

from drimbox.errors import DrimboxError
from drimbox.records import Peer
from drimbox.tls_identity import PeerCertificate
from drimbox.tokens import TokenClaims
from drimbox.whitelist import Whitelist, find_peer

RouteName = Literal["health", "study", "series", "instance", "other"]
METHODS: Final = ("GET", "HEAD")
KOS_HEADER: Final = "KOS-SOPInstanceUID"
_UID: Final = re.compile(r"[0-9]+(?:\.[0-9]+)*", re.ASCII)


@dataclass(frozen=True, slots=True)
class HeldManifest:
    """A KOS as the guard needs it: `series` maps each series UID to its SOP Instance UIDs, in order.

    `state` is ``live``, ``superseded``, ``withdrawn`` or ``pending``; `modalities` is by series UID and only
    feeds statistics.
    """

    study_uid: str
    sop_instance_uid: str
    state: str
    series: Mapping[str, tuple[str, ...]] = field(repr=False)
    modalities: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)


class ManifestArchive(Protocol):
    """The KOS that this DRIMbox has published."""

    def by_study(self, study_uid: str) -> HeldManifest | None:
        """Give the study's manifest in force, else its latest one, else None."""
        ...

    def by_sop_instance(self, sop_instance_uid: str) -> HeldManifest | None:
        """Give one version by its own UID, whatever its state."""
        ...


@dataclass(frozen=True, slots=True)
class Target:
    """A path below the service's root, taken apart but not yet believed."""

    route: RouteName
    study: str = ""
    series: str | None = None
    instance: str | None = None


@dataclass(frozen=True, slots=True)
class WadoRequest:
    """A request as received: nothing in it is trusted.

    `peer` and `token` hold what their check gave, or the error that it raised; `token` may stay None while
    `admit_peer` denies.  `kos_headers` holds every value received.
    """

    route: RouteName
    method: str
    study: str
    series: str | None
    instance: str | None
    peer: PeerCertificate | DrimboxError
    token: TokenClaims | DrimboxError | None
    kos_headers: Sequence[str]


@dataclass(frozen=True, slots=True)
class GuardContext:
    """What this DRIMbox knows at that instant.

    `held` is the manifest whose UID the caller gave, `study_known` whether the study has any manifest.
    """

    whitelist: Whitelist | None
    held: HeldManifest | None
    study_known: bool


@dataclass(frozen=True, slots=True)
class Allow:
    """Serve `instances` (SOP Instance UIDs by series UID, in the manifest's order)."""

    peer: Peer
    manifest: HeldManifest
    instances: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Deny:
    """Refuse; `public` is the French sentence for the caller."""

    status: int
    reason: str
    public: str


type Verdict = Allow | Deny

DENIALS: Final[Mapping[str, tuple[int, str]]] = MappingProxyType(
    {
        "whitelist-absent": (503, "Aucune liste blanche vérifiée n'est en vigueur : aucun échange n'est possible."),
        "peer-not-listed": (403, "Cette DRIMbox ne figure pas dans la liste blanche en vigueur."),
        "token-missing": (401, "Un jeton d'accès Pro Santé Connect est exigé."),
        "route-unknown": (404, "Cette adresse n'existe pas."),
        "method-not-allowed": (405, "Seules les méthodes GET et HEAD sont admises."),
        "uid-malformed": (400, "Un identifiant de l'adresse n'est pas un UID DICOM."),
        "kos-header-missing": (400, "L'en-tête KOS-SOPInstanceUID est exigé."),
        "kos-header-repeated": (400, "L'en-tête KOS-SOPInstanceUID n'est admis qu'une fois."),
        "kos-header-malformed": (400, "L'en-tête KOS-SOPInstanceUID n'est pas un UID DICOM."),
        "study-unknown": (404, "Cet examen n'est pas partagé par cette DRIMbox."),
        "kos-unknown": (404, "Ce pointeur (KOS) n'est pas connu de cette DRIMbox."),
        "kos-of-another-study": (404, "Ce pointeur (KOS) ne désigne pas cet examen."),
        "kos-superseded": (404, "Ce pointeur (KOS) a été remplacé : consultez à nouveau le DMP."),
        "kos-withdrawn": (404, "L'examen a été dépublié."),
        "kos-pending": (404, "Ce pointeur (KOS) n'est pas encore publié."),
        "series-not-in-kos": (404, "Cette série ne fait pas partie de l'examen partagé."),
        "instance-not-in-kos": (404, "Cette image ne fait pas partie de l'examen partagé."),
    }
)


def deny(reason: str) -> Deny:
    """The denial of that name.  Raises `KeyError` for a reason that the table does not hold."""
    status, public = DENIALS[reason]
    return Deny(status, reason, public)


def parse_path(path: str) -> Target:
    """Take apart a path below the root (no leading slash, percent-decoded); what has no route is ``other``."""
    match path.split("/"):
        case [""]:
            return Target("health")
        case ["studies", study]:
            return Target("study", study)
        case ["studies", study, "series", series]:
            return Target("series", study, series)
        case ["studies", study, "series", series, "instances", instance]:
            return Target("instance", study, series, instance)
    return Target("other")


def admit_peer(peer: PeerCertificate | DrimboxError, whitelist: Whitelist | None) -> Peer | Deny:
    """First half of the verdict, before any work on a token: certificate, then whitelist."""
    if isinstance(peer, DrimboxError):
        return _problem(peer)
    if whitelist is None:
        return deny("whitelist-absent")
    return find_peer(whitelist, peer.certificate) or deny("peer-not-listed")


def decide(request: WadoRequest, context: GuardContext) -> Verdict:
    """The whole verdict on a guarded route."""
    peer = admit_peer(request.peer, context.whitelist)
    if isinstance(peer, Deny):
        return peer
    if request.token is None:
        return deny("token-missing")
    if isinstance(request.token, DrimboxError):
        return _problem(request.token)
    problem = _form_problem(request) or _possession_problem(request, context)
    if problem is not None or context.held is None:
        return deny(problem or "kos-unknown")
    return _content(request, peer, context.held)


def is_uid(text: str) -> bool:
    """Whether a text is a DICOM UID: ASCII digits and dots, 64 characters at most (PS3.5, 9.1)."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def _problem(error: DrimboxError) -> Deny:
    return Deny(error.status, error.reason, error.public)


def _form_problem(request: WadoRequest) -> str | None:
    if request.route not in ("study", "series", "instance"):
        return "route-unknown"
    if request.method not in METHODS:
        return "method-not-allowed"
    levels = {"study": 1, "series": 2, "instance": 3}[request.route]
    uids = (request.study, request.series, request.instance)
    if not all(u is not None and is_uid(u) for u in uids[:levels]):
        return "uid-malformed"
    if not [v for v in request.kos_headers if v.strip()]:
        return "kos-header-missing"
    if len(request.kos_headers) > 1:
        return "kos-header-repeated"
    return None if is_uid(request.kos_headers[0].strip()) else "kos-header-malformed"


def _possession_problem(request: WadoRequest, context: GuardContext) -> str | None:
    held = context.held
    if held is None:
        return "kos-unknown" if context.study_known else "study-unknown"
    # what was looked up must be what was asked: a mistake in the wiring shall not open the door
    if held.sop_instance_uid != request.kos_headers[0].strip():
        return "kos-unknown"
    if held.study_uid != request.study:
        return "kos-of-another-study" if context.study_known else "study-unknown"
    if held.state == "live":
        return None
    return f"kos-{held.state}" if held.state in ("superseded", "withdrawn", "pending") else "kos-unknown"


def _content(request: WadoRequest, peer: Peer, held: HeldManifest) -> Verdict:
    if request.route == "study":
        return Allow(peer, held, held.series)
    series = request.series or ""
    instances = held.series.get(series)
    if instances is None:
        return deny("series-not-in-kos")
    if request.route == "series":
        return Allow(peer, held, {series: instances})
    if request.instance not in instances:
        return deny("instance-not-in-kos")
    return Allow(peer, held, {series: (request.instance,)})


# --- the table: route × actor → (status, reason); reason "" is served ----------------------------------------------


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody at the door: faultless but for `reason` ("" for none).

    `status` is given where `DENIALS` does not hold the reason; `routes` are those where the fault shows (None:
    all guarded ones).
    """

    name: str
    reason: str
    status: int = 0
    routes: tuple[RouteName, ...] | None = None


_IMAGES: Final[tuple[RouteName, ...]] = ("study", "series", "instance")
ROUTES: Final[Mapping[RouteName, str]] = MappingProxyType(
    {
        "health": "{root}",
        "study": "{root}/studies/{study}",
        "series": "{root}/studies/{study}/series/{series}",
        "instance": "{root}/studies/{study}/series/{series}/instances/{instance}",
        "other": "anything else below {root}",
    }
)
ACTORS: Final = (
    Actor("no certificate", "certificate-missing", 403),
    Actor("certificate of another authority", "certificate-not-verified", 403),
    Actor("certificate that is unreadable", "certificate-malformed", 403),
    Actor("certificate that has expired", "certificate-expired", 403),
    Actor("certificate that is not valid yet", "certificate-not-yet-valid", 403),
    Actor("certificate that was revoked", "certificate-revoked", 403),
    Actor("listed peer while no whitelist is in force", "whitelist-absent"),
    Actor("peer that is not listed", "peer-not-listed"),
    Actor("no token", "token-missing"),
    Actor("token that has expired", "token-expired", 401),
    Actor("token of another issuer", "token-issuer", 401),
    Actor("token signed by somebody else", "token-signature", 401),
    Actor("token that PSC says inactive", "token-inactive", 401),
    Actor("good token while PSC is silent", "psc-unavailable", 503),
    Actor("holder on a method that changes things", "method-not-allowed", routes=_IMAGES),
    Actor("holder with an ill-formed UID", "uid-malformed", routes=_IMAGES),
    Actor("no KOS header", "kos-header-missing", routes=_IMAGES),
    Actor("two KOS headers", "kos-header-repeated", routes=_IMAGES),
    Actor("KOS header that is no UID", "kos-header-malformed", routes=_IMAGES),
    Actor("asks for a study that is not shared", "study-unknown", routes=_IMAGES),
    Actor("holds a KOS that nobody published", "kos-unknown", routes=_IMAGES),
    Actor("holds the KOS of another study", "kos-of-another-study", routes=_IMAGES),
    Actor("holds a KOS since replaced", "kos-superseded", routes=_IMAGES),
    Actor("holds a KOS since withdrawn", "kos-withdrawn", routes=_IMAGES),
    Actor("holds a KOS not yet published", "kos-pending", routes=_IMAGES),
    Actor("holder on a series outside the KOS", "series-not-in-kos", routes=("series", "instance")),
    Actor("holder on an instance outside the KOS", "instance-not-in-kos", routes=("instance",)),
    Actor("holder", ""),
)


def _expected(route: RouteName, actor: Actor) -> tuple[int, str]:
    if route == "health":
        return (405, "method-not-allowed") if actor.reason == "method-not-allowed" else (200, "")
    if actor.reason and (actor.routes is None or route in actor.routes):
        return actor.status or DENIALS[actor.reason][0], actor.reason
    return (DENIALS["route-unknown"][0], "route-unknown") if route == "other" else (200, "")


OUTCOMES: Final[Mapping[tuple[RouteName, str], tuple[int, str]]] = MappingProxyType(
    {(route, actor.name): _expected(route, actor) for route in ROUTES for actor in ACTORS}
)
