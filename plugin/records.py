# SPDX-License-Identifier: AGPL-3.0-or-later
"""Typed records that the families exchange; frozen, without behaviour beyond small derivations.

Families (messages, manifests, national record, serving, people) import one another only through
these.  Identifiers are HL7 v3 II (root OID, optional extension); codes are HL7 v3 CE.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

# OIDs of the INS authorities (CI-SIS "identité INS"): NIR, NIA, NIR of test, NIR of demonstration
INS_OIDS = {
    "1.2.250.1.213.1.4.8": "ASIP-SANTE-INS-NIR",
    "1.2.250.1.213.1.4.9": "ASIP-SANTE-INS-NIA",
    "1.2.250.1.213.1.4.10": "ASIP-SANTE-INS-NIR",
    "1.2.250.1.213.1.4.11": "ASIP-SANTE-INS-NIR",
}
STRUCTURE_OID = "1.2.250.1.71.4.2.2"  # Struct_IdNat
PROFESSIONAL_OID = "1.2.250.1.71.4.2.1"  # PS_IdNat


class Action(StrEnum):
    """What a report message asks for (CI-SIS HL7 v2 guide, event and status matrix)."""

    CREATE = "create"
    REPLACE = "replace"
    WITHDRAW = "withdraw"


@dataclass(frozen=True, slots=True)
class Identifier:
    """HL7 v3 II."""

    root: str
    extension: str | None = None

    def dotted(self) -> str:
        """``root`` or ``root.extension``: the form of the report's link (Accessionnumber)."""
        return self.root if self.extension is None else f"{self.root}.{self.extension}"

    def joined(self) -> str:
        """``root`` or ``root^extension``: the form of an XDS uniqueId."""
        return self.root if self.extension is None else f"{self.root}^{self.extension}"


@dataclass(frozen=True, slots=True)
class Code:
    """HL7 v3 CE."""

    code: str
    system: str
    display: str = ""


@dataclass(frozen=True, slots=True)
class Organization:
    """A structure: identifier in the national form (Struct_IdNat with its type digit where known)."""

    identifier: Identifier | None
    name: str = ""


@dataclass(frozen=True, slots=True)
class Professional:
    """A person, or a device where `device` holds its name."""

    identifier: Identifier | None
    family: str = ""
    given: str = ""
    specialty: Code | None = None
    role: str = ""
    organization: Organization | None = None
    device: str = ""


@dataclass(frozen=True, slots=True)
class Traits:
    """The patient's INS and strict traits (RNIV), as carried by the report.

    `birth_date` is ``YYYYMMDD`` as received; `sex` is M, F or another HL7 code; `birth_place` the INSEE
    code (COG); `birth_givens` every given name of the birth act in one string.
    """

    ins: str
    ins_oid: str
    birth_family: str = ""
    birth_given: str = ""
    birth_givens: str = ""
    used_family: str = ""
    used_given: str = ""
    birth_date: str = ""
    sex: str = ""
    birth_place: str = ""
    local_ids: tuple[Identifier, ...] = ()


@dataclass(frozen=True, slots=True)
class Order:
    """One ``inFulfillmentOf/order``: placer order number and accession number."""

    placer: Identifier | None
    accession: Identifier | None


@dataclass(frozen=True, slots=True)
class Act:
    """One ``documentationOf/serviceEvent``; `study_uid` is None for an act that is not a study."""

    study_uid: str | None
    code: Code | None = None
    ccam: Code | None = None
    modalities: tuple[Code, ...] = ()
    regions: tuple[Code, ...] = ()
    start: datetime | None = None
    stop: datetime | None = None
    performer: Professional | None = None
    practice_setting: Code | None = None


@dataclass(frozen=True, slots=True)
class CdaReport:
    """What a DRIMbox reads in an imaging report's header (spec `cda.md`); instants are aware."""

    id: Identifier
    code: Code
    title: str
    effective_time: datetime
    confidentiality: Code
    language: str
    patient: Traits | None
    authors: tuple[Professional, ...]
    legal_authenticator: Professional | None
    custodian: Organization | None
    orders: tuple[Order, ...]
    acts: tuple[Act, ...]
    facility_type: Code | None
    set_id: Identifier | None = None
    version: int | None = None
    replaces: Identifier | None = None
    level: int = 1
    warnings: tuple[str, ...] = ()

    def study_uids(self) -> tuple[str, ...]:
        """Every study of the report, once, in document order."""
        return tuple(dict.fromkeys(a.study_uid for a in self.acts if a.study_uid))


