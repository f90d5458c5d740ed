# SPDX-License-Identifier: AGPL-3.0-or-later
"""The viewer's door without HTTP: who may look at which exam, from the report's link to each frame.

Every decision writes one audit record, but for frames and bulk data that are allowed (thousands an exam:
the metadata of their series stand for them).
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from drimbox import viewer_filter
from drimbox.clock import Clock
from drimbox.config import ViewerSection
from drimbox.errors import DrimboxError, Refusal
from drimbox.journal import AuditRecord
from drimbox.oidc import LoginStart, PscLogin
from drimbox.records import Identifier, Restrictions, Traits
from drimbox.sessions import BrowserSession, ExamContext, PendingLogin, Sessions, Stage, Step
from drimbox.viewer_filter import Route, Verdict, ViewerSession
from drimbox.viewer_link import ViewerLink, matches, parse_link

FACE = "vi"
COOKIE = "__Host-drimbox-vi"
LOGIN_COOKIE = "__Host-drimbox-vi-connexion"
PUBLIC_UNAVAILABLE = (
    "Cet examen n'est pas disponible par ce lien. Vérifiez que le lien vient de la dernière version du "
    "compte rendu. Si le problème dure, demandez les images au service qui a réalisé l'examen."
)
PUBLIC_ENDED = "Votre session est terminée. Ouvrez de nouveau le lien du compte rendu pour vous reconnecter."
PUBLIC_LOGIN = "La connexion n'a pas abouti ou a pris trop de temps. Ouvrez de nouveau le lien du compte rendu."


@dataclass(frozen=True, slots=True)
class ViewableExam:
    """An archived exam as the viewer needs it; `report_ids` are those of every version of its report.

    `state` is that of its manifest (``live`` alone is shown); `study_date` is ``YYYYMMDD`` or empty.
    """

    study_uid: str
    state: str
    traits: Traits = field(repr=False)
    report_ids: tuple[Identifier, ...]
    accession: Identifier | None = None
    description: str = ""
    study_date: str = ""
    restrictions: Restrictions = field(default_factory=Restrictions)


class ExamArchive(Protocol):
    """What the door asks of the archive."""

    def viewable(self, study_uid: str) -> ViewableExam | None:
        """Give an exam."""
        ...

    def still_viewable(self, study_uid: str) -> bool:
        """Tell, cheaply, whether the exam's manifest is still live: asked for each image."""
        ...


class ProfessionalLogin(Protocol):
    """Login by Pro Santé Connect (`oidc.PscClient`)."""

    def start(self) -> LoginStart:
        """Begin.  Raises `NationalServiceError`."""
        ...

    def finish(self, code: str, nonce: str, verifier: str, issuer: str = "") -> PscLogin:
        """End.  Raises `TokenError`, `NationalServiceError`."""
        ...


@dataclass(frozen=True, slots=True)
class ViewerDeps:
    """Everything that the door stands on; `dicomweb` is GET below Orthanc's DICOMweb root, within the process."""

    archive: ExamArchive
    professionals: ProfessionalLogin
    sessions: Sessions
    audit: Callable[[AuditRecord], None]
    dicomweb: Callable[[str], bytes]
    clock: Clock
    settings: ViewerSection
    site_name: str = ""


@dataclass(frozen=True, slots=True)
class Consultation:
    """One exam open in one session."""

    session: BrowserSession
    context: ExamContext
    exam: ViewableExam


