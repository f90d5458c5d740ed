# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from drimbox import selftest


def version(**changes: str | None) -> Callable[[str], str]:
    real = importlib.metadata.version

    def given(name: str) -> str:
        found = changes.get(name, real(name)) if name in changes else real(name)
        if found is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return found

    return given


def test_the_platform_has_no_problem() -> None:
    assert selftest.problems() == []


def test_every_library_that_matters_has_a_version() -> None:
    found = selftest.versions()
    assert set(found) == set(selftest.LIBRARIES)
    assert all(v[0].isdigit() for v in found.values())
    assert found["pydicom"].startswith("3.")


@pytest.mark.parametrize("name", ["PyJWT", "pydicom"])
def test_a_library_that_is_absent_is_named_with_the_remedy(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", version(**{name: None}))
    assert selftest.versions()[name] == "absent"
    (problem,) = selftest.problems()
    assert f"library {name} is absent" in problem
    assert "requirements/runtime.txt" in problem


def test_debians_own_pydicom_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", version(pydicom="2.4.4"))
    (problem,) = selftest.problems()
    assert "pydicom 3 is needed" in problem
    assert "DRIMBOX_VENV" in problem


def test_an_xmlsec_that_does_not_load_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xmlsec", None)
    (problem,) = selftest.problems()
    assert "lxml and xmlsec do not share one libxml2" in problem


def test_a_signature_that_does_not_verify_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    generate = ec.generate_private_key

    class TwoKeys:
        """Signs with one key and gives another to verify with."""

        def sign(self, data: bytes, algorithm: ec.ECDSA) -> bytes:
            return generate(ec.SECP256R1()).sign(data, algorithm)

        def public_key(self) -> ec.EllipticCurvePublicKey:
            return generate(ec.SECP256R1()).public_key()

    monkeypatch.setattr(ec, "generate_private_key", lambda _curve: TwoKeys())
    (problem,) = selftest.problems()
    assert "does not verify what it signed" in problem
