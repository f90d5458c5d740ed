# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which port each part of a sandboxed instance takes, from its base port."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ports:
    """Offsets from the base port; see docs/launcher.md."""

    base: int

    @property
    def db(self) -> int:
        """Face of the other DRIMboxes."""
        return self.base

    @property
    def vi(self) -> int:
        """Face of the report's link."""
        return self.base + 1

    @property
    def conso(self) -> int:
        """Face of the contextual call."""
        return self.base + 2

    @property
    def admin(self) -> int:
        """Face of the operator."""
        return self.base + 3

    @property
    def mllp(self) -> int:
        """HL7 listener."""
        return self.base + 4

    @property
    def dicom(self) -> int:
        """C-STORE."""
        return self.base + 5

    @property
    def orthanc(self) -> int:
        """Orthanc's own HTTP, on loopback, behind the request filter."""
        return self.base + 6

    @property
    def dmp(self) -> int:
        """DMP stand-in, mTLS."""
        return self.base + 10

    @property
    def dmp_admin(self) -> int:
        """Its test handles and content page."""
        return self.base + 11

    @property
    def psc(self) -> int:
        """PSC stand-in: issuer."""
        return self.base + 12

    @property
    def psc_wallet(self) -> int:
        """PSC stand-in: login page, on another address as the real one."""
        return self.base + 13

    @property
    def psc_admin(self) -> int:
        """Its test handles."""
        return self.base + 14

    @property
    def publisher(self) -> int:
        """Whitelist, over TLS."""
        return self.base + 15

    @property
    def publisher_http(self) -> int:
        """Revocation lists, in clear as the real ones."""
        return self.base + 16
