# SPDX-License-Identifier: AGPL-3.0-or-later
"""Invented authorities, peers, whitelists, tokens and manifests for the tests of the `db` face.

The whitelist is signed here by other code than the one under test, in the form of the published lists.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from lxml import etree

from drimbox.config import PscSection, WhitelistSection
from drimbox.errors import ServiceUnavailable
from drimbox.tls_identity import PeerCertificate, read_peer_certificate
from drimbox.wado_guard import HeldManifest
from drimbox.whitelist import Whitelist, verify_whitelist

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
DAY = timedelta(days=1)
ISSUER = "https://auth.psc.example.test/realms/esante-wallet"
SETTINGS = WhitelistSection()
PSC = PscSection(issuer=ISSUER, client_id="drimbox-test")
STUDY, SERIES, KOS = "1.2.250.1.59.1", "1.2.250.1.59.1.1", "1.2.250.1.59.9.1"
INSTANCES = ("1.2.250.1.59.1.1.1", "1.2.250.1.59.1.1.2", "1.2.250.1.59.1.1.3")
OTHER_SERIES = "1.2.250.1.59.1.2"
OTHER_INSTANCES = ("1.2.250.1.59.1.2.1",)

_OIDS = {
    "C": NameOID.COUNTRY_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "CN": NameOID.COMMON_NAME,
}


def name(**parts: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(_OIDS[k], v) for k, v in parts.items()])


@dataclass(frozen=True)
class Holder:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey

    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def escaped(self) -> str:
        """As nginx's $ssl_client_escaped_cert."""
        return quote(self.pem().decode())


@functools.cache
def key(number: int) -> rsa.RSAPrivateKey:
    """RSA keys are slow to make: the same few for the whole session."""
    assert number < 8
    return rsa.generate_private_key(65537, 2048)


def issue(
    subject: x509.Name,
    issuer: Holder | None,
    number: int,
    *,
    ca: bool = False,
    start: datetime = NOW - 100 * DAY,
    end: datetime = NOW + 100 * DAY,
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
    sign: bool | None = True,
) -> Holder:
    """`sign` is the key usage digitalSignature; None leaves the extension out."""
    mine = key(number)
    signer = issuer or Holder(None, mine)  # type: ignore[arg-type]
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(mine.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(mine.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key()), critical=False)
    )
    usage = x509.KeyUsage(
        digital_signature=bool(sign),
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )
    for extension, critical in [*([] if sign is None else [(usage, True)]), *extensions]:
        builder = builder.add_extension(extension, critical=critical)
    return Holder(builder.sign(signer.key, hashes.SHA256()), mine)


@functools.cache
def root() -> Holder:
    return issue(
        name(C="FR", O="AUTORITE DE TEST", CN="TEST AC RACINE"),
        None,
        0,
        ca=True,
        start=NOW - 999 * DAY,
        end=NOW + 9999 * DAY,
    )


@functools.cache
def authority() -> Holder:
    return issue(
        name(C="FR", O="AUTORITE DE TEST", CN="TEST AC ORGANISATIONS"),
        root(),
        1,
        ca=True,
        start=NOW - 999 * DAY,
        end=NOW + 9999 * DAY,
    )


def signer(**changes: Any) -> Holder:
    subject = changes.pop("subject", None) or name(
        C="FR", ST="Paris (75)", O="AGENCE DE TEST", OU="318751275100020", CN="Liste Blanche DRIM-M"
    )
    return issue(subject, changes.pop("issuer", None) or authority(), changes.pop("number", 2), **changes)


@functools.cache
def good_signer() -> Holder:
    return signer()


def peer(number: int = 9, **changes: Any) -> Holder:
    """A DRIMbox; 9 is on the whitelist, others are not."""
    subject = name(
        C="FR", ST="Côte-d'Or (21)", O="MINISTÈRE DE TEST", OU="300000000000009", CN=f"db{number}.example.test"
    )
    return issue(subject, authority(), 3, **changes)


@functools.cache
def listed() -> Holder:
    return peer(9)


@functools.cache
def unlisted() -> Holder:
    return peer(8)


def elliptic() -> x509.Certificate:
    """A self-signed certificate with a key that no whitelist is signed with."""
    mine = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateBuilder().subject_name(name(CN="P-256")).issuer_name(name(CN="P-256"))
    builder = builder.public_key(mine.public_key()).serial_number(1).not_valid_before(NOW).not_valid_after(NOW + DAY)
    return builder.sign(mine, hashes.SHA256())


