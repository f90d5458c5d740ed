# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an imaging report is made of; every person, place and number here is invented.

Identifiers follow the national forms (INS, RPPS, FINESS with its type digit) but belong to nobody.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from enum import StrEnum
from urllib.parse import quote, urlencode

INS_NIR_TEST = "1.2.250.1.213.1.4.10"
PARIS_WINTER = timezone(timedelta(hours=1))


class Action(StrEnum):
    """What a message about a report asks for."""

    CREATE = "create"
    REPLACE = "replace"
    WITHDRAW = "withdraw"


@dataclass(frozen=True, slots=True)
class Ident:
    """HL7 v3 II: an OID and, most often, a number under it."""

    root: str
    extension: str | None = None


@dataclass(frozen=True, slots=True)
class Coded:
    """HL7 v3 CE."""

    code: str
    display: str
    system: str
    system_name: str = ""


@dataclass(frozen=True, slots=True)
class Address:
    """A postal address."""

    number: str = "7"
    street: str = "Allée des Hêtres-Inventés"
    postcode: str = "45000"
    city: str = "ORLÉANS"


def ins_number(sex: str, birth_date: str, birth_place: str, order: int = 999) -> str:
    """The 15 digits of a NIR: 13 of them from the traits, then the key 97 - (number modulo 97).

    `birth_date` is YYYYMMDD, `birth_place` the five characters of the INSEE code (2A and 2B count as
    19 and 18 in the key), `order` the register's rank.
    """
    first = {"M": "1", "F": "2"}[sex] + birth_date[2:6] + birth_place + f"{order:03d}"
    digits = first.replace("2A", "19", 1) if birth_place.startswith("2A") else first
    digits = digits.replace("2B", "18", 1) if birth_place.startswith("2B") else digits
    return f"{first}{97 - int(digits) % 97:02d}"


@dataclass(frozen=True, slots=True)
class Patient:
    """Strict traits of an identity of test; `ins` empty derives it from them."""

    family: str = "ESSAI-DRIMBOX"
    given: str = "CAMILLE"
    givens: str = "CAMILLE HELOISE"
    used_family: str = "ESSAI-DRIMBOX"
    used_given: str = "CAMILLE"
    sex: str = "F"
    birth_date: str = "19800229"
    birth_place: str = "45234"
    birth_city: str = "ORLÉANS"
    ins: str = ""
    ins_oid: str = INS_NIR_TEST
    local_id: Ident | None = Ident("1.2.250.1.213.4.99.1", "IPP-ESSAI-1")
    address: Address = field(default_factory=Address)

    def ins_value(self) -> str:
        """The INS given, else the one that the traits make."""
        return self.ins or ins_number(self.sex, self.birth_date, self.birth_place)


@dataclass(frozen=True, slots=True)
class Structure:
    """A health structure: Struct_IdNat (1 and the FINESS), name, address, practice setting."""

    number: str = "1750803447"
    name: str = "Centre d'imagerie fictif de la Forêt-Noire"
    address: Address = field(default_factory=Address)
    phone: str = "tel:+33100000000"
    setting: Coded = Coded("AMBULATOIRE", "Ambulatoire", "1.2.250.1.213.1.1.4.9")
    facility: Coded = Coded("SA08", "Cabinet de groupe", "1.2.250.1.71.4.2.4")


RADIOLOGY = Coded("G15_10/SM44", "Médecin - Radio-diagnostic (SM)", "1.2.250.1.213.1.1.4.5")
GENERAL_PRACTICE = Coded("G15_10/SM26", "Médecin - Qualifié en Médecine Générale (SM)", "1.2.250.1.213.1.1.4.5")


@dataclass(frozen=True, slots=True)
class Doctor:
    """A professional: PS_IdNat (8 and the RPPS number), name, speciality."""

    number: str = "899799999011"
    family: str = "FRÉMONT-FICTIVE"
    given: str = "Hélène"
    prefix: str = "MME"
    specialty: Coded = RADIOLOGY


