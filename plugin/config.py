# SPDX-License-Identifier: AGPL-3.0-or-later
"""Section ``DrimBox`` of Orthanc's configuration: typed, documented, refused at start where wrong.

Each field's description is what `docs/configuration.md` shows (generated).  Keys are CamelCase without
two capitals in a row, so that the public images' ``ORTHANC__DRIM_BOX__…`` variables reach them.  Points
that the national texts leave open (`INFERRED` or unknown in the specification notes) are keys here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_pascal

from drimbox.errors import ConfigurationError


class Section(BaseModel):
    """Base of all sections: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_pascal, populate_by_name=True)


class HttpSection(Section):
    """The plugin's own HTTP server, behind nginx."""

    socket: Path = Field(Path("/run/drimbox/drimbox.sock"), description="Unix socket that nginx alone reaches.")
    proxy_secret_file: Path = Field(
        Path("/run/drimbox/proxy-secret"),
        description="File holding the secret that nginx adds to each request; drawn at each start of the appliance.",
    )
    threads: int = Field(24, ge=4, le=512, description="Threads that answer requests at the same time.")


class MllpSection(Section):
    """Reports in, by MLLP over TCP."""

    enabled: bool = Field(True, description="Listen for HL7 messages.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(2575, ge=0, le=65535, description="TCP port (2575 is IANA's for hl7).")
    maximum_bytes: int = Field(
        64 * 1024 * 1024, ge=1024, description="Largest message accepted; a larger one is refused (AE) and set aside."
    )
    idle_seconds: float = Field(0, ge=0, description="Close a connection idle for so long; 0 keeps it for ever.")
    message_seconds: float = Field(60, gt=0, description="Longest time between two pieces of one message.")
    maximum_connections: int = Field(64, ge=1, description="Simultaneous connections; further ones are closed.")


class MessagesSection(Section):
    """How tolerant the reading of messages is."""

    processing_ids: tuple[str, ...] = Field(("P",), description="Accepted MSH-11 values (P, T, D).")
    versions: tuple[str, ...] = Field(
        ("2.5", "2.5.1", "2.6"), description="Accepted MSH-12 values (the guide: 2.5 for ORU, 2.6 for MDM)."
    )
    document_types: tuple[str, ...] = Field(("18748-4",), description="Accepted CDA document codes (LOINC).")
    qualified_statuses: tuple[str, ...] = Field(
        ("VALI", "QUAL"), description="PID-32 values that mean a qualified identity; others hold the manifest back."
    )
    strict_order_control: bool = Field(
        False,
        description="Refuse a message whose event, ORC-1 and OBX-11 disagree (the guide asks it; samples break it).",
    )
    missing_restrictions: Literal["refuse", "open"] = Field(
        "refuse", description="A restriction flag is absent: refuse the message (AE 101), or read it as N."
    )


class ManifestSection(Section):
    """The KOS."""

    uid_root: str = Field(
        "",
        max_length=39,
        pattern=r"^(|[0-2](\.(0|[1-9][0-9]*))+)$",
        description="OID under which UIDs are drawn, at most 39 characters; empty draws them under 2.25 (UUID).",
    )
    manufacturer: str = Field("orthanc-drimbox", max_length=64, description="(0008,0070) Manufacturer.")
    time_zone: Literal[
        "Europe/Paris", "America/Guadeloupe", "America/Martinique", "America/Cayenne", "America/Miquelon",
        "America/St_Barthelemy", "America/Marigot", "Indian/Reunion", "Indian/Mayotte",
        "Pacific/Noumea", "Pacific/Tahiti", "Pacific/Wallis",
    ] = Field("Europe/Paris", description="The site's time zone; dates and times are written in it.")  # fmt: skip
    reference_details: bool = Field(
        True,
        description="Write series number, instance number and frames beside the references, as the ANS's tools do.",
    )
    retrieve_location_uid: str = Field(
        "",
        max_length=64,
        pattern=r"^(|[0-2](\.(0|[1-9][0-9]*))+)$",
        description="(0040,E011) Retrieve Location UID; empty leaves it out.",
    )
    check_accession: Literal["refuse", "warn", "ignore"] = Field(
        "warn", description="The image's accession number differs from the report's."
    )
    check_patient_id: Literal["refuse", "warn", "ignore"] = Field(
        "warn", description="The image's patient id is neither one of the report's local identifiers nor the INS."
    )


class DmpSection(Section):
    """The national record, indirect mode (structure certificates)."""

    url: str = Field("", description="Base address of the DMP's services, ending in /services/.")
    repository_path: str = Field("repository", description="Path of ITI-41 below the base address.")
    registry_path: str = Field("registry", description="Path of ITI-18 and ITI-57 below the base address.")
    client_certificate: Path | None = Field(None, description="PEM chain, class ORG AUTH_CLI, of the structure.")
    client_key: Path | None = Field(None, description="Its private key, PEM, readable by the service alone.")
    signature_certificate: Path | None = Field(None, description="PEM, class ORG SIGN (cachet), same subject.")
    signature_key: Path | None = Field(None, description="Its private key.")
    trust_file: Path | None = Field(None, description="PEM of the authorities that sign the DMP's server certificate.")
    structure_id: str = Field("", description="Identifiant_Structure (Struct_IdNat), equal to the certificate's OU.")
    structure_name: str = Field("", description="Name of the structure.")
    sector: str = Field("SA07^1.2.250.1.71.4.2.4", description="Secteur_Activite of the VIHF.")
    responsible_id: str = Field("", description="VIHF NameID; empty: StructureId followed by /drimbox.")
    software_name: str = Field("orthanc-drimbox", description="LPS_Nom.")
    software_version: str = Field("0.1.0", description="LPS_Version.")
    software_instance: str = Field("", description="LPS_ID; empty leaves it out.")
    homologation_number: str = Field("", description="LPS_ID_HOMOLOGATION_DMP, delivered by the CNDA.")
    source_id: str = Field("", description="XDS sourceId: OID of this system.")
    content_type_code: str = Field("", description="contentTypeCode always sent; empty derives it from PV1-2.")
    vihf_version: Literal["3.0", "4.0"] = Field("3.0", description="VIHF_Version (all samples 3.0, ANS table 4.0).")
    vihf_mode_attribute: str = Field("Authentification_Mode", description="Spelling of the mode attribute.")
    vihf_issuer: Literal["rfc2253", "spaced"] = Field(
        "rfc2253", description="Issuer's name: CN=…,…,C=FR (RFC 2253), or C=FR, …, CN=… with spaces."
    )
    vihf_secret_code: str = Field(
        "INVISIBLE_REPRESENTANTS_LEGAUX", description="VIHF confidentiality-code of a secret connection."
    )
    subject_name: str = Field("", description="VIHF subject-id; empty: SoftwareName followed by DRIMbox.")
    vihf_digest: Literal["sha1", "sha256"] = Field("sha256", description="Digest and signature of the VIHF.")
    signature_digest: Literal["sha1", "sha256"] = Field("sha1", description="Digest of the submission signature.")
    event_code_schemes: Literal["terminologies", "value-sets"] = Field(
        "terminologies",
        description="Coding schemes of modality and region: DICOM and SNOMED CT, or the older JDV OIDs.",
    )
    practice_setting: str = Field(
        "", description="practiceSettingCode where a report gives none (AMBULATOIRE, ETABLISSEMENT…); empty: not sent."
    )
    study_reference_authority: str = Field(
        "1.2.3.4.5.6", description="Assigning authority written beside the study UID in referenceIdList."
    )
    author: Literal["report", "device"] = Field(
        "report", description="Author of the entry: the report's, or this system."
    )
    timeout_seconds: float = Field(60, gt=0, description="Longest wait for an answer.")
    maximum_answer_bytes: int = Field(
        16 * 1024 * 1024, ge=65536, description="A longer answer of the DMP is dropped, its outcome asked again."
    )
    proxy: str = Field("", description="HTTP proxy towards the DMP (http://host:port); empty: none is used.")


class OutboxSection(Section):
    """Sending to the DMP."""

    poll_seconds: float = Field(2, gt=0, description="Longest time before a due row is seen by an idle worker.")
    lease_seconds: float = Field(180, gt=0, description="A worker that says nothing for so long loses its row.")
    first_delay_seconds: float = Field(60, gt=0, description="First wait after a failure; doubled each time, jittered.")
    longest_delay_seconds: float = Field(3600, gt=0, description="Ceiling of the wait.")
    study_wait_hours: float = Field(
        0, ge=0, description="How long a report waits for its study; 0 stops at once (DSR 1.9)."
    )


class WadoSection(Section):
    """Serving other DRIMboxes."""

    root: str = Field("", description="Public address of the service, written in every manifest (before /studies).")
    enabled: bool = Field(True, description="Serve images to other DRIMboxes.")
    accept_requires: tuple[Literal["transfer-syntax", "q", "boundary"], ...] = Field(
        ("transfer-syntax",),
        description="Parameters without which an element of Accept is refused (400); the 2022 proof of concept asked "
        "for the three.",
    )
    partial_status: Literal[200, 206] = Field(
        200, description="HTTP status of an answer where instances of the manifest are missing from the PACS."
    )


class WhitelistSection(Section):
    """The signed trust list of DRIM-M."""

    url: str = Field("", description="Where the list is published.")
    trust_file: Path | None = Field(None, description="PEM of the pinned root (IGC-Santé) of the signing chain.")
    signer_common_name: str = Field("Liste Blanche DRIM-M", description="CN that the signing certificate must have.")
    signer_organizational_unit: str = Field("318751275100020", description="OU that it must have.")
    transport_trust_file: Path | None = Field(
        None, description="PEM of the authorities of the publishing server; empty: the system's."
    )
    versions: tuple[str, ...] = Field(("1.0.0",), description="Known values of versionFormat; others are refused.")
    maximum_bytes: int = Field(4 * 1024 * 1024, ge=1024, description="Largest list that is read.")


class PscSection(Section):
    """Pro Santé Connect."""

    issuer: str = Field("", description="Issuer: base address of the realm.")
    discovery_url: str = Field(
        "", description="Discovery document; empty: Issuer + /.well-known/wallet-openid-configuration."
    )
    client_id: str = Field("", description="Client identifier given by the ANS.")
    client_certificate: Path | None = Field(None, description="PEM, ORG AUTH_CLI, for tls_client_auth (RFC 8705).")
    client_key: Path | None = Field(None, description="Its private key.")
    trust_file: Path | None = Field(None, description="PEM of the authorities of PSC's server; empty: the system's.")
    scope: str = Field("openid scope_all", description="Scope asked for.")
    acr: Literal["eidas1", "eidas2", "eidas3"] = Field("eidas1", description="Lowest level of authentication accepted.")
    algorithms: tuple[str, ...] = Field(("RS256",), description="Accepted signature algorithms of tokens.")
    skew_seconds: float = Field(30, ge=0, le=60, description="Tolerated difference of clocks.")
    longest_token_seconds: float = Field(900, gt=0, description="An access token that claims a longer life is refused.")
    timeout_seconds: float = Field(3, gt=0, description="Longest wait for one answer.")
    trusted_domain: str = Field(
        "",
        description="Domain under which every address of the discovery document must lie; empty: the parent domain "
        "of Issuer's host.",
    )
    token_scopes: tuple[str, ...] = Field(("openid",), description="Scopes that an access token must hold.")
    introspection_cache_seconds: float = Field(
        30, ge=0, le=30, description="How long a positive introspection is believed; never past the token's end."
    )
    certificate_binding: Literal["ignore", "check"] = Field(
        "ignore",
        description="A token bound to a certificate (`cnf`) is refused where the peer's TLS certificate differs; the "
        "certificate shown to PSC may be another one, hence `ignore`.",
    )
    retry_after_seconds: int = Field(30, ge=1, description="Retry-After told to a peer while PSC does not answer.")


class ViewerSection(Section):
    """The door of the report's link."""

    public_url: str = Field("", description="Public address of the face `vi`, without path.")
    folder: Path | None = Field(None, description="Folder of the built viewer; empty: no viewer.")
    report_id: Literal["root", "exact"] = Field(
        "root", description="What idCDA must give of the report's identifier: its root, or its extension too."
    )
    masked_exams: Literal["refuse", "open"] = Field(
        "refuse", description="The exam is masked to professionals (MASQUE_PS): refuse its link to them, or open it."
    )


class SessionsSection(Section):
    """Browser sessions."""

    idle_minutes: float = Field(30, gt=0, description="A session unused for so long ends.")
    absolute_minutes: float = Field(240, gt=0, description="A session ends after so long whatever happens.")


class DrimboxConfig(Section):
    """The whole section."""

    sandbox: bool = Field(
        False, description="Stand-ins instead of national services: relaxes what only production needs."
    )
    site_name: str = Field("", description="Name of the site, shown on pages.")
    data_folder: Path | None = Field(None, description="Our own data; empty: folder `drimbox` in Orthanc's storage.")
    store_url: str = Field("", description="SQLAlchemy address of the database; empty: SQLite in DataFolder.")
    http: HttpSection = Field(HttpSection(), description="Own HTTP server.")
    mllp: MllpSection = Field(MllpSection(), description="HL7 listener.")
    messages: MessagesSection = Field(MessagesSection(), description="Reading of messages.")
    manifest: ManifestSection = Field(ManifestSection(), description="KOS.")
    dmp: DmpSection = Field(DmpSection(), description="National record.")
    outbox: OutboxSection = Field(OutboxSection(), description="Sending.")
    wado: WadoSection = Field(WadoSection(), description="Serving other DRIMboxes.")
    whitelist: WhitelistSection = Field(WhitelistSection(), description="Trust list.")
    psc: PscSection = Field(PscSection(), description="Pro Santé Connect.")
    viewer: ViewerSection = Field(ViewerSection(), description="Viewer.")
    sessions: SessionsSection = Field(SessionsSection(), description="Sessions.")

    @model_validator(mode="after")
    def _coherent(self) -> DrimboxConfig:
        """Refuse contradictory or unsafe settings; the sentence names the key and the remedy."""
        for name, url in (("Dmp.Url", self.dmp.url), ("Wado.Root", self.wado.root), ("Psc.Issuer", self.psc.issuer),
                          ("Viewer.PublicUrl", self.viewer.public_url)):  # fmt: skip
            if url and urlsplit(url).scheme != "https":
                raise ValueError(f"{name} must start with https:// (got {url!r})")
        if self.dmp.url:
            for name in ("ClientCertificate", "ClientKey", "SignatureCertificate", "SignatureKey", "TrustFile"):
                if getattr(self.dmp, _snake(name)) is None:
                    raise ValueError(f"Dmp.{name} is missing: give the path of the PEM file, or empty Dmp.Url")
            for name in ("StructureId", "HomologationNumber", "SourceId"):
                if not getattr(self.dmp, _snake(name)):
                    raise ValueError(f"Dmp.{name} is missing: the DMP refuses any message without it")
        if self.wado.enabled and self.wado.root and not self.sandbox and self.whitelist.trust_file is None:
            raise ValueError("Whitelist.TrustFile is missing: without a pinned root no peer can be admitted")
        if self.outbox.lease_seconds < 2 * self.dmp.timeout_seconds:
            raise ValueError(
                "Outbox.LeaseSeconds must be twice Dmp.TimeoutSeconds or more, or slow sends are taken over"
            )
        if set(self.messages.processing_ids) - {"P", "T", "D"}:
            raise ValueError("Messages.ProcessingIds: only P, T and D exist (HL7 table 0103)")
        bad = [a for a in self.psc.algorithms if a.startswith("HS") or a.lower() == "none"]
        if bad:
            raise ValueError(f"Psc.Algorithms: {bad} would let anybody sign; keep asymmetric algorithms")
        return self


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


def parse_config(raw: dict[str, Any]) -> DrimboxConfig:
    """Read the section ``DrimBox``.

    Raises `ConfigurationError` naming each wrong key and what it wants.
    """
    try:
        return DrimboxConfig.model_validate(raw)
    except ValidationError as error:
        lines = []
        for item in error.errors():
            key = ".".join(["DrimBox", *(str(p) for p in item["loc"])])
            what = item["msg"].removeprefix("Value error, ")
            if item["type"] == "extra_forbidden":
                what = "unknown key; see docs/configuration.md for the known ones"
            lines.append(f"{key}: {what}")
        raise ConfigurationError("; ".join(lines)) from error
