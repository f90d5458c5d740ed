# SPDX-License-Identifier: AGPL-3.0-or-later
"""The report that goes with a sample exam: right act, right words, identifiers of its own."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace

from sandbox.exams_common import ExamFiles
from sandbox.report_hl7 import Envelope, Restrictions
from sandbox.report_maker import Message, make_message
from sandbox.report_model import DOCUMENT_ROOT, Act, Action, Coded, Ident, Report, demo_report

LOINC = "2.16.840.1.113883.6.1"
CCAM = "1.2.250.1.215.300.1"
DCM = "1.2.840.10008.2.16.4"
SNOMED = "2.16.840.1.113883.6.96"


@dataclass(frozen=True, slots=True)
class Words:
    """How a report of one modality speaks: title, act (LOINC, CCAM), modality and region, findings."""

    title: str
    loinc: tuple[str, str]
    ccam: tuple[str, str]
    modality: str
    region: tuple[str, str]
    technique: str
    finding: str


WORDS: Mapping[str, Words] = {
    "CT": Words(
        "Scanner du thorax",
        ("24628-0", "CT Chest W contrast IV"),
        ("ZBQH001", "Scanographie du thorax, avec injection intraveineuse de produit de contraste"),
        "Tomodensitométrie",
        ("67734004", "thorax"),
        "acquisition hélicoïdale du thorax après injection de produit de contraste iodé",
        "pas de foyer parenchymateux. Cœur de volume normal. Repère métallique de contrôle au bord du foie",
    ),
    "CR": Words(
        "Radiographie du thorax",
        ("36643-5", "XR Chest 2 Views"),
        ("ZBQK002", "Radiographie du thorax"),
        "Radiographie numérisée",
        ("67734004", "thorax"),
        "cliché de face, debout, en inspiration",
        "transparence parenchymateuse normale, coupoles régulières",
    ),
    "US": Words(
        "Échographie cardiaque",
        ("34552-0", "US Heart 2D"),
        ("DZQM006", "Échographie-doppler transthoracique du cœur et des vaisseaux intrathoraciques"),
        "Échographie",
        ("80891009", "cœur"),
        "voie transthoracique",
        "cinétique segmentaire et globale conservée",
    ),
    "MR": Words(
        "IRM de l'encéphale",
        ("24587-8", "MR Brain WO contrast IV"),
        ("ACQN001", "Remnographie du crâne et de son contenu, sans injection"),
        "Imagerie par résonance magnétique",
        ("774007", "tête et cou"),
        "séquences pondérées T1 et T2",
        "pas d'anomalie de signal du parenchyme",
    ),
}


def report_of(exam: ExamFiles, *, number: int | None = None, viewer_root: str = "https://vi.drimbox.example") -> Report:
    """The report of an exam; without `number` its identifiers are drawn: a demonstration can be played again."""
    number = number if number is not None else secrets.randbelow(10**15)
    words = WORDS[exam.modality]
    act = Act(
        exam.study_uid,
        code=Coded(*words.loinc, LOINC, "LOINC"),
        ccam=Coded(*words.ccam, CCAM, "CCAM"),
        modality=Coded(exam.modality, words.modality, DCM, "DCM"),
        region=Coded(*words.region, SNOMED, "SNOMED CT"),
    )
    base = demo_report(exam.study_uid, exam.accession, number=number, viewer_root=viewer_root)
    return replace(
        base,
        acts=(act,),
        title=f"CR d'imagerie médicale - {words.title}",
        paragraphs=(
            "Indication : examen de démonstration, entièrement fictif. Images de synthèse.",
            f"Technique : {words.technique}.",
            f"Résultat : {words.finding}.",
            "Conclusion : examen sans anomalie. Ce compte rendu ne concerne aucune personne réelle.",
        ),
        document_id=Ident(f"{DOCUMENT_ROOT}.{number}.1"),
        set_id=Ident(f"{DOCUMENT_ROOT}.{number}"),
    )


def message_of(
    report: Report,
    *,
    action: Action = Action.CREATE,
    restrictions: Restrictions | None = None,
    kind: str = "mdm",
    control_id: str | None = None,
) -> Message:
    """The message that carries a report, under a control identifier of its own."""
    envelope = Envelope(control_id=control_id or secrets.token_hex(8).upper(), sent_at=report.created)
    return make_message(report, action, restrictions, envelope, kind=kind)
