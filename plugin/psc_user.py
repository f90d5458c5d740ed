# SPDX-License-Identifier: AGPL-3.0-or-later
"""The professional whom Pro Santé Connect names: reading of its userinfo answer (spec `psc.md`, section 4).  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from drimbox.errors import TokenError
from drimbox.records import Code

PROFESSION_OID = "1.2.250.1.213.1.1.5.5"
LONGEST = 200  # characters kept of a text
MOST_ACTIVITIES = 50

# TRE_G15-ProfessionSante, those met in imaging
PROFESSIONS = {
    "10": "Médecin",
    "21": "Pharmacien",
    "40": "Chirurgien-dentiste",
    "50": "Sage-femme",
    "60": "Infirmier",
    "70": "Masseur-kinésithérapeute",
    "80": "Pédicure-podologue",
    "98": "Manipulateur en électroradiologie médicale",
}


@dataclass(frozen=True, slots=True)
class Activity:
    """One exercise situation (situation d'exercice); `structure_id` is its technical identifier."""

    structure_id: str = ""
    structure_name: str = ""
    profession: str = ""
    role: str = ""
    sector: str = ""


@dataclass(frozen=True, slots=True)
class PscUser:
    """A professional; `name_id` is the national identifier (``8`` + RPPS, or ``structure/local``)."""

    name_id: str
    family: str
    given: str
    profession: Code | None = None
    activities: tuple[Activity, ...] = ()

    def display(self) -> str:
        """Give the name as a page shows it."""
        return f"{self.given} {self.family}".strip() or self.name_id

    def activity(self) -> Activity | None:
        """Give the exercise situation in use: the first one, until a page lets the person choose."""
        return self.activities[0] if self.activities else None


def read_userinfo(claims: Mapping[str, Any], sub: str) -> PscUser:
    """Read a userinfo answer.

    Raises `TokenError` (``userinfo-…``) where it is another subject's (OIDC Core 5.3.2) or names nobody.
    """
    if not sub or claims.get("sub") != sub:
        raise TokenError("userinfo of another subject", reason="userinfo-subject")
    name_id = _text(claims, "SubjectNameID") or _text(claims, "preferred_username")
    if not name_id:
        raise TokenError("userinfo without SubjectNameID", reason="userinfo-incomplete")
    return PscUser(
        name_id=name_id,
        family=_text(claims, "family_name"),
        given=_text(claims, "given_name"),
        profession=_profession(claims),
        activities=_activities(claims),
    )


def _profession(claims: Mapping[str, Any]) -> Code | None:
    roles = claims.get("SubjectRole")
    first = roles[0] if isinstance(roles, list) and roles else roles
    code, _, system = first.partition("^") if isinstance(first, str) else ("", "", "")
    if not code or len(first or "") > LONGEST:
        return None
    return Code(code, system or PROFESSION_OID, PROFESSIONS.get(code, ""))


def _activities(claims: Mapping[str, Any]) -> tuple[Activity, ...]:
    reference = claims.get("SubjectRefPro")
    found: list[Activity] = []
    for exercise in _objects(reference if isinstance(reference, dict) else {}, "exercices"):
        for activity in _objects(exercise, "activities"):
            found.append(
                Activity(
                    structure_id=_text(activity, "identifiantTechniqueDeLaStructure"),
                    structure_name=_text(activity, "raisonSocialeSite") or _text(activity, "enseigneCommercialeSite"),
                    profession=_text(exercise, "codeProfession"),
                    role=_text(activity, "codeRole"),
                    sector=_text(activity, "codeSecteurDactivite"),
                )
            )
    return tuple(found[:MOST_ACTIVITIES])


def _objects(parent: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    values = parent.get(name)
    return [v for v in values if isinstance(v, dict)] if isinstance(values, list) else []


def _text(parent: Mapping[str, Any], name: str) -> str:
    value = parent.get(name)
    return value.strip()[:LONGEST] if isinstance(value, str) else ""
