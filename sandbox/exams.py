# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sample exams by name, and their command: ``python -m sandbox.exams make NAME --out DIR`` or ``list``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sandbox import exams_cr, exams_ct, exams_mr, exams_us
from sandbox.exams_common import CAMILLE, STARTED, ExamFiles, Order, Patient, make_uid


@dataclass(frozen=True, slots=True)
class Kind:
    """One exam that can be made: `modality` is the DICOM code, `description` goes into StudyDescription."""

    modality: str
    description: str
    make: Callable[[Order, Path], tuple[tuple[str, ...], tuple[Path, ...]]]


EXAMS = {
    "ct": Kind("CT", "Scanner thoracique avec injection – données d'essai", exams_ct.make),
    "cr": Kind("CR", "Radiographie du thorax de face – données d'essai", exams_cr.make),
    "us": Kind("US", "Échographie cardiaque – données d'essai", exams_us.make),
    "mr": Kind("MR", "IRM de l'encéphale T1 et T2 – données d'essai", exams_mr.make),
}


def make_exam(
    name: str,
    out_dir: Path,
    *,
    study_uid: str | None = None,
    accession: str | None = None,
    patient: Patient = CAMILLE,
    seed: int = 1,
    started: datetime = STARTED,
) -> ExamFiles:
    """Write the exam `name` into `out_dir` (made where absent).

    The same arguments give the same files, byte for byte.  Without `study_uid` and `accession` both
    follow from name, patient and seed.  Raises KeyError for an unknown name, ValueError for an
    accession number that DICOM cannot hold or a `started` without its offset.
    """
    kind = EXAMS[name]
    if started.tzinfo is None:
        raise ValueError("started must be aware")
    accession = accession if accession is not None else f"ESSAI-{kind.modality}-{seed}"
    if len(accession) > 16 or "\\" in accession:
        raise ValueError("accession number: 16 characters at most, no backslash (PS3.5 6.2, SH)")
    order = Order(
        name=name,
        study_uid=study_uid or make_uid("study", name, patient.patient_id, seed),
        accession=accession,
        patient=patient,
        seed=seed,
        started=started,
        description=kind.description,
    )
    series, paths = kind.make(order, Path(out_dir))
    return ExamFiles(name, order.study_uid, accession, patient, kind.modality, kind.description, series, paths)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit status."""
    parser = argparse.ArgumentParser(prog="sandbox.exams", description="Examens d'essai, entièrement synthétiques.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("list", help="les examens disponibles")
    make = verbs.add_parser("make", help="fabriquer un examen")
    make.add_argument("name", choices=sorted(EXAMS))
    make.add_argument("--out", type=Path, required=True, help="dossier de sortie")
    make.add_argument("--seed", type=int, default=1, help="graine : même graine, mêmes fichiers")
    make.add_argument("--study-uid")
    make.add_argument("--accession")
    make.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    if args.verb == "list":
        for name, kind in EXAMS.items():
            print(f"{name}\t{kind.modality}\t{kind.description}")
        return 0
    try:
        exam = make_exam(args.name, args.out, study_uid=args.study_uid, accession=args.accession, seed=args.seed)
    except (ValueError, OSError) as error:
        print(f"Examen non fabriqué : {error}", file=sys.stderr)
        return 1
    print(_as_json(exam) if args.json else _as_text(exam))
    return 0


def _as_json(exam: ExamFiles) -> str:
    return json.dumps(
        {
            "studyUid": exam.study_uid,
            "accession": exam.accession,
            "seriesUids": exam.series_uids,
            "modality": exam.modality,
            "description": exam.description,
            "patientId": exam.patient.patient_id,
            "files": len(exam.paths),
            "bytes": exam.size,
        },
        ensure_ascii=False,
    )


def _as_text(exam: ExamFiles) -> str:
    return (
        f"{exam.description} : {len(exam.paths)} fichiers, {exam.size / 1e6:.1f} Mo\n"
        f"Étude {exam.study_uid}, numéro de demande {exam.accession}"
    )


if __name__ == "__main__":
    sys.exit(main())