class ViewerDoor:
    """Decisions of the `vi` face."""

    def __init__(self, deps: ViewerDeps) -> None:
        self._deps = deps
        self.sessions = deps.sessions

    def read_link(self, query: str) -> ViewerLink:
        """Read a report's link.  Raises `Refusal`."""
        try:
            return parse_link(query)
        except Refusal as refusal:
            self._audit("link", refusal.reason)
            raise

    def logged_in(self, session_id: str | None) -> BrowserSession | None:
        """Give the session of somebody who is logged in."""
        session = self.sessions.find(session_id)
        return session if session is not None and session.stage is Stage.LOGGED_IN else None

    def start_login(self, query: str, login_id: str | None) -> tuple[str, str]:
        """Begin a login for a link; give PSC's address and the identifier of the pre-login session.

        Raises `Refusal`, `NationalServiceError`.
        """
        link = self.read_link(query)
        try:
            start = self._deps.professionals.start()
        except DrimboxError as error:
            self._audit("login", error.reason, study_uid=link.study_uid)
            raise
        pending = PendingLogin(start.state, start.nonce, start.verifier, link.query(), self._deps.clock.now())
        return start.url, self.sessions.start_login(login_id, pending)

    def finish_login(
        self, login_id: str | None, session_id: str | None, answer: Mapping[str, str]
    ) -> tuple[str, ViewerLink]:
        """End a login with PSC's answer (``state``, ``code``, ``error``, ``iss``); give the new session and its link.

        Raises `Refusal`, `TokenError`, `NationalServiceError`.
        """
        pending = self.sessions.take_login(login_id, answer.get("state", ""))
        if pending is None:
            raise self._refused("login", "login-state", PUBLIC_LOGIN)
        link = parse_link(pending.target)
        if answer.get("error") or not answer.get("code"):
            raise self._refused("login", "login-cancelled", PUBLIC_LOGIN, study_uid=link.study_uid)
        try:
            login = self._deps.professionals.finish(
                answer["code"], pending.nonce, pending.verifier, answer.get("iss", "")
            )
        except DrimboxError as failure:
            self._audit("login", failure.reason, study_uid=link.study_uid)
            raise
        opened = self.sessions.log_in(session_id, login.user, login.id_token)
        self._audit("login", "allowed", actor=login.user.name_id, study_uid=link.study_uid, facts={"acr": login.acr})
        return opened, link

    def open_exam(self, session_id: str, link: ViewerLink) -> ExamContext:
        """Open a link's exam in a session.

        Raises `Refusal`: an exam that is unknown, withdrawn, masked or another one than the link's report
        says gives one and the same answer.
        """
        session = self.logged_in(session_id)
        actor = _actor(session)
        reason = self._problem(link)
        if reason is not None:
            raise self._refused("link", reason, PUBLIC_UNAVAILABLE, 404, actor, link.study_uid)
        context = self.sessions.add_context(session_id, link.study_uid, link.series_uid)
        if context is None:
            raise self._refused("link", "session-ended", PUBLIC_ENDED, 401, actor, link.study_uid)
        self._audit("link", "allowed", actor=actor, study_uid=link.study_uid)
        return context

    def consultation(self, session_id: str | None, context_id: str) -> Consultation:
        """Give an exam that the session has opened.  Raises `Refusal`."""
        session = self.logged_in(session_id)
        context = session.context(context_id) if session else None
        if session is None or session_id is None or context is None:
            raise self._refused("consultation", "session-ended", PUBLIC_ENDED, 401, _actor(session))
        exam = self._deps.archive.viewable(context.study_uid)
        if exam is None or not self._shown(exam):
            raise self._refused(
                "consultation", "exam-withdrawn", PUBLIC_UNAVAILABLE, 404, _actor(session), context.study_uid
            )
        self.sessions.touch(session_id, session)
        return Consultation(session, context, exam)

    def end(self, session_id: str | None, csrf: str) -> None:
        """Log out.  Raises `Refusal` where the form was not one of our pages."""
        session = self.logged_in(session_id)
        if session is None:
            return
        if not _holds(session, csrf):
            raise self._refused("logout", "csrf", "Cette demande ne vient pas de nos pages.", 403, _actor(session))
        self.sessions.end(session_id, Step.LOGOUT)
        self._audit("logout", "allowed", actor=_actor(session))

    def keep_alive(self, session_id: str | None, csrf: str) -> int:
        """Note that the person is at work in the viewer: 204, 401 nobody is logged in, 403 not one of our pages."""
        session = self.logged_in(session_id)
        if session is None or session_id is None:
            return 401
        if not _holds(session, csrf):
            return 403
        self.sessions.touch(session_id, session)
        return 204

    def authorise(self, session_id: str | None, method: str, path: str, query: str, *, ours: bool) -> int:
        """Verdict on one request of DICOMweb: 204 allowed, 401 nobody is logged in, 403 refused.

        `ours` tells who will answer: this application (searches) or Orthanc (metadata, frames, bulk data),
        whose own searches would show every exam of the PACS.
        """
        session = self.logged_in(session_id)
        if session is None or session_id is None:
            self._audit("dicomweb", "session-ended")
            return 401
        verdict = self._verdict(session, method, path, query, ours)
        if not verdict.allowed:
            self._audit("dicomweb", verdict.reason, actor=_actor(session), study_uid=verdict.study_uid)
            return 403
        if verdict.route is Route.METADATA:
            self._audit("dicomweb", "allowed", actor=_actor(session), study_uid=verdict.study_uid)
        self.sessions.touch(session_id, session)
        return 204

    def admits(self, path: str, method: str, headers: Mapping[str, str], query: Mapping[str, str]) -> bool:
        """Give the same verdict in the form of `request_filter.Rule`: names of `headers` in lower case."""
        text = "&".join(f"{name}={value}" for name, value in query.items())
        session_id = session_cookie(headers.get("cookie", ""))
        return self.authorise(session_id, method, path, text, ours=False) == 204

    def studies(self, session: BrowserSession, query: str) -> list[dict[str, Any]]:
        """Answer a search for studies by the session's own.  Raises `DrimboxError` where Orthanc fails."""
        wanted = viewer_filter.studies_query(query, ViewerSession(self._open_studies(session)))
        rows: list[dict[str, Any]] = []
        for study_uid in wanted.studies:
            rows += self._search(viewer_filter.study_search(study_uid))
        return viewer_filter.clean_studies(rows, wanted)

    def series(self, study_uid: str) -> list[dict[str, Any]]:
        """Answer a search for the series of a study that `authorise` has allowed, without manifests."""
        return viewer_filter.clean_series(self._search(viewer_filter.series_search(study_uid)))

    def _search(self, path: str) -> list[dict[str, Any]]:
        try:
            return viewer_filter.read_rows(self._deps.dicomweb(path))
        except ValueError as error:
            raise DrimboxError("Orthanc's DICOMweb gave no DICOM JSON", status=502) from error

    def _verdict(self, session: BrowserSession, method: str, path: str, query: str, ours: bool) -> Verdict:
        verdict = viewer_filter.allowed(method, path, query, ViewerSession(session.studies()))
        if not verdict.allowed:
            return verdict
        if (verdict.route in viewer_filter.ANSWERED) is not ours:
            return replace(verdict, allowed=False, reason="route-unknown")
        if verdict.study_uid and not self._still(verdict):
            return replace(verdict, allowed=False, reason="exam-withdrawn")
        return verdict

    def _still(self, verdict: Verdict) -> bool:
        if verdict.route in (Route.FRAMES, Route.BULK):
            return self._deps.archive.still_viewable(verdict.study_uid)
        exam = self._deps.archive.viewable(verdict.study_uid)
        return exam is not None and self._shown(exam)

    def _open_studies(self, session: BrowserSession) -> frozenset[str]:
        return frozenset(uid for uid in session.studies() if self._deps.archive.still_viewable(uid))

    def _problem(self, link: ViewerLink) -> str | None:
        exam = self._deps.archive.viewable(link.study_uid)
        if exam is None:
            return "exam-unknown"
        rule = self._deps.settings.report_id
        if not matches(link, exam.study_uid, exam.report_ids, exam.accession, rule):
            return "link-mismatch"
        return None if self._shown(exam) else "exam-withdrawn"

    def _shown(self, exam: ViewableExam) -> bool:
        masked = exam.restrictions.masked_to_professionals and self._deps.settings.masked_exams == "refuse"
        return exam.state == "live" and not masked

    def _refused(
        self, route: str, reason: str, public: str, status: int = 400, actor: str = "", study_uid: str = ""
    ) -> Refusal:
        self._audit(route, reason, actor=actor, study_uid=study_uid)
        return Refusal(reason, reason=reason, status=status, public=public)

    def _audit(
        self, route: str, reason: str, *, actor: str = "", study_uid: str = "", facts: Mapping[str, Any] | None = None
    ) -> None:
        outcome = "allowed" if reason == "allowed" else "denied"
        self._deps.audit(AuditRecord(FACE, f"viewer-{route}", outcome, reason, actor, study_uid, facts or {}))


def session_cookie(header: str) -> str | None:
    """Read our session's identifier in a ``Cookie`` header; None where it is absent or given twice."""
    pairs = (part.strip().partition("=") for part in header.split(";"))
    found = [value for name, _, value in pairs if name == COOKIE]
    return found[0] if len(found) == 1 else None


def _holds(session: BrowserSession, csrf: str) -> bool:
    return bool(session.csrf) and hmac.compare_digest(csrf.encode(), session.csrf.encode())


def _actor(session: BrowserSession | None) -> str:
    return session.user.name_id if session is not None and session.user is not None else ""