def crl(*revoked: x509.Certificate, issuer: Holder | None = None) -> x509.CertificateRevocationList:
    by = issuer or authority()
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(by.certificate.subject)
        .last_update(NOW - DAY)
        .next_update(NOW + DAY)
    )
    for certificate in revoked:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder().serial_number(certificate.serial_number).revocation_date(NOW - DAY).build()
        )
    return builder.sign(by.key, hashes.SHA256())


# --- whitelist -------------------------------------------------------------------------------------------------------

_DS = "http://www.w3.org/2000/09/xmldsig#"
_EXC = "http://www.w3.org/2001/10/xml-exc-c14n#"
_SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
_ENTRY = """
  <Domaine><Identifiant>{n}</Identifiant><db>db{n}.example.test</db><vi></vi><Denomination>Site {n}</Denomination>
   <DNCertificatOperateur>{dn}</DNCertificatOperateur><SupportContact>support@example.test</SupportContact>
   <DateMAJ>2026-10-01T10:00:00Z</DateMAJ></Domaine>"""
LISTED_DN = "CN=db9.example.test,OU=300000000000009,O=MINISTÈRE DE TEST,ST=Côte-d'Or (21),C=FR"


def unsigned(
    entries: Mapping[int, str] | None = None, version: str = "1.0.0", generated: str = "2026-11-01T06:00:00Z"
) -> str:
    rows = "".join(_ENTRY.format(n=n, dn=dn) for n, dn in (entries or {9: LISTED_DN, 7: "CN=db7,C=FR"}).items())
    return (
        f'<ListeBlancheDRIM-M xmlns="https://github.com/ansforge/DRIM-M_DATA" versionFormat="{version}">\n'
        f" <DateDeGeneration>{generated}</DateDeGeneration>\n <ListeDomaines>{rows}\n </ListeDomaines>\n"
        "</ListeBlancheDRIM-M>"
    )


def _c14n(element: etree._Element) -> bytes:
    return etree.tostring(element, method="c14n", exclusive=True, with_comments=False)


def _digest(data: bytes, algorithm: str = "sha256") -> str:
    return base64.b64encode(hashlib.new(algorithm, data).digest()).decode()


def sign(
    xml: str | None = None,
    by: Holder | None = None,
    *,
    chain: Sequence[x509.Certificate] | None = None,
    before: Sequence[x509.Certificate] = (),
    xpath: str = "/descendant::ds:Signature",
    filter_name: str = "subtract",
    extra_transform: str = "",
    signing_time: str = "2026-11-02T08:00:00Z",
    named_certificate: x509.Certificate | None = None,
    edit_info: tuple[str, str] = ("", ""),
    edit_properties: tuple[str, str] = ("", ""),
    cover: bytes | None = None,
) -> bytes:
    """A list in the published form (XAdES-BASELINE-B, filter2), honest but for what the arguments change.

    `cover` replaces the bytes whose digest is the document's, as another XPath would give them.
    """
    by = by or good_signer()
    tree = etree.fromstring((xml or unsigned()).encode())
    certificates = [
        *before,
        by.certificate,
        *([authority().certificate, root().certificate] if chain is None else chain),
    ]
    der = [c.public_bytes(Encoding.DER) for c in certificates]
    named = (named_certificate or by.certificate).public_bytes(Encoding.DER)
    properties = (
        f'<xades:SignedProperties xmlns:xades="http://uri.etsi.org/01903/v1.3.2#" xmlns:ds="{_DS}" Id="xades-1">'
        f"<xades:SignedSignatureProperties><xades:SigningTime>{signing_time}</xades:SigningTime>"
        "<xades:SigningCertificateV2><xades:Cert><xades:CertDigest>"
        '<ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha512"/>'
        f"<ds:DigestValue>{_digest(named, 'sha512')}</ds:DigestValue></xades:CertDigest></xades:Cert>"
        "</xades:SigningCertificateV2></xades:SignedSignatureProperties></xades:SignedProperties>"
    )
    properties = properties.replace(*edit_properties) if edit_properties[0] else properties
    info = (
        f'<ds:SignedInfo xmlns:ds="{_DS}"><ds:CanonicalizationMethod Algorithm="{_EXC}"/>'
        '<ds:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"/>'
        '<ds:Reference Id="r-1" URI=""><ds:Transforms><ds:Transform Algorithm="http://www.w3.org/2002/06/'
        'xmldsig-filter2"><dsig-filter2:XPath xmlns:dsig-filter2="http://www.w3.org/2002/06/xmldsig-filter2" '
        f'Filter="{filter_name}">{xpath}</dsig-filter2:XPath></ds:Transform>{extra_transform}'
        f'<ds:Transform Algorithm="{_EXC}"/></ds:Transforms><ds:DigestMethod Algorithm="{_SHA256}"/>'
        f"<ds:DigestValue>{_digest(cover if cover is not None else _c14n(tree))}</ds:DigestValue></ds:Reference>"
        '<ds:Reference Type="http://uri.etsi.org/01903#SignedProperties" URI="#xades-1"><ds:Transforms>'
        f'<ds:Transform Algorithm="{_EXC}"/></ds:Transforms><ds:DigestMethod Algorithm="{_SHA256}"/>'
        f"<ds:DigestValue>{_digest(_c14n(etree.fromstring(properties)))}</ds:DigestValue></ds:Reference>"
        "</ds:SignedInfo>"
    )
    info = info.replace(*edit_info) if edit_info[0] else info
    value = by.key.sign(_c14n(etree.fromstring(info)), padding.PKCS1v15(), hashes.SHA256())
    keys = "".join(f"<ds:X509Certificate>{base64.b64encode(d).decode()}</ds:X509Certificate>" for d in der)
    signature = (
        f'<ds:Signature xmlns:ds="{_DS}" Id="id-1">{info}<ds:SignatureValue>{base64.b64encode(value).decode()}'
        f"</ds:SignatureValue><ds:KeyInfo><ds:X509Data>{keys}</ds:X509Data></ds:KeyInfo><ds:Object>"
        f'<xades:QualifyingProperties xmlns:xades="http://uri.etsi.org/01903/v1.3.2#" Target="#id-1">{properties}'
        "</xades:QualifyingProperties></ds:Object></ds:Signature>"
    )
    # text surgery, not tree building: what is signed must reach the verifier byte for byte
    text = etree.tostring(tree, encoding="unicode")
    return text.replace("</ListeBlancheDRIM-M>", f"{signature}</ListeBlancheDRIM-M>").encode()


