# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pages of the PSC stand-in, in French: choice of a fictitious professional, errors, goodbye.

Element identifiers and names are stable, for browser tests: ``button[name=person][value=…]``,
``#acr``, ``button[name=refuse]``.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from html import escape

from sandbox.psc_people import Person

STYLE = (
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:42rem;margin:0 auto;padding:1rem;color:#161616;background:#fff}"
    ".simulateur{background:#7a1f00;color:#fff;padding:.5rem 1rem;font-weight:700}"
    "button{display:block;width:100%;text-align:left;font:inherit;margin:.5rem 0;padding:.75rem 1rem;"
    "border:2px solid #000091;background:#fff;color:#000091;cursor:pointer}"
    "button:focus-visible,select:focus-visible{outline:3px solid #0a76f6;outline-offset:2px}"
    "select{font:inherit;padding:.25rem}fieldset{border:0;padding:0;margin:1rem 0}legend{font-weight:700}"
)
_DIGEST = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
# No form-action: the answer to the form redirects to the client, which that directive would block.
HEADERS = (
    ("Content-Security-Policy", f"default-src 'none'; style-src 'sha256-{_DIGEST}'; frame-ancestors 'none'"),
    ("Cache-Control", "no-store"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
)


def page(title: str, body: str) -> bytes:
    """A whole document around `body`, which is HTML already."""
    text = (
        '<!doctype html><html lang="fr"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)} - SIMULATEUR</title><style>{STYLE}</style></head><body>"
        '<header><p class="simulateur" id="simulateur">SIMULATEUR de Pro Santé Connect : '
        "ni service réel, ni personne réelle</p></header>"
        f'<main id="contenu"><h1>{escape(title)}</h1>{body}</main></body></html>'
    )
    return text.encode()


def _button(person: Person) -> str:
    name = f"{person.given} {person.family}"
    return (
        f'<button type="submit" name="person" value="{escape(person.id)}" id="person-{escape(person.id)}">'
        f"<strong>{escape(name)}</strong><br>{escape(person.label)}</button>"
    )


def login(action: str, request_id: str, people: Sequence[Person], client_id: str, wanted: str) -> bytes:
    """The choice of a person; `wanted` is the level that the client asked for."""
    options = "".join(f'<option value="{level}">{level}</option>' for level in ("eidas1", "eidas2", "eidas3"))
    return page(
        "Connexion d'un professionnel fictif",
        f"<p>Le service <strong>{escape(client_id)}</strong> demande votre connexion, niveau {escape(wanted)}.</p>"
        f'<form method="post" action="{escape(action)}" id="connexion">'
        f'<input type="hidden" name="request" value="{escape(request_id)}">'
        '<p><label for="acr">Niveau de l\'authentification</label> '
        f'<select id="acr" name="acr"><option value="">celui de la personne</option>{options}</select></p>'
        f"<fieldset><legend>Qui êtes-vous ?</legend>{''.join(map(_button, people))}</fieldset>"
        '<button type="submit" name="refuse" value="1" id="refuse">Refuser la connexion</button></form>',
    )


def message(title: str, text: str) -> bytes:
    """A page that only says something."""
    return page(title, f'<p role="status">{escape(text)}</p>')


def index(people: Sequence[Person], issuer: str) -> bytes:
    """The page of the test handles: who may log in, and what to call."""
    rows = "".join(
        f"<tr><td><code>{escape(p.id)}</code></td><td>{escape(p.given)} {escape(p.family)}</td>"
        f"<td>{escape(p.national_id)}</td><td>{escape(p.label)}</td><td>{escape(p.acr)}</td></tr>"
        for p in people
    )
    return page(
        "Commandes d'essai",
        f"<p>Émetteur : <code>{escape(issuer)}</code></p>"
        "<table><caption>Professionnels fictifs</caption><thead><tr>"
        '<th scope="col">Code</th><th scope="col">Nom</th><th scope="col">Identifiant</th>'
        f'<th scope="col">Description</th><th scope="col">Niveau</th></tr></thead><tbody>{rows}</tbody></table>'
        "<p>POST JSON : <code>/tokens</code>, <code>/rotate-keys</code>, <code>/clock-skew</code>, "
        "<code>/unavailable</code>, <code>/settings</code>.</p>",
    )
