# SPDX-License-Identifier: AGPL-3.0-or-later
"""Registry stored queries (ITI-18): writing them and reading identifiers from answers.

In indirect mode only TD3.1b is allowed: GetDocuments by uniqueId, answered by references.
"""

from __future__ import annotations

from collections.abc import Iterable

from lxml import etree

from drimbox.ebrim import rim, slot
from drimbox.xds_codes import QUERY, RIM, RS

GET_DOCUMENTS = "urn:uuid:5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4"
RESPONSE_STATUS = "urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:"


def quoted(text: str) -> str:
    """A text value: single quotes around, quotes inside doubled (ITI TF-2 3.18.4.1.2.3.5)."""
    return "'" + text.replace("'", "''") + "'"


def listed(values: Iterable[str]) -> str:
    """A list of text values: quoted, in parentheses."""
    return "(" + ",".join(quoted(v) for v in values) + ")"


def build_query(query_id: str, parameters: Iterable[tuple[str, str]], *, return_type: str) -> etree._Element:
    """``query:AdhocQueryRequest``; `parameters` are slot names and values already quoted."""
    request = etree.Element(f"{{{QUERY}}}AdhocQueryRequest", nsmap={"query": QUERY, "rim": RIM})
    etree.SubElement(request, f"{{{QUERY}}}ResponseOption", returnType=return_type, returnComposedObjects="true")
    query = etree.SubElement(request, rim("AdhocQuery"), id=query_id)
    query.extend(slot(name, [value]) for name, value in parameters)
    return request


def get_documents(unique_id: str) -> etree._Element:
    """TD3.1b: the entryUUID of a document known by its uniqueId."""
    parameters = [("$XDSDocumentEntryUniqueId", listed([unique_id]))]
    return build_query(GET_DOCUMENTS, parameters, return_type="ObjectRef")


def read_references(answer: etree._Element) -> tuple[str, ...]:
    """EntryUUIDs of an ``AdhocQueryResponse``, as references or whole entries, each once."""
    found = answer.iterfind(f"{{{RIM}}}RegistryObjectList/*")
    tags = (rim("ObjectRef"), rim("ExtrinsicObject"))
    return tuple(dict.fromkeys(e.get("id", "") for e in found if e.tag in tags and e.get("id")))


def read_status(answer: etree._Element) -> str:
    """``Success``, ``Failure``, ``PartialSuccess`` or "" of a RegistryResponse or AdhocQueryResponse."""
    status = answer.get("status", "")
    return status.removeprefix(RESPONSE_STATUS) if status.startswith(RESPONSE_STATUS) else ""


def read_errors(answer: etree._Element) -> tuple[tuple[str, str, bool], ...]:
    """Code, context and whether it is an error (else a warning) of each ``rs:RegistryError``."""
    errors = answer.iterfind(f"{{{RS}}}RegistryErrorList/{{{RS}}}RegistryError")
    return tuple(
        (e.get("errorCode", ""), e.get("codeContext", ""), not e.get("severity", "").endswith("Warning"))
        for e in errors
    )
