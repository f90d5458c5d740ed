# SPDX-License-Identifier: AGPL-3.0-or-later
"""HTTP of the `vi` face: the report's link, login, the page around the viewer, DICOMweb (spec `drimbox_viewer_url.md`).

Routes only: `viewer_door` decides, `viewer_pages` renders.  Served behind nginx, which serves the viewer's
files itself and sends metadata, frames and bulk data to Orthanc.
"""

from __future__ import annotations

import logging
from urllib.parse import urlencode

from flask import Blueprint, Flask, Response, jsonify, make_response, redirect, request, url_for
from werkzeug.exceptions import HTTPException

from drimbox.errors import DrimboxError, Refusal
from drimbox.viewer_door import COOKIE, LOGIN_COOKIE, PUBLIC_ENDED, Consultation, ViewerDeps, ViewerDoor
from drimbox.viewer_link import ViewerLink
from drimbox.viewer_pages import (
    VIEWER_POLICY,
    drop_cookie,
    french_date,
    identity,
    message_page,
    page,
    professional,
    secured,
    set_cookie,
)

log = logging.getLogger(__name__)

TITLE = "Accès aux images"
LARGEST_FORM = 8 * 1024  # bytes
CALLBACK_PATH = "/connexion/psc/retour"


def redirect_uri(public_url: str) -> str:
    """Address to register at Pro Santé Connect for this site."""
    return public_url.rstrip("/") + CALLBACK_PATH


def create_app(deps: ViewerDeps) -> Flask:
    """Make the WSGI application of the face: the blueprint, and French pages for what it does not know."""
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_FORM
    app.register_blueprint(create_blueprint(deps))

    @app.errorhandler(HTTPException)
    def unknown(error: HTTPException) -> Response:
        text = "Cette page n'existe pas. Ouvrez le lien qui figure dans le compte rendu."
        return secured(message_page("Page introuvable", text, error.code or 500))

    @app.errorhandler(Exception)
    def broken(error: Exception) -> Response:
        log.error("vi: unexpected %s", type(error).__name__, exc_info=error)
        return secured(message_page(TITLE, DrimboxError.public, 500))

    return app


def create_blueprint(deps: ViewerDeps) -> Blueprint:
    """Make the routes of the face."""
    door = ViewerDoor(deps)
    blueprint = Blueprint(
        "vi", __name__, template_folder="web/templates", static_folder="web/static", static_url_path="/statique"
    )
    _add_pages(blueprint, door, deps)
    _add_login(blueprint, door)
    _add_viewer(blueprint, door, deps)
    _add_dicomweb(blueprint, door)

    @blueprint.errorhandler(DrimboxError)
    def refused(error: DrimboxError) -> Response:
        if not isinstance(error, Refusal):
            log.warning("vi: %s %s", error.reason, error.detail)
        title = "Session terminée" if error.status == 401 and error.reason == "session-ended" else TITLE
        return message_page(title, error.public, error.status)

    @blueprint.context_processor
    def common() -> dict[str, str]:
        return {"site_name": deps.site_name}

    @blueprint.after_request
    def protect(response: Response) -> Response:
        if request.endpoint == "vi.static":
            response.headers["X-Content-Type-Options"] = "nosniff"
            return response
        shown = request.endpoint == "vi.viewer" and response.status_code == 200
        return secured(response, VIEWER_POLICY) if shown else secured(response)

    return blueprint


def _session_id() -> str | None:
    return request.cookies.get(COOKIE)


def _query() -> str:
    return request.query_string.decode("latin-1")


def _add_pages(blueprint: Blueprint, door: ViewerDoor, deps: ViewerDeps) -> None:
    @blueprint.get("/IHEInvokeImageDisplay")
    def link() -> Response:
        wanted = door.read_link(_query())
        session_id = _session_id()
        if session_id is not None and door.logged_in(session_id):
            return _open(door, session_id, wanted)
        return page("choice", psc=f"{url_for('vi.login')}?{wanted.query()}")

    @blueprint.get("/visionneuse/<context_id>")
    def consultation(context_id: str) -> Response:
        opened = door.consultation(_session_id(), context_id)
        name, structure = professional(opened)
        return page(
            "consultation",
            identity=identity(opened.exam.traits),
            description=opened.exam.description,
            study_date=french_date(opened.exam.study_date),
            professional=name,
            structure=structure,
            csrf=opened.session.csrf,
            viewer=_viewer_address(opened) if deps.settings.folder else "",
        )

    @blueprint.post("/deconnexion")
    def logout() -> Response:
        door.end(_session_id(), request.form.get("jeton", ""))
        text = (
            "Votre session de consultation est fermée. Sur un poste partagé, fermez aussi votre session "
            "Pro Santé Connect, ou le navigateur."
        )
        response = message_page("Vous êtes déconnecté", text, 200)
        drop_cookie(response, COOKIE)
        return response

    @blueprint.get("/session/etat")
    def state() -> Response:
        session = door.logged_in(_session_id())
        if session is None:
            return make_response(jsonify(ouverte=False), 401)
        left = door.sessions.limits.ends_at(session) - deps.clock.now()
        return jsonify(ouverte=True, secondes=max(0, int(left.total_seconds())))

    @blueprint.post("/session/activite")
    def activity() -> Response:
        return make_response("", door.keep_alive(_session_id(), request.headers.get("X-Drimbox-Jeton", "")))


