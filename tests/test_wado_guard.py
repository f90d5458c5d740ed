# SPDX-License-Identifier: AGPL-3.0-or-later
"""The verdict, as a pure function; the whole table is played over HTTP in test_wado_rs.py."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drimbox.errors import Refusal, TokenError
from drimbox.tokens import TokenClaims
from drimbox.wado_guard import (
    ACTORS,
    DENIALS,
    OUTCOMES,
    ROUTES,
    Allow,
    Deny,
    GuardContext,
    Target,
    WadoRequest,
    admit_peer,
    decide,
    deny,
    is_uid,
    parse_path,
)
from tests import guard_data as g

CLAIMS = TokenClaims("899700000001", "f:x", "azp", "eidas1", g.NOW, "hash", "jti")
REQUEST = WadoRequest("series", "GET", g.STUDY, g.SERIES, None, g.peer_certificate(), CLAIMS, (g.KOS,))
CONTEXT = GuardContext(g.whitelist(), g.manifest(), study_known=True)


def verdict(context: dict[str, Any] | None = None, **changes: Any) -> str:
    found = decide(dataclasses.replace(REQUEST, **changes), dataclasses.replace(CONTEXT, **(context or {})))
    return found.reason if isinstance(found, Deny) else "allowed"


def test_a_holder_is_let_in_with_what_the_manifest_lists() -> None:
    found = decide(REQUEST, CONTEXT)
    assert isinstance(found, Allow)
    assert found.instances == {g.SERIES: g.INSTANCES}
    assert found.peer.identifier == "9"
    study = decide(dataclasses.replace(REQUEST, route="study", series=None), CONTEXT)
    assert isinstance(study, Allow)
    assert study.instances == {g.SERIES: g.INSTANCES, g.OTHER_SERIES: g.OTHER_INSTANCES}
    one = decide(dataclasses.replace(REQUEST, route="instance", instance=g.INSTANCES[2]), CONTEXT)
    assert isinstance(one, Allow)
    assert one.instances == {g.SERIES: (g.INSTANCES[2],)}


def test_the_first_fault_decides() -> None:
    """The order of the checks: certificate, whitelist, token, form, possession, content."""
    faults: list[tuple[dict[str, Any], dict[str, Any], str]] = [
        ({"series": "1.9"}, {}, "series-not-in-kos"),
        ({}, {"held": g.manifest(state="withdrawn")}, "kos-withdrawn"),
        ({"kos_headers": ()}, {}, "kos-header-missing"),
        ({"method": "POST"}, {}, "method-not-allowed"),
        ({"token": None}, {}, "token-missing"),
        ({"token": TokenError("x", reason="token-expired")}, {}, "token-expired"),
        ({"peer": g.peer_certificate(g.unlisted())}, {}, "peer-not-listed"),
        ({}, {"whitelist": None}, "whitelist-absent"),
        ({"peer": Refusal(reason="certificate-revoked")}, {}, "certificate-revoked"),
    ]
    request: dict[str, Any] = {}
    context: dict[str, Any] = {}
    for request_fault, context_fault, reason in faults:
        request |= request_fault
        context |= context_fault
        assert verdict(context, **request) == reason


def test_an_error_keeps_its_status_and_public_text() -> None:
    found = admit_peer(Refusal("secret detail", reason="certificate-expired", public="Expiré."), g.whitelist())
    assert found == Deny(403, "certificate-expired", "Expiré.")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"route": "other"}, "route-unknown"),
        ({"route": "health"}, "route-unknown"),
        ({"method": "get"}, "method-not-allowed"),
        ({"method": "OPTIONS"}, "method-not-allowed"),
        ({"series": None}, "uid-malformed"),
        ({"route": "instance"}, "uid-malformed"),
        ({"kos_headers": ("",)}, "kos-header-missing"),
        ({"kos_headers": (" ", "")}, "kos-header-missing"),
        ({"kos_headers": (g.KOS, "")}, "kos-header-repeated"),
        ({"kos_headers": (g.KOS.upper() + "A",)}, "kos-header-malformed"),
        ({"kos_headers": (f" {g.KOS} ",)}, "allowed"),
    ],
)
def test_the_form_of_a_request(changes: dict[str, Any], reason: str) -> None:
    assert verdict(**changes) == reason


@pytest.mark.parametrize("state", ["", "LIVE", "deleted", "unknown"])
def test_a_state_that_nobody_foresaw_is_denied(state: str) -> None:
    assert verdict({"held": g.manifest(state=state)}) == "kos-unknown"


def test_a_wrong_look_up_does_not_open_the_door() -> None:
    assert verdict({"held": g.manifest(sop_instance_uid="1.2.3")}) == "kos-unknown"
    assert verdict({"held": g.manifest(study_uid="1.2.3")}) == "kos-of-another-study"
    assert verdict({"held": g.manifest(study_uid="1.2.3"), "study_known": False}) == "study-unknown"
    assert verdict({"held": None}) == "kos-unknown"
    assert verdict({"held": None, "study_known": False}) == "study-unknown"


def test_an_instance_belongs_to_its_own_series() -> None:
    """G5: everything asked for is in the KOS, but not there."""
    assert verdict(route="instance", instance=g.OTHER_INSTANCES[0]) == "instance-not-in-kos"
    assert verdict(route="instance", series=g.OTHER_SERIES, instance=g.OTHER_INSTANCES[0]) == "allowed"


# --- G4: paths -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "uid",
    ["", ".", "1.", ".1", "1..2", "1.2.3.", "1" * 65, "1.2/3", "1.2%2F3", "..", "1.2\n", "\n1.2", "١.٢", "1.²", "a",
     "1.2 ", "1,2", "-1.2", "0x1"],
)  # fmt: skip
def test_what_is_no_uid_is_no_uid(uid: str) -> None:
    assert not is_uid(uid)
    assert verdict(series=uid) == "uid-malformed"


@pytest.mark.parametrize("uid", ["1", "1.2", "2.25.0", "1" * 64, "1.02.3"])
def test_what_is_a_uid_is_one(uid: str) -> None:
    assert is_uid(uid)


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("", "health"),
        ("studies", "other"),
        ("studies/1.2", "study"),
        ("studies/1.2/", "other"),
        ("studies//1.2", "other"),
        ("studies/1.2/series", "other"),
        ("studies/1.2/series/3", "series"),
        ("studies/1.2/series/3/", "other"),
        ("studies/1.2/instances/3", "other"),
        ("Studies/1.2", "other"),
        ("studies/1.2/series/3/instances/4", "instance"),
        ("studies/1.2/series/3/instances/4/frames/1", "other"),
        ("studies/../1.2", "other"),
        ("./studies/1.2", "other"),
        ("/studies/1.2", "other"),
        ("studies/1.2/series/3/metadata", "other"),
    ],
)
def test_a_path_has_one_route(path: str, route: str) -> None:
    assert parse_path(path).route == route


@given(st.text(alphabet="studiesrnc/.%12\x00é ", max_size=40))
def test_any_path_has_a_route_and_only_uids_pass(path: str) -> None:
    target = parse_path(path)
    assert isinstance(target, Target)
    request = dataclasses.replace(
        REQUEST, route=target.route, study=target.study, series=target.series, instance=target.instance
    )
    assert isinstance(decide(request, CONTEXT), Deny)  # no such text names the shared study


# --- the table -------------------------------------------------------------------------------------------------------


def test_every_reason_of_the_guard_has_an_actor_in_the_table() -> None:
    played = {reason for _, reason in OUTCOMES.values()}
    assert set(DENIALS) <= played


def test_the_table_covers_every_route_and_actor_and_serves_only_holders() -> None:
    assert set(OUTCOMES) == {(r, a.name) for r in ROUTES for a in ACTORS}
    served = {actor for (route, actor), (status, _) in OUTCOMES.items() if status == 200 and route == "series"}
    assert served == {"holder", "holder on an instance outside the KOS"}
    assert {actor for (route, actor), (status, _) in OUTCOMES.items() if status == 200 and route == "other"} == set()


def test_every_public_sentence_is_french_and_says_no_secret() -> None:
    for reason in DENIALS:
        found = deny(reason)
        assert 400 <= found.status < 600
        assert found.public.endswith(".")
        assert reason not in found.public


def test_a_reason_that_is_not_in_the_table_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        deny("because")
