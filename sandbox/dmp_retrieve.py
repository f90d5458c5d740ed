# SPDX-License-Identifier: AGPL-3.0-or-later
"""TD3.2: read documents (ITI-43)."""

from __future__ import annotations

import uuid

from lxml import etree

from sandbox import dmp_codes as c
from sandbox.dmp_call import Call, demand
from sandbox.dmp_ebrim import schema
from sandbox.dmp_errors import refuse
from sandbox.dmp_patients import raise_if_opposed
from sandbox.dmp_query import visible
from sandbox.dmp_rights import Transaction
from sandbox.dmp_soap import make
from sandbox.dmp_store import Stored

Element = etree._Element


def retrieve(call: Call) -> tuple[Element, dict[str, tuple[str, bytes]]]:
    """The answer's body and its MTOM parts.  Raises `SoapFault`, `Refused`."""
    request = call.message.body
    if request.tag != c.q("ihe:RetrieveDocumentSetRequest") or not len(request):
        raise schema("RetrieveDocumentSetRequest et DocumentRequest attendus")
    demand(call, Transaction.RETRIEVE)
    raise_if_opposed(call.store, call.vihf.patient)
    body = make("ihe:RetrieveDocumentSetResponse", make("rs:RegistryResponse", status=c.RESPONSE_STATUS + "Success"))
    parts: dict[str, tuple[str, bytes]] = {}
    for wanted in request.findall(c.q("ihe:DocumentRequest")):
        document = _document(call, wanted)
        content_id = f"{uuid.uuid4()}@dmp.sandbox.test"
        parts[content_id] = (document.mime_type, document.content)
        body.append(
            make(
                "ihe:DocumentResponse",
                make("ihe:RepositoryUniqueId", text=c.REPOSITORY_ID),
                make("ihe:DocumentUniqueId", text=document.unique_id),
                make("ihe:mimeType", text=document.mime_type),
                make("ihe:Document", make("xop:Include", href=f"cid:{content_id}")),
            )
        )
    return body, parts


def _document(call: Call, wanted: Element) -> Stored:
    repository = (wanted.findtext(c.q("ihe:RepositoryUniqueId")) or "").strip()
    unique_id = (wanted.findtext(c.q("ihe:DocumentUniqueId")) or "").strip()
    if repository != c.REPOSITORY_ID:
        raise refuse("XDSUnknownRepositoryId", "RepositoryUniqueId inconnu.", "retrieve-repository")
    document = call.store.by_unique_id(unique_id)
    hidden = document is None or document.status == "Deleted" or document.patient != call.vihf.patient
    if document is None or hidden or not visible(call, document):
        raise refuse("XDSDocumentUniqueIdError", "Document inconnu.", "retrieve-unknown")
    return document
