# SPDX-License-Identifier: AGPL-3.0-or-later
"""TD3.3: status changes (ITI-57).  Changes of attributes are refused, as the matrix or the stand-in's limits say."""

from __future__ import annotations

from sandbox import dmp_codes as c
from sandbox.dmp_call import Call, demand, demand_patient
from sandbox.dmp_ebrim import Association, Submission, read_submission
from sandbox.dmp_errors import NOT_IMPLEMENTED, Refused, SoapFault, refuse
from sandbox.dmp_metadata import check_set
from sandbox.dmp_publish import check_structure
from sandbox.dmp_rights import Mode, Right, Transaction, right

# (old, new) status: transaction of the matrix.
TRANSITIONS = {
    ("Approved", "Deleted"): Transaction.DELETE,
    ("Archived", "Deleted"): Transaction.DELETE,
    ("Approved", "Archived"): Transaction.ARCHIVE,
    ("Archived", "Approved"): Transaction.ARCHIVE,
}
_SHORT = {uri: short for short, uri in c.STATUSES.items()}


def update(call: Call) -> None:
    """Apply one status change.  Raises `SoapFault`, `Refused`; then nothing changed."""
    submission = read_submission(call.message.body)
    if submission.entries:
        demand(call, Transaction.MASK)
        raise SoapFault("not-implemented", "Changement d'attributs : non simulé.", NOT_IMPLEMENTED, "Receiver")
    demand_patient(call, submission.set.identifiers.get(c.SET_PATIENT, ""))
    problems = list(check_set(submission.set, call.now))
    if problems:
        raise Refused(*problems)
    if call.vihf.mode is Mode.INDIRECT:
        check_structure(call, submission)
    change = _change(submission)
    old, new = (_status(change, name) for name in ("OriginalStatus", "NewStatus"))
    transaction = TRANSITIONS.get((old, new))
    if transaction is None:
        text = f"Changement de statut impossible : {old} vers {new}."
        raise refuse("XDSMetadataUpdateOperationError", text, "update-transition")
    if right(call.vihf.mode, transaction) is Right.NO:
        demand(call, transaction)
    with call.store.transaction():
        _apply(call, submission, change.target, transaction, old, new)


def _apply(call: Call, submission: Submission, target: str, transaction: Transaction, old: str, new: str) -> None:
    set_uid = submission.set.identifiers[c.SET_UNIQUE]
    if call.store.knows_submission(set_uid):
        raise refuse("XDSDuplicateUniqueIdInRegistry", f"Le lot {set_uid} existe déjà.", "duplicate-set")
    document = call.store.by_entry(target)
    if document is None:
        raise refuse("UnresolvedReferenceException", "Le document visé est inconnu.", "update-unknown")
    if document.patient != call.vihf.patient:
        raise refuse("XDSPatientIdDoesNotMatch", "Le document est celui d'un autre patient.", "update-patient")
    demand(call, transaction, document)
    if document.status != old:
        text = f"OriginalStatus {old} alors que le document est {document.status}."
        raise refuse("XDSMetadataUpdateError", text, "update-original-status")
    call.store.add_submission(set_uid, call.now)
    call.store.set_status(document.entry_uuid, new)


def _change(submission: Submission) -> Association:
    changes = submission.linked(c.UPDATE_STATUS)
    if len(changes) != 1 or len(submission.associations) != 1 or changes[0].source != submission.set.id:
        text = "Une association UpdateAvailabilityStatus attendue, du lot vers le document."
        raise refuse("XDSMetadataUpdateError", text, "update-association")
    return changes[0]


def _status(change: Association, slot: str) -> str:
    values = change.slots.get(slot, ())
    if len(values) != 1 or values[0] not in _SHORT:
        raise refuse("XDSMetadataUpdateError", f"{slot} absent ou inconnu.", "update-status-slot")
    return _SHORT[values[0]]
