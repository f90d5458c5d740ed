# SPDX-License-Identifier: AGPL-3.0-or-later
"""Names and short code lists of the DMP stand-in (namespaces, ebRIM schemes, coded values it accepts)."""

from __future__ import annotations

NS = {
    "env": "http://www.w3.org/2003/05/soap-envelope",
    "wsa": "http://www.w3.org/2005/08/addressing",
    "wsse": "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd",
    "saml2": "urn:oasis:names:tc:SAML:2.0:assertion",
    "ds": "http://www.w3.org/2000/09/xmldsig#",
    "xades": "http://uri.etsi.org/01903/v1.1.1#",
    "hl7": "urn:hl7-org:v3",
    "xsi": "http://www.w3.org/2001/XMLSchema-instance",
    "xop": "http://www.w3.org/2004/08/xop/include",
    "ihe": "urn:ihe:iti:xds-b:2007",
    "lcm": "urn:oasis:names:tc:ebxml-regrep:xsd:lcm:3.0",
    "rim": "urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0",
    "rs": "urn:oasis:names:tc:ebxml-regrep:xsd:rs:3.0",
    "query": "urn:oasis:names:tc:ebxml-regrep:xsd:query:3.0",
    "dmp": "urn:si-dmp",
    "sim": "urn:drimbox:sandbox:dmp",
}
ANONYMOUS = "http://www.w3.org/2005/08/addressing/anonymous"
PATH_PREFIX = "/si-dmp-server/v2/services/"

# Patient identifiers (INS): NIR of test, NIR, NIA, NIR of demonstration.
INS_ROOTS = ("1.2.250.1.213.1.4.10", "1.2.250.1.213.1.4.8", "1.2.250.1.213.1.4.9", "1.2.250.1.213.1.4.11")

STATUS_APPROVED = "urn:oasis:names:tc:ebxml-regrep:StatusType:Approved"
STATUS_DEPRECATED = "urn:oasis:names:tc:ebxml-regrep:StatusType:Deprecated"
STATUS_ARCHIVED = "urn:asip:ci-sis:2010:StatusType:Archived"
STATUS_DELETED = "urn:asip:ci-sis:2010:StatusType:Deleted"
STATUSES = {uri.rsplit(":", 1)[1]: uri for uri in (STATUS_APPROVED, STATUS_DEPRECATED, STATUS_ARCHIVED, STATUS_DELETED)}

RESPONSE_STATUS = "urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:"
SEVERITY = "urn:oasis:names:tc:ebxml-regrep:ErrorSeverityType:"
STABLE_DOCUMENT = "urn:uuid:7edca82f-054d-47f2-a032-9b2a5b5186c1"
HAS_MEMBER = "urn:oasis:names:tc:ebxml-regrep:AssociationType:HasMember"
SIGNS = "urn:ihe:iti:2007:AssociationType:signs"
REPLACES = "urn:ihe:iti:2007:AssociationType:RPLC"
UPDATE_STATUS = "urn:ihe:iti:2010:AssociationType:UpdateAvailabilityStatus"
ASSOCIATION_OBJECT = "urn:oasis:names:tc:ebxml-regrep:ObjectType:RegistryObject:Association"
REPOSITORY_ID = "1.2.250.1.213.4.1.1.1.2"

# ITI TF-3 4.2.5: submission set, then document entry.
SET_NODE = "urn:uuid:a54d6aa5-d40d-43f9-88c5-b4633d873bdd"
SET_AUTHOR = "urn:uuid:a7058bb9-b4e4-4307-ba5b-e3f0ab85e12d"
SET_CONTENT_TYPE = "urn:uuid:aa543740-bdda-424e-8c96-df4873be8500"
SET_PATIENT = "urn:uuid:6b5aea1a-874d-4603-a4bc-96a0a7b38446"
SET_SOURCE = "urn:uuid:554ac39e-e3fe-47fe-b233-965d2a147832"
SET_UNIQUE = "urn:uuid:96fdda7c-d067-4183-912e-bf5ee74998a8"
AUTHOR = "urn:uuid:93606bcf-9494-43ec-9b4e-a7748d1a838d"
CLASS_CODE = "urn:uuid:41a5887f-8865-4c09-adf7-e362475b143a"
TYPE_CODE = "urn:uuid:f0306f51-975f-434e-a61c-c59651d33983"
FORMAT_CODE = "urn:uuid:a09d5840-386c-46f2-b5ad-9c3699a4309d"
CONFIDENTIALITY = "urn:uuid:f4f85eac-e6cb-4883-b524-f2705394840f"
EVENT_CODE = "urn:uuid:2c6b8cb7-8b2a-4051-b291-b1ae6a575ef4"
FACILITY = "urn:uuid:f33fb8ac-18af-42cc-ae0e-ed0b0bdb91e1"
PRACTICE = "urn:uuid:cccf5598-8b07-4b77-a05e-ae952c785ead"
PATIENT_ID = "urn:uuid:58a6f841-87b3-4a3e-92fd-a8ffeff98427"
UNIQUE_ID = "urn:uuid:2e82c1f6-a085-4c72-9da3-8640a32e42ab"

