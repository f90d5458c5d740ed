# SPDX-License-Identifier: AGPL-3.0-or-later
"""Constants of XDS metadata: ebRIM schemes (ITI TF-3 4.2) and the fixed codes of a KOS entry (CI-SIS, DRIM-M)."""

from __future__ import annotations

from typing import Final

from drimbox.records import Code

# ebRIM namespaces
RIM: Final = "urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0"
RS: Final = "urn:oasis:names:tc:ebxml-regrep:xsd:rs:3.0"
LCM: Final = "urn:oasis:names:tc:ebxml-regrep:xsd:lcm:3.0"
QUERY: Final = "urn:oasis:names:tc:ebxml-regrep:xsd:query:3.0"
IHE: Final = "urn:ihe:iti:xds-b:2007"

# object types
REGISTRY_OBJECT: Final = "urn:oasis:names:tc:ebxml-regrep:ObjectType:RegistryObject:"
STABLE_DOCUMENT: Final = "urn:uuid:7edca82f-054d-47f2-a032-9b2a5b5186c1"

# SubmissionSet schemes (ITI TF-3 4.2.3.3)
SET_NODE: Final = "urn:uuid:a54d6aa5-d40d-43f9-88c5-b4633d873bdd"
SET_AUTHOR: Final = "urn:uuid:a7058bb9-b4e4-4307-ba5b-e3f0ab85e12d"
SET_CONTENT_TYPE: Final = "urn:uuid:aa543740-bdda-424e-8c96-df4873be8500"
SET_PATIENT_ID: Final = "urn:uuid:6b5aea1a-874d-4603-a4bc-96a0a7b38446"
SET_SOURCE_ID: Final = "urn:uuid:554ac39e-e3fe-47fe-b233-965d2a147832"
SET_UNIQUE_ID: Final = "urn:uuid:96fdda7c-d067-4183-912e-bf5ee74998a8"

# DocumentEntry schemes (ITI TF-3 4.2.3.2)
DOC_AUTHOR: Final = "urn:uuid:93606bcf-9494-43ec-9b4e-a7748d1a838d"
DOC_CLASS: Final = "urn:uuid:41a5887f-8865-4c09-adf7-e362475b143a"
DOC_TYPE: Final = "urn:uuid:f0306f51-975f-434e-a61c-c59651d33983"
DOC_FORMAT: Final = "urn:uuid:a09d5840-386c-46f2-b5ad-9c3699a4309d"
DOC_CONFIDENTIALITY: Final = "urn:uuid:f4f85eac-e6cb-4883-b524-f2705394840f"
DOC_EVENT: Final = "urn:uuid:2c6b8cb7-8b2a-4051-b291-b1ae6a575ef4"
DOC_FACILITY: Final = "urn:uuid:f33fb8ac-18af-42cc-ae0e-ed0b0bdb91e1"
DOC_PRACTICE: Final = "urn:uuid:cccf5598-8b07-4b77-a05e-ae952c785ead"
DOC_PATIENT_ID: Final = "urn:uuid:58a6f841-87b3-4a3e-92fd-a8ffeff98427"
DOC_UNIQUE_ID: Final = "urn:uuid:2e82c1f6-a085-4c72-9da3-8640a32e42ab"

# associations
HAS_MEMBER: Final = "urn:oasis:names:tc:ebxml-regrep:AssociationType:HasMember"
SIGNS: Final = "urn:ihe:iti:2007:AssociationType:signs"
REPLACES: Final = "urn:ihe:iti:2007:AssociationType:RPLC"
UPDATE_STATUS: Final = "urn:ihe:iti:2010:AssociationType:UpdateAvailabilityStatus"

# availability
APPROVED: Final = "urn:oasis:names:tc:ebxml-regrep:StatusType:Approved"
DEPRECATED: Final = "urn:oasis:names:tc:ebxml-regrep:StatusType:Deprecated"
ARCHIVED: Final = "urn:asip:ci-sis:2010:StatusType:Archived"
DELETED: Final = "urn:asip:ci-sis:2010:StatusType:Deleted"

# referenceIdList (ITI TF-3 4.2.3.2.28, CXi)
REFERENCE_LIST: Final = "urn:ihe:iti:xds:2013:referenceIdList"
REFERENCE_ACCESSION: Final = "urn:ihe:iti:xds:2013:accession"
REFERENCE_ORDER: Final = "urn:ihe:iti:xds:2013:order"
REFERENCE_STUDY: Final = "urn:ihe:iti:xds:2016:studyInstanceUID"

# code systems
CONFIDENTIALITY: Final = "2.16.840.1.113883.5.25"
VISIBILITY: Final = "1.2.250.1.213.1.1.4.13"
FACILITY: Final = "1.2.250.1.71.4.2.4"
PRACTICE: Final = "1.2.250.1.213.1.1.4.9"
DICOM_TERMS: Final = "1.2.840.10008.2.16.4"
SNOMED: Final = "2.16.840.1.113883.6.96"
MODALITY_SET: Final = "1.2.250.1.213.1.1.5.618"
REGION_SET: Final = "1.2.250.1.213.1.1.5.695"
ACTIVITY: Final = "1.2.250.1.213.2.2"
SPECIALTY: Final = "1.2.250.1.213.1.1.4.5"

