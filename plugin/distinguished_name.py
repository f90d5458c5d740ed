# SPDX-License-Identifier: AGPL-3.0-or-later
"""Distinguished names, compared attribute by attribute.

The whitelist writes a subject as ``CN=db3…,OU=…,O=…,ST=Paris (75),C=FR``: most specific first, raw UTF-8,
nothing escaped.  No text says how to compare it with a certificate, so attributes are compared as
pairs and never as one string: a certificate whose O contains ``,CN=…`` cannot pass for another.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

type Pair = tuple[str, str]
"""Attribute type (short name in capitals, or dotted OID) and normalised value."""

_SHORT: Final = {
    NameOID.COMMON_NAME: "CN",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
    NameOID.ORGANIZATION_NAME: "O",
    NameOID.STATE_OR_PROVINCE_NAME: "ST",
    NameOID.LOCALITY_NAME: "L",
    NameOID.COUNTRY_NAME: "C",
    NameOID.SERIAL_NUMBER: "SERIALNUMBER",
    NameOID.SURNAME: "SN",
    NameOID.GIVEN_NAME: "GN",
    NameOID.TITLE: "T",
    NameOID.ORGANIZATION_IDENTIFIER: "2.5.4.97",
    NameOID.EMAIL_ADDRESS: "EMAILADDRESS",
    NameOID.DOMAIN_COMPONENT: "DC",
    NameOID.STREET_ADDRESS: "STREET",
    NameOID.POSTAL_CODE: "POSTALCODE",
    NameOID.USER_ID: "UID",
}
_ALIASES: Final = {"S": "ST", "E": "EMAILADDRESS", "ORGANIZATIONIDENTIFIER": "2.5.4.97", "STREETADDRESS": "STREET"}
# a comma or plus sign separates only where an attribute type and "=" follow it
_SEPARATOR: Final = re.compile(r"(?<!\\)[,;+]\s*(?=(?:[A-Za-z][A-Za-z0-9-]*|\d+(?:\.\d+)+)\s*=)")
_ESCAPE: Final = re.compile(r"\\([,;+\"\\<>=# ])")


def subject_pairs(name: x509.Name) -> tuple[Pair, ...]:
    """Attributes of a certificate's name, most specific first."""
    pairs = []
    for attribute in reversed(list(name)):
        value = attribute.value
        text = value if isinstance(value, str) else value.hex()
        pairs.append((_SHORT.get(attribute.oid, attribute.oid.dotted_string), _normal(text)))
    return tuple(pairs)


def text_pairs(text: str) -> tuple[Pair, ...]:
    """Attributes of a name in the whitelist's text form, in the order written.

    Escapes of RFC 4514 are understood.  A piece without ``=`` gives the type ``""``, which no
    certificate has.
    """
    pairs = []
    for piece in _SEPARATOR.split(text.strip()):
        kind, sign, value = piece.partition("=")
        kind = kind.strip().upper() if sign else ""
        pairs.append((_ALIASES.get(kind, kind), _normal(_ESCAPE.sub(r"\1", value if sign else piece))))
    return tuple(pairs)


def display(name: x509.Name) -> str:
    """The whitelist's text form of a certificate's name."""
    return ",".join(f"{kind}={value}" for kind, value in subject_pairs(name))


def multiset(pairs: tuple[Pair, ...]) -> tuple[Pair, ...]:
    """Order-free key: two names are the same where these are equal."""
    return tuple(sorted(pairs))


def _normal(value: str) -> str:
    return " ".join(unicodedata.normalize("NFC", value).split())
