# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every route of the `vi` face, by Flask's client."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from drimbox.config import ViewerSection
from drimbox.errors import DrimboxError, ServiceUnavailable, TokenError
from drimbox.journal import AuditRecord
from drimbox.oidc import LoginStart, PscLogin
from drimbox.psc_user import Activity, PscUser
from drimbox.records import Code, Identifier, Restrictions, Traits
from drimbox.sessions import Limits, MemorySessionStore, Sessions
from drimbox.viewer import create_app, redirect_uri
from drimbox.viewer_door import COOKIE, LOGIN_COOKIE, ViewableExam, ViewerDeps, ViewerDoor
from tests.conftest import FakeClock

STUDY, PRIOR = "1.2.3", "1.2.4"
QUERY = f"requestType=STUDY&studyUID={STUDY}&Accessionnumber=ACC1&idCDA=1.2.9"
LINK = f"/IHEInvokeImageDisplay?{QUERY}"
BASE = "https://vi.test"
WALLET = "https://wallet.test/auth"
TRAITS = Traits(
    ins="275051234567890",
    ins_oid="1.2.250.1.213.1.4.8",
    birth_family="PAT<b>",
    birth_given="DOMINIQUE",
    birth_givens="DOMINIQUE MARIE",
    used_family="USAGE",
    birth_date="19750512",
    sex="F",
    birth_place="63220",
)
EXAM = ViewableExam(
    STUDY,
    "live",
    TRAITS,
    (Identifier("1.2.9"), Identifier("1.2.10")),
    Identifier("1.2.8", "ACC1"),
    "Scanner",
    "20261015",
)
CAMILLE = PscUser("899700000001", "RADIO", "Camille", Code("10", "x", "Médecin"), (Activity("R1", "CABINET"),))
ALEX = PscUser("899700000002", "AUTRE", "Alex")


@dataclass
class Site:
    """A door with its surroundings, each of which a test may bend."""

    clock: FakeClock
    folder: Path
    exams: dict[str, ViewableExam] = field(default_factory=lambda: {STUDY: EXAM})
    user: PscUser = CAMILLE
    failure: Exception | None = None
    verdicts: list[AuditRecord] = field(default_factory=list)
    searches: list[str] = field(default_factory=list)
    logins: list[tuple[str, str, str, str]] = field(default_factory=list)
    rows: Callable[[str], bytes] = lambda _path: b"[]"
    settings: ViewerSection = field(init=False)
    app: Any = field(init=False)
    drawn: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        (self.folder / "index.html").write_text("<!doctype html><title>OHIF</title>")
        self.settings = ViewerSection(public_url=BASE, folder=self.folder)
        self.build()

    def build(self, **changes: Any) -> None:
        self.settings = self.settings.model_copy(update=changes)
        self.store = MemorySessionStore()
        sessions = Sessions(self.store, Limits(timedelta(minutes=30), timedelta(minutes=240)), self.clock)
        self.deps = ViewerDeps(
            self, self, sessions, self.verdicts.append, self.dicomweb, self.clock, self.settings, "Clinique"
        )
        self.app = create_app(self.deps)

    # archive
    def viewable(self, study_uid: str) -> ViewableExam | None:
        return self.exams.get(study_uid)

    def still_viewable(self, study_uid: str) -> bool:
        exam = self.exams.get(study_uid)
        return exam is not None and exam.state == "live"

    # Pro Santé Connect
    def start(self) -> LoginStart:
        if self.failure:
            raise self.failure
        self.drawn += 1
        state = f"state-{self.drawn}"
        return LoginStart(f"{WALLET}?state={state}", state, f"nonce-{self.drawn}", f"verifier-{self.drawn}")

    def finish(self, code: str, nonce: str, verifier: str, issuer: str = "") -> PscLogin:
        self.logins.append((code, nonce, verifier, issuer))
        if self.failure:
            raise self.failure
        return PscLogin(self.user, "eidas1", "id-token", "access-token")

    def dicomweb(self, path: str) -> bytes:
        self.searches.append(path)
        return self.rows(path)

    # a browser
    def browser(self) -> FlaskClient:
        return self.app.test_client()  # type: ignore[no-any-return]

    def reasons(self) -> list[tuple[str, str]]:
        return [(v.route, v.reason) for v in self.verdicts]


