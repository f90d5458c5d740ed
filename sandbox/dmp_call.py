# SPDX-License-Identifier: AGPL-3.0-or-later
"""One authenticated call to the DMP stand-in, as the transactions see it, and their common refusals."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sandbox.dmp_errors import ACCESS_DENIED, IDENTITY_FAILURE, SoapFault
from sandbox.dmp_rights import Right, Transaction, right
from sandbox.dmp_soap import Message
from sandbox.dmp_store import Store, Stored
from sandbox.dmp_trust import Trust
from sandbox.dmp_vihf import Rules, Vihf


@dataclass(frozen=True)
class Call:
    """A message with its verified VIHF and what the platform knows.  ``exchange``: number in the journal."""

    message: Message
    vihf: Vihf
    store: Store
    trust: Trust
    rules: Rules
    now: datetime
    exchange: int


def demand(call: Call, transaction: Transaction, document: Stored | None = None) -> None:
    """Apply the matrix of rights.  Raises `SoapFault`."""
    given = right(call.vihf.mode, transaction)
    allowed = given is Right.YES
    if given is Right.STRUCTURE:
        allowed = document is not None and document.structure == call.vihf.structure
    elif given is Right.OWN:
        allowed = document is not None and document.author == call.vihf.name_id
    if not allowed:
        reason = f"{transaction} n'est pas permis en mode {call.vihf.mode}"
        raise SoapFault(f"rights-{transaction}", reason + (" sur ce document." if document else "."), ACCESS_DENIED)


def demand_patient(call: Call, patient: str) -> None:
    """The patient of the request must be the one of the VIHF.  Raises `SoapFault`."""
    if patient != call.vihf.patient:
        reason = "Le patient de la requête diffère de celui du VIHF (resource-id)."
        raise SoapFault("vihf-patient", reason, IDENTITY_FAILURE)
