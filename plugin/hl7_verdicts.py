# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every reason for refusing a message and every warning, as two tables.

The acknowledgement's codes follow the CI-SIS HL7 v2 guide (MSA-1, ERR-3 of table 0357, ERR-5 of user
table 0533) and our decision table (spec `hl7v2.md` 6).  Reasons and warnings are stable; the French
sentences are what an operator reads.  Neither ever holds an identity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from drimbox.errors import MessageError, MessageTooLarge


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a reason means for the sender (codes) and for the operator (sentence)."""

    ack: str
    code: int
    application_code: str
    public: str


REFUSALS: Final = {
    # framing and header
    "not-hl7": Verdict("AR", 199, "", "Ce n'est pas un message HL7 v2 : il ne commence pas par MSH."),
    "message-too-large": Verdict("AE", 199, "", "Le message dépasse la taille admise (DrimBox.Mllp.MaximumBytes)."),
    "message-incomplete": Verdict("AR", 199, "", "Le message s'est interrompu avant sa fin : renvoyez-le."),
    "header-invalid": Verdict("AE", 100, "", "Le segment MSH est illisible (séparateurs)."),
    "message-too-complex": Verdict("AE", 199, "", "Le message compte trop de champs ou de lignes."),
    "several-messages": Verdict("AE", 100, "", "Un même bloc MLLP porte plusieurs messages."),
    "control-id-missing": Verdict("AE", 101, "", "L'identifiant du message (MSH-10) est absent."),
    "message-type": Verdict("AE", 200, "", "Ce type de message (MSH-9) n'est pas destiné à une DRIMbox."),
    "message-event": Verdict("AE", 201, "", "Cet événement (MSH-9.2) n'est pas traité par une DRIMbox."),
    "processing-id": Verdict(
        "AE", 202, "", "Le mode de traitement (MSH-11) n'est pas admis ici (DrimBox.Messages.ProcessingIds)."
    ),
    "version": Verdict("AE", 203, "", "La version HL7 (MSH-12) n'est pas admise (DrimBox.Messages.Versions)."),
    "profile-not-for-drimbox": Verdict(
        "AE", 200, "", "Le profil (MSH-21) est celui d'un autre flux que la transmission d'un compte rendu."
    ),
    # structure
    "pid-missing": Verdict("AE", 100, "", "Le segment PID est absent."),
    "order-missing": Verdict("AE", 100, "", "Le segment ORC est absent (contrôle strict)."),
    "document-segment-missing": Verdict("AE", 100, "", "Le message ne porte aucun segment OBX."),
    "study-segment-missing": Verdict("AE", 100, "", "Le message ne désigne aucun examen (IPC, OBR-18)."),
    "study-field-missing": Verdict("AE", 101, "", "Le segment IPC ne désigne aucun examen (IPC-3, IPC-1)."),
    # document
    "document-missing": Verdict("AE", 101, "", "Aucun OBX ne porte le compte rendu (CDA)."),
    "too-many-documents": Verdict("AE", 198, "", "Le message porte trop de documents."),
    "documents-disagree": Verdict("AE", 207, "906", "Les deux documents du message se contredisent."),
    "document-not-base64": Verdict("AE", 102, "", "Le document n'est pas encodé en base64."),
    "document-not-a-cda": Verdict("AE", 102, "", "Le document décodé n'est pas un CDA exploitable."),
    "document-type": Verdict(
        "AE", 103, "", "Le type du document n'est pas un compte rendu d'imagerie (DrimBox.Messages.DocumentTypes)."
    ),
    # action
    "status-missing": Verdict("AE", 101, "", "Le statut du document (OBX-11) est absent et rien ne le remplace."),
    "status-unknown": Verdict("AE", 103, "", "Le statut du document (OBX-11) n'est ni F, ni C, ni D."),
    "action-contradictory": Verdict(
        "AE", 207, "906", "L'événement, ORC-1 et OBX-11 ne disent pas la même chose (contrôle strict)."
    ),
    "replaced-document-missing": Verdict(
        "AE", 101, "", "Le remplacement ne désigne pas le document remplacé (contrôle strict)."
    ),
    # restrictions
    "restriction-missing": Verdict(
        "AE", 101, "", "Une restriction d'accès est absente (DrimBox.Messages.MissingRestrictions)."
    ),
    "restriction-unknown": Verdict("AE", 103, "", "Une restriction d'accès ne vaut ni Y ni N."),
    "restriction-repeated": Verdict("AE", 198, "", "Une restriction d'accès est donnée deux fois, différemment."),
    # patient
    "ins-missing": Verdict("AE", 207, "903", "Le compte rendu ne porte pas d'INS."),
    "patient-mismatch": Verdict("AE", 207, "904", "Le message (PID) et le compte rendu sont de deux patients."),
    # ourselves
    "internal-error": Verdict("AR", 207, "906", "Une erreur interne s'est produite : renvoyez le message plus tard."),
}

WARNINGS: Final = {
    # message
    "charset-differs": "Le jeu de caractères annoncé (MSH-18) n'est pas celui du message.",
    "profile-missing": "Le profil (MSH-21) est absent.",
    "profile-unexpected": "Le profil (MSH-21) n'est pas celui attendu (2.1^CISIS_CDA_HL7_V2).",
    "visit-missing": "Le segment PV1 est absent.",
    "order-missing": "Le segment ORC est absent.",
    "status-missing": "Le statut du document (OBX-11) est absent : l'action vient de l'événement ou d'ORC-1.",
    "order-control-differs": "ORC-1 ne dit pas la même chose qu'OBX-11.",
    "event-differs": "L'événement (MSH-9.2) ne dit pas la même chose qu'OBX-11.",
    "restriction-missing": "Une restriction d'accès est absente.",
    "restriction-change-unexpected": "Un premier envoi annonce un changement de restrictions (MODIF_CONF_CODE).",
    "several-documents": "Le message porte deux documents : le premier lisible est retenu.",
    "document-unreadable": "L'un des documents du message est illisible.",
    "document-code-differs": "Le type annoncé (OBX-3) n'est pas celui du document.",
    "txa-document-differs": "TXA-12 n'est pas l'identifiant du document.",
    "txa-parent-differs": "TXA-13 n'est pas le document remplacé selon le compte rendu.",
    "replaced-document-from-txa": "Le document remplacé n'est désigné que par TXA-13.",
    "replaced-document-missing": "Le remplacement ne désigne pas le document remplacé.",
    "replaced-document-unexpected": "Un premier envoi désigne un document remplacé.",
    "identity-not-qualified": "L'identité n'est pas qualifiée (PID-32) : la publication est retenue.",
    "pid-without-ins": "PID-3 ne porte pas l'INS.",
    "ins-authority-differs": "L'autorité de l'INS diffère entre PID et le compte rendu.",
    "ins-format": "L'INS n'a pas la forme d'un NIR ou d'un NIA.",
    "birth-name-differs": "Le nom de naissance diffère entre PID et le compte rendu.",
    "sex-differs": "Le sexe diffère entre PID et le compte rendu.",
    "sender-structure-differs": "La structure expéditrice (PRT-8) n'est pas celle du responsable du document.",
    # report
    "ins-missing": "Le compte rendu ne porte pas d'INS.",
    "study-missing": "Le compte rendu ne désigne aucun examen.",
    "effective-time-missing": "La date du compte rendu est illisible : celle d'un auteur la remplace.",
    "confidentiality-missing": "Le code de confidentialité du compte rendu est absent : lu comme normal.",
    "confidentiality-restricted": "Le compte rendu est marqué restreint : il ne devrait pas être partagé.",
    "traits-incomplete": "Des traits d'identité manquent dans le compte rendu.",
    "act-code-is-region": "Le code de l'acte est celui d'une région anatomique.",
    "modality-corrected": "La modalité RM a été lue comme MR.",
    "act-time-unreadable": "La date d'un acte est illisible.",
    "several-replaced": "Le compte rendu remplace plusieurs documents : le premier est retenu.",
}


def refusal(reason: str, detail: str, location: str = "") -> MessageError:
    """Make the error of a reason of `REFUSALS`; `location` is ERR-2 (``OBX^3^5``)."""
    verdict = REFUSALS[reason]
    kind = MessageTooLarge if reason == "message-too-large" else MessageError
    error = kind(
        detail,
        code=verdict.code,
        ack=verdict.ack,
        application_code=verdict.application_code,
        location=location,
        reason=reason,
    )
    error.public = verdict.public
    return error


def warning(name: str, detail: str = "") -> str:
    """Write a warning of `WARNINGS`, with a detail that holds no identity."""
    if name not in WARNINGS:
        raise KeyError(name)
    return f"{name}: {detail}" if detail else name


def warning_text(told: str) -> str:
    """French sentence of a warning as `ReportMessage` and `CdaReport` carry it; itself where unknown."""
    name, _, detail = told.partition(": ")
    sentence = WARNINGS.get(name)
    if sentence is None:
        return told
    return f"{sentence[:-1]} ({detail})." if detail else sentence