@functools.cache
def whitelist() -> Whitelist:
    return verify_whitelist(sign(), [root().certificate], SETTINGS, NOW)


def peer_certificate(holder: Holder | None = None) -> PeerCertificate:
    return read_peer_certificate("SUCCESS", (holder or listed()).escaped(), NOW)


# --- tokens ----------------------------------------------------------------------------------------------------------


def claims(**changes: Any) -> dict[str, Any]:
    """Claims of a good access token; a change to None removes the claim."""
    now = int(NOW.timestamp())
    base: dict[str, Any] = {
        "exp": now + 110,
        "iat": now - 10,
        "auth_time": now - 10,
        "jti": "4d9c0c5e-0000-4000-8000-000000000001",
        "iss": ISSUER,
        "sub": "f:550dc1c8-0000:899700000001",
        "typ": "Bearer",
        "azp": "other-drimbox",
        "acr": "eidas1",
        "scope": "openid scope_all",
        "SubjectNameID": "899700000001",
        "preferred_username": "899700000001",
    }
    return {k: v for k, v in (base | changes).items() if v is not None}


def token(signing: int = 4, algorithm: str = "RS256", headers: Mapping[str, Any] | None = None, **changes: Any) -> str:
    """A token signed by key `signing`; 4 is the issuer's."""
    head = {"kid": "key-1", "typ": "JWT"} | dict(headers or {})
    return jwt.encode(claims(**changes), key(signing), algorithm=algorithm, headers=head)


def segment(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def jwk(number: int = 4, **changes: Any) -> dict[str, Any]:
    public: dict[str, Any] = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key(number).public_key()))
    return {k: v for k, v in ({**public, "kid": "key-1", "use": "sig", "alg": "RS256"} | changes).items() if v}


class Keys:
    """A `KeySource` of fixed keys."""

    def __init__(self, *keys: Mapping[str, Any]) -> None:
        self.keys = {str(k["kid"]): k for k in keys or (jwk(),)}
        self.asked: list[str] = []

    def key(self, kid: str) -> Mapping[str, Any] | None:
        self.asked.append(kid)
        return self.keys.get(kid)


# --- manifests -------------------------------------------------------------------------------------------------------


def manifest(**changes: Any) -> HeldManifest:
    base: dict[str, Any] = {
        "study_uid": STUDY,
        "sop_instance_uid": KOS,
        "state": "live",
        "series": {SERIES: INSTANCES, OTHER_SERIES: OTHER_INSTANCES},
        "modalities": {SERIES: "CT", OTHER_SERIES: "SR"},
    }
    return HeldManifest(**(base | changes))


