# SPDX-License-Identifier: AGPL-3.0-or-later
"""Builder of invented reports (CDA) and messages (HL7 v2), with every part open to change."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

INS = "187097712345609"
INS_TEST_OID = "1.2.250.1.213.1.4.10"
STUDY = "1.2.250.1.999.7.1.5001"
DOCUMENT_ROOT = "1.2.250.1.999.7.3.42"
PARENT_ROOT = "1.2.250.1.999.7.3.41"
STRUCTURE = "1990000017"
DOCTOR = "899900000012"

FLAGS = ("MASQUE_PS", "INVISIBLE_PATIENT", "INVISIBLE_REP_LEGAUX", "CONNEXION_SECRETE", "MODIF_CONF_CODE", "DESTDMP")

PATIENT_NAME = """
<family qualifier="BR">MARTINEAU</family><given qualifier="BR">ZOÉ</given><given>ZOÉ LINE</given>
<family qualifier="CL">DURANÇON</family><given qualifier="CL">LINE</given>"""


def study_act(uid: str = STUDY, extension: str | None = None, code: str | None = None, times: str | None = None) -> str:
    """One documentationOf."""
    identifier = "" if not uid else f'<id root="{uid}"' + (f' extension="{extension}"' if extension else "") + "/>"
    main = code or (
        '<code code="24566-2" displayName="RM Rachis" codeSystem="2.16.840.1.113883.6.1">'
        '<translation code="LHQN001" displayName="Remnographie" codeSystem="1.2.250.1.213.2.5" codeSystemName="CCAM"/>'
        '<translation code="MR" displayName="IRM" codeSystem="1.2.840.10008.2.16.4">'
        '<qualifier><name code="121139" codeSystem="1.2.840.10008.2.16.4"/></qualifier></translation>'
        '<translation code="421060004" displayName="colonne vertébrale" codeSystem="2.16.840.1.113883.6.96">'
        '<qualifier><name code="39111-0" codeSystem="2.16.840.1.113883.6.1"/></qualifier></translation></code>'
    )
    period = (
        times or '<effectiveTime><low value="20260301093000+0100"/><high value="20260301100000+0100"/></effectiveTime>'
    )
    return f"""<documentationOf><serviceEvent>{identifier}{main}{period}
<performer typeCode="PRF"><assignedEntity><id root="1.2.250.1.71.4.2.1" extension="{DOCTOR}"/>
<assignedPerson><name><given>Ada</given><family>LENOIR</family></name></assignedPerson>
<representedOrganization><id root="1.2.250.1.71.4.2.2" extension="{STRUCTURE}"/><name>Imagerie du Port</name>
<standardIndustryClassCode code="AMBULATOIRE" displayName="Ambulatoire" codeSystem="1.2.250.1.213.1.1.4.9"/>
</representedOrganization></assignedEntity></performer></serviceEvent></documentationOf>"""


ORDER = """<inFulfillmentOf><order><id root="1.2.250.1.999.7.6" extension="OPN7"/>
<ps3-20:accessionNumber root="1.2.250.1.999.7.5" extension="ACN7"/></order></inFulfillmentOf>"""

LEGAL = f"""<legalAuthenticator><time value="20260301110000+0100"/><signatureCode code="S"/><assignedEntity>
<id root="1.2.250.1.71.4.2.1" extension="{DOCTOR}"/>
<assignedPerson><name><given>Ada</given><family>LENOIR</family></name></assignedPerson>
<representedOrganization><id root="1.2.250.1.71.4.2.2" extension="{STRUCTURE}"/><name>Imagerie du Port</name>
</representedOrganization></assignedEntity></legalAuthenticator>"""

AUTHOR = f"""<author><functionCode code="ATTPHYS" displayName="Radiologue"/><time value="20260301110000+0100"/>
<assignedAuthor><id root="1.2.250.1.71.4.2.1" extension="{DOCTOR}"/>
<code code="G15_10/SM44" displayName="Radio-diagnostic" codeSystem="1.2.250.1.213.1.1.4.5"/>
<assignedPerson><name><given>Ada</given><family>LENOIR</family></name></assignedPerson>
<representedOrganization><id root="1.2.250.1.71.4.2.2" extension="{STRUCTURE}"/><name>Imagerie du Port</name>
</representedOrganization></assignedAuthor></author>"""


@dataclass(frozen=True)
class Cda:
    """Parts of an imaging report; each is XML text."""

    before: str = '<?xml version="1.0" encoding="utf-8"?>\n<?xml-stylesheet href="x.xsl"?><!-- invented -->'
    id: str = f'<id root="{DOCUMENT_ROOT}"/>'
    code: str = '<code code="18748-4" displayName="CR d’imagerie médicale" codeSystem="2.16.840.1.113883.6.1"/>'
    title: str = "<title>IRM du rachis</title>"
    time: str = '<effectiveTime value="20260301110000+0100"/>'
    confidentiality: str = '<confidentialityCode code="N" displayName="Normal" codeSystem="2.16.840.1.113883.5.25"/>'
    language: str = '<languageCode code="fr-FR"/>'
    version: str = '<setId root="9B5F2A60-0000-4000-8000-00000000C0DE"/><versionNumber value="1"/>'
    ids: str = f'<id extension="{INS}" root="{INS_TEST_OID}"/><id extension="IPP77" root="1.2.250.1.999.7.4"/>'
    name: str = PATIENT_NAME
    sex: str = '<administrativeGenderCode code="F"/>'
    birth: str = '<birthTime value="19870915"/>'
    guardian: str = "<guardian><guardianPerson><name><family>TUTEUR</family></name></guardianPerson></guardian>"
    birthplace: str = "<birthplace><place><addr><county>77288</county><city>MELUN</city></addr></place></birthplace>"
    authors: str = AUTHOR
    custodian: str = (
        '<custodian><assignedCustodian><representedCustodianOrganization><id root="1.2.250.1.71.4.2.2" '
        f'extension="{STRUCTURE}"/><name>Imagerie du Port</name></representedCustodianOrganization>'
        "</assignedCustodian></custodian>"
    )
    legal: str = LEGAL
    orders: str = ORDER
    acts: str = field(default_factory=study_act)
    related: str = ""
    encounter: str = (
        "<componentOf><encompassingEncounter><location><healthCareFacility>"
        '<code code="SA08" displayName="Cabinet de groupe" codeSystem="1.2.250.1.71.4.2.4"/>'
        "</healthCareFacility></location></encompassingEncounter></componentOf>"
    )
    body: str = (
        '<component><nonXMLBody><text mediaType="application/pdf" representation="B64">JVBERi0=</text>'
        "</nonXMLBody></component>"
    )

    def xml(self, encoding: str = "utf-8") -> bytes:
        """The document."""
        text = f"""{self.before}<ClinicalDocument xmlns="urn:hl7-org:v3" xmlns:ps3-20="urn:dicom-org:ps3-20"
