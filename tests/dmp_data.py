# SPDX-License-Identifier: AGPL-3.0-or-later
"""Invented structure, certificates, report and answers for the tests of the national record's client."""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from lxml import etree

from drimbox.config import DmpSection
from drimbox.dmp_keys import Credential
from drimbox.dmp_transport import Response
from drimbox.records import (
    PROFESSIONAL_OID,
    STRUCTURE_OID,
    Act,
    CdaReport,
    Code,
    Identifier,
    InstanceRef,
    Manifest,
    ManifestIds,
    Organization,
    Professional,
    Restrictions,
    SeriesRef,
    StudyContent,
    Traits,
)
from drimbox.xds import Submission

GOLDEN = Path(__file__).parent / "golden" / "dmp"
NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
STRUCTURE = "1990000001"
INS_OID = "1.2.250.1.213.1.4.10"
STUDY, OTHER_STUDY = "1.2.3.900", "1.2.3.901"
KOS_UID, SERIES_UID, SET_UID, SIGNATURE_UID = "1.2.3.8.1", "1.2.3.8.2", "1.2.3.8.3", "1.2.3.8.4"
ENTRY = "urn:uuid:aaaaaaaa-1111-4222-8333-444444444444"
KOS = b"DICM\r\n\x00\xff not really a KOS \r\n--boundary\r\n"
LOINC, CCAM, DCM, SNOMED = (
    "2.16.840.1.113883.6.1",
    "1.2.250.1.213.2.5",
    "1.2.840.10008.2.16.4",
    "2.16.840.1.113883.6.96",
)
URL = "https://dmp.example.test/si-dmp-server/v2/services/"

SETTINGS = DmpSection(
    url=URL,
    structure_id=STRUCTURE,
    structure_name="Centre d'imagerie des Forêts",
    homologation_number="HOMOL-0001",
    source_id="1.2.3.7",
    practice_setting="AMBULATOIRE",
)

TRAITS = Traits(
    ins="260058815400233",
    ins_oid=INS_OID,
    birth_family="ESSAI-HUIT",
    birth_given="ZÉLIE",
    birth_date="19600518",
    sex="F",
    birth_place="88154",
    local_ids=(Identifier("1.2.3.4.5", "IPP900"),),
)
CENTRE = Organization(Identifier(STRUCTURE_OID, STRUCTURE), "Centre d'imagerie des Forêts")
ELSEWHERE = Organization(Identifier(STRUCTURE_OID, "1990000077"), "Téléradiologie d'Ailleurs")
SPECIALTY = Code("G15_10/SM44", "1.2.250.1.213.1.1.4.5", "Médecin - Radio-diagnostic (SM)")


def professional(number: str, family: str, given: str, organization: Organization | None = CENTRE) -> Professional:
    identifier = Identifier(PROFESSIONAL_OID, number)
    return Professional(identifier, family, given, specialty=SPECIALTY, role="Médecin", organization=organization)


RADIOLOGIST = professional("800000000001", "DURAND", "Luc")
REMOTE = professional("800000000002", "MARTIN", "Ève", ELSEWHERE)
SENDER = professional("800000000003", "PETIT", "Noé")


def act(study_uid: str | None = STUDY, **changes: Any) -> Act:
    base = Act(
        study_uid,
        code=Code("24727-0", LOINC, "Scanner du crâne"),
        ccam=Code("ACQK001", CCAM, "Scanographie du crâne"),
        modalities=(Code("CT", DCM),),
        regions=(Code("774007", SNOMED, "tête et cou"),),
        start=datetime(2026, 11, 20, 10, 15, tzinfo=UTC),
        stop=datetime(2026, 11, 20, 10, 45, tzinfo=UTC),
        performer=RADIOLOGIST,
        practice_setting=Code("ETABLISSEMENT", "1.2.250.1.213.1.1.4.9", "Etablissement de santé"),
    )
    return replace(base, **changes)


