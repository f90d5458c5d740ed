# SPDX-License-Identifier: AGPL-3.0-or-later
"""The administration port of the DMP stand-in (loopback, plain HTTP): its content, its faults, a page to look at."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from lxml import etree

from sandbox import dmp_codes as c
from sandbox.common import SIMULATOR_NAME, Answer, Request, is_loopback
from sandbox.dmp_app import DmpApp
from sandbox.dmp_ebrim import read_object
from sandbox.dmp_faults import KINDS
from sandbox.dmp_patients import SPECIAL, PatientState
from sandbox.dmp_store import Exchange, Store, Stored


def describe(document: Stored, store: Store) -> dict[str, Any]:
    """One document as JSON (contract of ``sandbox dmp list``)."""
    entry = read_object(etree.fromstring(document.entry_xml))
    received, accepted = store.attempts(document.unique_id)
    return {
        "uniqueId": document.unique_id,
        "entryUuid": document.entry_uuid,
        "availabilityStatus": document.status,
        "patientId": document.patient,
        "confidentialityCodes": [code for code, _ in entry.codes(c.CONFIDENTIALITY)],
        "referenceIds": list(entry.slots.get(c.REFERENCE_SLOT, ())),
        "replaces": document.replaces,
        "submittedAt": document.submitted_at,
        "kind": document.kind,
        "typeCode": next((code for code, _ in entry.codes(c.TYPE_CODE)), ""),
        "title": entry.name,
        "eventCodes": [{"code": code, "scheme": scheme} for code, scheme in entry.codes(c.EVENT_CODE)],
        "mimeType": document.mime_type,
        "hash": document.hash,
        "size": document.size,
        "submissionUid": document.submission_uid,
        "structure": document.structure,
        "receivedAttempts": received,
        "acceptedAttempts": accepted,
    }


class AdminApp:
    """Routes of the administration port."""

    def __init__(self, dmp: DmpApp) -> None:
        self._dmp = dmp
        self._routes: dict[tuple[str, str], Callable[[Request], Answer]] = {
            ("GET", "/"): lambda _: _html(page(dmp)),
            ("GET", "/documents"): self._documents,
            ("GET", "/exchanges"): lambda _: _json([_summary(e) for e in dmp.store.exchanges()]),
            ("GET", "/faults"): lambda _: _json(dmp.faults.listed()),
            ("POST", "/faults"): self._add_fault,
            ("DELETE", "/faults"): self._clear_faults,
            ("POST", "/patients"): self._set_patient,
            ("POST", "/reset"): self._reset,
        }

    def __call__(self, request: Request) -> Answer:
        """Answer one request; only names of the loopback are served (against rebinding by a web page)."""
        host = request.header("Host")
        if not is_loopback(host.rsplit(":", 1)[0] if ":" in host and not host.endswith("]") else host):
            return _error(403, "Seulement depuis cette machine.")
        if request.method == "POST" and request.header("Origin"):
            return _error(403, "Seulement depuis un programme.")
        route = self._routes.get((request.method, request.path))
        if route is not None:
            return route(request)
        parts = [unquote(p) for p in request.path.split("/") if p]
        if request.method == "GET" and parts[:1] == ["documents"] and len(parts) in (2, 3):
            return self._document(parts[1], parts[2] if len(parts) == 3 else "")
        if request.method == "GET" and parts[:1] == ["exchanges"] and len(parts) == 2 and parts[1].isdigit():
            exchange = self._dmp.store.exchange(int(parts[1]))
            return _error(404, "Échange inconnu.") if exchange is None else _wire(exchange)
        return _error(404, "Adresse inconnue.")

    def _documents(self, request: Request) -> Answer:
        store = self._dmp.store
        documents = store.documents(all_kinds=request.param("all") == "1")
        return _json([describe(document, store) for document in documents])

    def _document(self, unique_id: str, part: str) -> Answer:
        document = self._dmp.store.by_unique_id(unique_id)
        if document is None or part not in ("", "metadata", "exchange"):
            return _error(404, "Document inconnu.")
        if part == "metadata":
            return Answer(200, document.entry_xml, "application/xml; charset=utf-8")
        if part == "exchange":
            exchange = self._dmp.store.exchange(document.exchange)
            return _error(404, "Échange oublié.") if exchange is None else _wire(exchange)
        return Answer(200, document.content, document.mime_type)

    def _add_fault(self, request: Request) -> Answer:
        try:
            wanted = _object(request)
            fault = self._dmp.faults.add(
                str(wanted.get("kind", "")), str(wanted.get("action") or "*"), int(wanted.get("count", 1)),
                float(wanted.get("seconds", 30)),
            )  # fmt: skip
        except (ValueError, TypeError) as error:
            return _error(400, str(error))
        return _json({"action": fault.action, "kind": fault.kind, "count": fault.remaining}, 201)

    def _clear_faults(self, _: Request) -> Answer:
        self._dmp.faults.clear()
        return _json([])

    def _set_patient(self, request: Request) -> Answer:
        try:
            wanted = _object(request)
            ins, state = str(wanted.get("ins", "")), PatientState(str(wanted.get("state", "")))
        except ValueError as error:
            return _error(400, str(error))
        if not ins.isalnum():
            return _error(400, "ins attendu.")
        self._dmp.store.set_patient(ins, state.value)
        return _json({"ins": ins, "state": state.value})

    def _reset(self, _: Request) -> Answer:
        self._dmp.store.reset()
        self._dmp.faults.clear()
        return _json({"reset": True})


def _object(request: Request) -> dict[str, Any]:
    value = json.loads(request.body or b"{}")
    if not isinstance(value, dict):
        raise TypeError("Objet JSON attendu.")
    return value


def _json(value: object, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value, ensure_ascii=False).encode(), "application/json")


def _error(status: int, text: str) -> Answer:
    return _json({"error": text}, status)


def _wire(exchange: Exchange) -> Answer:
    """Request then answer, byte for byte; the header tells where the second begins."""
    headers = (("X-Answer-Offset", str(len(exchange.request))),)
    return Answer(200, exchange.request + exchange.answer, "application/octet-stream", headers)


def _summary(exchange: Exchange) -> dict[str, Any]:
    return {
        "id": exchange.id,
        "at": exchange.at,
        "action": exchange.action,
        "messageId": exchange.message_id,
        "outcome": exchange.outcome,
        "detail": exchange.detail,
        "answerSent": exchange.sent,
    }


# --- the page ----------------------------------------------------------------------------------------------------

_STYLE = """body{font:15px/1.45 system-ui,sans-serif;margin:0 auto;max-width:75rem;padding:1rem;color:#1b1b35}
.sim{background:#7a2e00;color:#fff;padding:.6rem 1rem;font-weight:700;border-radius:.3rem}
table{border-collapse:collapse;width:100%;margin:.5rem 0 1.5rem}td,th{border-bottom:1px solid #ccc;padding:.3rem .5rem;
text-align:left;vertical-align:top;overflow-wrap:anywhere}th{background:#f1f1f6}code{font-size:.85em}"""


def page(dmp: DmpApp) -> str:
    """The content, for a demonstration."""
    documents = [
        [d["submittedAt"], d["availabilityStatus"], d["title"], _link(d["uniqueId"]), d["patientId"].partition("^")[0],
         " ".join(d["confidentialityCodes"]), " ".join(e["code"] for e in d["eventCodes"]), str(d["acceptedAttempts"])]
        for d in (describe(document, dmp.store) for document in reversed(dmp.store.documents(all_kinds=False)))
    ]  # fmt: skip
    exchanges = [[e.at, e.action, e.outcome, e.detail, e.message_id] for e in dmp.store.exchanges(50)]
    faults = [[str(f["action"]), str(f["kind"]), str(f["remaining"])] for f in dmp.faults.listed()]
    special = ", ".join(f"{ins} ({state})" for ins, state in SPECIAL.items())
    heads = ("Déposé le", "Statut", "Titre", "Identifiant", "INS", "Confidentialité", "Codes", "Dépôts acceptés")
    return f"""<!DOCTYPE html><html lang="fr"><head><meta charset="utf-8"><title>SIMULATEUR du DMP</title>
<style>{_STYLE}</style></head><body><p class="sim">SIMULATEUR — ce n'est pas le DMP. Données fictives uniquement.</p>
<h1>Contenu du simulateur du DMP</h1><h2>Documents</h2>{_table(heads, documents)}
<h2>Derniers échanges</h2>{_table(("Date", "Transaction", "Issue", "Contrôle", "Message"), exchanges)}
<h2>Fautes à venir</h2>{_table(("Action", "Genre", "Reste"), faults)}
<p>Genres de fautes : {", ".join(KINDS)}.</p><p>INS particuliers : {special}. Tous les autres ont un DMP ouvert.</p>
<p>{html.escape(SIMULATOR_NAME)}</p></body></html>"""


class _Safe(str):
    """Text that is HTML already."""


def _link(unique_id: str) -> _Safe:
    text = html.escape(unique_id)
    return _Safe(f'<code>{text}</code> <a href="/documents/{text}/metadata">métadonnées</a> '
                 f'<a href="/documents/{text}/exchange">échange</a>')  # fmt: skip


def _table(heads: tuple[str, ...], rows: list[list[str]]) -> str:
    if not rows:
        return "<p>Rien.</p>"
    head = "".join(f'<th scope="col">{h}</th>' for h in heads)
    body = "".join(f"<tr>{''.join(f'<td>{_cell(v)}</td>' for v in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: str) -> str:
    return value if isinstance(value, _Safe) else html.escape(value)


def _html(text: str) -> Answer:
    policy = (("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"),)
    return Answer(200, text.encode(), "text/html; charset=utf-8", policy)
