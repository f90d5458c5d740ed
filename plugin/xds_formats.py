# SPDX-License-Identifier: AGPL-3.0-or-later
"""HL7 v2 data types inside XDS slots: CX, CXi, XCN, XON, and the values of sourcePatientInfo.

Sources: ITI TF-3 4.2.3.1.7, CI-SIS "Partage de documents", shapes in spec `dmp_soap.md` 3.3.
"""

from __future__ import annotations

import re
from typing import Final

from drimbox.records import PROFESSIONAL_OID, STRUCTURE_OID, Code, Identifier, Organization, Professional, Traits
from drimbox.xds_codes import REFERENCE_STUDY

# ebRIM limits a slot's value to 256 characters; names are cut so that identifiers never are
_LONGEST_NAME: Final = 64
_LONGEST_ORGANIZATION: Final = 120
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]+")
_ESCAPES: Final = str.maketrans({"\\": "\\E\\", "^": "\\S\\", "&": "\\T\\", "|": "\\F\\", "~": "\\R\\"})
_SEXES: Final = ("F", "M", "O", "A", "N")


def clean(text: str, longest: int = 256) -> str:
    """Drop what XML 1.0 or one line cannot hold, and cut."""
    return _UNSAFE.sub(" ", text).strip()[:longest]


def escape(text: str, longest: int = 256) -> str:
    """Text as one HL7 v2 component: delimiters escaped (HL7 v2.5 2.7.1)."""
    return clean(text, longest).translate(_ESCAPES)


def cx(value: str, authority: str, kind: str) -> str:
    """CX: ``value^^^&authority&ISO^kind``."""
    return f"{escape(value)}^^^&{escape(authority)}&ISO^{kind}"


def patient_id(traits: Traits) -> str:
    """XDS patientId: ``INS^^^&oid&ISO^NH``."""
    return cx(traits.ins, traits.ins_oid, "NH")


def source_patient_id(traits: Traits) -> str:
    """sourcePatientId: the establishment's identifier (PI), the INS where there is none."""
    for identifier in traits.local_ids:
        if identifier.extension:
            return cx(identifier.extension, identifier.root, "PI")
    return patient_id(traits)


def source_patient_info(traits: Traits) -> tuple[str, ...]:
    """sourcePatientInfo: PID-5, PID-7, PID-8 and PID-11 (birth place, COG), each where known."""
    family, given = escape(traits.birth_family, _LONGEST_NAME), escape(traits.birth_given, _LONGEST_NAME)
    sex = traits.sex.strip().upper()
    pairs = (
        ("PID-5", f"{family}^{given}^^^^^L" if family else ""),
        ("PID-7", clean(traits.birth_date)),
        ("PID-8", sex if sex in _SEXES else "U" if sex else ""),
        ("PID-11", f"^^^^^^BDL^^{escape(traits.birth_place)}" if traits.birth_place else ""),
    )
    return tuple(f"{field}|{value}" for field, value in pairs if value)


def reference(identifier: Identifier, kind: str) -> str:
    """CXi of referenceIdList: ``id^^^&authority&ISO^kind``."""
    if identifier.extension:
        return cx(identifier.extension, identifier.root, kind)
    return f"{escape(identifier.root)}^^^^{kind}"


def study_reference(study_uid: str, authority: str) -> str:
    """CXi of a study UID; IHE wants no authority, the DRIM-M samples write one."""
    return cx(study_uid, authority, REFERENCE_STUDY) if authority else f"{escape(study_uid)}^^^^{REFERENCE_STUDY}"


def xcn(person: Professional) -> str:
    """XCN of a person (``…^D^^^IDNPS``, ``EI`` for a local identifier) or of a device (``…^U^^^EI``)."""
    identifier = person.identifier
    number = (identifier.extension or identifier.root) if identifier else ""
    authority = identifier.root if identifier and identifier.extension else PROFESSIONAL_OID
    if person.device:
        names, name_type, kind = (person.device, person.family), "U", "EI"
    else:
        names, name_type, kind = (person.family, person.given), "D", "EI" if "/" in number else "IDNPS"
    first, second = (escape(n, _LONGEST_NAME) for n in names)
    return f"{escape(number, 64)}^{first}^{second}^^^^^^&{authority}&ISO^{name_type}^^^{kind}"


def xon(organization: Organization) -> str:
    """XON of a structure: ``name^^^^^&1.2.250.1.71.4.2.2&ISO^IDNST^^^id``."""
    identifier = organization.identifier
    number = (identifier.extension or identifier.root) if identifier else ""
    name = escape(organization.name, _LONGEST_ORGANIZATION)
    return f"{name}^^^^^&{STRUCTURE_OID}&ISO^IDNST^^^{escape(number, 64)}"


def specialty(code: Code) -> str:
    """authorSpecialty: ``code^label^system``."""
    return f"{escape(code.code)}^{escape(code.display, _LONGEST_ORGANIZATION)}^{escape(code.system)}"


def same_structure(one: str, other: str) -> bool:
    """Whether two structure numbers agree, one of them perhaps without its type digit (TRE_G07)."""
    if not one or not other:
        return False
    shorter, longer = sorted((one, other), key=len)
    return shorter == longer or (len(longer) - len(shorter) == 1 and longer[1:] == shorter)