def report(**changes: Any) -> CdaReport:
    base = CdaReport(
        id=Identifier("1.2.3.4.8.1"),
        code=Code("18748-4", LOINC),
        title="Compte-rendu d'imagerie",
        effective_time=NOW,
        confidentiality=Code("N", "2.16.840.1.113883.5.25", "Normal"),
        language="fr-FR",
        patient=TRAITS,
        authors=(REMOTE, RADIOLOGIST),
        legal_authenticator=RADIOLOGIST,
        custodian=CENTRE,
        orders=(),
        acts=(act(), act(OTHER_STUDY, code=Code("30745-4", LOINC, "Radiographie"), regions=())),
        facility_type=Code("SA08", "1.2.250.1.71.4.2.4", "Cabinet de groupe"),
    )
    return replace(base, **changes)


def series(modality: str, number: int) -> SeriesRef:
    return SeriesRef(f"{STUDY}.{number}", modality, (InstanceRef("1.2.840.10008.5.1.4.1.1.2", f"{STUDY}.{number}.1"),))


def manifest(**changes: Any) -> Manifest:
    base = Manifest(
        sop_instance_uid=KOS_UID,
        series_uid=SERIES_UID,
        instance_number=1,
        created_at=NOW,
        traits=TRAITS,
        study=StudyContent(STUDY, "orthanc-1", (series("CT", 1), series("PT", 2), series("SR", 3))),
        institution=CENTRE,
        accession=Identifier("1.2.3.4.7", "ACC900"),
        placer_order=Identifier("1.2.3.4.6", "OPN900"),
        retrieve_root="https://db1.example/wado-rs",
    )
    return replace(base, **changes)


def submission(**changes: Any) -> Submission:
    base = Submission(
        report=report(),
        restrictions=Restrictions(),
        sender=SENDER,
        patient_class="I",
        manifest=manifest(),
        kos_hash=hashlib.sha1(KOS).hexdigest(),
        kos_size=len(KOS),
        ids=ManifestIds(KOS_UID, SERIES_UID, SET_UID, SIGNATURE_UID),
        submitted_at=NOW,
    )
    return replace(base, **changes)


# certificates: an imitation of IGC-Santé, made for the run


def name(common: str, structure: str = STRUCTURE) -> x509.Name:
    pairs = [
        (NameOID.COUNTRY_NAME, "FR"),
        (NameOID.STATE_OR_PROVINCE_NAME, "Vosges (88)"),
        (NameOID.ORGANIZATION_NAME, "CENTRE ESSAI"),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, structure),
        (NameOID.COMMON_NAME, common),
    ]
    return x509.Name([x509.NameAttribute(oid, text) for oid, text in pairs])