@dataclass(frozen=True, slots=True)
class Restrictions:
    """The ten MetaDMPMSS flags that matter to a DRIMbox; True is ``Y``."""

    masked_to_professionals: bool = False
    invisible_to_patient: bool = False
    invisible_to_representatives: bool = False
    secret_connection: bool = False
    changed: bool = False
    for_dmp: bool = True

    def codes(self) -> tuple[str, ...]:
        """XDS confidentiality codes (1.2.250.1.213.1.1.4.13) besides the document's own."""
        pairs = (
            ("MASQUE_PS", self.masked_to_professionals),
            ("INVISIBLE_PATIENT", self.invisible_to_patient),
            ("INVISIBLE_REPRESENTANTS_LEGAUX", self.invisible_to_representatives),
        )
        return tuple(code for code, present in pairs if present)


@dataclass(frozen=True, slots=True)
class ReportMessage:
    """An ORU^R01 or MDM^T02/T10/T04 read to its end, its document decoded and its header read."""

    control_id: str
    sending_application: str
    sending_facility: str
    message_type: str  # "MDM^T02"
    version: str
    processing_id: str
    action: Action
    restrictions: Restrictions
    sender: Professional | None  # PRT "SB"
    patient_class: str  # PV1-2
    pid: Traits | None
    document: bytes = field(repr=False)
    report: CdaReport
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InstanceRef:
    """One SOP instance of a study."""

    sop_class_uid: str
    sop_instance_uid: str
    instance_number: int | None = None
    frames: int | None = None


@dataclass(frozen=True, slots=True)
class SeriesRef:
    """One series of a study, instances by InstanceNumber then UID."""

    series_uid: str
    modality: str
    instances: tuple[InstanceRef, ...]
    description: str = ""
    number: int | None = None
    body_part: str = ""


@dataclass(frozen=True, slots=True)
class StudyContent:
    """A study as the PACS holds it at one instant."""

    study_uid: str
    orthanc_id: str
    series: tuple[SeriesRef, ...]
    patient_id: str = ""
    accession: str = ""
    study_date: str = ""
    study_time: str = ""
    description: str = ""
    referring_physician: str = ""
    study_id: str = ""

    def instance_count(self) -> int:
        """Instances over all series."""
        return sum(len(s.instances) for s in self.series)

    def modalities(self) -> tuple[str, ...]:
        """Distinct modalities, in series order."""
        return tuple(dict.fromkeys(s.modality for s in self.series if s.modality))


@dataclass(frozen=True, slots=True)
class Manifest:
    """A KOS (SOP class 1.2.840.10008.5.1.4.1.1.88.59) as we build it and as we read a foreign one.

    `sop_instance_uid` is the XDS uniqueId and the proof of possession; `series_uid` stays over the
    versions; `instance_number` counts them from 1.  `created_at` is aware.
    """

    sop_instance_uid: str
    series_uid: str
    instance_number: int
    created_at: datetime
    traits: Traits
    study: StudyContent
    institution: Organization | None
    accession: Identifier | None
    placer_order: Identifier | None
    retrieve_root: str  # e.g. https://db1.example/wado-rs ; the RetrieveURL adds /studies/S/series/E
    act_label: str = ""
    manufacturer: str = "orthanc-drimbox"


@dataclass(frozen=True, slots=True)
class ManifestIds:
    """Everything drawn once, before the first try (design, decision 2)."""

    kos_sop_instance_uid: str
    kos_series_uid: str
    submission_uid: str
    signature_uid: str


@dataclass(frozen=True, slots=True)
class Peer:
    """One entry (``Domaine``) of the whitelist."""

    identifier: str
    db_host: str
    vi_host: str
    name: str
    subject_dn: str
