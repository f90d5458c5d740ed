# SPDX-License-Identifier: AGPL-3.0-or-later
"""Start-up self-test: the libraries of this process sign, verify and agree with each other."""

from __future__ import annotations

import importlib.metadata

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from lxml import etree

LIBRARIES = (
    "lxml",
    "xmlsec",
    "cryptography",
    "pydicom",
    "PyJWT",
    "joserfc",
    "Authlib",
    "Flask",
    "SQLAlchemy",
    "cheroot",
)


def versions() -> dict[str, str]:
    """Version of each library that matters."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def problems() -> list[str]:
    """What does not work, one sentence each, with the remedy."""
    found = versions()
    out = [f"library {name} is absent: see docker/packages.txt and requirements/runtime.txt"
           for name, version in found.items() if version == "absent"]  # fmt: skip
    if found["pydicom"] != "absent" and found["pydicom"].split(".")[0] != "3":
        out.append("pydicom 3 is needed; an older one comes first on sys.path: set DRIMBOX_VENV")
    try:
        import xmlsec

        xmlsec.enable_debug_trace(False)
    except Exception as error:  # noqa: BLE001 (the library raises its own internal error at import)
        out.append(f"lxml and xmlsec do not share one libxml2 ({error}): take both from Debian")
    key = ec.generate_private_key(ec.SECP256R1())
    data = etree.tostring(etree.fromstring(b"<a><b/></a>"), method="c14n")  # our own text, no input
    try:
        key.public_key().verify(key.sign(data, ec.ECDSA(hashes.SHA256())), data, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        out.append("the cryptography library does not verify what it signed")
    return out
