# SPDX-License-Identifier: AGPL-3.0-or-later
"""TD3.1 and TD3.1b: stored queries (ITI-18): FindDocuments, FindDocumentsByReferenceId, GetDocuments."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lxml import etree

from sandbox import dmp_codes as c
from sandbox.dmp_call import Call, demand, demand_patient
from sandbox.dmp_ebrim import RegistryObject, read_object, schema
from sandbox.dmp_errors import refuse
from sandbox.dmp_patients import raise_if_opposed
from sandbox.dmp_rights import Mode, Transaction
from sandbox.dmp_soap import make
from sandbox.dmp_store import Stored

Element = etree._Element
FIND = "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d"
FIND_BY_REFERENCE = "urn:uuid:12941a89-e02e-4be5-967c-ce4bfc8fe492"
GET = "urn:uuid:5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4"
_QUOTED = r"'(?:[^']|'')*'"
_ITEM = rf"(?:{_QUOTED}|\d+)"
_LIST = re.compile(rf"\(\s*{_ITEM}(?:\s*,\s*{_ITEM})*\s*\)")
_P = "$XDSDocumentEntry"
_CODES = {
    "ClassCode": c.CLASS_CODE,
    "TypeCode": c.TYPE_CODE,
    "FormatCode": c.FORMAT_CODE,
    "EventCodeList": c.EVENT_CODE,
    "PracticeSettingCode": c.PRACTICE,
    "HealthcareFacilityTypeCode": c.FACILITY,
    "ConfidentialityCode": c.CONFIDENTIALITY,
}
_TIMES = {"CreationTime": "creationTime", "ServiceStartTime": "serviceStartTime", "ServiceStopTime": "serviceStopTime"}
_ALLOWED = {
    GET: {"UniqueId", "EntryUUID"},
    FIND: {"PatientId", "Status", "Type", *_CODES, *(f"{t}{end}" for t in _TIMES for end in ("From", "To"))},
    FIND_BY_REFERENCE: {"PatientId", "Status", "ReferenceIdList", "Type", *_CODES},
}


@dataclass(frozen=True)
class Parameter:
    """One slot of a query: alternatives (OR); several slots of a name are ANDed."""

    name: str
    values: tuple[str, ...]
    listed: bool


@dataclass(frozen=True)
class Query:
    """A read AdhocQuery."""

    id: str
    return_type: str
    parameters: tuple[Parameter, ...]

    def all(self, name: str) -> list[Parameter]:
        """Every slot ``$XDSDocumentEntry<name>``."""
        return [p for p in self.parameters if p.name == name]


def parse_values(text: str) -> tuple[tuple[str, ...], bool]:
    """Values of a query parameter and whether they were a list (ITI TF-2 3.18.4.1.2.3.5).  Raises `Refused`."""
    bare = text.strip()
    listed = bool(_LIST.fullmatch(bare))
    if not listed and not re.fullmatch(_ITEM, bare):
        raise refuse("XDSStoredQueryParamNumber", "Paramètre mal formé (apostrophes, parenthèses).", "query-quoting")
    items = re.findall(_ITEM, bare)
    return tuple(i[1:-1].replace("''", "'") if i.startswith("'") else i for i in items), listed


def read_query(request: Element) -> Query:
    """Read ``query:AdhocQueryRequest``.  Raises `SoapFault`, `Refused`."""
    option, adhoc = request.find(c.q("query:ResponseOption")), request.find(c.q("rim:AdhocQuery"))
    if request.tag != c.q("query:AdhocQueryRequest") or option is None or adhoc is None:
        raise schema("AdhocQueryRequest, ResponseOption et AdhocQuery attendus")
    return_type = option.get("returnType", "")
    if return_type not in ("LeafClass", "ObjectRef"):
        raise schema("returnType doit être LeafClass ou ObjectRef")
    identifier = adhoc.get("id", "")
    if identifier not in _ALLOWED:
        raise refuse("XDSUnknownStoredQuery", f"Requête inconnue ou non simulée : {identifier}.", "query-unknown")
    parameters = [p for slot in adhoc.findall(c.q("rim:Slot")) for p in _parameters(slot, _ALLOWED[identifier])]
    return Query(identifier, return_type, tuple(parameters))


def _parameters(slot: Element, allowed: Iterable[str]) -> list[Parameter]:
    name = slot.get("name", "").removeprefix(_P)
    if not slot.get("name", "").startswith(_P) or name not in allowed:
        raise refuse("XDSRegistryError", f"Paramètre inattendu : {slot.get('name')}.", "query-parameter")
    texts = [value.text or "" for value in slot.findall(f"{c.q('rim:ValueList')}/{c.q('rim:Value')}")]
    read = [parse_values(text) for text in texts]
    if not read:
        raise schema(f"Slot {name} sans valeur")
    return [Parameter(name, tuple(v for values, _ in read for v in values), all(listed for _, listed in read))]


def search(call: Call) -> Element:
    """Answer a stored query with ``query:AdhocQueryResponse``.  Raises `SoapFault`, `Refused`."""
    query = read_query(call.message.body)
    reference = query.id == GET and query.return_type == "ObjectRef" and not query.all("EntryUUID")
    demand(call, Transaction.REFERENCE if reference else Transaction.SEARCH)
    found = _get(call, query) if query.id == GET else _find(call, query)
    shown = [d for d in found if d.status != "Deleted" and (reference or visible(call, d))]
    objects = [_leaf(d) if query.return_type == "LeafClass" else make("rim:ObjectRef", id=d.entry_uuid) for d in shown]
    return make(
        "query:AdhocQueryResponse",
        make("rim:RegistryObjectList", *objects),
        status=c.RESPONSE_STATUS + "Success",
        totalResultCount=str(len(objects)),
        startIndex="0",
    )


def _single(query: Query, name: str) -> Parameter:
    found = query.all(name)
    if not found:
        raise refuse("XDSStoredQueryMissingParam", f"Paramètre obligatoire absent : {_P}{name}.", "query-missing")
    if len(found) > 1:
        raise refuse("XDSStoredQueryParamNumber", f"Paramètre répété : {_P}{name}.", "query-repeated")
    return found[0]


def _get(call: Call, query: Query) -> list[Stored]:
    by_uid, by_entry = query.all("UniqueId"), query.all("EntryUUID")
    if bool(by_uid) == bool(by_entry):
        raise refuse("XDSStoredQueryMissingParam", "Un uniqueId, ou un entryUUID, est attendu.", "query-missing")
    values = _single(query, "UniqueId" if by_uid else "EntryUUID").values
    getter = call.store.by_unique_id if by_uid else call.store.by_entry
    found = [d for d in (getter(value) for value in values) if d is not None]
    if any(d.patient != call.vihf.patient for d in found):
        text = "Le document est celui d'un autre patient que celui du VIHF."
        raise refuse("XDSPatientIdDoesNotMatch", text, "query-patient")
    return found


def _find(call: Call, query: Query) -> list[Stored]:
    patient, status = _single(query, "PatientId"), _single(query, "Status")
    if patient.listed or len(patient.values) != 1:
        raise refuse("XDSStoredQueryParamNumber", "PatientId n'est jamais une liste.", "query-patient-list")
    if not status.listed:
        raise refuse("XDSStoredQueryParamNumber", "Status est toujours une liste.", "query-status-list")
    demand_patient(call, patient.values[0])
    raise_if_opposed(call.store, patient.values[0])
    if query.id == FIND_BY_REFERENCE:
        _single(query, "ReferenceIdList")
    tests = [_test(parameter) for parameter in query.parameters]
    mine = [d for d in call.store.documents() if d.patient == patient.values[0]]
    return [d for d in mine if all(test(d, read_object(etree.fromstring(d.entry_xml))) for test in tests)]


def _test(parameter: Parameter) -> Callable[[Stored, RegistryObject], bool]:
    name, values = parameter.name, parameter.values
    if name in _CODES:
        if not parameter.listed:
            raise refuse("XDSStoredQueryParamNumber", f"{name} est toujours une liste.", "query-code-list")
        return lambda _, entry: any(f"{code}^^{scheme}" in values for code, scheme in entry.codes(_CODES[name]))
    if name == "Status":
        return lambda document, _: c.STATUSES[document.status] in values
    if name == "ReferenceIdList":
        return lambda _, entry: any(v in values for v in entry.slots.get(c.REFERENCE_SLOT, ()))
    for label, slot in _TIMES.items():
        if name == f"{label}From":
            return lambda _, entry, slot=slot: entry.slot(slot) >= values[0]  # type: ignore[misc]
        if name == f"{label}To":
            return lambda _, entry, slot=slot: entry.slot(slot) < values[0]  # type: ignore[misc]
    return lambda _document, _entry: True


def visible(call: Call, document: Stored) -> bool:
    """A document masked to professionals is shown to its author only (normal mode)."""
    entry = read_object(etree.fromstring(document.entry_xml))
    masked = c.MASQUE_PS in entry.codes(c.CONFIDENTIALITY)
    return not masked or (call.vihf.mode is Mode.AIR and document.author == call.vihf.name_id)


def _leaf(document: Stored) -> Element:
    """The registry's own ExtrinsicObject: entryUUID, status, repository."""
    entry = etree.fromstring(document.entry_xml)
    symbolic = entry.get("id")
    for element in entry.iter("*"):
        for name in ("id", "classifiedObject", "registryObject"):
            if element.get(name) == symbolic:
                element.set(name, document.entry_uuid)
    entry.set("lid", document.entry_uuid)
    entry.set("status", c.STATUSES[document.status])
    for slot in entry.findall(c.q("rim:Slot")):
        if slot.get("name") == "repositoryUniqueId":
            entry.remove(slot)
    value = make("rim:ValueList", make("rim:Value", text=c.REPOSITORY_ID))
    entry.insert(0, make("rim:Slot", value, name="repositoryUniqueId"))
    version = make("rim:VersionInfo", versionName="1")
    before = [e for e in entry if e.tag in (c.q("rim:Slot"), c.q("rim:Name"), c.q("rim:Description"))]
    for existing in entry.findall(c.q("rim:VersionInfo")):
        entry.remove(existing)
    entry.insert(len(before), version)
    return entry


def failed(errors: Element, status: str = "Failure") -> Element:
    """The answer without results, with its errors."""
    body = make("query:AdhocQueryResponse", errors, status=c.RESPONSE_STATUS + status)
    body.append(make("rim:RegistryObjectList"))
    return body