@functools.cache
def _key(label: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def issue(
    label: str,
    subject: x509.Name,
    *,
    kind: str,
    issuer: Credential | None = None,
    begin: datetime = NOW - timedelta(days=30),
    end: datetime = NOW + timedelta(days=365),
) -> Credential:
    """A certificate of kind ``ca``, ``auth``, ``sign`` or ``server`` (localhost)."""
    key = _key(label)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=kind == "ca", path_length=None), critical=True)
        .add_extension(_usage(kind), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if issuer:
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
        builder = builder.add_extension(identifier, critical=False)
    extended = {
        "auth": ExtendedKeyUsageOID.CLIENT_AUTH,
        "sign": ExtendedKeyUsageOID.EMAIL_PROTECTION,
        "server": ExtendedKeyUsageOID.SERVER_AUTH,
    }
    if kind in extended:
        builder = builder.add_extension(x509.ExtendedKeyUsage([extended[kind]]), critical=False)
    if kind == "server":
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    return Credential(builder.sign((issuer.key if issuer else key), hashes.SHA256()), key)


def _usage(kind: str) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=kind != "ca",
        content_commitment=kind == "sign",
        key_cert_sign=kind == "ca",
        crl_sign=kind == "ca",
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


@functools.cache
def authority() -> Credential:
    return issue("ca", name("AC ESSAI", "0000000000"), kind="ca")


@functools.cache
def signer() -> Credential:
    return issue("sign", name("DRIMBOX ESSAI"), kind="sign", issuer=authority())


@functools.cache
def client() -> Credential:
    return issue("auth", name("DRIMBOX ESSAI"), kind="auth", issuer=authority())


def write_pem(folder: Path, label: str, credential: Credential) -> tuple[Path, Path]:
    certificate, key = folder / f"{label}.crt", folder / f"{label}.key"
    certificate.write_bytes(credential.certificate.public_bytes(Encoding.PEM))
    key.write_bytes(credential.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate, key


# messages


def counting_uuids() -> Callable[[], str]:
    numbers = itertools.count(1)
    return lambda: f"00000000-0000-4000-8000-{next(numbers):012d}"


RS = "urn:oasis:names:tc:ebxml-regrep:xsd:rs:3.0"
STATUS = "urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:"


def registry_response(status: str = "Success", *errors: tuple[str, str], severity: str = "Error") -> str:
    listed = "".join(
        f'<rs:RegistryError errorCode="{code}" codeContext="{text}" '
        f'severity="urn:oasis:names:tc:ebxml-regrep:ErrorSeverityType:{severity}"/>'
        for code, text in errors
    )
    inner = f"<rs:RegistryErrorList>{listed}</rs:RegistryErrorList>" if errors else ""
    return f'<rs:RegistryResponse xmlns:rs="{RS}" status="{STATUS}{status}">{inner}</rs:RegistryResponse>'


def query_response(*entries: str, status: str = "Success") -> str:
    refs = "".join(f'<rim:ObjectRef id="{e}"/>' for e in entries)
    return (
        f'<query:AdhocQueryResponse xmlns:query="urn:oasis:names:tc:ebxml-regrep:xsd:query:3.0" '
        f'xmlns:rim="urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0" status="{STATUS}{status}">'
        f"<rim:RegistryObjectList>{refs}</rim:RegistryObjectList></query:AdhocQueryResponse>"
    )


def soap_answer(body: str, relates_to: str = "") -> bytes:
    related = f"<wsa:RelatesTo>{relates_to}</wsa:RelatesTo>" if relates_to else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" '
        'xmlns:wsa="http://www.w3.org/2005/08/addressing">'
        f"<s:Header>{related}</s:Header><s:Body>{body}</s:Body></s:Envelope>"
    ).encode()


def fault(code: str, subcode: str, text: str) -> str:
    inner = f'<s:Subcode><s:Value xmlns:d="urn:dmp">{subcode}</s:Value></s:Subcode>' if subcode else ""
    return (
        f"<s:Fault><s:Code><s:Value>s:{code}</s:Value>{inner}</s:Code>"
        f'<s:Reason><s:Text xml:lang="fr">{text}</s:Text></s:Reason></s:Fault>'
    )


SOAP_TYPE = "application/soap+xml; charset=UTF-8"


@dataclass
class RecordingTransport:
    """Keeps what is posted and gives prepared answers, errors raised where they are exceptions."""

    answers: list[Response | Exception]
    posted: list[tuple[str, Mapping[str, str], bytes]] = field(default_factory=list)

    def post(self, url: str, headers: Mapping[str, str], body: bytes, timeout: float) -> Response:
        self.posted.append((url, headers, body))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def answer(body: str, status: int = 200, relates_to: str = "") -> Response:
    return Response(status, {"content-type": SOAP_TYPE}, soap_answer(body, relates_to))


# golden files


def pretty(element: etree._Element) -> str:
    """Indented for a reader; only the copy is indented."""
    copy = etree.fromstring(etree.tostring(element))
    etree.indent(copy)
    return etree.tostring(copy, encoding="unicode") + "\n"


def check_golden(file: str, text: str) -> None:
    """Compare with the reviewed file; DRIMBOX_UPDATE_GOLDEN=1 writes it anew, to be reviewed with git."""
    path = GOLDEN / file
    if os.environ.get("DRIMBOX_UPDATE_GOLDEN") == "1":
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text, f"{file} changed: see DRIMBOX_UPDATE_GOLDEN in tests/dmp_data.py"