class MemoryArchive:
    """A `ManifestArchive` in memory."""

    def __init__(self, *manifests: HeldManifest) -> None:
        self.manifests = manifests
        self.asked = 0

    def by_study(self, study_uid: str) -> HeldManifest | None:
        self.asked += 1
        return next((m for m in self.manifests if m.study_uid == study_uid), None)

    def by_sop_instance(self, sop_instance_uid: str) -> HeldManifest | None:
        self.asked += 1
        return next((m for m in self.manifests if m.sop_instance_uid == sop_instance_uid), None)


# --- actors of the table ---------------------------------------------------------------------------------------------


@dataclass
class Scene:
    """A request and the world it falls into, faultless until an actor spoils it."""

    verify: str = "SUCCESS"
    certificate: str = ""
    authorization: str | None = ""
    kos: tuple[str, ...] = (KOS,)
    method: str = "GET"
    study: str = STUDY
    series: str = SERIES
    instance: str = INSTANCES[1]
    whitelist: Whitelist | None = None
    manifests: tuple[HeldManifest, ...] = ()
    psc: Mapping[str, Any] | Exception | None = None
    revoked: tuple[x509.Certificate, ...] = ()

    def path(self, route: str) -> str:
        return {
            "health": "/",
            "study": f"/studies/{self.study}",
            "series": f"/studies/{self.study}/series/{self.series}",
            "instance": f"/studies/{self.study}/series/{self.series}/instances/{self.instance}",
            "other": f"/studies/{self.study}/series/{self.series}/metadata",
        }[route]


def scene(actor: str, route: str = "series") -> Scene:
    """The scene of an actor of `drimbox.wado_guard.ACTORS`."""
    found = Scene(
        certificate=listed().escaped(),
        authorization=f"Bearer {token()}",
        whitelist=whitelist(),
        manifests=(manifest(),),
    )
    unshared = "1.2.250.1.59.777"
    changes: dict[str, dict[str, Any]] = {
        "no certificate": {"verify": "NONE", "certificate": ""},
        "certificate of another authority": {"verify": "FAILED:unable to get local issuer certificate"},
        "certificate that is unreadable": {"certificate": "-----BEGIN%20CERTIFICATE-----"},
        "certificate that has expired": {"certificate": peer(end=NOW - DAY).escaped()},
        "certificate that is not valid yet": {"certificate": peer(start=NOW + DAY).escaped()},
        "certificate that was revoked": {"revoked": (listed().certificate,)},
        "listed peer while no whitelist is in force": {"whitelist": None},
        "peer that is not listed": {"certificate": unlisted().escaped()},
        "no token": {"authorization": None},
        "token that has expired": {"authorization": f"Bearer {token(iat=1, exp=100)}"},
        "token of another issuer": {"authorization": f"Bearer {token(iss='https://evil.example.test')}"},
        "token signed by somebody else": {"authorization": f"Bearer {token(5)}"},
        "token that PSC says inactive": {"psc": {"active": False}},
        "good token while PSC is silent": {"psc": ServiceUnavailable("down")},
        "holder on a method that changes things": {"method": "DELETE"},
        "holder with an ill-formed UID": {{"series": "series", "instance": "instance"}.get(route, "study"): "1.2.."},
        "no KOS header": {"kos": ()},
        "two KOS headers": {"kos": (KOS, KOS)},
        "KOS header that is no UID": {"kos": ("' OR 1=1",)},
        "asks for a study that is not shared": {"study": unshared},
        "holds a KOS that nobody published": {"kos": ("1.2.3.4",)},
        "holds the KOS of another study": {
            "kos": ("1.2.250.1.59.9.2",),
            "manifests": (manifest(), manifest(study_uid="1.2.250.1.59.2", sop_instance_uid="1.2.250.1.59.9.2")),
        },
        "holds a KOS since replaced": {
            "manifests": (manifest(sop_instance_uid="1.2.250.1.59.9.3"), manifest(state="superseded")),
        },
        "holds a KOS since withdrawn": {"manifests": (manifest(state="withdrawn"),)},
        "holds a KOS not yet published": {"manifests": (manifest(state="pending"),)},
        "holder on a series outside the KOS": {"series": "1.2.250.1.59.1.99"},
        "holder on an instance outside the KOS": {"instance": OTHER_INSTANCES[0]},
        "holder": {},
    }
    return dataclasses.replace(found, **changes[actor])
