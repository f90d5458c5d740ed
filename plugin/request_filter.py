# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may use Orthanc's own routes: nobody, but what nginx sends for a face, and that face's own rule.

Deny by default.  The same function answers for a request that came around nginx: it lacks the secret.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping

Rule = Callable[[str, str, Mapping[str, str], Mapping[str, str]], bool]


class RequestFilter:
    """Admits a request by nginx's secret, then by the rule of its face."""

    def __init__(self, secret: bytes, rules: Mapping[str, Rule]) -> None:
        self._secret = secret
        self._rules = dict(rules)

    def admit(self, path: str, method: str, headers: Mapping[str, str], query: Mapping[str, str]) -> bool:
        """Whether the request goes on.  `headers` have lower-case names; `query` is given for GET alone."""
        given = headers.get("x-drimbox-proxy", "").encode("utf-8", "replace")
        if not hmac.compare_digest(given, self._secret):
            return False
        rule = self._rules.get(headers.get("x-drimbox-face", ""))
        return rule is not None and rule(path, method, headers, query)


def operator_rule(_path: str, _method: str, headers: Mapping[str, str], _query: Mapping[str, str]) -> bool:
    """Face `admin`: Orthanc itself has asked for the operator's password (AuthenticationEnabled)."""
    return headers.get("authorization", "").lower().startswith("basic ")
