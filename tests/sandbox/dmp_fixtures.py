# SPDX-License-Identifier: AGPL-3.0-or-later
"""Fixtures of the tests of the DMP stand-in (a plugin, named by each test module)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.dmp_server import DmpServers, start
from sandbox.pki import make_pki
from tests.sandbox.dmp_messages import Client


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One throw-away PKI for the session."""
    folder = tmp_path_factory.mktemp("pki")
    make_pki(folder)
    return folder


@pytest.fixture(scope="module")
def dmp(pki: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DmpServers]:
    """One stand-in for the module."""
    servers = start(pki, tmp_path_factory.mktemp("dmp"))
    yield servers
    servers.stop()


@pytest.fixture
def client(pki: Path, dmp: DmpServers) -> Iterator[Client]:
    """A client of the structure; faults never outlive a test."""
    yield Client(pki, dmp.national.port)
    dmp.app.faults.clear()