@pytest.fixture
def site(clock: FakeClock, tmp_path: Path) -> Site:
    return Site(clock, tmp_path / "viewer")


def get(browser: FlaskClient, path: str, **options: Any) -> TestResponse:
    return browser.get(path, base_url=BASE, **options)


def depart(browser: FlaskClient, query: str = QUERY) -> str:
    """Leave for PSC; give the state."""
    answer = get(browser, f"/connexion/psc?{query}")
    assert answer.status_code == 303
    return parse_qs(urlsplit(answer.location).query)["state"][0]


def come_back(browser: FlaskClient, state: str, code: str = "code-1") -> TestResponse:
    return get(browser, f"/connexion/psc/retour?state={state}&code={code}")


def open_exam(browser: FlaskClient, query: str = QUERY) -> str:
    """Log in and open the exam; give the context's identifier."""
    answer = come_back(browser, depart(browser, query))
    assert answer.status_code == 303, answer.text
    return str(answer.location).rpartition("/")[2]


def cookie(answer: TestResponse, name: str) -> str:
    found = [c for c in answer.headers.getlist("Set-Cookie") if c.startswith(name + "=")]
    assert len(found) == 1, answer.headers
    return found[0]


# --- the link


def test_the_link_offers_both_ways_in(site: Site) -> None:
    answer = get(site.browser(), LINK)
    assert answer.status_code == 200
    assert 'lang="fr"' in answer.text
    assert "Vous êtes professionnel de santé" in answer.text
    assert "FranceConnect+ n&#39;est pas encore ouvert" in answer.text or "FranceConnect+ n'est pas" in answer.text
    href = re.search(r'class="button" href="([^"]+)"', answer.text)
    assert href is not None
    assert href[1].startswith("/connexion/psc?requestType=STUDY&amp;studyUID=1.2.3")


def test_an_unknown_exam_gets_the_same_page_before_the_login(site: Site) -> None:
    known = get(site.browser(), LINK).text
    unknown = get(site.browser(), LINK.replace(STUDY, PRIOR)).text
    assert known.replace(STUDY, PRIOR) == unknown
    assert site.verdicts == []


def test_a_broken_link_is_a_french_page_and_an_audit_record(site: Site) -> None:
    answer = get(site.browser(), LINK + "&studyUID=9")
    assert answer.status_code == 400
    assert "Ce lien est incomplet" in answer.text
    assert site.reasons() == [("viewer-link", "link-repeated")]


def test_a_link_cannot_write_into_the_page(site: Site) -> None:
    answer = get(site.browser(), LINK.replace("ACC1", "%22%3E%3Cscript%3Ex"))
    assert answer.status_code == 200
    assert "<script>x" not in answer.text


# --- the login


def test_the_login_leaves_for_psc_with_a_cookie_of_its_own(site: Site) -> None:
    answer = get(site.browser(), f"/connexion/psc?{QUERY}")
    assert (answer.status_code, answer.location) == (303, f"{WALLET}?state=state-1")
    held = cookie(answer, LOGIN_COOKIE)
    assert re.search(r"; Secure; HttpOnly; Path=/; SameSite=Lax$", held)
    assert "Domain" not in held
    assert "nonce-1" not in str(answer.headers)
    assert "verifier-1" not in str(answer.headers)


@pytest.mark.parametrize("query", ["", "requestType=STUDY", QUERY + "&idCDA=1"])
def test_no_login_starts_without_a_good_link(site: Site, query: str) -> None:
    answer = get(site.browser(), f"/connexion/psc?{query}")
    assert answer.status_code == 400
    assert site.drawn == 0


