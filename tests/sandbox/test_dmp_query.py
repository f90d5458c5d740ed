# SPDX-License-Identifier: AGPL-3.0-or-later
"""Stored queries and retrieval on the DMP stand-in."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.dmp_errors import Refused
from sandbox.dmp_query import parse_values
from sandbox.dmp_server import DmpServers
from tests.sandbox.dmp_messages import (
    FIND_BY_REFERENCE,
    FIND_DOCUMENTS,
    GET_DOCUMENTS,
    INS,
    PATIENT,
    QUERY,
    RETRIEVE,
    RIM,
    STATUS,
    Client,
    Publication,
    Reply,
    Vihf,
    air,
    stored_query,
)

pytest_plugins = ("tests.sandbox.dmp_fixtures",)
_PATIENT = ("PatientId", f"'{PATIENT}'")
_APPROVED = ("Status", f"('{STATUS}Approved')")
_KOS = ("TypeCode", "('IMG-KOS^^1.2.250.1.213.1.1.4.12')")


def ask(client: Client, identifier: str, parameters: list[tuple[str, str]], kind: str = "LeafClass",
        vihf: Vihf | None = None) -> Reply:  # fmt: skip
    return client.call("registry", QUERY, stored_query(identifier, parameters, kind), vihf or air())


def uids(reply: Reply) -> list[str]:
    assert reply.outcome == "Success", reply.body
    scheme = "urn:uuid:2e82c1f6-a085-4c72-9da3-8640a32e42ab"
    found = reply.xml.findall(f".//{{{RIM}}}ExternalIdentifier[@identificationScheme='{scheme}']")
    return [str(e.get("value")) for e in found]


@pytest.mark.parametrize(
    ("text", "values", "listed"),
    [
        ("'a'", ("a",), False),
        ("('a')", ("a",), True),
        ("( 'a' , 'b''c' )", ("a", "b'c"), True),
        ("'l''examen'", ("l'examen",), False),
        ("('x,y')", ("x,y",), True),
        ("20260101", ("20260101",), False),
    ],
)
def test_values_are_read_with_their_quotes(text: str, values: tuple[str, ...], listed: bool) -> None:
    assert parse_values(text) == (values, listed)


@pytest.mark.parametrize("text", ["a", "'a", "('a'", "('a' 'b')", "()", "('a',)", "'a'b'", ""])
def test_values_without_right_quotes_are_refused(text: str) -> None:
    with pytest.raises(Refused):
        parse_values(text)


def test_a_structure_finds_an_entry_by_its_unique_id_only(pki: Path, dmp: DmpServers, client: Client) -> None:
    sent = Publication(pki)
    client.publish(sent)
    stored = dmp.app.store.by_unique_id(sent.uid)
    assert stored is not None
    both = ask(client, GET_DOCUMENTS, [("UniqueId", f"('{sent.uid}','1.2.3')")], "ObjectRef", Vihf())
    assert [e.get("id") for e in both.xml.iter(f"{{{RIM}}}ObjectRef")] == [stored.entry_uuid]
    assert both.attribute(".//{*}AdhocQueryResponse", "totalResultCount") == "1"
    single = ask(client, GET_DOCUMENTS, [("UniqueId", f"'{sent.uid}'")], "ObjectRef", Vihf())
    assert stored.entry_uuid in single.body.decode()
    unknown = ask(client, GET_DOCUMENTS, [("UniqueId", "('1.2.3')")], "ObjectRef", Vihf())
    assert (unknown.outcome, list(unknown.xml.iter(f"{{{RIM}}}ObjectRef"))) == ("Success", [])
    leaf = ask(client, GET_DOCUMENTS, [("UniqueId", f"('{sent.uid}')")], "LeafClass", Vihf())
    assert leaf.check == "rights-TD3.1"
    by_entry = ask(client, GET_DOCUMENTS, [("EntryUUID", f"('{stored.entry_uuid}')")], "ObjectRef", Vihf())
    assert by_entry.check == "rights-TD3.1"
    assert ask(client, FIND_DOCUMENTS, [_PATIENT, _APPROVED], "ObjectRef", Vihf()).check == "rights-TD3.1"


def test_an_entry_of_another_patient_is_not_given(pki: Path, client: Client) -> None:
    sent = Publication(pki)
    client.publish(sent)
    other = Vihf(patient=PATIENT.replace(INS, "188027512345700"))
    reply = ask(client, GET_DOCUMENTS, [("UniqueId", f"('{sent.uid}')")], "ObjectRef", other)
    assert (reply.outcome, reply.codes) == ("Failure", ["XDSPatientIdDoesNotMatch"])


def test_a_professional_finds_documents_as_the_registry_holds_them(pki: Path, dmp: DmpServers, client: Client) -> None:
    sent = Publication(pki)
    client.publish(sent)
    stored = dmp.app.store.by_unique_id(sent.uid)
    assert stored is not None
    reply = ask(client, FIND_DOCUMENTS, [_PATIENT, _APPROVED, _KOS])
    assert sent.uid in uids(reply)
    entry = reply.xml.find(f".//{{{RIM}}}ExtrinsicObject[@id='{stored.entry_uuid}']")
    assert entry is not None
    assert (entry.get("lid"), entry.get("status")) == (stored.entry_uuid, STATUS + "Approved")
    slots = {s.get("name"): s.findtext(".//{*}Value") for s in entry.findall(f"{{{RIM}}}Slot")}
    assert (slots["hash"], slots["size"]) == (stored.hash, str(stored.size))
    assert slots["repositoryUniqueId"] == "1.2.250.1.213.4.1.1.1.2"
    assert {e.get("classifiedObject") for e in entry.findall(f"{{{RIM}}}Classification")} == {stored.entry_uuid}
    order = [e.tag.rpartition("}")[2] for e in entry]
    assert order.index("VersionInfo") == order.index("Description") + 1


def test_filters_are_alternatives_in_a_slot_and_all_true_over_slots(pki: Path, client: Client) -> None:
    sent = Publication(pki)
    client.publish(sent)
    base = [_PATIENT, _APPROVED]
    mr, head = "'MR^^1.2.840.10008.2.16.4'", "'774007^^2.16.840.1.113883.6.96'"
    assert sent.uid in uids(
        ask(client, FIND_DOCUMENTS, [*base, ("EventCodeList", f"({mr},'CT^^1.2.840.10008.2.16.4')")])
    )
    both = [*base, ("EventCodeList", f"({mr})"), ("EventCodeList", f"({head})")]
    assert sent.uid in uids(ask(client, FIND_DOCUMENTS, both))
    none = [*base, ("EventCodeList", f"({mr})"), ("EventCodeList", "('38266002^^2.16.840.1.113883.6.96')")]
    assert uids(ask(client, FIND_DOCUMENTS, none)) == []
    assert sent.uid in uids(ask(client, FIND_DOCUMENTS, [*base, ("ServiceStartTimeFrom", "'20260104'")]))
    assert uids(ask(client, FIND_DOCUMENTS, [*base, ("ServiceStartTimeTo", "'20260104'")])) == []
    assert uids(ask(client, FIND_DOCUMENTS, [_PATIENT, ("Status", f"('{STATUS}Deprecated')"), _KOS])) == []


def test_a_reference_finds_its_study(pki: Path, client: Client) -> None:
    first, second = Publication(pki), Publication(pki)
    client.publish(first)
    client.publish(second)
    reference = f"{first.study}^^^&amp;1.2.3.4.5.6&amp;ISO^urn:ihe:iti:xds:2016:studyInstanceUID"
    found = ask(client, FIND_BY_REFERENCE, [_PATIENT, _APPROVED, ("ReferenceIdList", f"('{reference}')")])
    assert uids(found) == [first.uid]


def test_masked_documents_are_for_their_author_only(pki: Path, client: Client) -> None:
    sent = Publication(pki, confidentiality=("N", "MASQUE_PS"))
    client.publish(sent)
    assert sent.uid not in uids(ask(client, FIND_DOCUMENTS, [_PATIENT, _APPROVED, _KOS]))
    author = air(name_id="899711256811")
    assert sent.uid in uids(ask(client, FIND_DOCUMENTS, [_PATIENT, _APPROVED, _KOS], vihf=author))


REFUSALS = [
    ("query-unknown", "urn:uuid:f26abbcb-ac74-4422-8a30-edb644bbc1a9", [_PATIENT]),
    ("query-missing", FIND_DOCUMENTS, [_PATIENT]),
    ("query-missing", FIND_DOCUMENTS, [_APPROVED]),
    ("query-missing", FIND_BY_REFERENCE, [_PATIENT, _APPROVED]),
    ("query-missing", GET_DOCUMENTS, []),
    ("query-repeated", FIND_DOCUMENTS, [_PATIENT, _PATIENT, _APPROVED]),
    ("query-patient-list", FIND_DOCUMENTS, [("PatientId", f"('{PATIENT}')"), _APPROVED]),
    ("query-status-list", FIND_DOCUMENTS, [_PATIENT, ("Status", f"'{STATUS}Approved'")]),
    ("query-code-list", FIND_DOCUMENTS, [_PATIENT, _APPROVED, ("TypeCode", "'IMG-KOS^^1.2.250.1.213.1.1.4.12'")]),
    ("query-quoting", FIND_DOCUMENTS, [_PATIENT, ("Status", f"({STATUS}Approved)")]),
    ("query-parameter", FIND_DOCUMENTS, [_PATIENT, _APPROVED, ("Colour", "('blue')")]),
]


@pytest.mark.parametrize(("check", "identifier", "parameters"), REFUSALS, ids=[f"{n}-{r[0]}" for n, r in
                                                                              enumerate(REFUSALS)])  # fmt: skip
def test_a_wrong_query_is_refused(
    client: Client, check: str, identifier: str, parameters: list[tuple[str, str]]
) -> None:
    reply = ask(client, identifier, parameters)
    assert (reply.status, reply.outcome, reply.check) == (200, "Failure", check)


@pytest.mark.parametrize(
    "body",
    [
        stored_query(GET_DOCUMENTS, [], "Everything"),
        stored_query(FIND_DOCUMENTS, [_APPROVED]).replace("AdhocQueryRequest", "AdhocQuery"),
        stored_query(FIND_DOCUMENTS, [_PATIENT]).replace("<rim:Value>", "<rim:X>").replace("</rim:Value>", "</rim:X>"),
    ],
)
def test_a_query_outside_the_schema_is_a_fault(client: Client, body: str) -> None:
    reply = client.call("registry", QUERY, body, air())
    assert (reply.status, reply.check) == (500, "schema")
    empty = '<ihe:RetrieveDocumentSetRequest xmlns:ihe="urn:ihe:iti:xds-b:2007"/>'
    assert client.call("repository", RETRIEVE, empty, air()).check == "schema"


def test_the_patient_of_a_search_must_be_the_one_of_the_vihf(client: Client) -> None:
    other = ("PatientId", f"'{PATIENT.replace(INS, '188027512345700')}'")
    assert ask(client, FIND_DOCUMENTS, [other, _APPROVED]).check == "vihf-patient"


def test_an_opposed_patient_is_not_searched(client: Client) -> None:
    patient = PATIENT.replace(INS, "199017599990347")
    vihf = air(patient=patient)
    reply = ask(client, FIND_DOCUMENTS, [("PatientId", f"'{patient}'"), _APPROVED], vihf=vihf)
    assert reply.check == "patient-opposed"


# --- ITI-43 --------------------------------------------------------------------------------------------------------


def _retrieve(client: Client, uid: str, repository: str = "1.2.250.1.213.4.1.1.1.2", vihf: Vihf | None = None) -> Reply:
    body = (
        '<ihe:RetrieveDocumentSetRequest xmlns:ihe="urn:ihe:iti:xds-b:2007"><ihe:DocumentRequest>'
        f"<ihe:RepositoryUniqueId>{repository}</ihe:RepositoryUniqueId>"
        f"<ihe:DocumentUniqueId>{uid}</ihe:DocumentUniqueId></ihe:DocumentRequest></ihe:RetrieveDocumentSetRequest>"
    )
    return client.call("repository", RETRIEVE, body, vihf or air())


def test_a_professional_reads_the_bytes_that_were_published(pki: Path, dmp: DmpServers, client: Client) -> None:
    sent = Publication(pki)
    client.publish(sent)
    reply = _retrieve(client, sent.uid)
    assert (reply.status, reply.outcome) == (200, "Success")
    assert reply.parts[1] == sent.content
    stored = dmp.app.store.by_unique_id(sent.uid)
    assert stored is not None
    assert _retrieve(client, stored.entry_uuid).codes == ["XDSDocumentUniqueIdError"]
    assert _retrieve(client, sent.uid, "1.2.3").codes == ["XDSUnknownRepositoryId"]
    masked = Publication(pki, confidentiality=("N", "MASQUE_PS"))
    client.publish(masked)
    assert _retrieve(client, masked.uid).codes == ["XDSDocumentUniqueIdError"]