@dataclass(frozen=True, slots=True)
class Act:
    """One exam of the report; a study UID of None makes an act that is not a study."""

    study_uid: str | None
    code: Coded = Coded("24727-0", "CT Head W contrast IV", "2.16.840.1.113883.6.1", "LOINC")
    ccam: Coded | None = Coded(
        "ACQH004",
        "Scanographie du crâne, de son contenu et du tronc, avec injection intraveineuse de produit de contraste",
        "1.2.250.1.215.300.1",
        "CCAM",
    )
    modality: Coded | None = Coded("CT", "Tomodensitométrie", "1.2.840.10008.2.16.4", "DCM")
    region: Coded | None = Coded("774007", "tête et cou", "2.16.840.1.113883.6.96", "SNOMED CT")
    start: datetime = datetime(2026, 11, 20, 10, 25, tzinfo=PARIS_WINTER)
    stop: datetime = datetime(2026, 11, 20, 10, 40, tzinfo=PARIS_WINTER)


@dataclass(frozen=True, slots=True)
class Order:
    """The demand: placer's order number, accession number (None leaves it out)."""

    placer: Ident
    accession: Ident | None


DEMO_TEXT = (
    "Indication : céphalées inhabituelles. Examen entièrement fictif, images de synthèse.",
    "Technique : acquisition hélicoïdale, avant puis après injection de produit de contraste iodé.",
    "Résultat : structures médianes en place. Pas d'anomalie de densité du parenchyme cérébral.",
    "Conclusion : scanner cérébral normal. Ce compte-rendu ne concerne aucune personne réelle.",
)


@dataclass(frozen=True, slots=True)
class Report:
    """A report with all that its header says; `replaces` is the document that this version replaces."""

    document_id: Ident
    acts: tuple[Act, ...]
    orders: tuple[Order, ...]
    viewer_root: str = "https://vi.drimbox.example"
    set_id: Ident | None = Ident("1.2.250.1.213.4.99.4.1")
    version: int = 1
    replaces: Ident | None = None
    created: datetime = datetime(2026, 11, 20, 11, 17, tzinfo=PARIS_WINTER)
    title: str = "CR d’imagerie médicale - Scanner de la tête avec injection"
    confidentiality: str = "N"
    patient: Patient = field(default_factory=Patient)
    author: Doctor = field(default_factory=Doctor)
    structure: Structure = field(default_factory=Structure)
    paragraphs: tuple[str, ...] = DEMO_TEXT

    def viewer_links(self) -> tuple[str, ...]:
        """The address of each study's images, as the RIS writes it in the report (FR-CDA).

        ``requestType``, ``studyUID``, ``Accessionnumber`` (root and extension joined by a dot) and
        ``idCDA`` (root, with ``_`` and the extension where there is one).
        """
        accession = next((o.accession for o in self.orders if o.accession), None)
        document = self.document_id
        pairs = {
            "requestType": "STUDY",
            "studyUID": "",
            "Accessionnumber": "" if accession is None else _joined(accession, "."),
            "idCDA": _joined(document, "_"),
        }
        studies = (a.study_uid for a in self.acts if a.study_uid)
        base = f"{self.viewer_root.rstrip('/')}/IHEInvokeImageDisplay?"
        return tuple(base + urlencode({**pairs, "studyUID": uid}, quote_via=quote) for uid in studies)


def _joined(ident: Ident, sign: str) -> str:
    return ident.root if ident.extension is None else f"{ident.root}{sign}{ident.extension}"


ACCESSION_ROOT = "1.2.250.1.213.4.99.2"
PLACER_ROOT = "1.2.250.1.213.4.99.3"
DOCUMENT_ROOT = "1.2.250.1.213.4.99.4"


def demo_report(
    study_uid: str, accession: str, *, number: int = 1, viewer_root: str = "https://vi.drimbox.example"
) -> Report:
    """The report of a head CT; `number` tells one exam's documents from another's."""
    return Report(
        document_id=Ident(f"{DOCUMENT_ROOT}.{number}.1"),
        set_id=Ident(f"{DOCUMENT_ROOT}.{number}"),
        acts=(Act(study_uid),),
        orders=(Order(Ident(PLACER_ROOT, f"OPN{accession}"), Ident(ACCESSION_ROOT, accession)),),
        viewer_root=viewer_root,
    )


def next_version(report: Report, **changes: object) -> Report:
    """The same report corrected an hour later: new identifier, version + 1, the old one replaced."""
    version = report.version + 1
    root, _, _ = report.document_id.root.rpartition(".")
    ident = replace(report.document_id, root=f"{root}.{version}")
    later = report.created + timedelta(hours=1)
    base = replace(report, document_id=ident, version=version, replaces=report.document_id, created=later)
    return replace(base, **changes)  # type: ignore[arg-type]  # names are checked by `replace` itself
