# SPDX-License-Identifier: AGPL-3.0-or-later
"""Messages for the DMP stand-in, written from the notes alone: neither the product's code nor the stand-in's.

Texts are templates, so that a test can break one thing by a replacement before or after the signature.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import secrets
import ssl
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import xmlsec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from lxml import etree

Edit = Callable[[str], str]
STRUCTURE = "1750803447"
INS = "188027512345678"
PATIENT = f"{INS}^^^&amp;1.2.250.1.213.1.4.10&amp;ISO^NH"
PREFIX = "/si-dmp-server/v2/services/"
PUBLISH = "urn:ihe:iti:2007:ProvideAndRegisterDocumentSet-b"
QUERY = "urn:ihe:iti:2007:RegistryStoredQuery"
UPDATE = "urn:ihe:iti:2010:UpdateDocumentSet"
RETRIEVE = "urn:ihe:iti:2007:RetrieveDocumentSet"
EXISTENCE = "urn:hl7-org:v3:PRPA_IN201307UV02"
GET_DOCUMENTS = "urn:uuid:5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4"
FIND_DOCUMENTS = "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d"
FIND_BY_REFERENCE = "urn:uuid:12941a89-e02e-4be5-967c-ce4bfc8fe492"
RIM = "urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0"
STATUS = "urn:oasis:names:tc:ebxml-regrep:StatusType:"
DELETED = "urn:asip:ci-sis:2010:StatusType:Deleted"
ARCHIVED = "urn:asip:ci-sis:2010:StatusType:Archived"
SHA1, SHA256 = "http://www.w3.org/2000/09/xmldsig#sha1", "http://www.w3.org/2001/04/xmlenc#sha256"
RSA_SHA1 = "http://www.w3.org/2000/09/xmldsig#rsa-sha1"
RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"


def same(text: str) -> str:
    """No change."""
    return text


def swap(old: str, new: str) -> Edit:
    """A replacement that must find something to replace."""

    def edit(text: str) -> str:
        assert old in text, old
        return text.replace(old, new)

    return edit


def new_oid() -> str:
    """A fresh OID (UUID derived, PS3.5 B.2)."""
    return f"2.25.{uuid.uuid4().int}"


def stamp(instant: datetime) -> str:
    """UTC DTM to the second."""
    return instant.astimezone(UTC).strftime("%Y%m%d%H%M%S")


def certificate(pki: Path, name: str) -> x509.Certificate:
    """The leaf of a PEM file of the sandbox PKI."""
    return x509.load_pem_x509_certificate((pki / f"{name}.pem").read_bytes())


def private_key(pki: Path, name: str) -> rsa.RSAPrivateKey:
    """A key of the sandbox PKI (made by ourselves: no need to check its numbers)."""
    data = (pki / f"{name}.key").read_bytes()
    key = serialization.load_pem_private_key(data, None, unsafe_skip_rsa_key_validation=True)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


# --- VIHF ----------------------------------------------------------------------------------------------------------

_ROLE = (
    '<saml2:AttributeValue><Role xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
    'xsi:type="CE" code="{}" codeSystem="{}" codeSystemName="x" displayName="libellé"/></saml2:AttributeValue>'
)
AUTOMATE = _ROLE.format("AUTOMATE", "1.2.250.1.213.1.1.4.6")
PHYSICIAN = _ROLE.format("10", "1.2.250.1.71.1.2.7")
RADIOLOGIST = _ROLE.format("SM26", "1.2.250.1.71.4.2.5")


def _attribute(name: str, value: str) -> str:
    return f'<saml2:Attribute Name="{name}">{value}</saml2:Attribute>'


def _text(name: str, value: str) -> str:
    return _attribute(name, f"<saml2:AttributeValue>{value}</saml2:AttributeValue>")


@dataclass(frozen=True)
class Vihf:
    """What an assertion says; ``edit`` works on the text before it is signed, ``tamper`` after."""

    mode: str = "INDIRECTE"
    structure: str = STRUCTURE
    patient: str = PATIENT
    name_id: str = f"{STRUCTURE}/drimbox"
    roles: str = AUTOMATE
    signer: str = "structure-sign"
    issuer: str = ""
    algorithm: str = RSA_SHA256
    edit: Edit = same
    tamper: Edit = same
    at: datetime | None = None
    key: str = ""
    inclusive: str = ""

    def text(self, pki: Path) -> str:
        """The signed assertion."""
        now = self.at or datetime.now(UTC)
        instant = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        issuer = self.issuer or certificate(pki, self.signer).subject.rfc4514_string()
        decl = "" if self.mode == "INDIRECTE" else "<saml2:AuthnContextDecl>APP_BROWSER_AUTH</saml2:AuthnContextDecl>"
        purpose = (
            '<saml2:AttributeValue><PurposeOfUse xmlns="urn:hl7-org:v3" '
            'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CE" code="normal" '
            'codeSystem="1.2.250.1.213.1.1.4.248" codeSystemName="mode acces VIHF 1.0" displayName="Accès normal"/>'
            "</saml2:AttributeValue>"
        )
        attributes = "".join(
            [
                _text("VIHF_Version", "3.0"),
                _text("Authentification_Mode", self.mode),
                _text("Identifiant_Structure", self.structure),
                _text("Secteur_Activite", "SA08^1.2.250.1.71.4.2.4"),
                _text("urn:oasis:names:tc:xspa:1.0:subject:subject-id", "DRIMBOX BAC A SABLE"),
                _attribute("urn:oasis:names:tc:xacml:2.0:subject:role", self.roles),
                _text("urn:oasis:names:tc:xacml:2.0:resource:resource-id", self.patient),
                _text("Ressource_URN", "urn:dmp"),
                _attribute("urn:oasis:names:tc:xspa:1.0:subject:purposeofuse", purpose),
                _text("LPS_Nom", "orthanc-drimbox"),
                _text("LPS_Version", "0.1"),
                _text("LPS_ID_HOMOLOGATION_DMP", "BAC-A-SABLE-1"),
            ]
        )
        text = (
            f'<saml2:Assertion xmlns:saml2="urn:oasis:names:tc:SAML:2.0:assertion" ID="_{uuid.uuid4()}" '
            f'IssueInstant="{instant}" Version="2.0">'
            f'<saml2:Issuer Format="urn:oasis:names:tc:SAML:1.1:nameid-format:X509SubjectName">{issuer}</saml2:Issuer>'
            f"<saml2:Subject><saml2:NameID>{self.name_id}</saml2:NameID></saml2:Subject>"
            f'<saml2:AuthnStatement AuthnInstant="{instant}"><saml2:AuthnContext><saml2:AuthnContextClassRef>'
            "urn:oasis:names:tc:SAML:2.0:ac:classes:unspecified</saml2:AuthnContextClassRef>"
            f"{decl}</saml2:AuthnContext></saml2:AuthnStatement>"
            f"<saml2:AttributeStatement>{attributes}</saml2:AttributeStatement></saml2:Assertion>"
        )
        signed = sign_assertion(self.edit(text), pki, self.signer, self.key, self.algorithm, self.inclusive)
        return self.tamper(signed)


def air(**changes: Any) -> Vihf:
    """An assertion of a physician known by PSC (mode AIR)."""
    physician = {"mode": "INDIRECTE_RENFORCEE", "name_id": "899700000001", "roles": PHYSICIAN + RADIOLOGIST}
    return Vihf(**{**physician, **changes})


def sign_assertion(text: str, pki: Path, signer: str, key: str, algorithm: str, inclusive: str) -> str:
    """Enveloped signature after Issuer, by libxmlsec1 (another implementation than the stand-in's)."""
    assertion = etree.fromstring(text)
    methods = {RSA_SHA256: xmlsec.Transform.RSA_SHA256, RSA_SHA1: xmlsec.Transform.RSA_SHA1}
    digest = xmlsec.Transform.SHA256 if algorithm == RSA_SHA256 else xmlsec.Transform.SHA1
    node = xmlsec.template.create(assertion, xmlsec.Transform.EXCL_C14N, methods[algorithm], ns="ds")
    assertion.insert(1, node)
    xmlsec.tree.add_ids(assertion, ["ID"])
    reference = xmlsec.template.add_reference(node, digest, uri=f"#{assertion.get('ID')}")
    xmlsec.template.add_transform(reference, xmlsec.Transform.ENVELOPED)
    last = xmlsec.template.add_transform(reference, xmlsec.Transform.EXCL_C14N)
    if inclusive:
        xmlsec.template.transform_add_c14n_inclusive_namespaces(last, inclusive.split())
    xmlsec.template.add_x509_data(xmlsec.template.ensure_key_info(node))
    context = xmlsec.SignatureContext()
    context.key = xmlsec.Key.from_file(str(pki / f"{key or signer}.key"), xmlsec.KeyFormat.PEM)
    context.sign(node)
    data = node.find(".//{*}X509Data")
    for child in list(data):
        data.remove(child)
    certified = etree.SubElement(data, "{http://www.w3.org/2000/09/xmldsig#}X509Certificate")
    certified.text = base64.b64encode(_der(pki, signer)).decode()
    return etree.tostring(assertion, encoding="unicode")


def _der(pki: Path, name: str) -> bytes:
    return certificate(pki, name).public_bytes(serialization.Encoding.DER)


# --- signature of the set ------------------------------------------------------------------------------------------


def _canonical(element: etree._Element) -> bytes:
    alone = etree.fromstring(etree.tostring(element, with_tail=False))
    return etree.tostring(alone, method="c14n", exclusive=False, with_comments=True)


def dsig(pki: Path, set_uid: str, documents: Mapping[str, bytes], *, algorithm: str = RSA_SHA1,
         signer: str = "structure-sign", edit: Edit = same, tamper: Edit = same) -> bytes:  # fmt: skip
    """A signature document; ``edit`` before the digests are made, ``tamper`` at the end."""
    method, kind = (SHA1, hashes.SHA1()) if algorithm == RSA_SHA1 else (SHA256, hashes.SHA256())
    cert = certificate(pki, signer)

    def b64(data: bytes) -> str:
        return base64.b64encode(data).decode()

    def hashed(data: bytes) -> str:
        return b64(hashlib.new(kind.name, data, usedforsecurity=False).digest())

    def reference(attributes: str, value: str) -> str:
        body = f'<DigestMethod Algorithm="{method}"/><DigestValue>{value}</DigestValue>'
        return f"<Reference {attributes}>{body}</Reference>"

    names = "".join(reference(f'URI="urn:oid:{uid}"', hashed(data)) for uid, data in documents.items())
    manifest = reference(f'URI="urn:oid:{set_uid}"', "AA==") + names
    digest = b64(cert.fingerprint(kind))
    text = edit(
        f'<Signature xmlns="http://www.w3.org/2000/09/xmldsig#" Id="sig-1"><SignedInfo>'
        '<CanonicalizationMethod Algorithm="http://www.w3.org/TR/2001/REC-xml-c14n-20010315#WithComments"/>'
        f'<SignatureMethod Algorithm="{algorithm}"/>'
        + reference('Type="http://www.w3.org/2000/09/xmldsig#Manifest" URI="#IHEManifest"', "@manifest@")
        + reference('Type="http://uri.etsi.org/01903/v1.1.1#SignedProperties" URI="#S0-SignedProperties"', "@props@")
        + f"</SignedInfo><SignatureValue>@value@</SignatureValue><KeyInfo><X509Data><X509Certificate>"
        f"{b64(_der(pki, signer))}</X509Certificate></X509Data></KeyInfo>"
        f'<Object><Manifest Id="IHEManifest">{manifest}</Manifest></Object>'
        '<Object><SignatureProperties><SignatureProperty Id="purposeOfSignature" Target="#sig-1">'
        "1.2.840.10065.1.12.1.14</SignatureProperty></SignatureProperties></Object>"
        '<Object><QualifyingProperties xmlns="http://uri.etsi.org/01903/v1.1.1#" Target="#sig-1">'
        '<SignedProperties Id="S0-SignedProperties"><SignedSignatureProperties>'
        f"<SigningTime>{datetime.now(UTC).strftime('%Y-%m-%dT%H:%M:%SZ')}</SigningTime>"
        f'<SigningCertificate><Cert><CertDigest><DigestMethod Algorithm="{method}"/>'
        f"<DigestValue>{digest}</DigestValue></CertDigest><IssuerSerial>"
        f"<X509IssuerName>{cert.issuer.rfc4514_string()}</X509IssuerName>"
        f"<X509SerialNumber>{cert.serial_number}</X509SerialNumber></IssuerSerial></Cert></SigningCertificate>"
        "<SignaturePolicyIdentifier><SignaturePolicyImplied/></SignaturePolicyIdentifier>"
        "</SignedSignatureProperties><SignedDataObjectProperties/></SignedProperties></QualifyingProperties></Object>"
        "</Signature>"
    )
    for identifier, place in (("IHEManifest", "@manifest@"), ("S0-SignedProperties", "@props@")):
        found = etree.fromstring(text).xpath("//*[@Id=$i]", i=identifier)
        text = text.replace(place, hashed(_canonical(found[0])) if found else "AA==")
    key = private_key(pki, signer)
    info = etree.fromstring(text).find("{*}SignedInfo")
    assert info is not None
    signed = key.sign(_canonical(info), padding.PKCS1v15(), kind)
    return tamper(text.replace("@value@", b64(signed))).encode()


# --- ebRIM ---------------------------------------------------------------------------------------------------------


def slot(name: str, *values: str) -> str:
    """One rim:Slot."""
    inside = "".join(f"<rim:Value>{value}</rim:Value>" for value in values)
    return f'<rim:Slot name="{name}"><rim:ValueList>{inside}</rim:ValueList></rim:Slot>'


def name(value: str, element: str = "Name") -> str:
    """One rim:Name."""
    return f'<rim:{element}><rim:LocalizedString value="{value}"/></rim:{element}>'


def coded(owner: str, scheme: str, code: str, coding: str, label: str = "libellé") -> str:
    """One coded classification."""
    return (
        f'<rim:Classification id="c-{uuid.uuid4()}" classifiedObject="{owner}" '
        f'classificationScheme="urn:uuid:{scheme}" nodeRepresentation="{code}">'
        f"{slot('codingScheme', coding)}{name(label)}</rim:Classification>"
    )


def author(owner: str, scheme: str, structure: str = STRUCTURE) -> str:
    """One author: a device of a structure."""
    return (
        f'<rim:Classification id="c-{uuid.uuid4()}" classifiedObject="{owner}" '
        f'classificationScheme="urn:uuid:{scheme}" nodeRepresentation="">'
        + slot("authorPerson", "899711256811^DRIMBox^ANS^^^^^^&amp;1.2.250.1.71.4.2.1&amp;ISO^U^^^EI")
        + slot("authorInstitution", f"CENTRE^^^^^&amp;1.2.250.1.71.4.2.2&amp;ISO^IDNST^^^{structure}")
        + "</rim:Classification>"
    )


def identifier(owner: str, scheme: str, label: str, value: str) -> str:
    """One external identifier."""
    return (
        f'<rim:ExternalIdentifier id="i-{uuid.uuid4()}" registryObject="{owner}" '
        f'identificationScheme="urn:uuid:{scheme}" value="{value}">{name(label)}</rim:ExternalIdentifier>'
    )


def association(kind: str, source: str, target: str, slots: str = "") -> str:
    """One association."""
    return (
        f'<rim:Association id="a-{uuid.uuid4()}" associationType="{kind}" sourceObject="{source}" '
        f'targetObject="{target}" objectType="urn:oasis:names:tc:ebxml-regrep:ObjectType:RegistryObject:Association">'
        f"{slots}</rim:Association>"
    )


def submission_set(uid: str, patient: str = PATIENT, structure: str = STRUCTURE) -> str:
    """The RegistryPackage."""
    own = "SubmissionSet01"
    return (
        f'<rim:RegistryPackage id="{own}">'
        + slot("submissionTime", stamp(datetime.now(UTC)))
        + author(own, "a7058bb9-b4e4-4307-ba5b-e3f0ab85e12d", structure)
        + coded(own, "aa543740-bdda-424e-8c96-df4873be8500", "04", "1.2.250.1.213.2.2")
        + f'<rim:Classification id="c-node" classifiedObject="{own}" '
        'classificationNode="urn:uuid:a54d6aa5-d40d-43f9-88c5-b4633d873bdd"/>'
        + identifier(own, "6b5aea1a-874d-4603-a4bc-96a0a7b38446", "XDSSubmissionSet.patientId", patient)
        + identifier(own, "554ac39e-e3fe-47fe-b233-965d2a147832", "XDSSubmissionSet.sourceId", "1.2.250.1.999.1")
        + identifier(own, "96fdda7c-d067-4183-912e-bf5ee74998a8", "XDSSubmissionSet.uniqueId", uid)
        + "</rim:RegistryPackage>"
    )


def _facility(own: str) -> str:
    return coded(own, "f33fb8ac-18af-42cc-ae0e-ed0b0bdb91e1", "SA08", "1.2.250.1.71.4.2.4")


def _practice(own: str) -> str:
    return coded(own, "cccf5598-8b07-4b77-a05e-ae952c785ead", "AMBULATOIRE", "1.2.250.1.213.1.1.4.9")


def _confidentiality(own: str, code: str) -> str:
    scheme = "2.16.840.1.113883.5.25" if code in "NRV" else "1.2.250.1.213.1.1.4.13"
    return coded(own, "f4f85eac-e6cb-4883-b524-f2705394840f", code, scheme)


HAS_MEMBER = "urn:oasis:names:tc:ebxml-regrep:AssociationType:HasMember"
SIGNS = "urn:ihe:iti:2007:AssociationType:signs"
RPLC = "urn:ihe:iti:2007:AssociationType:RPLC"
_ORIGINAL = slot("SubmissionSetStatus", "Original")


@dataclass
class Publication:
    """One ITI-41 content; every ``edit_…`` may break one thing."""

    pki: Path
    uid: str = field(default_factory=new_oid)
    set_uid: str = field(default_factory=new_oid)
    signature_uid: str = field(default_factory=new_oid)
    study: str = field(default_factory=new_oid)
    content: bytes = field(default_factory=lambda: bytes(128) + b"DICM" + secrets.token_bytes(600))
    confidentiality: tuple[str, ...] = ("N",)
    patient: str = PATIENT
    structure: str = STRUCTURE
    replaces: str = ""
    edit_kos: Edit = same
    edit_signature: Edit = same
    edit_set: Edit = same
    edit_body: Edit = same
    dsig_edit: Edit = same
    dsig_tamper: Edit = same
    dsig_algorithm: str = RSA_SHA1
    dsig_signer: str = "structure-sign"
    dsig_documents: Mapping[str, bytes] | None = None

    def kos_entry(self) -> str:
        """The document entry of the KOS."""
        own, now = "DocumentKOS", stamp(datetime.now(UTC))
        confidentiality = "".join(_confidentiality(own, code) for code in self.confidentiality)
        return (
            f'<rim:ExtrinsicObject id="{own}" mimeType="application/dicom" '
            'objectType="urn:uuid:7edca82f-054d-47f2-a032-9b2a5b5186c1">'
            + slot("creationTime", now)
            + slot("languageCode", "fr-FR")
            + slot("legalAuthenticator",
                   "801234560801^BIDULE^Jacques^^^^^^&amp;1.2.250.1.71.4.2.1&amp;ISO^D^^^IDNPS")
            + slot("serviceStartTime", "20260104092200")
            + slot("serviceStopTime", "20260104093200")
            + slot("sourcePatientId", "12345^^^&amp;1.2.250.1.999.2&amp;ISO^PI")
            + slot("sourcePatientInfo", "PID-5|ESSAI^Anaïs^^^^^L", "PID-7|19880214", "PID-8|F")
            + slot("hash", hashlib.sha1(self.content).hexdigest())
            + slot("size", str(len(self.content)))
            + slot("urn:ihe:iti:xds:2013:referenceIdList",
                   "ACC1^^^&amp;1.2.250.1.999.3&amp;ISO^urn:ihe:iti:xds:2013:accession",
                   f"{self.study}^^^&amp;1.2.3.4.5.6&amp;ISO^urn:ihe:iti:xds:2016:studyInstanceUID",
                   "ORD1^^^&amp;1.2.250.1.999.4&amp;ISO^urn:ihe:iti:xds:2013:order")
            + name("Reference d'Objets d'un Examen d'Imagerie")
            + name("KOS", "Description")
            + author(own, "93606bcf-9494-43ec-9b4e-a7748d1a838d", self.structure)
            + coded(own, "41a5887f-8865-4c09-adf7-e362475b143a", "31", "1.2.250.1.213.1.1.4.1")
            + coded(own, "f0306f51-975f-434e-a61c-c59651d33983", "IMG-KOS", "1.2.250.1.213.1.1.4.12")
            + coded(own, "a09d5840-386c-46f2-b5ad-9c3699a4309d", "1.2.840.10008.5.1.4.1.1.88.59",
                    "1.2.840.10008.2.6.1")
            + confidentiality
            + coded(own, "2c6b8cb7-8b2a-4051-b291-b1ae6a575ef4", "MR", "1.2.840.10008.2.16.4")
            + coded(own, "2c6b8cb7-8b2a-4051-b291-b1ae6a575ef4", "774007", "2.16.840.1.113883.6.96")
            + coded(own, "2c6b8cb7-8b2a-4051-b291-b1ae6a575ef4", "ACQN001", "1.2.250.1.213.2.5")
            + _facility(own)
            + _practice(own)
            + identifier(own, "58a6f841-87b3-4a3e-92fd-a8ffeff98427", "XDSDocumentEntry.patientId", self.patient)
            + identifier(own, "2e82c1f6-a085-4c72-9da3-8640a32e42ab", "XDSDocumentEntry.uniqueId", self.uid)
            + "</rim:ExtrinsicObject>"
        )  # fmt: skip

    def signature_entry(self, content: bytes) -> str:
        """The document entry of the signature."""
        own, now = "Signature01", stamp(datetime.now(UTC))
        return (
            f'<rim:ExtrinsicObject id="{own}" mimeType="text/xml" '
            'objectType="urn:uuid:7edca82f-054d-47f2-a032-9b2a5b5186c1">'
            + slot("creationTime", now)
            + slot("languageCode", "art")
            + slot("hash", hashlib.sha1(content).hexdigest())
            + slot("size", str(len(content)))
            + name("Source")
            + author(own, "93606bcf-9494-43ec-9b4e-a7748d1a838d", self.structure)
            + coded(own, "41a5887f-8865-4c09-adf7-e362475b143a", "urn:oid:1.3.6.1.4.1.19376.1.2.1.1.1", "URN")
            + coded(own, "f0306f51-975f-434e-a61c-c59651d33983", "E1762", "ASTM")
            + coded(own, "a09d5840-386c-46f2-b5ad-9c3699a4309d", "http://www.w3.org/2000/09/xmldsig#", "URN")
            + "".join(_confidentiality(own, code) for code in ("N", "MASQUE_PS", "INVISIBLE_PATIENT"))
            + coded(own, "2c6b8cb7-8b2a-4051-b291-b1ae6a575ef4", "1.2.840.10065.1.12.1.14", "1.2.840.10065.1.12")
            + _facility(own)
            + _practice(own)
            + identifier(own, "58a6f841-87b3-4a3e-92fd-a8ffeff98427", "XDSDocumentEntry.patientId", self.patient)
            + identifier(own, "2e82c1f6-a085-4c72-9da3-8640a32e42ab", "XDSDocumentEntry.uniqueId", self.signature_uid)
            + "</rim:ExtrinsicObject>"
        )

    def parts(self) -> dict[str, bytes]:
        """KOS and signature bytes by content id."""
        documents = {self.uid: self.content} if self.dsig_documents is None else self.dsig_documents
        signature = dsig(self.pki, self.set_uid, documents, algorithm=self.dsig_algorithm, signer=self.dsig_signer,
                         edit=self.dsig_edit, tamper=self.dsig_tamper)  # fmt: skip
        return {"kos@sandbox.test": self.content, "signature@sandbox.test": signature}

    def body(self, parts: Mapping[str, bytes]) -> str:
        """The SOAP body."""
        own = "SubmissionSet01"
        replaced = association(RPLC, "DocumentKOS", self.replaces) if self.replaces else ""
        return self.edit_body(
            '<ihe:ProvideAndRegisterDocumentSetRequest xmlns:ihe="urn:ihe:iti:xds-b:2007">'
            '<lcm:SubmitObjectsRequest xmlns:lcm="urn:oasis:names:tc:ebxml-regrep:xsd:lcm:3.0">'
            f'<rim:RegistryObjectList xmlns:rim="{RIM}">'
            + self.edit_set(submission_set(self.set_uid, self.patient, self.structure))
            + self.edit_kos(self.kos_entry())
            + self.edit_signature(self.signature_entry(parts["signature@sandbox.test"]))
            + association(HAS_MEMBER, own, "DocumentKOS", _ORIGINAL)
            + association(HAS_MEMBER, own, "Signature01", _ORIGINAL)
            + association(SIGNS, "Signature01", own, _ORIGINAL)
            + replaced
            + "</rim:RegistryObjectList></lcm:SubmitObjectsRequest>"
            '<ihe:Document id="DocumentKOS"><xop:Include xmlns:xop="http://www.w3.org/2004/08/xop/include" '
            'href="cid:kos%40sandbox.test"/></ihe:Document>'
            '<ihe:Document id="Signature01"><xop:Include xmlns:xop="http://www.w3.org/2004/08/xop/include" '
            'href="cid:signature%40sandbox.test"/></ihe:Document></ihe:ProvideAndRegisterDocumentSetRequest>'
        )


def status_update(entry: str, old: str, new: str, *, set_uid: str = "", patient: str = PATIENT,
                  structure: str = STRUCTURE) -> str:  # fmt: skip
    """The body of an ITI-57 status change."""
    slots = slot("OriginalStatus", old) + slot("NewStatus", new)
    kind = "urn:ihe:iti:2010:AssociationType:UpdateAvailabilityStatus"
    return (
        '<lcm:SubmitObjectsRequest xmlns:lcm="urn:oasis:names:tc:ebxml-regrep:xsd:lcm:3.0">'
        f'<rim:RegistryObjectList xmlns:rim="{RIM}">'
        + submission_set(set_uid or new_oid(), patient, structure)
        + association(kind, "SubmissionSet01", entry, slots)
        + "</rim:RegistryObjectList></lcm:SubmitObjectsRequest>"
    )


def stored_query(identifier: str, parameters: list[tuple[str, str]], return_type: str = "ObjectRef") -> str:
    """The body of an ITI-18; parameter names without their common prefix."""
    slots = "".join(slot(f"$XDSDocumentEntry{n}", value) for n, value in parameters)
    return (
        '<query:AdhocQueryRequest xmlns:query="urn:oasis:names:tc:ebxml-regrep:xsd:query:3.0">'
        f'<query:ResponseOption returnType="{return_type}" returnComposedObjects="true"/>'
        f'<rim:AdhocQuery xmlns:rim="{RIM}" id="{identifier}">{slots}</rim:AdhocQuery></query:AdhocQueryRequest>'
    )


def existence(ins: str = INS, root: str = "1.2.250.1.213.1.4.10") -> str:
    """The body of a TD0.2."""
    return (
        '<PRPA_IN201307UV02 xmlns="urn:hl7-org:v3" ITSVersion="XML_1.0">'
        f'<id root="{uuid.uuid4()}"/><creationTime value="{stamp(datetime.now(UTC))}"/>'
        '<interactionId root="2.16.840.1.113883.1.6" extension="PRPA_IN201307UV02"/><processingCode code="D"/>'
        '<processingModeCode code="T"/><acceptAckCode code="AL"/>'
        '<receiver typeCode="RCV"><device classCode="DEV" determinerCode="INSTANCE">'
        '<id root="1.2.250.1.213.4.1.1.1"/><softwareName>DMP</softwareName></device></receiver>'
        '<sender typeCode="SND"><device classCode="DEV" determinerCode="INSTANCE"><id root="1.2.250.1.999.1"/>'
        '</device></sender><controlActProcess classCode="CACT" moodCode="EVN">'
        '<reasonCode code="TEST_EXST" codeSystem="1.2.250.1.213.1.1.4.11"/><queryByParameter>'
        f'<queryId root="{uuid.uuid4()}"/><statusCode code="new"/><parameterList><patientIdentifier>'
        f'<value root="{root}" extension="{ins}"/><semanticsText>Patient.id</semanticsText></patientIdentifier>'
        "</parameterList></queryByParameter></controlActProcess></PRPA_IN201307UV02>"
    )


# --- SOAP, MIME, TLS -----------------------------------------------------------------------------------------------


def envelope(action: str, service: str, assertion: str, body: str, message_id: str = "") -> str:
    """A SOAP 1.2 envelope with its addressing headers."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<env:Envelope xmlns:env="http://www.w3.org/2003/05/soap-envelope"><env:Header '
        'xmlns:wsa="http://www.w3.org/2005/08/addressing">'
        f"<wsa:MessageID>{message_id or f'urn:uuid:{uuid.uuid4()}'}</wsa:MessageID>"
        f"<wsa:To>https://dmp.sandbox.test{PREFIX}{service}</wsa:To>"
        '<wsa:ReplyTo env:mustUnderstand="true"><wsa:Address>http://www.w3.org/2005/08/addressing/anonymous'
        f'</wsa:Address></wsa:ReplyTo><wsa:Action env:mustUnderstand="true">{action}</wsa:Action>'
        '<wsse:Security xmlns:wsse="http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd">'
        f"{assertion}</wsse:Security></env:Header><env:Body>{body}</env:Body></env:Envelope>"
    )


def plain(action: str, xml: str) -> tuple[str, bytes]:
    """Content type and body of a plain SOAP request."""
    return f'application/soap+xml; charset=UTF-8; action="{action}"', xml.encode()


def mtom(action: str, xml: str, parts: Mapping[str, bytes], coding: str = "binary") -> tuple[str, bytes]:
    """Content type and body of an MTOM request."""
    boundary, root = f"b-{uuid.uuid4()}", "root@sandbox.test"
    out = [
        f'--{boundary}\r\nContent-Type: application/xop+xml; charset=UTF-8; type="application/soap+xml"; '
        f'action="{action}"\r\nContent-Transfer-Encoding: binary\r\nContent-ID: <{root}>\r\n\r\n'.encode()
        + xml.encode()
        + b"\r\n"
    ]
    for content_id, data in parts.items():
        shown = base64.encodebytes(data) if coding == "base64" else data
        head = f"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: {coding}\r\n"
        out.append(f"--{boundary}\r\n{head}Content-ID: <{content_id}>\r\n\r\n".encode() + shown + b"\r\n")
    kind = (
        f'multipart/related; type="application/xop+xml"; start="<{root}>"; start-info="application/soap+xml"; '
        f'boundary="{boundary}"; action="{action}"'
    )
    return kind, b"".join(out) + f"--{boundary}--\r\n".encode()


@dataclass(frozen=True)
class Reply:
    """An HTTP answer."""

    status: int
    content_type: str
    body: bytes
    simulator: str

    @property
    def multipart(self) -> bool:
        return self.content_type.startswith("multipart/")

    @property
    def parts(self) -> list[bytes]:
        """Decoded parts of a multipart answer."""
        message = BytesParser().parsebytes(f"Content-Type: {self.content_type}\r\n\r\n".encode() + self.body)
        out = [part.get_payload(decode=True) for part in message.get_payload() if not isinstance(part, str)]
        return [part for part in out if isinstance(part, bytes)]

    @property
    def xml(self) -> etree._Element:
        """The envelope."""
        return etree.fromstring(self.parts[0] if self.multipart else self.body)

    def attribute(self, path: str, attribute: str) -> str:
        """An attribute of the first element of a path."""
        found = self.xml.find(path)
        assert found is not None, path
        return str(found.get(attribute))

    @property
    def check(self) -> str:
        """Name of the check of a fault, or of the first error."""
        found = self.xml.find(".//{urn:drimbox:sandbox:dmp}Check")
        if found is not None:
            return str(found.text)
        errors = self.xml.findall(".//{*}RegistryError")
        return str(errors[0].get("location")) if errors else ""

    @property
    def codes(self) -> list[str]:
        """Error codes of a registry answer."""
        return [str(e.get("errorCode")) for e in self.xml.findall(".//{*}RegistryError")]

    @property
    def subcode(self) -> str:
        """Subcode of a fault, without its prefix."""
        text = self.xml.findtext(".//{http://www.w3.org/2003/05/soap-envelope}Subcode/{*}Value") or ""
        return text.rpartition(":")[2]

    @property
    def outcome(self) -> str:
        """Status of a registry answer, without its URN; empty for a fault."""
        for element in self.xml.iter("*"):
            status = element.get("status") or ""
            if ":ResponseStatusType:" in status:
                return status.rpartition(":")[2]
        return ""


def client_context(pki: Path, client: str | None = "structure-auth") -> ssl.SSLContext:
    """TLS towards the stand-in."""
    context = ssl.create_default_context(cafile=str(pki / "igc-ca.pem"))
    if client:
        context.load_cert_chain(pki / f"{client}.pem", pki / f"{client}.key")
    return context


@dataclass(frozen=True)
class Client:
    """Sends to one stand-in."""

    pki: Path
    port: int
    certificate: str | None = "structure-auth"

    def post(self, service: str, content_type: str, body: bytes, path: str = PREFIX, method: str = "POST") -> Reply:
        """One request on its own connection."""
        connection = http.client.HTTPSConnection(
            "localhost", self.port, timeout=20, context=client_context(self.pki, self.certificate)
        )
        try:
            connection.request(method, path + service, body, {"Content-Type": content_type})
            answer = connection.getresponse()
            return Reply(
                answer.status, answer.getheader("Content-Type", ""), answer.read(), answer.getheader("X-Simulator", "")
            )
        finally:
            connection.close()

    def publish(self, publication: Publication, vihf: Vihf | None = None, *, edit: Edit = same,
                coding: str = "binary") -> Reply:  # fmt: skip
        """ITI-41; ``edit`` works on the whole envelope."""
        parts = publication.parts()
        assertion = (vihf or Vihf()).text(self.pki)
        xml = edit(envelope(PUBLISH, "repository", assertion, publication.body(parts)))
        return self.post("repository", *mtom(PUBLISH, xml, parts, coding))

    def call(self, service: str, action: str, body: str, vihf: Vihf | None = None, *, edit: Edit = same) -> Reply:
        """Any plain call."""
        xml = edit(envelope(action, service, (vihf or Vihf()).text(self.pki), body))
        return self.post(service, *plain(action, xml))

    def entry_uuid(self, uid: str, vihf: Vihf | None = None) -> list[str]:
        """TD3.1b."""
        body = stored_query(GET_DOCUMENTS, [("UniqueId", f"('{uid}')")])
        reply = self.call("registry", QUERY, body, vihf)
        assert reply.outcome == "Success", reply.body
        return [str(e.get("id")) for e in reply.xml.findall(f".//{{{RIM}}}ObjectRef")]
