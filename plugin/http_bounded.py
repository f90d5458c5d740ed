# SPDX-License-Identifier: AGPL-3.0-or-later
"""Reading a body from a server that nobody here answers for: bounded in bytes and in time."""

from __future__ import annotations

import time
from typing import Final

import requests
from urllib3.exceptions import HTTPError

from drimbox.errors import ServiceUnavailable

# As it is: a compressed answer has no bound that could be known before it is unpacked.
PLAIN: Final = {"Accept-Encoding": "identity"}
FAILURES: Final = (requests.RequestException, HTTPError, OSError)
_PIECE: Final = 64 * 1024


def read_body(answer: requests.Response, maximum_bytes: int, seconds: float) -> bytes:
    """Read the body of a streamed answer, piece by piece as they come: a slow server must not hold a thread.

    Raises `ServiceUnavailable` where it is larger, slower or compressed; `FAILURES` come through.
    """
    if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise ServiceUnavailable("the answer is compressed though it was asked as it is")
    limit = time.monotonic() + seconds
    data = bytearray()
    while piece := answer.raw.read1(_PIECE):
        data += piece
        if len(data) > maximum_bytes:
            raise ServiceUnavailable(f"the answer is larger than {maximum_bytes} bytes")
        if time.monotonic() > limit:
            raise ServiceUnavailable(f"the answer took more than {seconds:.0f} s")
    return bytes(data)
