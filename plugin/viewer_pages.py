# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pages of the viewer's door: security headers, cookies, French texts."""

from __future__ import annotations

from typing import Any

from flask import Response, make_response, render_template

from drimbox.records import INS_OIDS, Traits
from drimbox.viewer_door import Consultation

# Our pages: no inline script or style, no other host; only our own viewer is framed, and nobody frames us.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# OHIF's document: its components write style attributes, a PDF is shown through a blob.
VIEWER_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self'; connect-src 'self'; worker-src 'self'; object-src 'self' blob:; frame-src blob:; "
    "frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
)
SEXES = {"M": "Masculin", "F": "Féminin", "O": "Autre", "U": "Inconnu", "I": "Indéterminé"}


def secured(response: Response, policy: str = PAGE_POLICY) -> Response:
    """Put the headers that every answer of this face carries."""
    response.headers["Content-Security-Policy"] = policy
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["X-Frame-Options"] = "SAMEORIGIN" if policy == VIEWER_POLICY else "DENY"
    response.headers["Referrer-Policy"] = "same-origin"  # the link's parameters leave for no other site
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    response.headers["Permissions-Policy"] = "camera=(), microphone=(), geolocation=(), payment=(), usb=()"
    response.headers["X-Robots-Tag"] = "noindex, nofollow"
    return response


def page(template: str, status: int = 200, **values: Any) -> Response:
    """Render one of our pages."""
    return make_response(render_template(f"vi/{template}.html", **values), status)


def message_page(title: str, text: str, status: int) -> Response:
    """Render a page that says one thing: an error and what to do, or an end."""
    return page("message", status, title=title, text=text)


def set_cookie(response: Response, name: str, value: str) -> None:
    """Set a cookie that lives as long as the browser's window.  Lax: the link is opened from elsewhere."""
    response.set_cookie(name, value, secure=True, httponly=True, samesite="Lax", path="/")


def drop_cookie(response: Response, name: str) -> None:
    """Make the browser forget a cookie."""
    response.delete_cookie(name, secure=True, httponly=True, samesite="Lax", path="/")


def french_date(text: str) -> str:
    """``YYYYMMDD`` (or longer) as ``DD/MM/YYYY``; anything else as it is."""
    date = text[:8]
    return f"{date[6:8]}/{date[4:6]}/{date[:4]}" if len(date) == 8 and date.isascii() and date.isdigit() else text


def identity(traits: Traits) -> list[tuple[str, str]]:
    """Lines of the patient's identity, in the order of the RNIV: label and value, empty ones left out."""
    kind = INS_OIDS.get(traits.ins_oid, "").rpartition("-")[2]
    used = f"{traits.used_family} {traits.used_given}".strip()
    lines = (
        ("Nom de naissance", traits.birth_family),
        ("Premier prénom", traits.birth_given),
        ("Prénoms", traits.birth_givens if traits.birth_givens != traits.birth_given else ""),
        ("Nom et prénom utilisés", used),
        ("Né(e) le", french_date(traits.birth_date)),
        ("Sexe", SEXES.get(traits.sex, traits.sex)),
        ("Lieu de naissance (code INSEE)", traits.birth_place),
        ("Matricule INS", f"{traits.ins} ({kind})" if kind else traits.ins),
    )
    return [(label, value) for label, value in lines if value]


def professional(opened: Consultation) -> tuple[str, str]:
    """Name with profession, and structure, of who is logged in."""
    user = opened.session.user
    if user is None:
        return "", ""
    activity = user.activity()
    profession = user.profession.display if user.profession else ""
    name = f"{user.display()}, {profession.lower()}" if profession else user.display()
    return name, activity.structure_name if activity else ""
