# SPDX-License-Identifier: AGPL-3.0-or-later
"""What each error of the DMP means for a sender: table of codes, and the error raised.

Source: spec `dmp_soap.md` 8 (ITI TF-3 table 4.2.4.1-2 and the DMP codes seen).  The complete annex of the
DMP is not public: an unknown code is permanent and asks for a person.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final

from drimbox.errors import NationalServiceError, OutcomeUnknown, ServiceRefused, ServiceUnavailable


class Kind(StrEnum):
    """Class of an error; all but `UNAVAILABLE` are scopes of `ServiceRefused`.  Order: worst first."""

    CONFIGURATION = "configuration"
    PATIENT = "patient"
    DUPLICATE = "duplicate"
    REPLACE = "replace"
    DOCUMENT = "document"
    UNAVAILABLE = "unavailable"


# exact codes, then patterns; the first match counts
CODES: Final[tuple[tuple[str, Kind], ...]] = (
    # structure, certificate, assertion, addressing
    ("DMPInvalidCertificate", Kind.CONFIGURATION),
    ("*VIHF*", Kind.CONFIGURATION),
    ("DMPIdentityCertificationFailure", Kind.PATIENT),
    ("FailedAuthentication", Kind.CONFIGURATION),
    ("InvalidSecurity", Kind.CONFIGURATION),
    ("InvalidSecurityToken", Kind.CONFIGURATION),
    ("SecurityTokenUnavailable", Kind.CONFIGURATION),
    ("UnsupportedSecurityToken", Kind.CONFIGURATION),
    ("UnsupportedAlgorithm", Kind.CONFIGURATION),
    ("FailedCheck", Kind.CONFIGURATION),
    ("MessageExpired", Kind.CONFIGURATION),
    ("MessageAddressingHeaderRequired", Kind.CONFIGURATION),
    ("InvalidAddressingHeader", Kind.CONFIGURATION),
    ("ActionNotSupported", Kind.CONFIGURATION),
    ("DestinationUnreachable", Kind.CONFIGURATION),
    ("MustUnderstand", Kind.CONFIGURATION),
    ("VersionMismatch", Kind.CONFIGURATION),
    # patient
    ("DMPClosed", Kind.PATIENT),
    ("XDSUnknownPatientId", Kind.PATIENT),
    ("XDSPatientIdDoesNotMatch", Kind.PATIENT),
    # already there
    ("XDSDuplicateUniqueIdInRegistry", Kind.DUPLICATE),
    ("XDSNonIdenticalHash", Kind.DUPLICATE),
    ("*DuplicateUniqueIdInMessage", Kind.DUPLICATE),
    # replacement, update
    ("XDSReplaceFailed", Kind.REPLACE),
    ("XDSRegistryDeprecatedDocumentError", Kind.REPLACE),
    ("XDSMetadataVersionError", Kind.REPLACE),
    ("XDSMetadataUpdateError", Kind.REPLACE),
    ("XDSMetadataUpdateOperationError", Kind.REPLACE),
    ("UnresolvedReferenceException", Kind.REPLACE),
    ("ReferencesExistException", Kind.REPLACE),
    ("XDSPatientIDReconciliationError", Kind.REPLACE),
    ("UnmodifiableMetadataError", Kind.REPLACE),
    ("LocalPolicyRestrictionError", Kind.REPLACE),
    # transient
    ("XDSRegistryNotAvailable", Kind.UNAVAILABLE),
    ("XDSRegistryBusy", Kind.UNAVAILABLE),
    ("XDSRepositoryBusy", Kind.UNAVAILABLE),
    ("EndpointUnavailable", Kind.UNAVAILABLE),
    ("*OutOfResources", Kind.UNAVAILABLE),
    # document
    ("*MetadataError", Kind.DOCUMENT),
    ("XDSNonIdenticalSize", Kind.DOCUMENT),
    ("XDSMissingDocument*", Kind.DOCUMENT),
    ("InvalidDocumentContent", Kind.DOCUMENT),
    ("XDSUnknownRepositoryId", Kind.DOCUMENT),
    ("XDSDocumentUniqueIdError", Kind.DOCUMENT),
    ("XDSUnknownStoredQuery", Kind.DOCUMENT),
    ("XDSStoredQuery*", Kind.DOCUMENT),
    ("XDSTooManyResults", Kind.DOCUMENT),
    ("XDSResultNotSinglePatient", Kind.DOCUMENT),
)

# texts of errors whose code says nothing; narrow, because "configuration" stops a whole queue
_TEXTS: Final = (
    (re.compile(r"authorInstitution|personne morale|\bVIHF\b|sp[ée]cialit[ée] (?:absente|manquante)|"
                r"structure\b.{0,40}(?:inconnue|introuvable|inactive|trouv[ée]e)", re.I), Kind.CONFIGURATION),
    (re.compile(r"\bDMP\b.{0,20}\bferm[ée]", re.I), Kind.PATIENT),
)  # fmt: skip

_SENTENCES: Final = {
    "DMPClosed": "Le DMP de ce patient est fermé : le document n'a pas été publié.",
    "DMPInvalidCertificate": "Le DMP refuse le certificat de signature : ce doit être le cachet (ORG SIGN) "
    "de la structure (Dmp.SignatureCertificate).",
    "DMPIdentityCertificationFailure": "Le DMP n'a pas pu certifier l'identité du patient (INS et traits).",
    "XDSUnknownPatientId": "Le DMP ne connaît pas ce patient : vérifiez l'INS du compte rendu.",
    "XDSDuplicateUniqueIdInRegistry": "Le DMP possède déjà un document de cet identifiant.",
    "XDSNonIdenticalHash": "Le DMP possède déjà un document de cet identifiant, au contenu différent.",
    "XDSRegistryDeprecatedDocumentError": "Le document à remplacer n'est plus la version en vigueur dans le DMP.",
}
_OF_KIND: Final = {
    Kind.CONFIGURATION: "Le DMP refuse l'authentification ou la configuration de la structure : les envois "
    "sont suspendus jusqu'à correction.",
    Kind.PATIENT: "Le DMP de ce patient ne peut pas recevoir le document.",
    Kind.DUPLICATE: "Le DMP possède déjà ce document.",
    Kind.REPLACE: "Le DMP n'a pas accepté le remplacement ou la dépublication : la version visée a changé.",
    Kind.DOCUMENT: "Le DMP refuse le document ou ses métadonnées : une intervention est nécessaire.",
    Kind.UNAVAILABLE: "Le DMP est momentanément indisponible : un nouvel essai est programmé.",
}
_UNKNOWN: Final = "Le DMP a répondu par une erreur inconnue : une intervention est nécessaire."
_CODE: Final = re.compile(r"[^A-Za-z0-9_.-]")
# an INS or another national number in a free text has no place in a journal
_NUMBERS: Final = re.compile(r"(?<![\d.])\d{11,15}(?![\d.])")


def kind_of(code: str) -> Kind | None:
    """Class of a code, None where it is unknown."""
    return next((kind for pattern, kind in CODES if fnmatchcase(code, pattern)), None)


def local_code(code: str) -> str:
    """A code without namespace prefix or URN, in safe characters, at most 80."""
    return _CODE.sub("", re.split("[:#}]", code)[-1])[:80]


def error_for(code: str, text: str) -> NationalServiceError:
    """The error to raise for one code and its text (kept in the detail, numbers masked)."""
    short = local_code(code)
    kind = kind_of(short) or next((kind for pattern, kind in _TEXTS if pattern.search(text)), None)
    detail = f"{short or 'no code'}: {masked(text)}"
    if kind is Kind.UNAVAILABLE:
        return ServiceUnavailable(detail, code=short, public=_OF_KIND[kind])
    public = _SENTENCES.get(short) or (_OF_KIND[kind] if kind else _UNKNOWN)
    if short:
        public = f"{public} (code {short})"
    return ServiceRefused(detail, code=short, scope=kind or Kind.DOCUMENT, public=public)


def worst(errors: Iterable[tuple[str, str, bool]]) -> NationalServiceError:
    """The error to raise for a registry's list (code, text, whether an error): the one that binds most.

    A transient code counts only alone; an empty list is an outcome that nobody knows.
    """
    found = list(errors)
    serious = [(code, text) for code, text, is_error in found if is_error] or [(c, t) for c, t, _ in found]
    if not serious:
        return OutcomeUnknown("the registry answered Failure without an error")
    ranked = sorted((error_for(code, text) for code, text in serious), key=_rank)
    chosen = ranked[0]
    chosen.detail = "; ".join(e.detail for e in ranked)[:1000]
    return chosen


def masked(text: str) -> str:
    """A free text for the journal: one line, numbers that may be an INS masked, cut."""
    return _NUMBERS.sub("…", " ".join(text.split()))[:300]


def _rank(error: NationalServiceError) -> int:
    kinds = list(Kind)
    return kinds.index(Kind(error.scope)) if isinstance(error, ServiceRefused) else len(kinds)
