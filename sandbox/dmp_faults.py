# SPDX-License-Identifier: AGPL-3.0-or-later
"""Faults to inject into the next calls of an action: what a network or a national platform does on bad days."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass

# Short names of the actions, as faults and the journal use them.
ACTIONS = {
    "urn:ihe:iti:2007:ProvideAndRegisterDocumentSet-b": "ITI-41",
    "urn:ihe:iti:2007:RegistryStoredQuery": "ITI-18",
    "urn:ihe:iti:2007:RetrieveDocumentSet": "ITI-43",
    "urn:ihe:iti:2010:UpdateDocumentSet": "ITI-57",
    "urn:hl7-org:v3:PRPA_IN201307UV02": "TD0.2",
}
ANY = "*"
KINDS = {
    "down": "connexion refermée aussitôt (HTTP 503 si une action est nommée)",
    "slow": "traite, puis répond après « seconds » secondes (30 par défaut)",
    "answer-lost": "traite, puis coupe sans répondre",
    "cut-before": "coupe sans traiter",
    "soap-fault": "faute SOAP Receiver, HTTP 500, sans traiter",
    "fault-multipart": "la même faute dans un multipart",
    "html-502": "page HTML, HTTP 502, sans traiter",
    "http-500": "HTTP 500 vide, sans traiter",
    "truncated": "traite, puis coupe au milieu de la réponse",
    "expired-certificate": "faute DMPInvalidCertificate, sans traiter",
    "duplicate": "XDSDuplicateUniqueIdInRegistry, sans traiter",
    "busy": "XDSRepositoryBusy, sans traiter",
    "partial-success": "traite, puis répond PartialSuccess avec une erreur",
    "unknown-code": "un code d'erreur inconnu, sans traiter",
}


@dataclass(frozen=True)
class Injected:
    """One fault still to come; ``remaining`` calls, ``seconds`` for slow answers."""

    action: str
    kind: str
    remaining: int
    seconds: float = 30.0


class Faults:
    """The list of faults to come; the first that fits a call is used and counted down."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._list: list[Injected] = []

    def add(self, kind: str, action: str = ANY, count: int = 1, seconds: float = 30.0) -> Injected:
        """Plan a fault.  Raises `ValueError` for an unknown kind or action, or an impossible number."""
        if kind not in KINDS:
            raise ValueError(f"Genre inconnu : {kind}. Genres : {', '.join(KINDS)}.")
        short = ACTIONS.get(action, action)
        if short != ANY and short not in ACTIONS.values():
            raise ValueError(f"Action inconnue : {action}. Actions : {', '.join(ACTIONS.values())}, *.")
        if not 1 <= count <= 100_000 or not 0 <= seconds <= 600:
            raise ValueError("count de 1 à 100000, seconds de 0 à 600.")
        fault = Injected(short, kind, count, seconds)
        with self._lock:
            if len(self._list) >= 1000:
                raise ValueError("Trop de fautes en attente.")
            self._list.append(fault)
        return fault

    def take(self, action: str) -> Injected | None:
        """The fault for a call of this action (URI or short name), counted down; None for a good day."""
        return self._take(lambda f: f.action in (ANY, ACTIONS.get(action, action)) and not _is_down(f))

    def admits(self) -> bool:
        """False where the whole service is down for this connection."""
        return self._take(_is_down) is None

    def _take(self, fits: object) -> Injected | None:
        with self._lock:
            for index, fault in enumerate(self._list):
                if callable(fits) and fits(fault):
                    left = fault.remaining - 1
                    self._list[index : index + 1] = (
                        [Injected(fault.action, fault.kind, left, fault.seconds)] if left else []
                    )
                    return fault
        return None

    def listed(self) -> list[dict[str, object]]:
        """What is still to come, as JSON."""
        with self._lock:
            return [asdict(fault) for fault in self._list]

    def clear(self) -> None:
        """Good days again."""
        with self._lock:
            self._list.clear()


def _is_down(fault: Injected) -> bool:
    return fault.kind == "down" and fault.action == ANY
