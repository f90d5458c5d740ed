# SPDX-License-Identifier: AGPL-3.0-or-later
"""How the DMP stand-in says no: SOAP faults and registry errors, each with the stable name of the check."""

from __future__ import annotations

from dataclasses import dataclass

# Codes that the notes give, then names of our own where the national annex is not public.
INVALID_CERTIFICATE = "dmp:DMPInvalidCertificate"
IDENTITY_FAILURE = "dmp:DMPIdentityCertificationFailure"
INVALID_VIHF = "dmp:DMPInvalidVIHF"
ACCESS_DENIED = "dmp:DMPAccessDenied"
INVALID_MESSAGE = "dmp:DMPInvalidMessage"
NOT_IMPLEMENTED = "sim:NotImplemented"
WSA_MISSING = "wsa:MessageAddressingHeaderRequired"
WSA_INVALID = "wsa:InvalidAddressingHeader"
WSA_ACTION = "wsa:ActionNotSupported"


class SoapFault(Exception):
    """A SOAP 1.2 fault.  ``check`` names the rule that was broken, for tests and for the exchange journal."""

    def __init__(self, check: str, reason: str, subcode: str = INVALID_MESSAGE, code: str = "Sender") -> None:
        super().__init__(f"{check}: {reason}")
        self.check, self.reason, self.subcode, self.code = check, reason, subcode, code


@dataclass(frozen=True)
class Problem:
    """One `rs:RegistryError`."""

    code: str
    context: str
    check: str
    warning: bool = False


class Refused(Exception):
    """A well-formed request that the registry refuses."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(f"{p.code}: {p.context}" for p in problems))
        self.problems = problems


def refuse(code: str, context: str, check: str) -> Refused:
    """One problem, ready to be raised."""
    return Refused(Problem(code, context, check))
