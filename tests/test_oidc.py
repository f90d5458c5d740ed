# SPDX-License-Identifier: AGPL-3.0-or-later
"""The login at Pro Santé Connect: each check alone, then the whole flow with the stand-in over TLS."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
import requests
from joserfc import jws
from joserfc.jwk import RSAKey
from requests.adapters import BaseAdapter

from drimbox.clock import SystemClock
from drimbox.config import PscSection
from drimbox.errors import NationalServiceError, ServiceRefused, ServiceUnavailable, TokenError
from drimbox.oidc import PscClient, at_hash, check_id_token
from drimbox.psc_http import Discovery, Endpoints, Jwks, RequestsTransport
from drimbox.psc_user import Activity, read_userinfo
from drimbox.records import Code
from tests.conftest import FakeClock

ISSUER, CLIENT, RETURN = "https://psc.test/realm", "drimbox", "https://vi.test/connexion/psc/retour"
ENDPOINTS = Endpoints(
    issuer=ISSUER,
    authorization="https://wallet.test/auth",
    token="https://psc.test/token",
    userinfo="https://psc.test/userinfo",
    jwks="https://psc.test/certs",
    introspection="https://psc.test/introspect",
    end_session="https://psc.test/logout",
)
SETTINGS = PscSection(issuer=ISSUER, client_id=CLIENT)
ACCESS = "access-token"
KEY = RSAKey.generate_key(2048, {"kid": "k1"}, private=True)
OTHER_KEY = RSAKey.generate_key(2048, {"kid": "k1"}, private=True)
USERINFO: dict[str, Any] = {
    "sub": "f:1:899700000001",
    "SubjectNameID": "899700000001",
    "given_name": "Camille",
    "family_name": "RADIO",
    "SubjectRole": ["10^1.2.250.1.213.1.1.5.5"],
    "SubjectRefPro": {
        "exercices": [
            {
                "codeProfession": "10",
                "activities": [
                    {"identifiantTechniqueDeLaStructure": "R1", "raisonSocialeSite": "CABINET", "codeRole": "7"},
                    {"identifiantTechniqueDeLaStructure": "R2", "enseigneCommercialeSite": "CLINIQUE"},
                    "not an object",
                ],
            },
            {"activities": None},
        ]
    },
}


def claims(clock: FakeClock, **changes: Any) -> dict[str, Any]:
    now = int(clock.now().timestamp())
    made = {
        "iss": ISSUER,
        "aud": CLIENT,
        "sub": "f:1:899700000001",
        "exp": now + 120,
        "iat": now,
        "nonce": "nonce",
        "at_hash": at_hash(ACCESS, "RS256"),
        "acr": "eidas1",
        **changes,
    }
    return {name: value for name, value in made.items() if value is not None}


def signed(content: Mapping[str, Any], key: RSAKey = KEY, **header: Any) -> str:
    return jws.serialize_compact({"alg": "RS256", "kid": "k1", **header}, json.dumps(content), key)


class Source:
    """Addresses and keys, as the discovery gives them."""

    def endpoints(self) -> Endpoints:
        return ENDPOINTS

    def key(self, kid: str) -> Mapping[str, Any] | None:
        return dict(KEY.as_dict(private=False)) if kid == "k1" else None


class FakePsc(BaseAdapter):
    """PSC's HTTP side: canned answers, requests kept."""

    def __init__(self, tokens: Any, userinfo: Any = USERINFO, status: int = 200) -> None:
        super().__init__()
        self.answers = {"/token": (status, tokens), "/userinfo": (200, userinfo)}
        self.requests: list[requests.PreparedRequest] = []
        self.timeouts: list[Any] = []

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:  # type: ignore[override]
        self.requests.append(request)
        self.timeouts.append(options.get("timeout"))
        status, content = self.answers[urlsplit(str(request.url)).path]
        if isinstance(content, Exception):
            raise content
        answer = requests.Response()
        answer.status_code = status
        answer.request, answer.url = request, str(request.url)
        answer.headers["Content-Type"] = "application/json"
        if status in (301, 302, 307):
            answer.headers["Location"] = "https://elsewhere.test/"
        answer._content = content if isinstance(content, bytes) else json.dumps(content).encode()
        return answer

    def close(self) -> None:
        pass