xmlns:xsi="http://www.w3.org/2001/XMLSchemainstance"><realmCode code="FR"/>{self.id}{self.code}{self.title}
{self.time}{self.confidentiality}{self.language}{self.version}<recordTarget><patientRole>{self.ids}
<patient><name>{self.name}</name>{self.sex}{self.birth}{self.guardian}{self.birthplace}</patient></patientRole>
</recordTarget>{self.authors}{self.custodian}{self.legal}{self.orders}{self.acts}{self.related}{self.encounter}
{self.body}</ClinicalDocument>"""
        return text.encode(encoding)


REPLACES = (
    f'<relatedDocument typeCode="RPLC"><parentDocument><id root="{PARENT_ROOT}"/></parentDocument></relatedDocument>'
)


def encoded(document: bytes) -> str:
    """Base64 without line ends."""
    return base64.b64encode(document).decode("ascii")


@dataclass(frozen=True)
class Message:
    """Parts of a report message; `segments` gives them in the order of the guide."""

    type: str = "MDM^T02^MDM_T02"
    version: str = "2.6"
    control_id: str = "M0001"
    processing_id: str = "P"
    charset: str = "UNICODE UTF-8"
    profile: str = "2.1^CISIS_CDA_HL7_V2"
    sender: str = "RIS-INV|SITE-INV"
    receiver: str = "DRIMBOX|SITE-INV"
    ids: str = f"{INS}^^^ASIP-SANTE-INS-NIR&{INS_TEST_OID}&ISO^INS~IPP77^^^AUT&1.2.250.1.999.7.4&ISO^PI"
    names: str = "MARTINEAU^ZOÉ^ZOÉ LINE^^^^L~DURANÇON^LINE^^^^^D"
    birth: str = "19870915"
    sex: str = "F"
    places: str = "1 quai^^MELUN^^77000^FRA^H~^^^^^^BDL^^77288"
    unknown: str = "N"
    reliability: str = "VALI"
    visit: str | None = "PV1|1|O"
    order: str | None = "ORC|NW"
    document_id: str = DOCUMENT_ROOT
    parent_id: str = ""
    status: str = "F"
    document: bytes = field(default_factory=lambda: Cda().xml())
    payload: str | None = None  # OBX-5 as it is; None makes it of `document`
    kind: str = "18748-4^CR d'imagerie médicale^LN"
    prt: str | None = (
        f"PRT||UC||SB^Send by^participation|{DOCTOR}^LENOIR^Ada^^^^^^ASIP-SANTE-PS&1.2.250.1.71.4.2.1&ISO^D^^^IDNPS|||"
        f"Imagerie du Port^^^^^ASIP-SANTE-ST&1.2.250.1.71.4.2.2&ISO^FINEG^^^{STRUCTURE}"
    )
    flags: tuple[tuple[str, str], ...] = tuple((name, "Y" if name == "DESTDMP" else "N") for name in FLAGS)
    extra: tuple[str, ...] = (
        "OBX|20|CWE|DESTMSSANTEPS^Destinataire^MetaDMPMSS||N^^expandedYes-NoIndicator||||||F",
        "OBX|21|ED|CORPSMAIL_PS^Corps du mail^MetaDMPMSS||^text^^Base64^Q2hlc||||||F",
    )
    end: str = "\r"

    def flagged(self, **values: str) -> Message:
        """With some flags changed; "" takes one away."""
        flags = [(n, values.get(n, v)) for n, v in self.flags]
        return replace(self, flags=tuple((n, v) for n, v in flags if v))

    def segments(self) -> list[str]:
        """The segments, as text."""
        mdm = self.type.startswith("MDM")
        value = "CWE" if mdm else "CE"
        content = f"^{'text' if mdm else 'TEXT'}^XML^Base64^{encoded(self.document)}"
        if self.payload is not None:
            content = self.payload
        txa = f"TXA|1|18748-4|TEXT|||||||||{self.document_id}|{self.parent_id}||||AU" if mdm else None
        found: list[str | None] = [
            f"MSH|^~\\&|{self.sender}|{self.receiver}|20260301111500||{self.type}|{self.control_id}|"
            f"{self.processing_id}|{self.version}|||||FRA|{self.charset}|||{self.profile}",
            "EVN||20260301111500" if mdm else None,
            f"PID|1||{self.ids}||{self.names}||{self.birth}|{self.sex}|||{self.places}"
            + "|" * 20
            + f"{self.unknown}|{self.reliability}",
            self.visit,
            self.order,
            f"OBR|1|||{self.kind}",
            txa,
            f"OBX|1|ED|{self.kind}||{content}||||||{self.status}",
            self.prt,
            *(
                f"OBX|{n}|{value}|{name}^Libellé^MetaDMPMSS||{flag}^^expandedYes-NoIndicator||||||F"
                for n, (name, flag) in enumerate(self.flags, start=2)
            ),
            *self.extra,
        ]
        return [s for s in found if s]

    def raw(self, encoding: str = "utf-8") -> bytes:
        """The message as bytes, without framing."""
        return "".join(s + self.end for s in self.segments()).encode(encoding)


def mdm_replacement(**changes: object) -> Message:
    """An MDM^T10."""
    document = Cda(related=REPLACES).xml()
    made = Message(type="MDM^T10^MDM_T02", order="ORC|RO", status="C", parent_id=PARENT_ROOT, document=document)
    return replace(made, **changes)  # type: ignore[arg-type]


def mdm_withdrawal(**changes: object) -> Message:
    """An MDM^T04."""
    return replace(Message(type="MDM^T04^MDM_T02", order="ORC|CA", status="D"), **changes)  # type: ignore[arg-type]


def oru(action: str = "NW", **changes: object) -> Message:
    """An ORU^R01: NW, RO or CA."""
    status = {"NW": "F", "RO": "C", "CA": "D"}[action]
    document = Cda(related=REPLACES if action == "RO" else "").xml()
    made = Message(type="ORU^R01^ORU_R01", version="2.5", order=f"ORC|{action}", status=status, document=document)
    return replace(made, **changes)  # type: ignore[arg-type]


def omi(
    control: str = "XO",
    studies: Sequence[str] = (STUDY,),
    accession: str = "ACN7^^1.2.250.1.999.7.5^ISO",
    **changes: str,
) -> bytes:
    """An OMI^O23 of a PACS; an empty study gives an IPC without IPC-3."""
    header = {"version": "2.5.1", "processing_id": "P", "type": "OMI^O23^OMI_O23"} | changes
    lines = [
        f"MSH|^~\\&|PACS-INV|SITE-INV|DRIMBOX|SITE-INV|20260302080000||{header['type']}|O0001|"
        f"{header['processing_id']}|{header['version']}|||||FRA|UNICODE UTF-8",
        f"ORC|{control}|OPN7|||CM",
        "OBR|1|OPN7||24566-2^RM^LN",
        *(f"IPC|{accession}|RP7|{study}|SPS7|MR^^DCM" for study in studies),
    ]
    return "".join(line + "\r" for line in lines).encode()
