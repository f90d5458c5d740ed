# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may use Orthanc's own routes: nobody, but what nginx sends for a face, and that face's own rule.

Deny by default.  The same function answers for a request that came around nginx: it lacks the secret.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable, Collection, Mapping

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


def operator_rule(users: Collection[str]) -> Rule:
    """Rule of the face `admin`: one of `users`, whose password Orthanc itself has checked (AuthenticationEnabled)."""

    def rule(_path: str, _method: str, headers: Mapping[str, str], _query: Mapping[str, str]) -> bool:
        kind, _, credentials = headers.get("authorization", "").partition(" ")
        try:
            name = base64.b64decode(credentials, validate=True).partition(b":")[0].decode()
        except ValueError:
            return False
        return kind.lower() == "basic" and name in users

    return rule
