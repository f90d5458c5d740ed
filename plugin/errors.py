# SPDX-License-Identifier: AGPL-3.0-or-later
"""The one tree of errors.

::

    DrimboxError                    reason, status, public text (French), retryable
     ├─ ConfigurationError          a key of the configuration is missing, wrong or unsafe
     ├─ MessageError                an HL7 message is refused (carries the acknowledgement's codes)
     │   └─ MessageTooLarge
     ├─ DocumentError               a CDA, KOS or other document cannot be used
     ├─ StudyNotFound               the PACS does not hold the study of a report
     ├─ Refusal                     a request is denied (the verdict of the guard, of a session)
     ├─ WhitelistError              a whitelist is refused; the one in force stays
     ├─ TokenError                  an access token is refused
     ├─ NationalServiceError        DMP, PSC, … answered an error or not at all
     │   ├─ ServiceUnavailable      retryable, outcome known: nothing was done
     │   ├─ OutcomeUnknown          the request may have been processed: ask before sending again
     │   └─ ServiceRefused          the service answered no; permanent unless said otherwise
     └─ StoreError                  the database refuses or is not ours

Raised deep, rendered once at each edge (MLLP connection, HTTP route, worker loop).  `reason` is a
stable code in kebab-case for programs and tests; `public` never holds an identity, a token or a path.
`str(error)` may hold technical detail for the journal, never a secret.
"""

from __future__ import annotations


class DrimboxError(Exception):
    """Base of all our errors."""

    reason = "internal-error"
    status = 500
    retryable = False
    public = "Une erreur interne s'est produite. L'administrateur en est informé."

    def __init__(
        self, detail: str = "", *, reason: str | None = None, status: int | None = None, public: str | None = None
    ) -> None:
        super().__init__(detail or self.public)
        self.detail = detail
        if reason is not None:
            self.reason = reason
        if status is not None:
            self.status = status
        if public is not None:
            self.public = public


class ConfigurationError(DrimboxError):
    """A setting is missing, wrong or unsafe; the detail names the key and the remedy."""

    reason = "configuration"
    public = "La configuration de la DRIMbox est à corriger."


class MessageError(DrimboxError):
    """An HL7 message is refused.

    `ack` is MSA-1 (AE: the message is wrong; AR: circumstances, send again), `code` ERR-3 of table
    0357 as limited by the CI-SIS guide, `application_code` ERR-5 (900 to 906) or "", `location` ERR-2.
    """

    reason = "message-refused"
    status = 400
    public = "Le message HL7 est refusé."

    def __init__(
        self,
        detail: str,
        *,
        code: int = 199,
        ack: str = "AE",
        application_code: str = "",
        location: str = "",
        reason: str | None = None,
    ) -> None:
        super().__init__(detail, reason=reason)
        self.code = code
        self.ack = ack
        self.application_code = application_code
        self.location = location


class MessageTooLarge(MessageError):
    """A message passes the configured limit."""

    reason = "message-too-large"


class DocumentError(DrimboxError):
    """A document (CDA, KOS, SOAP answer…) cannot be read or used."""

    reason = "document-invalid"
    status = 422
    public = "Le document reçu est inexploitable."


class StudyNotFound(DrimboxError):
    """The PACS does not hold the study named by the report (DSR 1.9: the creation stops)."""

    reason = "study-not-found"
    status = 404
    public = "L'examen n'est pas présent dans le PACS."


class Refusal(DrimboxError):
    """A request is denied; reason and status say why to the caller, in the guard's vocabulary."""

    reason = "refused"
    status = 403
    public = "Accès refusé."


class WhitelistError(DrimboxError):
    """A whitelist is refused; `reason` says at which check."""

    reason = "whitelist-invalid"
    status = 503
    public = "La liste blanche reçue est refusée ; la précédente reste en vigueur."


class TokenError(DrimboxError):
    """An access token is refused."""

    reason = "token-invalid"
    status = 401
    public = "Le jeton d'accès est refusé."


class NationalServiceError(DrimboxError):
    """A national service answered an error or not at all.

    `code` is its own code where it gave one; `exchange` what went over the wire, for the operator alone.
    """

    reason = "service-error"
    status = 502
    public = "Un service national n'a pas répondu comme attendu."

    def __init__(self, detail: str, *, code: str = "", reason: str | None = None, public: str | None = None) -> None:
        super().__init__(detail, reason=reason, public=public)
        self.code = code
        self.exchange: object | None = None


class ServiceUnavailable(NationalServiceError):
    """Nothing was done: the same request may be sent again later."""

    reason = "service-unavailable"
    status = 503
    retryable = True


class OutcomeUnknown(NationalServiceError):
    """The request may have been processed: ask for the unique identifier before sending again."""

    reason = "outcome-unknown"
    retryable = True


class ServiceRefused(NationalServiceError):
    """The service refused; `scope` says what a retry needs.

    ``document``: permanent for this document; ``configuration``: the whole queue of the structure is
    blocked until a person acts; ``patient``: park it; ``duplicate``: the identifier is already known;
    ``replace``: read the entry again, once.
    """

    reason = "service-refused"

    def __init__(self, detail: str, *, code: str = "", scope: str = "document", public: str | None = None) -> None:
        super().__init__(detail, code=code, public=public)
        self.scope = scope


class StoreError(DrimboxError):
    """The database refuses, or its schema is not one we know."""

    reason = "store-error"
    status = 503
    retryable = True