def test_an_open_redirection_is_impossible(site: Site) -> None:
    browser = site.browser()
    for name in ("next", "redirect_uri", "target", "retour", "iss"):
        get(browser, f"/connexion/psc?{QUERY}&{name}=https://evil.test/")
    answer = get(
        browser,
        f"/connexion/psc/retour?state=state-{site.drawn}&code=c&redirect_uri=https://evil.test/&next=//evil.test",
    )
    assert answer.status_code == 303
    assert re.fullmatch(r"/visionneuse/[A-Za-z0-9_-]{22}", str(answer.location))


def test_the_return_opens_a_session_under_a_new_identifier(site: Site) -> None:
    browser = site.browser()
    state = depart(browser)
    answer = get(browser, f"/connexion/psc/retour?state={state}&code=code-1&iss=https://psc.test")
    assert site.logins == [("code-1", "nonce-1", "verifier-1", "https://psc.test")]
    held = cookie(answer, COOKIE)
    assert held.startswith("__Host-drimbox-vi=")
    assert re.search(r"; Secure; HttpOnly; Path=/; SameSite=Lax$", held)
    assert "Expires" not in held
    assert "Max-Age" not in held
    assert "access-token" not in str(answer.headers) + answer.text
    assert site.reasons() == [("viewer-login", "allowed"), ("viewer-link", "allowed")]
    assert all(v.actor == CAMILLE.name_id for v in site.verdicts)


def test_a_replayed_state_is_refused(site: Site) -> None:
    browser = site.browser()
    state = depart(browser)
    assert come_back(browser, state).status_code == 303
    answer = come_back(browser, state)
    assert answer.status_code == 400
    assert "La connexion n" in answer.text
    assert len(site.logins) == 1
    assert site.reasons()[-1] == ("viewer-login", "login-state")


def test_a_state_of_another_browser_is_refused(site: Site) -> None:
    state = depart(site.browser())
    assert come_back(site.browser(), state).status_code == 400
    victim = site.browser()
    depart(victim)
    assert come_back(victim, state).status_code == 400
    assert site.logins == []


def test_a_state_that_took_too_long_is_refused(site: Site) -> None:
    browser = site.browser()
    state = depart(browser)
    site.clock.advance(600)
    assert come_back(browser, state).status_code == 400
    assert site.logins == []


@pytest.mark.parametrize("extra", ["&error=access_denied", "", "&code=a&code=b"])
def test_a_cancelled_login_is_told_and_its_state_is_spent(site: Site, extra: str) -> None:
    browser = site.browser()
    state = depart(browser)
    answer = get(browser, f"/connexion/psc/retour?state={state}{extra}")
    assert answer.status_code == 400
    assert site.reasons()[-1] == ("viewer-login", "login-cancelled")
    assert come_back(browser, state).status_code == 400
    assert site.logins == []


def test_a_repeated_state_is_no_state(site: Site) -> None:
    browser = site.browser()
    state = depart(browser)
    answer = get(browser, f"/connexion/psc/retour?state={state}&state={state}&code=c")
    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (TokenError("secret detail", reason="id-token-nonce", status=400, public="La connexion a échoué."), 400),
        (ServiceUnavailable("secret detail", public="Pro Santé Connect ne répond pas."), 503),
    ],
)
def test_a_failed_login_gives_no_session_and_no_detail(site: Site, failure: DrimboxError, status: int) -> None:
    browser = site.browser()
    state = depart(browser)
    site.failure = failure
    answer = come_back(browser, state)
    assert answer.status_code == status
    assert failure.public in answer.text
    assert "secret detail" not in answer.text
    assert not any(c.startswith(COOKIE + "=") for c in answer.headers.getlist("Set-Cookie"))
    assert site.reasons()[-1] == ("viewer-login", failure.reason)


def test_psc_down_at_departure_is_told(site: Site) -> None:
    site.failure = ServiceUnavailable("x", public="Pro Santé Connect ne répond pas.")
    answer = get(site.browser(), f"/connexion/psc?{QUERY}")
    assert answer.status_code == 503
    assert "Pro Santé Connect ne répond pas." in answer.text


