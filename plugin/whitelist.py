# SPDX-License-Identifier: AGPL-3.0-or-later
"""The trust list of DRIM-M (``ListeBlancheDRIM-M``): verified as a whole, then asked at each request.

Every list is checked from the bytes up, whatever checked it before: signature, chain to the pinned
root, dates, revocation, identity of the signer, format.  Peers are read from the bytes that the
signature covers.  Fetching and keeping lists is somebody else's work.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

from cryptography import x509
from cryptography.x509 import verification
from cryptography.x509.oid import ExtensionOID, NameOID
from lxml import etree

from drimbox.certificates import check_lists
from drimbox.config import WhitelistSection
from drimbox.distinguished_name import Pair, display, multiset, subject_pairs, text_pairs
from drimbox.errors import DocumentError, WhitelistError
from drimbox.records import Peer
from drimbox.whitelist_signature import check_signature
from drimbox.xml_safe import parse_xml

NAMESPACE: Final = "https://github.com/ansforge/DRIM-M_DATA"
_SKEW: Final = timedelta(minutes=5)
_KNOWN_CRITICAL: Final = {
    ExtensionOID.KEY_USAGE,
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.CERTIFICATE_POLICIES,
}


@dataclass(frozen=True, slots=True)
class Whitelist:
    """A verified list; instants are aware.  `signer` is the signing certificate's subject."""

    generated_at: datetime
    signing_time: datetime
    version: str
    signer: str
    signer_not_after: datetime
    peers: tuple[Peer, ...]
    index: Mapping[tuple[Pair, ...], Peer] = field(default_factory=dict, repr=False, compare=False)


def verify_whitelist(
    data: bytes,
    trust: Sequence[x509.Certificate],
    settings: WhitelistSection,
    at: datetime,
    crls: Sequence[x509.CertificateRevocationList] = (),
) -> Whitelist:
    """Verify a list as published, at the (aware) instant `at`.

    `trust` holds the pinned roots; certificates of the document are only used to get there.  Raises
    `WhitelistError`; its reason names the first check that fails: ``xml-*``, ``format-unexpected``,
    ``version-unknown``, ``signature-missing``, ``-multiple``, ``-misplaced``, ``-structure``, ``-invalid``,
    ``reference-unexpected``, ``transform-unexpected``, ``xpath-unexpected``, ``algorithm-unexpected``,
    ``digest-mismatch``, ``certificate-missing``, ``-malformed``, ``signing-certificate-missing``,
    ``-mismatch``, ``signing-time-unexpected``, ``signer-not-yet-valid``, ``signer-expired``,
    ``signer-unexpected``, ``chain-untrusted``, ``signer-revoked``.
    """
    try:
        root = parse_xml(data, maximum_bytes=settings.maximum_bytes)
        if root.tag != f"{{{NAMESPACE}}}ListeBlancheDRIM-M":
            raise WhitelistError("the root is not ListeBlancheDRIM-M", reason="format-unexpected")
        signed = check_signature(root)
        listed = parse_xml(signed.content, maximum_bytes=settings.maximum_bytes)
    except DocumentError as error:
        raise WhitelistError(error.detail, reason=error.reason) from error
    _check_signer(signed.signer, signed.signing_time, settings, at)
    chain = _chain(signed.signer, signed.certificates, trust, at)
    revocations = check_lists(crls, chain[1:])
    if any(revocations.revokes(c) for c in chain[:-1]):
        raise WhitelistError("the signing chain holds a revoked certificate", reason="signer-revoked")
    return _read(listed, signed.signer, signed.signing_time, settings)


def find_peer(whitelist: Whitelist, certificate: x509.Certificate) -> Peer | None:
    """The entry whose ``DNCertificatOperateur`` is the certificate's subject, whatever the order of attributes."""
    return whitelist.index.get(multiset(subject_pairs(certificate.subject)))


def describe(
    data: bytes,
    trust: Sequence[x509.Certificate],
    settings: WhitelistSection,
    at: datetime,
    crls: Sequence[x509.CertificateRevocationList] = (),
) -> dict[str, Any]:
    """What ``whitelist verify --json`` prints: ``valid``, ``reason``, ``detail``, ``entries``, ``signer``."""
    try:
        whitelist = verify_whitelist(data, trust, settings, at, crls)
    except WhitelistError as error:
        return {"valid": False, "reason": error.reason, "detail": error.detail, "entries": 0, "signer": None}
    return {
        "valid": True,
        "reason": None,
        "detail": f"generated {whitelist.generated_at.isoformat()}, signed {whitelist.signing_time.isoformat()}",
        "entries": len(whitelist.peers),
        "signer": whitelist.signer,
        "version": whitelist.version,
        "signer_not_after": whitelist.signer_not_after.isoformat(),
    }