# the KOS entry
KOS_TITLE: Final = "Reference d'Objets d'un Examen d'Imagerie"
KOS_COMMENTS: Final = "KOS"
KOS_LANGUAGE: Final = "fr-FR"
KOS_MIME: Final = "application/dicom"
KOS_CLASS: Final = Code("31", "1.2.250.1.213.1.1.4.1", "Imagerie médicale")
KOS_TYPE: Final = Code("IMG-KOS", "1.2.250.1.213.1.1.4.12", "Reference d'objets d'un examen d'imagerie")
KOS_FORMAT: Final = Code(
    "1.2.840.10008.5.1.4.1.1.88.59",
    "1.2.840.10008.2.6.1",
    "Document de Références d'objets d'imagerie selon profil IHE RAD XDS-I",
)

# the signature's entry (IHE DSG)
SIGNATURE_TITLE: Final = "Source"
SIGNATURE_MIME: Final = "text/xml"
SIGNATURE_LANGUAGE: Final = "art"
SIGNATURE_CLASS: Final = Code("urn:oid:1.3.6.1.4.1.19376.1.2.1.1.1", "URN", "Digital Signature")
SIGNATURE_TYPE: Final = Code("E1762", "ASTM", "Full Document")
SIGNATURE_FORMAT: Final = Code("http://www.w3.org/2000/09/xmldsig#", "URN", "Default Signature Style")
SIGNATURE_EVENT: Final = Code("1.2.840.10065.1.12.1.14", "1.2.840.10065.1.12", "Source")

NORMAL: Final = Code("N", CONFIDENTIALITY, "Normal")
# JDV_J08; HL7's L, M and U, less strict than N, are no values of it and become N
CONFIDENTIALITIES: Final = {
    "N": NORMAL,
    "L": NORMAL,
    "M": NORMAL,
    "U": NORMAL,
    "R": Code("R", CONFIDENTIALITY, "Restreint"),
    "V": Code("V", CONFIDENTIALITY, "Très restreint"),
}
VISIBILITIES: Final = {
    "MASQUE_PS": Code("MASQUE_PS", VISIBILITY, "Masqué aux professionnels de santé"),
    "INVISIBLE_PATIENT": Code("INVISIBLE_PATIENT", VISIBILITY, "Non visible par le patient"),
    "INVISIBLE_REPRESENTANTS_LEGAUX": Code(
        "INVISIBLE_REPRESENTANTS_LEGAUX", VISIBILITY, "Non visible par les représentants légaux du patient"
    ),
}

# JDV_J04, what an imaging site may be
PRACTICES: Final = {
    "AMBULATOIRE": "Ambulatoire",
    "DEPISTAGE": "Dépistage",
    "ETABLISSEMENT": "Etablissement de santé",
    "HAD": "Hospitalisation à domicile",
}

# contentTypeCode from PV1-2 as the ANS guide proposes; labels of TRE_R209
CONTENT_TYPES: Final = {
    "03": "Hospitalisation complète (non compris hospitalisation de semaine)",
    "04": "Hospitalisation de Jour",
    "07": "Consultation Soins Externes",
    "19": "Traitement et Cure Ambulatoire",
    "97": "",
}
CONTENT_TYPE_OF_CLASS: Final = {"I": "03", "O": "07", "R": "19", "N": "97", "E": "07"}
CONTENT_TYPE_UNKNOWN: Final = "07"

# DICOM acquisition modalities that JDV_ModaliteAcquisition_CISIS holds; others (SR, PR, KO…) are no event
MODALITIES: Final = {
    "BMD": "Ostéodensitométrie",
    "CR": "Radiographie assistée par ordinateur",
    "CT": "Tomodensitométrie",
    "DX": "Radiographie numérique",
    "ECG": "Électrocardiographie",
    "ES": "Endoscopie",
    "GM": "Microscopie générale",
    "IO": "Radiographie intrabuccale",
    "IVOCT": "Tomographie par cohérence optique intravasculaire",
    "IVUS": "Ultrasonore intravasculaire",
    "MG": "Mammographie",
    "MR": "Résonance magnétique",
    "NM": "Médecine nucléaire",
    "OCT": "Tomographie à cohérence optique",
    "OP": "Photographique ophtalmique",
    "OPT": "Tomographie ophtalmique",
    "PT": "TEP : Tomographie par émission de positons",
    "PX": "Panaromique X-Ray",
    "RF": "Radio-fluoroscopie",
    "RG": "Imagerie radiographique",
    "RTIMAGE": "Image RT",
    "SM": "Microscopie à lames",
    "TG": "Thermographie",
    "US": "Échographie",
    "XA": "Angiographie X-Ray",
    "XC": "Caméra de photographie externe",
}
MODALITIES_WITHOUT_LABEL: Final = frozenset(
    ("AR", "BDUS", "BI", "DG", "DMS", "EEG", "EMG", "EOG", "EPS", "HD", "KER", "LEN", "LS", "OAM", "OPM", "OPTBSV",
     "OPTENF", "OPV", "OSS", "POS", "RESP", "SRF", "VA")
)  # fmt: skip
# French reports write RM for what DICOM calls MR
MODALITY_SYNONYMS: Final = {"RM": "MR"}