def client(psc: FakePsc, clock: FakeClock, settings: PscSection = SETTINGS) -> PscClient:
    def connect() -> requests.Session:
        session = made.session()
        session.mount("https://", psc)
        return session

    made = PscClient(settings, RETURN, Source(), Source(), clock, connect)
    return made


def tokens(id_token: str, **more: Any) -> dict[str, Any]:
    return {"access_token": ACCESS, "id_token": id_token, "token_type": "Bearer", "expires_in": 120, **more}


def test_the_browser_leaves_with_state_nonce_and_challenge(clock: FakeClock) -> None:
    psc = client(FakePsc({}), clock)
    start, again = psc.start(), psc.start()
    url = urlsplit(start.url)
    query = dict(parse_qsl(url.query))
    challenge = base64.urlsafe_b64encode(hashlib.sha256(start.verifier.encode()).digest()).rstrip(b"=").decode()
    assert f"{url.scheme}://{url.netloc}{url.path}" == ENDPOINTS.authorization
    assert query == {
        "response_type": "code",
        "client_id": CLIENT,
        "redirect_uri": RETURN,
        "scope": "openid scope_all",
        "state": start.state,
        "nonce": start.nonce,
        "acr_values": "eidas1",
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    assert len({start.state, start.nonce, start.verifier, again.state, again.nonce, again.verifier}) == 6
    assert min(map(len, (start.state, start.nonce, start.verifier))) >= 43
    assert start.state not in repr(start)


def test_a_login_that_holds_gives_the_person_and_the_tokens(clock: FakeClock) -> None:
    id_token = signed(claims(clock))
    psc = FakePsc(tokens(id_token, refresh_token="refresh"))
    login = client(psc, clock).finish("code-1", "nonce", "verifier-1", ISSUER)
    assert (login.user.name_id, login.user.display(), login.acr) == ("899700000001", "Camille RADIO", "eidas1")
    assert (login.id_token, login.access_token, login.refresh_token) == (id_token, ACCESS, "refresh")
    assert ACCESS not in repr(login)
    assert id_token not in repr(login)
    token, userinfo = psc.requests
    assert dict(parse_qsl(str(token.body))) == {
        "grant_type": "authorization_code",
        "code": "code-1",
        "code_verifier": "verifier-1",
        "redirect_uri": RETURN,
        "client_id": CLIENT,  # tls_client_auth: the identifier in the form, no secret
    }
    assert "Authorization" not in token.headers
    assert userinfo.headers["Authorization"] == f"Bearer {ACCESS}"
    assert psc.timeouts == [SETTINGS.timeout_seconds] * 2


def test_the_connection_shows_our_certificate_and_ignores_the_environment(tmp_path: Path, clock: FakeClock) -> None:
    settings = SETTINGS.model_copy(
        update={
            "client_certificate": tmp_path / "c.pem",
            "client_key": tmp_path / "c.key",
            "trust_file": tmp_path / "ca.pem",
        }
    )
    with PscClient(settings, RETURN, Source(), Source(), clock).session() as session:
        assert session.cert == (str(tmp_path / "c.pem"), str(tmp_path / "c.key"))
        assert session.verify == str(tmp_path / "ca.pem")
        assert session.trust_env is False


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iss": "https://other.test"}, "id-token-iss"),
        ({"iss": None}, "id-token-iss"),
        ({"aud": "other"}, "id-token-aud"),
        ({"aud": None}, "id-token-aud"),
        ({"aud": [CLIENT, "other"]}, "id-token-azp"),
        ({"aud": [CLIENT, "other"], "azp": "other"}, "id-token-azp"),
        ({"azp": "other"}, "id-token-azp"),
        ({"nonce": "other"}, "id-token-nonce"),
        ({"nonce": None}, "id-token-nonce"),
        ({"nonce": 7}, "id-token-nonce"),
        ({"at_hash": "other"}, "id-token-at-hash"),
        ({"at_hash": None}, "id-token-at-hash"),
        ({"acr": "eidas0"}, "id-token-acr"),
        ({"acr": None}, "id-token-acr"),
        ({"exp": 1}, "id-token-exp"),
        ({"exp": None}, "id-token-exp"),
        ({"exp": "9999999999"}, "id-token-exp"),
        ({"exp": True}, "id-token-exp"),
        ({"iat": 9_999_999_999}, "id-token-iat"),
        ({"iat": None}, "id-token-iat"),
        ({"sub": ""}, "id-token-sub"),
        ({"sub": None}, "id-token-sub"),
    ],
)
def test_an_id_token_with_one_wrong_claim_is_refused(clock: FakeClock, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(TokenError) as caught:
        client(FakePsc(tokens(signed(claims(clock, **changes)))), clock).finish("code", "nonce", "verifier")
    assert caught.value.reason == reason
    assert caught.value.public.startswith("La connexion par Pro Santé Connect")


@pytest.mark.parametrize(
    ("given", "lowest", "accepted"),
    [("eidas1", "eidas1", True), ("eidas2", "eidas1", True), ("eidas3", "eidas2", True), ("eidas1", "eidas2", False)],
)
def test_the_level_asked_for_or_a_higher_one_is_accepted(
    clock: FakeClock, given: str, lowest: str, accepted: bool
) -> None:
    settings = SETTINGS.model_copy(update={"acr": lowest})
    psc = client(FakePsc(tokens(signed(claims(clock, acr=given)))), clock, settings)
    if accepted:
        assert psc.finish("code", "nonce", "verifier").acr == given
    else:
        with pytest.raises(TokenError):
            psc.finish("code", "nonce", "verifier")


def test_the_clocks_may_differ_by_the_configured_seconds(clock: FakeClock) -> None:
    now = datetime(2026, 11, 21, 9, tzinfo=UTC)

    def check(**changes: Any) -> None:
        check_id_token(
            claims(FakeClock(now), **changes), algorithm="RS256", issuer=ISSUER, client_id=CLIENT, nonce="nonce",
            access_token=ACCESS, lowest_acr="eidas1", now=now, skew_seconds=30,
        )  # fmt: skip

    at = now.timestamp()
    check(exp=at - 29, iat=at + 30)
    for bad in ({"exp": at - 30}, {"iat": at + 31}):
        with pytest.raises(TokenError):
            check(**bad)


def forgeries(clock: FakeClock) -> dict[str, str]:
    good = claims(clock)
    header, payload, signature = signed(good).split(".")
    public = KEY.as_pem(private=False)
    none = _b64(b'{"alg":"none","kid":"k1"}')
    hmac_header = _b64(b'{"alg":"HS256","kid":"k1"}')
    hs = hmac.new(public, f"{hmac_header}.{payload}".encode(), "sha256").digest()
    return {
        "other key": signed(good, OTHER_KEY),
        "own key in the header": signed(good, OTHER_KEY, jwk=OTHER_KEY.as_dict(private=False)),
        "unknown key": signed(good, KEY, kid="k2"),
        "no key named": jws.serialize_compact({"alg": "RS256"}, json.dumps(good), KEY),
        "none": f"{none}.{payload}.",
        "hmac with the public key": f"{hmac_header}.{payload}.{_b64(hs)}",
        "changed claims": f"{header}.{payload[:-4]}AAAA.{signature}",
        "no signature": f"{header}.{payload}.",
        "other algorithm": jws.serialize_compact(
            {"alg": "PS256", "kid": "k1"}, json.dumps(good), KEY, algorithms=["PS256"]
        ),
        "critical header": f"{_b64(b'{"alg":"RS256","kid":"k1","crit":["x"],"x":1}')}.{payload}.{signature}",
        "not a token": "abc",
        "empty": "",
        "too long": "a" * 20_000,
        "claims are a list": signed([1]),  # type: ignore[arg-type]
    }


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


FORGERIES = [
    "other key", "own key in the header", "unknown key", "no key named", "none", "hmac with the public key",
    "changed claims", "no signature", "other algorithm", "critical header", "not a token", "empty", "too long",
    "claims are a list",
]  # fmt: skip


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_id_token_is_refused(clock: FakeClock, name: str) -> None:
    with pytest.raises(TokenError) as caught:
        client(FakePsc(tokens(forgeries(clock)[name])), clock).finish("code", "nonce", "verifier")
    assert caught.value.reason.startswith("id-token-")


def test_every_forgery_is_tried(clock: FakeClock) -> None:
    assert list(forgeries(clock)) == FORGERIES


@pytest.mark.parametrize(
    ("answer", "status", "error"),
    [
        ({"error": "invalid_grant"}, 400, TokenError),
        ({"error": "invalid_client"}, 401, ServiceRefused),
        ({"access_token": ACCESS}, 200, TokenError),
        ({"id_token": "x"}, 200, TokenError),
        ({"access_token": 1, "id_token": 2}, 200, TokenError),
        (b"<html>", 200, NationalServiceError),
        (b"[]", 200, NationalServiceError),
        (b"", 503, ServiceUnavailable),
        (b"", 302, NationalServiceError),
        (requests.ConnectTimeout("slow"), 0, ServiceUnavailable),
    ],
)
def test_a_failed_exchange_says_whose_fault_it_is(
    clock: FakeClock, answer: Any, status: int, error: type[Exception]
) -> None:
    psc = FakePsc(answer, status=status)
    with pytest.raises(error):
        client(psc, clock).finish("code", "nonce", "verifier")
    assert all("elsewhere" not in str(r.url) for r in psc.requests)


def test_a_userinfo_that_is_out_of_order_is_told_apart(clock: FakeClock) -> None:
    psc = FakePsc(tokens(signed(claims(clock))))
    for status, error in ((503, ServiceUnavailable), (401, NationalServiceError), (302, NationalServiceError)):
        psc.answers["/userinfo"] = (status, b"")
        with pytest.raises(error):
            client(psc, clock).finish("code", "nonce", "verifier")


@pytest.mark.parametrize(
    ("userinfo", "error"),
    [
        ({**USERINFO, "sub": "other"}, TokenError),
        ({"sub": USERINFO["sub"]}, TokenError),
        (b"<html>", NationalServiceError),
        ([], NationalServiceError),
        (requests.ConnectionError("down"), ServiceUnavailable),
    ],
)
def test_a_userinfo_that_does_not_hold_ends_the_login(clock: FakeClock, userinfo: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        client(FakePsc(tokens(signed(claims(clock))), userinfo), clock).finish("code", "nonce", "verifier")


@pytest.mark.parametrize("code", ["", "x" * 3000])
def test_an_impossible_code_is_not_sent(clock: FakeClock, code: str) -> None:
    psc = FakePsc({})
    with pytest.raises(TokenError):
        client(psc, clock).finish(code, "nonce", "verifier")
    assert psc.requests == []


def test_a_code_of_another_issuer_is_not_sent(clock: FakeClock) -> None:
    psc = FakePsc({})
    with pytest.raises(TokenError) as caught:
        client(psc, clock).finish("code", "nonce", "verifier", "https://other.test")
    assert (caught.value.reason, psc.requests) == ("login-issuer", [])


def test_the_userinfo_is_read_as_psc_writes_it() -> None:
    user = read_userinfo(USERINFO, str(USERINFO["sub"]))
    assert user.profession == Code("10", "1.2.250.1.213.1.1.5.5", "Médecin")
    assert user.activities == (
        Activity("R1", "CABINET", "10", "7"),
        Activity("R2", "CLINIQUE", "10"),
    )
    assert user.activity() == user.activities[0]


@pytest.mark.parametrize(
    "odd",
    [
        {"SubjectRole": []},
        {"SubjectRole": [1]},
        {"SubjectRole": ["x" * 500]},
        {"SubjectRole": {}},
        {"SubjectRefPro": None},
        {"SubjectRefPro": {"exercices": "x"}},
        {"given_name": 1, "family_name": None},
    ],
)
def test_odd_userinfo_is_read_without_inventing(odd: dict[str, Any]) -> None:
    user = read_userinfo({**USERINFO, **odd}, str(USERINFO["sub"]))
    assert user.name_id == "899700000001"
    assert user.display()


def test_texts_and_activities_of_userinfo_are_bounded() -> None:
    many = {"exercices": [{"activities": [{"raisonSocialeSite": "x" * 999}] * 500}]}
    user = read_userinfo({**USERINFO, "SubjectRefPro": many, "family_name": "F" * 9999}, str(USERINFO["sub"]))
    assert (len(user.activities), len(user.family)) == (50, 200)
    assert user.activities[0].structure_name == "x" * 200


# --- the whole flow, over TLS


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Path]]:
    pki = pytest.importorskip("sandbox.pki")
    psc_server = pytest.importorskip("sandbox.psc_server")
    folder = tmp_path_factory.mktemp("psc")
    pki.make_pki(folder / "pki")
    running = psc_server.start(psc_server.Options(folder / "pki", folder / "data", redirect_uris=(RETURN,)))
    yield running, folder / "pki"
    running.stop()


