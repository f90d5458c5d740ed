# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

import pytest

from drimbox.errors import StoreError
from drimbox.health import Check, Health


def well() -> str:
    return ""


def down() -> str:
    raise StoreError("password of the database in the detail", public="La base ne répond pas.")


def made(**checks: object) -> Health:
    return Health(tuple(Check(name, probe) for name, probe in checks.items()), lambda: {"lxml": "5.4"})  # type: ignore[arg-type]


def test_all_well_is_up() -> None:
    assert made(DRIMbox=well, PACS=well).report(details=False) == {
        "status": "UP",
        "checks": [{"name": "DRIMbox", "status": "UP"}, {"name": "PACS", "status": "UP"}],
    }


@pytest.mark.parametrize("probe", [down, lambda: "Le disque est plein."])
def test_one_check_down_is_down_and_the_reason_is_for_the_operator(probe: object) -> None:
    health = made(DRIMbox=well, PACS=probe)
    public = health.report(details=False)
    assert public == {
        "status": "DOWN",
        "checks": [{"name": "DRIMbox", "status": "UP"}, {"name": "PACS", "status": "DOWN"}],
    }
    detailed = health.report(details=True)
    assert detailed["checks"][1]["reason"] in ("La base ne répond pas.", "Le disque est plein.")
    assert detailed["versions"] == {"lxml": "5.4"}


def test_every_check_is_made_though_an_earlier_one_fails() -> None:
    made_checks: list[str] = []

    def second() -> str:
        made_checks.append("second")
        return ""

    made(first=down, second=second).report(details=False)
    assert made_checks == ["second"]


def test_the_technical_detail_stays_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    assert "password" not in str(made(DRIMbox=down).report(details=True))
    assert "health check DRIMbox" in caplog.text
