# SPDX-License-Identifier: AGPL-3.0-or-later
"""DICOM unique identifiers: drawing ours, checking everybody's (PS3.5 section 9, annex B)."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable

from drimbox.errors import ConfigurationError

UidSource = Callable[[], int]

MAXIMUM_LENGTH = 64  # PS3.5 9.1
_SHORTEST_SUFFIX = 24  # digits, 79 bits: the SOP Instance UID of a manifest proves its possession
_UUID_ARC = "2.25"
_UID = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))+")


def is_uid(text: str) -> bool:
    """Tell whether `text` is a UID: ASCII digits, at least two components, no leading zero, at most 64 (PS3.5 9.1)."""
    return len(text) <= MAXIMUM_LENGTH and _UID.fullmatch(text) is not None


def random_number() -> int:
    """Draw a version 4 UUID as an integer: 122 bits of the system's generator."""
    return uuid.uuid4().int


def new_uid(root: str = "", *, source: UidSource = random_number) -> str:
    """Draw a UID of at most 64 characters that nobody can guess.

    Without `root` it is ``2.25.<uuid>`` (PS3.5 B.2); with one, `root` and a component as long as fits.
    `source` gives integers of 128 bits.  Raises `ConfigurationError` where `root` is no UID or too long.
    """
    number = source()
    if not root:
        return f"{_UUID_ARC}.{number}"
    room = MAXIMUM_LENGTH - len(root) - 1
    if not is_uid(root) or room < _SHORTEST_SUFFIX:
        raise ConfigurationError(
            f"Manifest.UidRoot {root!r} must be an OID of at most {MAXIMUM_LENGTH - _SHORTEST_SUFFIX - 1} characters"
        )
    return f"{root}.{number % 10**room}"