def real_client(running: Any, keys: Path) -> PscClient:
    from sandbox.psc_clients import DEFAULT_CLIENT

    settings = PscSection(
        issuer=running.issuer,
        client_id=DEFAULT_CLIENT,
        client_certificate=keys / "psc-client.pem",
        client_key=keys / "psc-client.key",
        trust_file=keys / "igc-ca.pem",
        timeout_seconds=10,
    )
    transport, clock = RequestsTransport(settings), SystemClock()
    discovery = Discovery(settings, transport, clock)
    return PscClient(settings, RETURN, discovery, Jwks(discovery, transport, clock), clock)


def choose(url: str, keys: Path, person: str = "radiologue") -> dict[str, str]:
    """What the browser brings back after the person's button is pressed."""
    with requests.Session() as browser:
        browser.verify = str(keys / "igc-ca.pem")
        browser.trust_env = False
        asked = browser.get(url, timeout=10)
        ident = re.search(r'name="request" value="([^"]+)"', asked.text)
        assert ident is not None, asked.text
        address = url.partition("?")[0] + "/choix"
        fields = {"request": ident[1], "person": person, "acr": ""}
        answer = browser.post(address, data=fields, allow_redirects=False, timeout=10)
    query = parse_qs(urlsplit(answer.headers["Location"]).query)
    return {name: values[0] for name, values in query.items()}