def test_an_unexpected_failure_is_a_french_page_too(site: Site) -> None:
    site.failure = RuntimeError("secret detail")
    answer = get(site.browser(), f"/connexion/psc?{QUERY}")
    assert answer.status_code == 500
    assert "secret detail" not in answer.text
    assert "Une erreur interne" in answer.text
    assert "Content-Security-Policy" in answer.headers


# --- the exam


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda s: s.exams.clear(), "exam-unknown"),
        (lambda s: s.exams.update({STUDY: replace(EXAM, report_ids=(Identifier("1.2.99"),))}), "link-mismatch"),
        (lambda s: s.exams.update({STUDY: replace(EXAM, accession=Identifier("1.2.8", "X"))}), "link-mismatch"),
        (lambda s: s.exams.update({STUDY: replace(EXAM, state="withdrawn")}), "exam-withdrawn"),
        (lambda s: s.exams.update({STUDY: replace(EXAM, state="pending")}), "exam-withdrawn"),
        (
            lambda s: s.exams.update({STUDY: replace(EXAM, restrictions=Restrictions(masked_to_professionals=True))}),
            "exam-withdrawn",
        ),
    ],
)
def test_unknown_wrong_withdrawn_and_masked_look_alike(site: Site, change: Callable[[Site], None], reason: str) -> None:
    browser = site.browser()
    state = depart(browser)
    change(site)
    answer = come_back(browser, state)
    site.exams.clear()
    reference = come_back(browser, depart(browser))
    assert answer.status_code == reference.status_code == 404
    assert answer.text == reference.text
    assert "pas disponible par ce lien" in answer.text
    assert ("viewer-link", reason) in site.reasons()


def test_a_masked_exam_opens_where_the_site_says_so(site: Site) -> None:
    site.exams[STUDY] = replace(EXAM, restrictions=Restrictions(masked_to_professionals=True))
    site.build(masked_exams="open")
    assert open_exam(site.browser())


def test_a_link_printed_before_a_replacement_still_opens(site: Site) -> None:
    assert open_exam(site.browser(), QUERY.replace("1.2.9", "1.2.10"))


def test_whoever_is_logged_in_opens_another_link_at_once(site: Site) -> None:
    browser = site.browser()
    first = open_exam(browser)
    site.exams[PRIOR] = replace(EXAM, study_uid=PRIOR)
    answer = get(browser, LINK.replace(STUDY, PRIOR))
    assert answer.status_code == 303
    second = str(answer.location).rpartition("/")[2]
    assert second != first
    for context in (first, second):  # both tabs stay open
        assert get(browser, f"/visionneuse/{context}").status_code == 200
    assert get(browser, LINK.replace(STUDY, "1.2.77")).status_code == 404


def test_another_person_on_the_same_browser_sees_nothing_of_the_first(site: Site) -> None:
    browser = site.browser()
    first = open_exam(browser)
    site.user = ALEX
    second = open_exam(browser)
    assert get(browser, f"/visionneuse/{first}").status_code == 401
    assert "Alex AUTRE" in get(browser, f"/visionneuse/{second}").text


# --- the page around the viewer


def test_the_page_shows_patient_professional_and_warning(site: Site) -> None:
    browser = site.browser()
    context = open_exam(browser)
    answer = get(browser, f"/visionneuse/{context}")
    text = answer.text
    assert answer.status_code == 200
    for shown in (
        "PAT&lt;b&gt;",
        "DOMINIQUE MARIE",
        "USAGE",
        "12/05/1975",
        "Féminin",
        "63220",
        "275051234567890 (NIR)",
        "Scanner",
        "15/10/2026",
        "Camille RADIO, médecin",
        "CABINET",
        "Usage non diagnostique",
    ):
        assert shown in text
    assert f'src="/ohif/viewer?StudyInstanceUIDs={STUDY}&amp;contexte={context}"' in text
    assert "PAT<b>" not in text