def _check_signer(signer: x509.Certificate, signed_at: datetime, settings: WhitelistSection, at: datetime) -> None:
    if at < signer.not_valid_before_utc:
        raise WhitelistError("the signing certificate is not valid yet", reason="signer-not-yet-valid")
    if at > signer.not_valid_after_utc:
        raise WhitelistError("the signing certificate has expired", reason="signer-expired")
    if not signer.not_valid_before_utc <= signed_at <= min(signer.not_valid_after_utc, at + _SKEW):
        raise WhitelistError("signed outside the certificate's life, or later than now",
                             reason="signing-time-unexpected")  # fmt: skip
    wanted = {
        NameOID.COMMON_NAME: settings.signer_common_name,
        NameOID.ORGANIZATIONAL_UNIT_NAME: settings.signer_organizational_unit,
    }
    for oid, value in wanted.items():
        if [a.value for a in signer.subject.get_attributes_for_oid(oid)] != [value]:
            raise WhitelistError("CN or OU of the signer is not the expected one", reason="signer-unexpected")
    _check_usage(signer)


def _check_usage(signer: x509.Certificate) -> None:
    if any(e.critical and e.oid not in _KNOWN_CRITICAL for e in signer.extensions):
        raise WhitelistError("unknown critical extension in the signing certificate", reason="chain-untrusted")
    try:
        usage = signer.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not (usage.digital_signature or usage.content_commitment):
        raise WhitelistError("the signing certificate is not for signatures", reason="signer-unexpected")


def _chain(
    signer: x509.Certificate, offered: Iterable[x509.Certificate], trust: Sequence[x509.Certificate], at: datetime
) -> list[x509.Certificate]:
    """Signer first, pinned root last (RFC 5280 path validation by cryptography)."""
    if not trust:
        raise WhitelistError("no pinned root is configured", reason="chain-untrusted")
    builder = (
        verification.PolicyBuilder()
        .store(verification.Store(list(trust)))
        .time(at)
        .max_chain_depth(3)
        # the signer is no TLS client: its usages are checked above
        .extension_policies(
            ca_policy=verification.ExtensionPolicy.webpki_defaults_ca(),
            ee_policy=verification.ExtensionPolicy.permit_all(),
        )
    )
    try:
        chain = builder.build_client_verifier().verify(signer, [c for c in offered if c != signer]).chain
    except verification.VerificationError as error:
        raise WhitelistError("no valid chain to the pinned root", reason="chain-untrusted") from error
    if len(chain) < 2:  # the signing certificate itself was pinned: no authority vouches for it
        raise WhitelistError("the signer is not issued by the pinned root", reason="chain-untrusted")
    return chain


def _read(root: etree._Element, signer: x509.Certificate, signed_at: datetime, settings: WhitelistSection) -> Whitelist:
    version = root.get("versionFormat", "")
    if version not in settings.versions:
        raise WhitelistError(f"versionFormat {version[:16]!r} is not known", reason="version-unknown")
    lists = root.findall(f"{{{NAMESPACE}}}ListeDomaines")
    if len(lists) != 1:
        raise WhitelistError("one ListeDomaines is expected", reason="format-unexpected")
    peers = tuple(_peer(e) for e in lists[0].findall(f"{{{NAMESPACE}}}Domaine"))
    index: dict[tuple[Pair, ...], Peer] = {}
    for peer in peers:  # an entry without a name is listed but matches no certificate
        index.setdefault(multiset(text_pairs(peer.subject_dn)), peer)
    return Whitelist(
        generated_at=_instant(_text(root, "DateDeGeneration")),
        signing_time=signed_at,
        version=version,
        signer=display(signer.subject),
        signer_not_after=signer.not_valid_after_utc,
        peers=peers,
        index=MappingProxyType(index),
    )


def _peer(entry: etree._Element) -> Peer:
    return Peer(
        identifier=_text(entry, "Identifiant"),
        db_host=_text(entry, "db"),
        vi_host=_text(entry, "vi", required=False),
        name=_text(entry, "Denomination"),
        subject_dn=_text(entry, "DNCertificatOperateur", required=False),
    )


def _text(parent: etree._Element, name: str, *, required: bool = True) -> str:
    found = parent.findall(f"{{{NAMESPACE}}}{name}")
    if len(found) != 1 or len(found[0]):
        raise WhitelistError(f"{name}: one plain element is expected", reason="format-unexpected")
    text = (found[0].text or "").strip()
    if required and not text:
        raise WhitelistError(f"{name} is empty", reason="format-unexpected")
    return text


def _instant(text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise WhitelistError("DateDeGeneration is no date", reason="format-unexpected") from None
    if instant.tzinfo is None:
        raise WhitelistError("DateDeGeneration has no time zone", reason="format-unexpected")
    return instant
