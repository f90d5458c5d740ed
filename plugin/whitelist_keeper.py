# SPDX-License-Identifier: AGPL-3.0-or-later
"""The whitelist in force: the last one that verified, kept over restarts, replaced at once or not at all."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from http.cookiejar import DefaultCookiePolicy

import requests
import sqlalchemy as sa
from cryptography import x509

from drimbox.clock import Clock, iso
from drimbox.config import WhitelistSection
from drimbox.errors import ConfigurationError, ServiceUnavailable, WhitelistError
from drimbox.http_bounded import FAILURES, PLAIN, read_body
from drimbox.journal import Journal
from drimbox.schema import whitelists
from drimbox.store import Store
from drimbox.whitelist import Whitelist, verify_whitelist

log = logging.getLogger(__name__)

Fetch = Callable[[], bytes]

WAIT_SECONDS = 20.0  # for the connection, and for each piece
WHOLE_SECONDS = 60.0  # for all of it


def load_trust(settings: WhitelistSection) -> Sequence[x509.Certificate]:
    """Read the pinned roots.  Raises `ConfigurationError` naming the key."""
    if settings.trust_file is None:
        return ()
    try:
        return x509.load_pem_x509_certificates(settings.trust_file.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"DrimBox.Whitelist.TrustFile {settings.trust_file}: {error}") from error


def http_fetch(settings: WhitelistSection) -> Fetch:
    """Make a function that fetches the list over HTTPS, bounded.  It raises `ServiceUnavailable`."""

    def fetch() -> bytes:
        verify = str(settings.transport_trust_file) if settings.transport_trust_file else True
        with requests.Session() as session:
            session.trust_env = False
            session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
            try:
                with session.get(settings.url, verify=verify, timeout=WAIT_SECONDS, stream=True, allow_redirects=False,
                                 headers=PLAIN) as answer:  # fmt: skip
                    if answer.status_code != 200:
                        raise ServiceUnavailable(f"the publisher answered {answer.status_code}")
                    return read_body(answer, settings.maximum_bytes, WHOLE_SECONDS)
            except FAILURES as error:
                raise ServiceUnavailable(f"the publisher does not answer: {type(error).__name__}") from error

    return fetch


class WhitelistKeeper:
    """Gives the list in force to the guard; never goes through a moment without one while it changes."""

    def __init__(
        self, store: Store, journal: Journal, clock: Clock, settings: WhitelistSection, fetch: Fetch | None
    ) -> None:
        self._store = store
        self._journal = journal
        self._clock = clock
        self._settings = settings
        self._fetch = fetch
        self._trust = load_trust(settings)
        self._current: Whitelist | None = None
        self._data = b""
        self._lock = threading.Lock()
        self._told = ""

    def current(self) -> Whitelist | None:
        """The list in force; None where there never was a valid one, or where its signer's time is over."""
        found = self._current
        if found is not None and self._clock.now() > found.signer_not_after:
            return None
        return found

    def load(self) -> None:
        """Take up the list of the last run, verified again."""
        query = sa.select(whitelists.c.data).order_by(whitelists.c.id.desc()).limit(1)
        with self._store.read() as connection:
            data = connection.execute(query).scalar()
        if data is None:
            return
        try:
            self._take(self._verified(bytes(data)), bytes(data))
        except WhitelistError as error:
            log.warning("the stored whitelist does not verify any more: %s", error.reason)

    def refresh(self) -> None:
        """Fetch, verify, replace; on any failure the list in force stays and the administrator is told."""
        if self._fetch is None:
            return
        try:
            data = self._fetch()
            if data == self._data:
                self._told = ""
                return
            verified = self._verified(data)
        except (ServiceUnavailable, WhitelistError) as error:
            log.warning("whitelist not replaced: %s (%s)", error.reason, error)
            self._tell(error.reason, f"Liste blanche : {error.public} ({error.reason})")
            return
        # kept before it is in force: a restart must not go back to an older one
        with self._store.write() as connection:
            connection.execute(sa.insert(whitelists).values(fetched_at=iso(self._clock.now()), etag="", data=data))
            count = len(verified.peers)
            self._journal.add(connection, "whitelist", f"Liste blanche vérifiée : {count} DRIMbox.", reason="replaced")
        self._take(verified, data)
        self._told = ""

    def _verified(self, data: bytes) -> Whitelist:
        return verify_whitelist(data, self._trust, self._settings, self._clock.now())

    def _take(self, verified: Whitelist, data: bytes) -> None:
        with self._lock:
            self._current, self._data = verified, data

    def _tell(self, reason: str, text: str) -> None:
        if self._told != reason:  # once, not at each attempt
            self._journal.note("whitelist", text, severity="error", reason=reason)
            self._told = reason