REFERENCE_SLOT = "urn:ihe:iti:xds:2013:referenceIdList"
REFERENCE_ACCESSION = "urn:ihe:iti:xds:2013:accession"
REFERENCE_ORDER = "urn:ihe:iti:xds:2013:order"
REFERENCE_STUDY = "urn:ihe:iti:xds:2016:studyInstanceUID"

MASK_SCHEME = "1.2.250.1.213.1.1.4.13"
CONFIDENTIALITY_SCHEME = "2.16.840.1.113883.5.25"
MASQUE_PS, INVISIBLE_PATIENT = ("MASQUE_PS", MASK_SCHEME), ("INVISIBLE_PATIENT", MASK_SCHEME)
NORMAL = ("N", CONFIDENTIALITY_SCHEME)
CONFIDENTIALITIES = frozenset(
    {(code, CONFIDENTIALITY_SCHEME) for code in "NRV"}
    | {MASQUE_PS, INVISIBLE_PATIENT, ("INVISIBLE_REPRESENTANTS_LEGAUX", MASK_SCHEME)}
)
KOS_CLASS = ("31", "1.2.250.1.213.1.1.4.1")
KOS_TYPE = ("IMG-KOS", "1.2.250.1.213.1.1.4.12")
KOS_FORMAT = ("1.2.840.10008.5.1.4.1.1.88.59", "1.2.840.10008.2.6.1")
SIGNATURE_CLASS = ("urn:oid:1.3.6.1.4.1.19376.1.2.1.1.1", "URN")
SIGNATURE_TYPE = ("E1762", "ASTM")
SIGNATURE_FORMAT = ("http://www.w3.org/2000/09/xmldsig#", "URN")
SIGNATURE_EVENT = ("1.2.840.10065.1.12.1.14", "1.2.840.10065.1.12")

FACILITIES = frozenset((f"SA{number:02}", "1.2.250.1.71.4.2.4") for number in range(1, 44))
PRACTICES = frozenset(
    {(code, "1.2.250.1.213.1.1.4.9") for code in (
        "AMBULATOIRE", "AMO", "DEPISTAGE", "ESSMS", "ETABLISSEMENT", "HAD", "MAD", "PALLIATIF", "SAD", "SAMU_SMUR")}
    | {(code, "1.2.250.1.213.1.1.4.6") for code in ("EXP_PATIENT", "SNR")}
)  # fmt: skip
CONTENT_TYPES = frozenset((code, "1.2.250.1.213.2.2") for code in ("03", "04", "07", "19", "97"))


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


MODALITY_SCHEMES = ("1.2.840.10008.2.16.4", "1.2.250.1.213.1.1.5.618")
# Acquisition modalities of PS3.3 C.7.3.1.1.1; neither RM nor documents (SR, KO, PR) are among them.
MODALITIES = _words(
    "AR AS BI BMD CR CT DG DX EPS ES GM HC HD IO IVOCT IVUS KER LEN LS MG MR NM OAM OCT OP OPM OPT OPV OSS PT PX RF "
    "RG RTIMAGE SM TG US VA XA XC"
)
REGION_SCHEMES = ("2.16.840.1.113883.6.96", "1.2.250.1.213.1.1.5.695")
REGIONS = _words(
    "63337009 38266002 53120007 61685007 67734004 774007 69536005 45048000 113257007 80891009 76752008 786880003 "
    "737561001"
)
# CCAM under its present OID (reports of 2024) and the older one, LOINC
ACT_SCHEMES = ("1.2.250.1.215.300.1", "1.2.250.1.213.2.5", "2.16.840.1.113883.6.1")

PROFESSION_SCHEMES = ("1.2.250.1.71.1.2.7", "1.2.250.1.71.1.2.8", "1.2.250.1.213.1.1.4.6")
PHYSICIAN, PHARMACIST = ("10", "1.2.250.1.71.1.2.7"), ("21", "1.2.250.1.71.1.2.7")
SPECIALITY_SCHEME = "1.2.250.1.71.4.2.5"
PROFESSIONAL_ROOT = "1.2.250.1.71.4.2.1"
STRUCTURE_ROOT = "1.2.250.1.71.4.2.2"


def q(name: str) -> str:
    """``prefix:local`` to the ``{namespace}local`` of lxml."""
    prefix, local = name.split(":")
    return f"{{{NS[prefix]}}}{local}"