def test_no_page_of_ours_has_an_inline_script_or_style(site: Site) -> None:
    browser = site.browser()
    pages = [get(browser, LINK), get(browser, LINK + "&idCDA=2")]
    context = open_exam(browser)
    pages += [get(browser, f"/visionneuse/{context}"), get(browser, "/nowhere")]
    for answer in pages:
        assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=|javascript:", answer.text)
        for address in re.findall(r'(?:src|href|action)="([^"]*)"', answer.text):
            assert address.startswith(("/", "#"))


def test_the_series_of_the_link_is_shown_first(site: Site) -> None:
    browser = site.browser()
    context = open_exam(browser, QUERY + "&seriesUID=1.2.3.7")
    assert "initialSeriesInstanceUID=1.2.3.7" in get(browser, f"/visionneuse/{context}").text


def test_a_site_without_a_viewer_says_so(site: Site) -> None:
    site.build(folder=None)
    browser = site.browser()
    context = open_exam(browser)
    assert "pas installée" in get(browser, f"/visionneuse/{context}").text
    assert get(browser, f"/ohif/viewer?StudyInstanceUIDs={STUDY}&contexte={context}").status_code == 503


@pytest.mark.parametrize("context", ["x", "AAAAAAAAAAAAAAAAAAAAAA", "..%2f"])
def test_an_invented_context_is_an_ended_session(site: Site, context: str) -> None:
    browser = site.browser()
    open_exam(browser)
    answer = get(browser, f"/visionneuse/{context}")
    assert answer.status_code in (401, 404)
    assert "PAT" not in answer.text


def test_a_context_is_worth_nothing_in_another_session(site: Site) -> None:
    mine, theirs = site.browser(), site.browser()
    context = open_exam(mine)
    open_exam(theirs)
    assert get(theirs, f"/visionneuse/{context}").status_code == 401
    assert get(site.browser(), f"/visionneuse/{context}").status_code == 401


def test_a_withdrawn_exam_disappears_from_an_open_session(site: Site) -> None:
    browser = site.browser()
    context = open_exam(browser)
    site.exams[STUDY] = replace(EXAM, state="withdrawn")
    assert get(browser, f"/visionneuse/{context}").status_code == 404
    assert get(browser, f"/dicom-web/studies/{STUDY}/series").status_code == 403
    assert internal(browser, f"/dicom-web/studies/{STUDY}/series/1.2.3.1/metadata") == 403
    assert internal(browser, f"/dicom-web/studies/{STUDY}/series/1.2.3.1/instances/1.2.3.2/frames/1") == 403
    assert get(browser, f"/dicom-web/studies?StudyInstanceUID={STUDY}").json == []


# --- headers


def test_every_page_carries_the_security_headers(site: Site) -> None:
    browser = site.browser()
    answers = [
        get(browser, LINK),
        get(browser, LINK + "&x=1&x=2"),
        get(browser, "/nowhere"),
        get(browser, "/session/etat"),
    ]
    context = open_exam(browser)
    answers += [get(browser, f"/visionneuse/{context}"), get(browser, "/session/etat")]
    for answer in answers:
        assert answer.headers["Content-Security-Policy"].startswith(
            "default-src 'none'; script-src 'self'; style-src 'self';"
        )
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_our_own_files_are_served(site: Site) -> None:
    browser = site.browser()
    for name in ("vi.css", "consultation.js", "logo.svg"):
        answer = get(browser, f"/statique/vi/{name}")
        assert answer.status_code == 200
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        answer.close()
    assert get(browser, "/statique/../viewer.py").status_code == 404
    assert get(browser, "/statique/%2e%2e/viewer.py").status_code == 404


def test_unknown_addresses_and_methods_are_french_pages(site: Site) -> None:
    browser = site.browser()
    assert "Page introuvable" in get(browser, "/nowhere").text
    assert browser.post("/IHEInvokeImageDisplay", base_url=BASE).status_code == 405
    assert get(browser, "/deconnexion").status_code == 405


# --- OHIF's document and session.json


