# SPDX-License-Identifier: AGPL-3.0-or-later
"""An imaging report as CDA R2 level 1: the CI-SIS header of `data/report_n1.xml` around a PDF."""

from __future__ import annotations

import base64
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from sandbox.report_model import Report
from sandbox.report_pdf import make_pdf

CONFIDENTIALITY = {"N": "Normal", "R": "Restreint", "V": "Très restreint"}
LINK_LABEL = "Ouverture de la visionneuse"


def _stamp(instant: datetime) -> str:
    """``YYYYMMDDhhmmss+zzzz`` (HL7 v3 TS)."""
    return instant.strftime("%Y%m%d%H%M%S%z")


@lru_cache(maxsize=1)
def _template() -> Template:
    folder = Path(__file__).with_name("data")
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["stamp"] = _stamp
    return environment.get_template("report_n1.xml")


def report_pdf(report: Report) -> bytes:
    """The report's page, with one link to the images of each study."""
    patient = report.patient
    heading = (
        "DOCUMENT FICTIF - SIMULATEUR",
        f"{report.structure.name} - {report.structure.address.postcode} {report.structure.address.city}",
        f"Patient : {patient.family} {patient.givens}, {patient.birth_date[6:]}/{patient.birth_date[4:6]}/"
        f"{patient.birth_date[:4]}, sexe {patient.sex}, INS {patient.ins_value()}",
        f"Examen du {report.acts[0].start:%d/%m/%Y à %H:%M}, compte-rendu version {report.version}",
    )
    signature = (f"Dr {report.author.given} {report.author.family}", "Lien vers les images :")
    links = [(LINK_LABEL, address) for address in report.viewer_links()]
    return make_pdf(report.title, (*heading, *report.paragraphs, *signature), links)


def make_cda(report: Report) -> bytes:
    """The document in UTF-8, the PDF in base64 on one line.  The same report gives the same bytes."""
    text = _template().render(
        r=report,
        confidentiality=CONFIDENTIALITY.get(report.confidentiality, report.confidentiality),
        pdf=base64.b64encode(report_pdf(report)).decode(),
    )
    return text.encode()