def test_a_professional_logs_in_at_the_stand_in(stand_in: tuple[Any, Path]) -> None:
    running, keys = stand_in
    psc = real_client(running, keys)
    start = psc.start()
    back = choose(start.url, keys)
    assert back["state"] == start.state
    login = psc.finish(back["code"], start.nonce, start.verifier, back.get("iss", ""))
    assert re.fullmatch(r"8997[0-9]{8}", login.user.name_id)
    assert login.user.family
    with pytest.raises(TokenError):  # the code is spent
        psc.finish(back["code"], start.nonce, start.verifier)


def test_a_code_without_its_verifier_is_worth_nothing(stand_in: tuple[Any, Path]) -> None:
    running, keys = stand_in
    psc = real_client(running, keys)
    start = psc.start()
    back = choose(start.url, keys)
    with pytest.raises(TokenError) as caught:
        psc.finish(back["code"], start.nonce, psc.start().verifier)
    assert caught.value.reason == "login-code"


def test_an_id_token_asked_for_by_somebody_else_is_refused(stand_in: tuple[Any, Path]) -> None:
    running, keys = stand_in
    psc = real_client(running, keys)
    start = psc.start()
    back = choose(start.url, keys)
    with pytest.raises(TokenError) as caught:
        psc.finish(back["code"], psc.start().nonce, start.verifier)
    assert caught.value.reason == "id-token-nonce"