def test_ohif_s_document_is_given_for_the_session_s_exam_alone(site: Site) -> None:
    browser = site.browser()
    context = open_exam(browser)
    answer = get(browser, f"/ohif/viewer?StudyInstanceUIDs={STUDY}&contexte={context}")
    assert answer.status_code == 200
    assert answer.content_type == "text/html; charset=utf-8"
    policy = answer.headers["Content-Security-Policy"]
    assert "script-src 'self'; style-src 'self' 'unsafe-inline'" in policy
    assert "unsafe-eval" not in policy
    assert "frame-ancestors 'self'" in policy
    assert answer.headers["X-Frame-Options"] == "SAMEORIGIN"
    for query, status in (
        (f"StudyInstanceUIDs={PRIOR}&contexte={context}", 403),
        (f"StudyInstanceUIDs={STUDY}&StudyInstanceUIDs={PRIOR}&contexte={context}", 403),
        (f"StudyInstanceUIDs={STUDY},{PRIOR}&contexte={context}", 403),
        (f"contexte={context}", 403),
        (f"StudyInstanceUIDs={STUDY}", 401),
    ):
        refused = get(browser, f"/ohif/viewer?{query}")
        assert refused.status_code == status
        assert "OHIF" not in refused.text
        assert "unsafe-inline" not in refused.headers["Content-Security-Policy"]
    assert get(site.browser(), f"/ohif/viewer?StudyInstanceUIDs={STUDY}&contexte={context}").status_code == 401


def test_session_json_names_the_professional(site: Site) -> None:
    browser = site.browser()
    context = open_exam(browser)
    answer = get(browser, f"/ohif/site/session.json?contexte={context}")
    assert answer.json == {"professionnel": "Camille RADIO, médecin", "structure": "CABINET", "etude": STUDY}
    assert get(browser, "/ohif/site/session.json?contexte=x").json == {}
    assert get(site.browser(), f"/ohif/site/session.json?contexte={context}").status_code == 401


# --- the life of a session


def csrf_of(browser: FlaskClient, context: str) -> str:
    found = re.search(r'name="jeton" value="([^"]+)"', get(browser, f"/visionneuse/{context}").text)
    assert found is not None
    return found[1]


def test_the_state_tells_the_seconds_left_without_prolonging(site: Site) -> None:
    browser = site.browser()
    assert get(browser, "/session/etat").status_code == 401
    open_exam(browser)
    assert get(browser, "/session/etat").json == {"ouverte": True, "secondes": 1800}
    site.clock.advance(1000)
    assert get(browser, "/session/etat").json == {"ouverte": True, "secondes": 800}
    site.clock.advance(800)
    assert get(browser, "/session/etat").status_code == 401


def test_work_in_the_viewer_prolongs_with_the_page_s_token_only(site: Site) -> None:
    browser = site.browser()
    context = open_exam(browser)
    token = csrf_of(browser, context)
    site.clock.advance(1000)

    def alive(**headers: str) -> int:
        return browser.post("/session/activite", base_url=BASE, headers=headers).status_code

    assert alive() == 403
    assert alive(**{"X-Drimbox-Jeton": "other"}) == 403
    assert alive(**{"X-Drimbox-Jeton": "\u00e9"}) == 403
    assert get(browser, "/session/etat").json == {"ouverte": True, "secondes": 800}
    assert alive(**{"X-Drimbox-Jeton": token}) == 204
    assert get(browser, "/session/etat").json == {"ouverte": True, "secondes": 1800}
    assert site.browser().post("/session/activite", base_url=BASE).status_code == 401


def test_logging_out_ends_everything(site: Site) -> None:
    browser = site.browser()
    context = open_exam(browser)
    token = csrf_of(browser, context)
    assert browser.post("/deconnexion", base_url=BASE, data={"jeton": "other"}).status_code == 403
    assert get(browser, f"/visionneuse/{context}").status_code == 200
    answer = browser.post("/deconnexion", base_url=BASE, data={"jeton": token})
    assert answer.status_code == 200
    assert "Vous êtes déconnecté" in answer.text
    assert "Expires=Thu, 01 Jan 1970" in cookie(answer, COOKIE)
    assert site.reasons()[-1] == ("viewer-logout", "allowed")
    again = site.browser()
    again.set_cookie(COOKIE, "x" * 43, domain="vi.test", secure=True)
    assert get(browser, f"/visionneuse/{context}").status_code == 401
    assert get(again, f"/visionneuse/{context}").status_code == 401