def _add_login(blueprint: Blueprint, door: ViewerDoor) -> None:
    @blueprint.get("/connexion/psc")
    def login() -> Response:
        address, login_id = door.start_login(_query(), request.cookies.get(LOGIN_COOKIE))
        response = _see_other(address)
        set_cookie(response, LOGIN_COOKIE, login_id)
        return response

    @blueprint.get(CALLBACK_PATH)
    def callback() -> Response:
        given = {name: request.args.getlist(name) for name in ("state", "code", "error", "iss")}
        answer = {name: values[0] for name, values in given.items() if len(values) == 1}
        session_id, wanted = door.finish_login(request.cookies.get(LOGIN_COOKIE), _session_id(), answer)
        try:
            response = _open(door, session_id, wanted)
        except Refusal as refusal:
            # the person stays logged in: another link of theirs opens without another login
            response = message_page(TITLE, refusal.public, refusal.status)
        set_cookie(response, COOKIE, session_id)
        return response


def _add_viewer(blueprint: Blueprint, door: ViewerDoor, deps: ViewerDeps) -> None:
    @blueprint.get("/ohif/viewer")
    def viewer() -> Response:
        opened = door.consultation(_session_id(), request.args.get("contexte", ""))
        folder = deps.settings.folder
        if request.args.getlist("StudyInstanceUIDs") != [opened.context.study_uid]:
            raise Refusal("another study", reason="other-study", status=403, public=PUBLIC_ENDED)
        if folder is None or not (folder / "index.html").is_file():
            raise DrimboxError("the viewer is not built", reason="viewer-absent", status=503)
        response = make_response((folder / "index.html").read_bytes())
        response.content_type = "text/html; charset=utf-8"
        return response

    @blueprint.get("/ohif/site/session.json")
    def session() -> Response:
        try:
            opened = door.consultation(_session_id(), request.args.get("contexte", ""))
        except Refusal as refusal:
            return make_response(jsonify({}), refusal.status)
        name, structure = professional(opened)
        return jsonify(professionnel=name, structure=structure, etude=opened.context.study_uid)


def _add_dicomweb(blueprint: Blueprint, door: ViewerDoor) -> None:
    @blueprint.get("/interne/autorisation")
    def authorisation() -> Response:
        path, _, query = request.headers.get("X-Original-URI", "").partition("?")
        method = request.headers.get("X-Original-Method", "GET")
        return make_response("", door.authorise(_session_id(), method, path, query, ours=False))

    @blueprint.get("/dicom-web/studies", strict_slashes=False)
    def studies() -> Response:
        status = door.authorise(_session_id(), request.method, request.path, _query(), ours=True)
        session = door.logged_in(_session_id())
        if status != 204 or session is None:
            return _dicom_json([], 401 if session is None else status)
        return _dicom_json(door.studies(session, _query()))

    @blueprint.get("/dicom-web/studies/<study_uid>/series", strict_slashes=False)
    def series(study_uid: str) -> Response:
        status = door.authorise(_session_id(), request.method, request.path, _query(), ours=True)
        return _dicom_json(door.series(study_uid)) if status == 204 else _dicom_json([], status)


def _open(door: ViewerDoor, session_id: str, link: ViewerLink) -> Response:
    context = door.open_exam(session_id, link)
    return _see_other(url_for("vi.consultation", context_id=context.id))


def _viewer_address(opened: Consultation) -> str:
    pairs = [("StudyInstanceUIDs", opened.context.study_uid), ("contexte", opened.context.id)]
    if opened.context.series_uid:
        pairs.append(("initialSeriesInstanceUID", opened.context.series_uid))
    return f"{url_for('vi.viewer')}?{urlencode(pairs)}"


def _see_other(address: str) -> Response:
    response = make_response(redirect(address, 303))
    response.autocorrect_location_header = False
    return response


def _dicom_json(rows: object, status: int = 200) -> Response:
    response = make_response(jsonify(rows), status)
    response.content_type = "application/dicom+json"
    return response
