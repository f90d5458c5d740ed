# SPDX-License-Identifier: AGPL-3.0-or-later
"""The DMP's transactions in indirect mode: TD2.1 publish and replace, TD3.1b reference, TD3.3c withdraw.

Each call is one attempt; deciding about the next one belongs to the outbox.  A fresh MessageID and a
fresh VIHF each time, everything else from the `Submission` (spec `dmp_soap.md`).
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from lxml import etree

from drimbox import dmp_errors, soap, vihf, xds, xds_query
from drimbox.clock import Clock
from drimbox.config import DmpSection
from drimbox.dmp_keys import Credential, load_credential
from drimbox.dmp_transport import RequestsTransport, Transport
from drimbox.errors import DocumentError, NationalServiceError, OutcomeUnknown, ServiceRefused, ServiceUnavailable
from drimbox.mtom import Part
from drimbox.records import Traits
from drimbox.submission_signature import Signed, sign_submission
from drimbox.xds_codes import IHE, KOS_MIME, SIGNATURE_MIME

PUBLISH: Final = "urn:ihe:iti:2007:ProvideAndRegisterDocumentSet-b"
QUERY: Final = "urn:ihe:iti:2007:RegistryStoredQuery"
UPDATE: Final = "urn:ihe:iti:2010:UpdateDocumentSet"


@dataclass(frozen=True, slots=True)
class Exchange:
    """One attempt as it was on the wire, for the operator; never logged (it holds an identity).

    `envelope` is the SOAP part of the request; `answer` the body received, empty and `status` 0 where none came.
    """

    message_id: str
    action: str
    url: str
    envelope: bytes = field(repr=False)
    status: int = 0
    answer: bytes = field(default=b"", repr=False)


class DmpClient:
    """The DMP as a source sees it; safe for several threads."""

    def __init__(
        self,
        settings: DmpSection,
        transport: Transport,
        clock: Clock,
        new_uuid: Callable[[], str],
        *,
        signer: Credential,
        client_certificate: x509.Certificate | None = None,
    ) -> None:
        """`new_uuid` gives the text of a random UUID; `client_certificate` is watched for its end."""
        self._settings = settings
        self._transport = transport
        self._clock = clock
        self._new_uuid = new_uuid
        self._signer = signer
        self._watched = {"Dmp.SignatureCertificate": signer.certificate}
        if client_certificate is not None:
            self._watched["Dmp.ClientCertificate"] = client_certificate
        self._profile = vihf.Profile.indirect(settings)

    def publish(self, submission: xds.Submission, kos: bytes) -> Exchange:
        """ITI-41: publish, or replace where the submission names an entry.

        Raises `DocumentError` where `kos` is not what the submission describes, else a
        `NationalServiceError` whose attribute ``exchange`` tells what went over the wire.
        """
        _check_kos(submission, kos)
        body, parts = self._provide_and_register(submission, kos)
        secret = submission.restrictions.secret_connection
        answer, exchange = self._call(
            self._settings.repository_path, PUBLISH, body, submission.manifest.traits, parts, secret=secret
        )
        _expect_success(answer.element, exchange)
        return exchange

    def find_entry(self, unique_id: str, patient: Traits, *, secret_connection: bool = False) -> str | None:
        """TD3.1b: entryUUID of a document, None where the DMP has none.

        A question changes nothing: an unknown outcome is raised as `ServiceUnavailable`.
        """
        try:
            answer, exchange = self._call(
                self._settings.registry_path,
                QUERY,
                xds_query.get_documents(unique_id),
                patient,
                secret=secret_connection,
            )
            _expect_success(answer.element, exchange)
        except OutcomeUnknown as error:
            again = ServiceUnavailable(error.detail, code=error.code)
            raise _with(again, getattr(error, "exchange", None)) from error
        found = xds_query.read_references(answer.element)
        if len(found) > 1:
            several = ServiceRefused(
                f"{len(found)} entries for one uniqueId",
                code="SeveralEntries",
                scope="replace",
                public="Le DMP connaît plusieurs fiches pour ce document : une intervention est nécessaire.",
            )
            raise _with(several, exchange)
        return found[0] if found else None

    def withdraw(self, update: xds.StatusUpdate) -> Exchange:
        """ITI-57: change the availability of an entry (deletion).  Raises `NationalServiceError`."""
        body = xds.build_status_update(update, self._settings)
        answer, exchange = self._call(
            self._settings.registry_path, UPDATE, body, update.traits, secret=update.secret_connection
        )
        _expect_success(answer.element, exchange)
        return exchange

    def _provide_and_register(self, submission: xds.Submission, kos: bytes) -> tuple[etree._Element, tuple[Part, ...]]:
        ids = submission.ids
        signed = Signed(
            submission_uid=ids.submission_uid,
            documents=((submission.manifest.sop_instance_uid, kos),),
            signature_uid=ids.signature_uid,
            signed_at=submission.submitted_at,
        )
        signature = sign_submission(signed, self._signer, self._settings.signature_digest)
        body = etree.Element(f"{{{IHE}}}ProvideAndRegisterDocumentSetRequest", nsmap={"ihe": IHE})
        body.append(
            xds.build_submission_objects(
                submission,
                self._settings,
                signature_size=len(signature),
                signature_hash=hashlib.sha1(signature, usedforsecurity=False).hexdigest(),
            )
        )
        unique = self._new_uuid()
        parts = (
            Part(f"kos.{unique}@drimbox", KOS_MIME, kos),
            Part(f"signature.{unique}@drimbox", f"{SIGNATURE_MIME}; charset=UTF-8", signature),
        )
        for identifier, part in zip((xds.KOS_ID, xds.SIGNATURE_ID), parts, strict=True):
            document = etree.SubElement(body, f"{{{IHE}}}Document", id=identifier)
            soap.include(document, part.content_id)
        return body, parts

    def _call(
        self,
        path: str,
        action: str,
        body: etree._Element,
        patient: Traits,
        parts: tuple[Part, ...] = (),
        *,
        secret: bool,
    ) -> tuple[soap.Answer, Exchange]:
        now = self._clock.now()
        for key, certificate in self._watched.items():
            if now > certificate.not_valid_after_utc:
                raise ServiceRefused(
                    f"{key} expired",
                    code="certificate-expired",
                    scope="configuration",
                    public=f"{key} : ce certificat a expiré ; les envois sont suspendus jusqu'à son remplacement.",
                )
        url = self._settings.url.rstrip("/") + "/" + path
        message_id = f"urn:uuid:{self._new_uuid()}"
        context = vihf.automate(self._settings, patient, now, secret_connection=secret)
        assertion = vihf.build_assertion(context, self._profile, self._signer, now, f"_{self._new_uuid()}")
        request = soap.build_request(
            action=action,
            url=url,
            message_id=message_id,
            assertion=assertion,
            body=body,
            attachments=parts,
            new_boundary=lambda: f"drimbox-{self._new_uuid()}",
        )
        exchange = Exchange(message_id, action, url, request.envelope)
        try:
            response = self._transport.post(url, request.headers, request.body, self._settings.timeout_seconds)
            exchange = Exchange(message_id, action, url, request.envelope, response.status, response.body)
            answer = soap.read_answer(response.status, response.content_type(), response.body, message_id=message_id)
        except NationalServiceError as error:
            raise _with(error, exchange) from error.__cause__
        return answer, exchange


def open_client(settings: DmpSection, clock: Clock) -> DmpClient:
    """Load keys, prepare TLS.  Raises `ConfigurationError` naming the key that is wrong."""
    now = clock.now()
    client = load_credential(settings.client_certificate, settings.client_key, name="Dmp.Client", now=now)
    signer = load_credential(settings.signature_certificate, settings.signature_key, name="Dmp.Signature", now=now)
    transport = RequestsTransport(settings)
    return DmpClient(
        settings,
        transport,
        clock,
        lambda: str(uuid.uuid4()),
        signer=signer,
        client_certificate=client.certificate,
    )


def _check_kos(submission: xds.Submission, kos: bytes) -> None:
    actual = hashlib.sha1(kos, usedforsecurity=False).hexdigest()
    if (actual, len(kos)) != (submission.kos_hash, submission.kos_size):
        raise DocumentError("the KOS is not the one that the submission describes", reason="kos-changed")


def _expect_success(element: etree._Element, exchange: Exchange) -> None:
    status = xds_query.read_status(element)
    if status == "Success":
        return
    errors = xds_query.read_errors(element)
    if status == "Failure":
        raise _with(dmp_errors.worst(errors), exchange)
    # PartialSuccess, or no registry answer at all: only a question tells what was done
    code = next((dmp_errors.local_code(code) for code, _, _ in errors), "")
    raise _with(OutcomeUnknown(f"registry status {status or 'unreadable'}", code=code or status), exchange)


def _with[E: NationalServiceError](error: E, exchange: Exchange | None) -> E:
    """Hang the exchange on an error, for the journal (attribute ``exchange``)."""
    vars(error)["exchange"] = exchange
    return error