def test_a_stolen_cookie_is_dead_after_the_logout(site: Site) -> None:
    browser, thief = site.browser(), site.browser()
    context = open_exam(browser)
    held = browser.get_cookie(COOKIE, domain="vi.test")
    assert held is not None
    thief.set_cookie(COOKIE, held.value, domain="vi.test", secure=True)
    assert get(thief, f"/visionneuse/{context}").status_code == 200
    browser.post("/deconnexion", base_url=BASE, data={"jeton": csrf_of(browser, context)})
    assert get(thief, f"/visionneuse/{context}").status_code == 401


# --- DICOMweb


def internal(browser: FlaskClient, uri: str, method: str = "GET") -> int:
    headers = {"X-Original-URI": uri, "X-Original-Method": method}
    answer = get(browser, "/interne/autorisation", headers=headers)
    assert answer.data == b""
    return answer.status_code


ORTHANC_ROUTES = [
    "/dicom-web/studies/{}/series/1.2.3.1/metadata",
    "/dicom-web/studies/{}/series/1.2.3.1/instances/1.2.3.1.1/frames/1",
    "/dicom-web/studies/{}/series/1.2.3.1/instances/1.2.3.1.1/bulk/00420011",
]


@pytest.mark.parametrize("route", ORTHANC_ROUTES)
def test_orthanc_s_routes_are_admitted_for_the_session_s_study(site: Site, route: str) -> None:
    browser = site.browser()
    assert internal(browser, route.format(STUDY)) == 401
    open_exam(browser)
    assert internal(browser, route.format(STUDY)) == 204
    assert internal(browser, route.format(PRIOR)) == 403
    assert internal(browser, route.format(STUDY) + "?x=1") == 403
    for method in ("POST", "PUT", "DELETE", "HEAD"):
        assert internal(browser, route.format(STUDY), method) == 403


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "/",
        "/instances",
        "/tools/find",
        "/dicom-web/studies",
        f"/dicom-web/studies?StudyInstanceUID={STUDY}",
        f"/dicom-web/studies/{STUDY}/series",
        f"/dicom-web/studies/{STUDY}",
        f"/dicom-web/studies/{STUDY}/series/1.2.3.1/../../../{PRIOR}/series/1.2/metadata",
    ],
)
def test_orthanc_never_answers_a_search_nor_another_route(site: Site, uri: str) -> None:
    browser = site.browser()
    open_exam(browser)
    assert internal(browser, uri) == 403


def test_the_request_filter_gives_the_same_verdict(site: Site) -> None:
    browser = site.browser()
    open_exam(browser)
    door = ViewerDoor(site.deps)
    held = browser.get_cookie(COOKIE, domain="vi.test")
    assert held is not None
    headers = {"cookie": f"i18next=fr; {COOKIE}={held.value}"}
    for route in ORTHANC_ROUTES:
        # the deps' sessions are those of the application
        assert door.admits(route.format(STUDY), "GET", headers, {})
        assert not door.admits(route.format(PRIOR), "GET", headers, {})
        assert not door.admits(route.format(STUDY), "POST", headers, {})
        assert not door.admits(route.format(STUDY), "GET", headers, {"_method": "delete"})
        assert not door.admits(route.format(STUDY), "GET", {}, {})
        twice = {"cookie": f"{COOKIE}={held.value}; {COOKIE}={held.value}"}
        assert not door.admits(route.format(STUDY), "GET", twice, {})
    assert not door.admits("/dicom-web/studies", "GET", headers, {"StudyInstanceUID": STUDY})


def test_images_are_audited_by_series(site: Site) -> None:
    browser = site.browser()
    open_exam(browser)
    site.verdicts.clear()
    for route in ORTHANC_ROUTES:
        internal(browser, route.format(STUDY))
    assert site.reasons() == [("viewer-dicomweb", "allowed")]
    internal(browser, ORTHANC_ROUTES[1].format(PRIOR))
    assert site.reasons()[1:] == [("viewer-dicomweb", "other-study")]
    assert site.verdicts[1].outcome == "denied"


