# SPDX-License-Identifier: AGPL-3.0-or-later
"""The fictitious professionals of the PSC stand-in, and what PSC says of each (userinfo claims).

Every person, structure and number is invented.  Names of the claims: ANS, PSC documentation ("données
sectorielles", ``SubjectRefPro``).
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace

PROFESSION_OID = "1.2.250.1.213.1.1.5.5"
PALIER_OID = "1.2.250.1.213.1.5.1.1.1"
SECTOR_OID = "1.2.250.1.71.4.2.4"
FEDERATION = "f:5f0c5d43-8d3e-4a46-9b1b-0d2a6f3f1a77"
_SUBJECTS = uuid.UUID("2f6c1f0e-60a5-4d51-8b0a-3f6f0b9f6f11")

ACR_LEVELS = ("eidas1", "eidas2", "eidas3")


@dataclass(frozen=True, slots=True)
class Activity:
    """One "situation d'exercice"."""

    structure_id: str
    name: str
    sector: str = "SA08"
    mode: str = "L"  # L libéral, S salarié
    kind: str = "GENR01"
    role: str = ""
    finess: str = ""
    legal_finess: str = ""
    siret: str = ""
    city: str = "ORLEANS CEDEX"
    postcode: str = "45000"

    def claims(self) -> dict[str, str]:
        """The activity with every key that PSC gives, empty where nothing is known."""
        return {
            "codeModeExercice": self.mode,
            "codeSecteurDactivite": self.sector,
            "codeSectionPharmacien": "",
            "codeRole": self.role,
            "codeGenreActivite": self.kind,
            "numeroSiretSite": self.siret,
            "numeroSirenSite": self.siret[:9],
            "numeroFinessSite": self.finess,
            "numeroFinessetablissementJuridique": self.legal_finess,
            "identifiantTechniqueDeLaStructure": self.structure_id,
            "raisonSocialeSite": self.name,
            "enseigneCommercialeSite": "",
            "complementDestinataire": "",
            "complementPointGeographique": "",
            "numeroVoie": "7",
            "indiceRepetitionVoie": "",
            "codeTypeDeVoie": "ALL",
            "libelleVoie": "DES HETRES INVENTES",
            "mentionDistribution": "",
            "bureauCedex": f"{self.postcode} {self.city}",
            "codePostal": self.postcode,
            "codeCommune": "45234",
            "codePays": "99000",
            "telephone": "0100000000",
            "telephone2": "",
            "telecopie": "",
            "adresseEMail": "",
            "codeDepartement": "",
            "ancienIdentifiantDeLaStructure": f"1{self.finess}" if self.finess else "",
            "autoriteDenregistrement": "ARS/CPAM/CNOM",
        }


@dataclass(frozen=True, slots=True)
class Person:
    """A professional; `national_id` is 8 and the RPPS number, `acr` the level that this means of access reaches."""

    id: str
    national_id: str
    family: str
    given: str
    civility: str
    label: str
    profession: str = "10"
    category: str = "C"  # C civil, E étudiant
    skill_type: str = "S"
    skill: str = "SM26"
    activities: tuple[Activity, ...] = ()
    acr: str = "eidas1"

    @property
    def subject(self) -> str:
        """The ``sub`` of the federation: ``f:<uuid>:<id>``."""
        return f"{FEDERATION}:{self.national_id}"

    def userinfo(self) -> dict[str, object]:
        """Every claim of the userinfo endpoint for ``scope_all``."""
        only = self.activities[0] if len(self.activities) == 1 else None
        exercise = {
            "codeProfession": self.profession,
            "codeCategorieProfessionnelle": self.category,
            "codeCiviliteDexercice": "DR" if self.profession == "10" and self.category == "C" else "",
            "nomDexercice": self.family,
            "prenomDexercice": self.given,
            "codeTypeSavoirFaire": self.skill_type,
            "codeSavoirFaire": self.skill,
            "activities": [a.claims() for a in self.activities],
        }
        return {
            "sub": self.subject,
            "SubjectNameID": self.national_id,
            "preferred_username": self.national_id,
            "given_name": self.given,
            "family_name": self.family,
            "codeCivilite": self.civility,
            "SubjectRole": [f"{self.profession}^{PROFESSION_OID}"],
            "Secteur_Activite": f"{only.sector}^{SECTOR_OID}" if only else "",
            "SubjectOrganization": only.name if only else "",
            "SubjectOrganizationID": f"1{only.finess}" if only and only.finess else "",
            "Palier_Authentification": f"APPPRIP3^{PALIER_OID}",
            "Mode_Acces_Raison": "",
            "Acces_Regulation_Medicale": "FAUX",
            "PSI_Locale": "1.2.250.1.213.1.3.1.1",
            "UITVersion": "1.0",
            "otherIds": [
                {"identifiant": self.national_id, "origine": "RPPS", "qualite": 1},
                {"identifiant": str(uuid.uuid5(_SUBJECTS, self.id)), "origine": "EDIT", "qualite": 1},
            ],
            "SubjectRefPro": {"codeCivilite": self.civility, "exercices": [exercise]},
        }


CENTRE = Activity("R10100000999901", "CENTRE D'IMAGERIE FICTIF DE LA FORET-NOIRE", finess="750803447")
PEOPLE: tuple[Person, ...] = (
    Person(
        "radiologue", "899799999011", "FRÉMONT-FICTIVE", "HÉLÈNE", "MME",
        "Médecin radiologue, une situation d'exercice", skill="SM44", activities=(CENTRE,),
    ),
    Person(
        "generaliste", "899799999029", "D'ESSAI", "JEAN-BAPTISTE", "M",
        "Médecin généraliste, deux situations d'exercice",
        activities=(
            Activity("R10100000999919", "CABINET DU DR D'ESSAI", sector="SA07", siret="99999999900019"),
            Activity(
                "R10100000999927", "HÔPITAL FICTIF DE DÉMONSTRATION", sector="SA01", mode="S",
                finess="990000017", legal_finess="990000009",
            ),
        ),
    ),
    Person(
        "infirmiere", "899799999037", "TÉMOIN", "ZOÉ", "MME", "Infirmière, une situation d'exercice",
        profession="60", skill_type="", skill="",
        activities=(
            Activity(
                "R10100000999927", "HÔPITAL FICTIF DE DÉMONSTRATION", sector="SA01", mode="S",
                finess="990000017", legal_finess="990000009",
            ),
        ),
    ),
    Person(
        "etudiant", "899799999045", "ÉBAUCHE", "NOÉ", "M", "Étudiant en médecine, sans situation d'exercice",
        category="E", skill_type="", skill="",
    ),
    Person(
        "radiologue-cps", "899799999052", "CARTE-FICTIVE", "MAËLLE", "MME",
        "Médecin radiologue avec carte CPS (niveau eidas2)", skill="SM44", activities=(CENTRE,), acr="eidas2",
    ),
)  # fmt: skip


def find(people: tuple[Person, ...], person_id: str) -> Person | None:
    """The person of that id, if any."""
    return next((p for p in people if p.id == person_id), None)


def with_acr(people: tuple[Person, ...], levels: dict[str, str]) -> tuple[Person, ...]:
    """The same people, some reaching another level.  Raises ValueError for an unknown person or level."""
    unknown = (set(levels) - {p.id for p in people}) | (set(levels.values()) - set(ACR_LEVELS))
    if unknown:
        raise ValueError(f"inconnu : {', '.join(sorted(unknown))}")
    return tuple(replace(p, acr=levels.get(p.id, p.acr)) for p in people)


def reaches(level: str, wanted: str) -> bool:
    """Whether a level is the wanted one or higher."""
    return ACR_LEVELS.index(level) >= ACR_LEVELS.index(wanted)
