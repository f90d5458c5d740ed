# SPDX-License-Identifier: AGPL-3.0-or-later
"""TD2.1: publish or replace (ITI-41), from the message's body to the stored documents."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lxml import etree

from sandbox import dmp_codes as c
from sandbox.dmp_call import Call, demand, demand_patient
from sandbox.dmp_dsig import verify_dsig
from sandbox.dmp_ebrim import RegistryObject, Submission, read_submission, schema
from sandbox.dmp_errors import Problem, Refused, SoapFault, refuse
from sandbox.dmp_metadata import check_submission, is_signature, problem
from sandbox.dmp_mime import referenced
from sandbox.dmp_patients import check_open
from sandbox.dmp_rights import Transaction
from sandbox.dmp_store import Stored
from sandbox.dmp_values import institution

Element = etree._Element


@dataclass(frozen=True)
class Provided:
    """The content of an ITI-41: metadata and bytes by symbolic id."""

    submission: Submission
    contents: Mapping[str, bytes]

    @property
    def set_uid(self) -> str:
        """uniqueId of the submission set."""
        return self.submission.set.identifiers.get(c.SET_UNIQUE, "")

    @property
    def kos(self) -> tuple[RegistryObject, ...]:
        """Entries that are not signatures."""
        return tuple(e for e in self.submission.entries if not is_signature(e))

    @property
    def signatures(self) -> tuple[RegistryObject, ...]:
        """Entries that are signatures."""
        return tuple(e for e in self.submission.entries if is_signature(e))


def unique_id(entry: RegistryObject) -> str:
    """XDSDocumentEntry.uniqueId."""
    return entry.identifiers.get(c.UNIQUE_ID, "")


def read_provided(call: Call) -> Provided:
    """Read the body of an ITI-41.  Raises `SoapFault`, `Refused`."""
    request = call.message.body
    if request.tag != c.q("ihe:ProvideAndRegisterDocumentSetRequest"):
        raise schema("ProvideAndRegisterDocumentSetRequest attendu")
    if not call.message.package.multipart:
        raise SoapFault("mtom-required", "Le dépôt attend un message MTOM (multipart/related).")
    children = list(request.iterchildren("*"))
    if not children or any(child.tag != c.q("ihe:Document") for child in children[1:]):
        raise schema("SubmitObjectsRequest puis Document attendus")
    submission = read_submission(children[0])
    contents: dict[str, bytes] = {}
    for document in children[1:]:
        identifier, inside = document.get("id", ""), list(document.iterchildren("*"))
        if not identifier or identifier in contents:
            raise schema("Document sans id ou en double")
        if [e.tag for e in inside] != [c.q("xop:Include")] or (document.text or "").strip():
            raise SoapFault("mtom-required", "Le contenu d'un document doit être un xop:Include.")
        contents[identifier] = referenced(inside[0].get("href", ""), call.message.package.parts).content
    return Provided(submission, contents)


def publish(call: Call, provided: Provided) -> list[Problem]:
    """Check and register a submission; gives its warnings.  Raises `SoapFault`, `Refused`; then nothing changed."""
    demand(call, Transaction.PUBLISH)
    patient = provided.submission.set.identifiers.get(c.SET_PATIENT, "")
    demand_patient(call, patient)
    check_open(call.store, patient)
    check_structure(call, provided.submission)
    problems = check_submission(provided.submission, call.now)
    _raise_errors(problems)
    _raise_errors(list(_shape_problems(provided)))
    _raise_errors(list(_content_problems(provided)))
    with call.store.transaction():
        _check_duplicates(call, provided)
        replaced = _replaced(call, provided)
        _check_signature(call, provided)
        _register(call, provided, replaced)
    return [p for p in problems if p.warning]


def _raise_errors(problems: list[Problem]) -> None:
    if any(not p.warning for p in problems):
        raise Refused(*problems)


def check_structure(call: Call, submission: Submission) -> None:
    """The submission set must be authored by the structure of the VIHF.  Raises `Refused`."""
    authors = submission.set.classified(c.SET_AUTHOR)
    named = {institution(value) for author in authors for value in author.slots.get("authorInstitution", ())}
    if call.vihf.structure not in named:
        text = "Aucun AuthorInstitution du lot ne correspond à l'utilisateur du VIHF."
        raise Refused(problem(text, "author-vihf"))


def _shape_problems(provided: Provided) -> Iterator[Problem]:
    """Entries, contents and associations must fit together."""
    submission = provided.submission
    entries = {e.id for e in submission.entries}
    if not provided.kos:
        yield problem("Aucun document dans le lot.", "no-document")
    if len(provided.signatures) != 1:
        yield problem("Le lot doit avoir un document de signature, un seul.", "signature-count")
    for missing in entries - set(provided.contents):
        yield Problem("XDSMissingDocument", f"Pas de contenu pour {missing}.", "missing-document")
    for extra in set(provided.contents) - entries:
        yield Problem("XDSMissingDocumentMetadata", f"Pas de métadonnées pour {extra}.", "missing-metadata")
    yield from _association_problems(provided, entries)
    for entry in submission.entries:
        if entry.identifiers.get(c.PATIENT_ID) != submission.set.identifiers.get(c.SET_PATIENT):
            text = f"Le patient de {entry.id} diffère de celui du lot."
            yield Problem("XDSPatientIdDoesNotMatch", text, "entry-patient")


def _association_problems(provided: Provided, entries: set[str]) -> Iterator[Problem]:
    submission, set_id = provided.submission, provided.submission.set.id
    original = {"SubmissionSetStatus": ("Original",)}
    members = submission.linked(c.HAS_MEMBER)
    wanted = sorted((set_id, entry) for entry in entries)
    if sorted((a.source, a.target) for a in members) != wanted or any(a.slots != original for a in members):
        yield problem("HasMember attendu du lot vers chaque document, SubmissionSetStatus Original.", "has-member")
    signs = sorted((a.source, a.target) for a in submission.linked(c.SIGNS))
    if signs != sorted((s.id, set_id) for s in provided.signatures):
        yield problem("Association signs attendue de la signature vers le lot.", "signs")
    replacing = [a.source for a in submission.linked(c.REPLACES)]
    if len(set(replacing)) != len(replacing) or not set(replacing) <= {e.id for e in provided.kos}:
        yield problem("RPLC doit partir d'un document du lot, une fois.", "replace-source")
    known = {c.HAS_MEMBER, c.SIGNS, c.REPLACES}
    if any(a.type not in known for a in submission.associations):
        yield problem("Association d'un type inattendu.", "association-type")


def _content_problems(provided: Provided) -> Iterator[Problem]:
    """Hash and size over the decoded bytes; a KOS is a DICOM file."""
    for entry in provided.submission.entries:
        data = provided.contents[entry.id]
        if entry.slot("hash").lower() != hashlib.sha1(data, usedforsecurity=False).hexdigest():
            yield problem(f"L'empreinte de {entry.id} diffère de son contenu.", "hash")
        if int(entry.slot("size")) != len(data):
            yield problem(f"La taille de {entry.id} diffère de son contenu.", "size")
    for entry in provided.kos:
        if provided.contents[entry.id][128:132] != b"DICM":
            yield Problem("InvalidDocumentContent", f"{entry.id} n'est pas un fichier DICOM.", "not-dicom")


def _check_duplicates(call: Call, provided: Provided) -> None:
    uids = [unique_id(e) for e in provided.submission.entries]
    if len({*uids, provided.set_uid}) != len(uids) + 1:
        text = "Un uniqueId est présent deux fois dans le message."
        raise refuse("XDSRepositoryDuplicateUniqueIdInMessage", text, "duplicate-in-message")
    for entry in provided.submission.entries:
        known = call.store.by_unique_id(unique_id(entry))
        if known is None:
            continue
        if known.hash != entry.slot("hash").lower():
            raise refuse("XDSNonIdenticalHash", f"{known.unique_id} existe avec un autre contenu.", "duplicate-content")
        raise refuse("XDSDuplicateUniqueIdInRegistry", f"{known.unique_id} existe déjà.", "duplicate")
    if call.store.knows_submission(provided.set_uid) or call.store.by_unique_id(provided.set_uid):
        text = f"Le lot {provided.set_uid} existe déjà."
        raise refuse("XDSDuplicateUniqueIdInRegistry", text, "duplicate-set")


def _replaced(call: Call, provided: Provided) -> dict[str, Stored]:
    """The replaced document of each replacing entry."""
    out: dict[str, Stored] = {}
    for association in provided.submission.linked(c.REPLACES):
        target = call.store.by_entry(association.target)
        if target is None or target.status == "Deleted" or target.kind != "kos":
            raise refuse("XDSReplaceFailed", "Le document à remplacer est inconnu ou supprimé.", "replace-unknown")
        if target.status != "Approved":
            text = f"Le document à remplacer est au statut {target.status}."
            raise refuse("XDSRegistryDeprecatedDocumentError", text, "replace-deprecated")
        if target.patient != call.vihf.patient:
            text = "Le document à remplacer est celui d'un autre patient."
            raise refuse("XDSPatientIdDoesNotMatch", text, "replace-patient")
        out[association.source] = target
    if len({t.entry_uuid for t in out.values()}) != len(out):
        raise refuse("XDSReplaceFailed", "Deux documents remplacent le même.", "replace-twice")
    return out


def _check_signature(call: Call, provided: Provided) -> None:
    signature = provided.contents[provided.signatures[0].id]
    documents = {unique_id(e): provided.contents[e.id] for e in provided.kos}
    algorithms = call.rules.dsig_algorithms
    verify_dsig(signature, provided.set_uid, documents, call.vihf.signer, call.trust, algorithms, call.now)


def _register(call: Call, provided: Provided, replaced: Mapping[str, Stored]) -> None:
    call.store.add_submission(provided.set_uid, call.now)
    for entry in provided.submission.entries:
        old = replaced.get(entry.id)
        data = provided.contents[entry.id]
        document = Stored(
            unique_id=unique_id(entry),
            entry_uuid=f"urn:uuid:{uuid.uuid4()}",
            status="Approved",
            patient=call.vihf.patient,
            kind="signature" if is_signature(entry) else "kos",
            structure=call.vihf.structure,
            author=_author(entry),
            submission_uid=provided.set_uid,
            replaces=old.entry_uuid if old else None,
            submitted_at=call.now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            mime_type=entry.attributes.get("mimeType", ""),
            hash=entry.slot("hash").lower(),
            size=len(data),
            entry_xml=entry.xml,
            content=data,
            exchange=call.exchange,
        )
        call.store.add(document)
        if old:
            call.store.set_status(old.entry_uuid, "Deprecated")


def _author(entry: RegistryObject) -> str:
    persons = next(iter(entry.classified(c.AUTHOR))).slots.get("authorPerson", ("",))
    return persons[0].partition("^")[0]