def dicom_row(study: str, patient: str = "P1") -> dict[str, Any]:
    return {"0020000D": {"vr": "UI", "Value": [study]}, "00100020": {"vr": "LO", "Value": [patient]}}


def test_a_search_by_patient_finds_the_session_s_study_alone(site: Site) -> None:
    site.rows = lambda path: json.dumps([dicom_row(STUDY), dicom_row(PRIOR)]).encode()
    browser = site.browser()
    open_exam(browser)
    for query in ("00100020=P1&limit=101&includefield=all", f"StudyInstanceUID={STUDY}", f"0020000D={STUDY},{PRIOR}"):
        site.searches.clear()
        answer = get(browser, f"/dicom-web/studies?{query}")
        assert answer.content_type == "application/dicom+json"
        assert answer.json == [dicom_row(STUDY)]
        assert [s.partition("&")[0] for s in site.searches] == [f"/studies?0020000D={STUDY}"]
    assert get(browser, "/dicom-web/studies?00100020=P2").json == []


@pytest.mark.parametrize(
    "path",
    [
        f"/dicom-web/studies?StudyInstanceUID={PRIOR}",
        "/dicom-web/studies",
        "/dicom-web/studies/",
        "/dicom-web/studies?PatientName=*",
        f"/dicom-web/studies/{PRIOR}/series",
    ],
)
def test_other_searches_find_nothing_and_ask_orthanc_nothing(site: Site, path: str) -> None:
    browser = site.browser()
    assert get(browser, path).status_code == 401
    open_exam(browser)
    answer = get(browser, path)
    assert (answer.status_code, answer.json) == (403, [])
    assert site.searches == []


def test_the_series_are_listed_without_manifests(site: Site) -> None:
    rows = [{"00080060": {"vr": "CS", "Value": [m]}, "00081190": {"vr": "UR"}} for m in ("CT", "KO")]
    site.rows = lambda path: json.dumps(rows).encode()
    browser = site.browser()
    open_exam(browser)
    answer = get(browser, f"/dicom-web/studies/{STUDY}/series?includefield=00080021")
    assert answer.json == [{"00080060": {"vr": "CS", "Value": ["CT"]}}]
    assert site.searches[0].startswith(f"/studies/{STUDY}/series?includefield=")


def test_an_orthanc_that_fails_is_no_list_of_nothing(site: Site) -> None:
    site.rows = lambda path: b"<html>"
    browser = site.browser()
    open_exam(browser)
    assert get(browser, f"/dicom-web/studies/{STUDY}/series").status_code == 502


def test_an_idle_session_sees_no_image(site: Site) -> None:
    browser = site.browser()
    open_exam(browser)
    site.clock.advance(1800)
    assert internal(browser, ORTHANC_ROUTES[0].format(STUDY)) == 401
    assert get(browser, f"/dicom-web/studies/{STUDY}/series").status_code == 401


def test_images_that_are_asked_for_keep_the_session(site: Site) -> None:
    browser = site.browser()
    open_exam(browser)
    for _ in range(4):
        site.clock.advance(1000)
        assert internal(browser, ORTHANC_ROUTES[1].format(STUDY)) == 204


# --- nothing written down


def test_no_log_line_holds_a_secret_or_an_identity(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    browser = site.browser()
    context = open_exam(browser)
    get(browser, f"/visionneuse/{context}")
    get(browser, "/visionneuse/x")
    held = browser.get_cookie(COOKIE, domain="vi.test")
    assert held is not None
    written = caplog.text + repr(site.verdicts)
    for secret in (held.value, "id-token", "access-token", "verifier-1", "nonce-1", TRAITS.ins, "DOMINIQUE"):
        assert secret not in written


def test_the_address_to_register_at_psc() -> None:
    assert redirect_uri("https://vi.test/") == "https://vi.test/connexion/psc/retour"
