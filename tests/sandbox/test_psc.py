# SPDX-License-Identifier: AGPL-3.0-or-later
"""The PSC stand-in over real TLS: code flow, client authentication, tokens, introspection, logout, test handles."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
import requests

from sandbox import pki, psc_cli
from sandbox.common import ProductionName
from sandbox.psc_clients import DEFAULT_CLIENT, Client, load
from sandbox.psc_people import PEOPLE
from sandbox.psc_server import Options, Running, start

RETURN = "https://localhost:9/connexion/psc/retour"
OTHER_RETURN = "https://localhost:9/autre?a=1"
GOODBYE = "https://localhost:9/au-revoir"
VERIFIER = "v" * 64


class Time:
    """Epoch seconds that a test may move."""

    def __init__(self) -> None:
        self.seconds = 1_795_000_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("psc-pki")
    pki.make_pki(folder)
    return folder


@dataclass
class Bench:
    """A running stand-in with a browser and a client."""

    running: Running
    keys: Path
    time: Time
    browser: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        self.browser.verify = str(self.keys / "igc-ca.pem")

    @property
    def connect(self) -> str:
        return f"{self.running.issuer}/protocol/openid-connect"

    def certificate(self, name: str) -> tuple[str, str]:
        return str(self.keys / f"{name}.pem"), str(self.keys / f"{name}.key")

    def query(self, **changes: str | None) -> dict[str, str]:
        digest = hashlib.sha256(VERIFIER.encode()).digest()
        values: dict[str, str | None] = {
            "response_type": "code",
            "client_id": DEFAULT_CLIENT,
            "redirect_uri": RETURN,
            "scope": "openid scope_all",
            "state": "etat-1",
            "nonce": "nonce-1",
            "acr_values": "eidas1",
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
            **changes,
        }
        return {name: value for name, value in values.items() if value is not None}

    def authorize(self, **changes: str | None) -> requests.Response:
        return self.browser.get(
            self.running.authorization_endpoint, params=self.query(**changes), allow_redirects=False, timeout=10
        )

    def choose(self, page: requests.Response, person: str = "radiologue", **more: str) -> dict[str, str]:
        """Press a person's button; the parameters that come back at the redirect address."""
        ident = re.search(r'name="request" value="([^"]+)"', page.text)
        assert ident is not None
        fields = {"request": ident[1], "person": person, "acr": "", **more}
        url = self.running.authorization_endpoint + "/choix"
        answer = self.browser.post(url, data=fields, allow_redirects=False, timeout=10)
        assert answer.status_code == 302, answer.text
        return back(answer)

    def token(self, certificate: str | None = "psc-client", auth: Any = None, **fields: str) -> requests.Response:
        form = {"client_id": DEFAULT_CLIENT, **fields}
        with requests.Session() as client:
            client.verify = str(self.keys / "igc-ca.pem")
            client.cert = self.certificate(certificate) if certificate else None
            return client.post(f"{self.connect}/token", data=form, auth=auth, timeout=10)

    def redeem(self, code: str, verifier: str = VERIFIER, **more: Any) -> requests.Response:
        fields = {"redirect_uri": RETURN, "code_verifier": verifier, **more}
        return self.token(grant_type="authorization_code", code=code, **fields)

    def login(self, person: str = "radiologue") -> dict[str, Any]:
        """The whole flow; the token answer."""
        self.browser.cookies.clear()
        answer = self.redeem(self.choose(self.authorize(), person)["code"])
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def post(self, path: str, certificate: str | None = "psc-client", **fields: str) -> requests.Response:
        cert = self.certificate(certificate) if certificate else None
        form = {"client_id": DEFAULT_CLIENT, **fields}
        ca = str(self.keys / "igc-ca.pem")
        return requests.post(self.connect + path, data=form, cert=cert, verify=ca, timeout=10)

    def introspect(self, token: str, certificate: str | None = "psc-client", **fields: str) -> dict[str, Any]:
        return dict(self.post("/token/introspect", certificate, token=token, **fields).json())

    def userinfo(self, token: str) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return self.browser.get(f"{self.connect}/userinfo", headers=headers, timeout=10)

    def jwks(self) -> dict[str, Any]:
        return {k["kid"]: k for k in self.browser.get(f"{self.connect}/certs", timeout=10).json()["keys"]}

    def claims(self, token: str) -> dict[str, Any]:
        """Claims of a token, its signature verified by another library with the published key."""
        key = jwt.PyJWK(self.jwks()[jwt.get_unverified_header(token)["kid"]])
        return dict(
            jwt.decode(token, key, ["RS256"], options={"verify_exp": False, "verify_aud": False, "verify_iat": False})
        )

    def handle(self, path: str, **content: Any) -> Any:
        return psc_cli.call(self.running.admin_url, path, content)


def back(answer: requests.Response) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["Location"]).query).items()}


@pytest.fixture
def bench(keys: Path, tmp_path: Path) -> Iterator[Bench]:
    extra = [{"client_id": "secret-client", "redirect_uris": [RETURN], "secret": "mot de passe:é"}]
    (tmp_path / "clients.json").write_text(json.dumps(extra))
    time = Time()
    options = Options(
        keys, tmp_path, admin_port=0, redirect_uris=(RETURN, OTHER_RETURN), post_logout_redirect_uris=(GOODBYE,)
    )
    running = start(options, time)
    made = Bench(running, keys, time)
    yield made
    made.browser.close()
    running.stop()


# --- discovery


def test_discovery_is_at_the_wallet_address_only_and_names_both_ports(bench: Bench) -> None:
    base = bench.running.issuer
    metadata = bench.browser.get(f"{base}/.well-known/wallet-openid-configuration", timeout=10).json()
    assert metadata["issuer"] == base
    assert metadata["authorization_endpoint"] == bench.running.authorization_endpoint
    assert urlsplit(metadata["authorization_endpoint"]).port != urlsplit(base).port
    assert metadata["token_endpoint"] == f"{base}/protocol/openid-connect/token"
    assert metadata["introspection_endpoint"] == f"{base}/protocol/openid-connect/token/introspect"
    assert metadata["code_challenge_methods_supported"] == ["S256"]
    assert metadata["tls_client_certificate_bound_access_tokens"] is True
    assert bench.browser.get(f"{base}/.well-known/openid-configuration", timeout=10).status_code == 404


def test_no_answer_admits_another_origin(bench: Bench) -> None:
    headers = {"Origin": "https://ailleurs.example"}
    answers = [
        bench.browser.get(f"{bench.connect}/certs", headers=headers, timeout=10),
        bench.browser.options(f"{bench.connect}/token", headers=headers, timeout=10),
    ]
    assert answers[0].status_code == 200
    assert answers[1].status_code == 405
    assert not any(name.lower().startswith("access-control") for a in answers for name in a.headers)


# --- the flow


def test_the_whole_flow_gives_tokens_that_verify(bench: Bench) -> None:
    parameters = bench.choose(bench.authorize())
    assert parameters["state"] == "etat-1"
    assert parameters["iss"] == bench.running.issuer
    made = bench.redeem(parameters["code"]).json()
    assert (made["expires_in"], made["refresh_expires_in"], made["token_type"]) == (120, 1800, "Bearer")
    access, ident = bench.claims(made["access_token"]), bench.claims(made["id_token"])
    assert access["exp"] - access["iat"] == 120
    assert {name: access[name] for name in ("iss", "azp", "typ", "acr", "scope", "nonce", "SubjectNameID")} == {
        "iss": bench.running.issuer,
        "azp": DEFAULT_CLIENT,
        "typ": "Bearer",
        "acr": "eidas1",
        "scope": "openid scope_all",
        "nonce": "nonce-1",
        "SubjectNameID": "899799999011",
    }
    assert re.fullmatch(r"f:[0-9a-f-]{36}:899799999011", access["sub"])
    assert access["sid"] == access["session_state"] == parameters["session_state"]
    assert {"jti", "auth_time", "preferred_username"} <= set(access)
    assert (ident["aud"], ident["sub"], ident["nonce"]) == (DEFAULT_CLIENT, access["sub"], "nonce-1")
    digest = hashlib.sha256(made["access_token"].encode()).digest()[:16]
    assert ident["at_hash"] == base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge": "court"}, "invalid_request"),
        ({"nonce": None}, "invalid_request"),
        ({"state": None}, "invalid_request"),
        ({"acr_values": None}, "invalid_request"),
        ({"acr_values": "eidas9"}, "invalid_request"),
        ({"scope": "scope_all"}, "invalid_scope"),
        ({"scope": "openid tout"}, "invalid_scope"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"prompt": "none"}, "login_required"),
    ],
)
def test_a_faulty_request_comes_back_with_its_error(bench: Bench, changes: dict[str, str | None], error: str) -> None:
    answer = bench.authorize(**changes)
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith(RETURN + "?")
    parameters = back(answer)
    assert parameters["error"] == error
    assert "code" not in parameters
    assert parameters.get("state") == (None if "state" in changes else "etat-1")


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "inconnu"},
        {"redirect_uri": RETURN + "/"},
        {"redirect_uri": RETURN + "?x=1"},
        {"redirect_uri": None},
        {"redirect_uri": "https://ailleurs.example/"},
    ],
)
def test_an_address_not_registered_to_the_letter_gets_no_redirection(
    bench: Bench, changes: dict[str, str | None]
) -> None:
    answer = bench.authorize(**changes)
    assert answer.status_code == 400
    assert "Location" not in answer.headers
    assert "SIMULATEUR" in answer.text


def test_a_repeated_parameter_is_refused(bench: Bench) -> None:
    pairs = [*bench.query().items(), ("redirect_uri", "https://ailleurs.example/")]
    answer = bench.browser.get(bench.running.authorization_endpoint, params=pairs, allow_redirects=False, timeout=10)
    assert answer.status_code == 400


def test_a_redirect_address_keeps_its_own_query(bench: Bench) -> None:
    parameters = bench.choose(bench.authorize(redirect_uri=OTHER_RETURN))
    assert parameters["a"] == "1"
    assert "code" in parameters


def test_a_refusal_comes_back_as_access_denied_and_the_form_is_good_once(bench: Bench) -> None:
    page = bench.authorize()
    assert bench.choose(page, refuse="1")["error"] == "access_denied"
    ident = re.search(r'name="request" value="([^"]+)"', page.text)
    assert ident is not None
    url = bench.running.authorization_endpoint + "/choix"
    again = bench.browser.post(url, data={"request": ident[1], "person": "radiologue"}, timeout=10)
    assert again.status_code == 400


def test_the_level_is_the_persons_unless_chosen_and_must_reach_the_one_asked(bench: Bench) -> None:
    def acr(person: str, **more: str) -> str:
        bench.browser.cookies.clear()
        made = bench.redeem(bench.choose(bench.authorize(), person, **more)["code"]).json()
        return str(bench.claims(made["access_token"])["acr"])

    assert acr("radiologue-cps") == "eidas2"
    assert acr("radiologue", acr="eidas3") == "eidas3"
    bench.handle("/settings", acr={"radiologue": "eidas2"})
    assert acr("radiologue") == "eidas2"
    bench.browser.cookies.clear()
    assert bench.choose(bench.authorize(acr_values="eidas2"), "generaliste")["error"] == "access_denied"


def test_single_sign_on_skips_the_page_until_another_level_or_login_is_asked(bench: Bench) -> None:
    first = bench.choose(bench.authorize())
    cookie = next(iter(bench.browser.cookies))
    assert cookie.secure
    assert cookie.has_nonstandard_attr("HttpOnly")
    second = back(bench.authorize())
    assert second["session_state"] == first["session_state"]
    assert second["code"] != first["code"]
    assert "code" in back(bench.authorize(prompt="none"))
    assert bench.authorize(prompt="login").status_code == 200
    assert bench.authorize(acr_values="eidas2").status_code == 200
    bench.time.seconds += 1801
    assert bench.authorize().status_code == 200


# --- token endpoint


def test_a_wrong_verifier_is_refused_and_the_code_is_lost(bench: Bench) -> None:
    code = bench.choose(bench.authorize())["code"]
    answer = bench.redeem(code, verifier="w" * 64)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    assert bench.redeem(code).status_code == 400


def test_a_missing_verifier_is_refused(bench: Bench) -> None:
    assert bench.redeem(bench.choose(bench.authorize())["code"], verifier="").json()["error"] == "invalid_grant"


def test_a_code_used_twice_ends_what_the_first_use_gave(bench: Bench) -> None:
    code = bench.choose(bench.authorize())["code"]
    made = bench.redeem(code).json()
    assert bench.introspect(made["access_token"])["active"] is True
    assert bench.redeem(code).json()["error"] == "invalid_grant"
    assert bench.introspect(made["access_token"]) == {"active": False}


def test_a_code_lives_a_minute_and_for_its_redirect_address(bench: Bench) -> None:
    code = bench.choose(bench.authorize())["code"]
    assert bench.redeem(code, redirect_uri=OTHER_RETURN).json()["error"] == "invalid_grant"
    late = back(bench.authorize())["code"]
    bench.time.seconds += 61
    assert bench.redeem(late).json()["error"] == "invalid_grant"


@pytest.mark.parametrize("certificate", [None, "peer", "structure-auth"])
def test_a_client_without_its_own_certificate_is_refused(bench: Bench, certificate: str | None) -> None:
    answer = bench.redeem(bench.choose(bench.authorize())["code"], certificate=certificate)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert "WWW-Authenticate" in answer.headers


def test_a_certificate_of_another_authority_does_not_pass_the_handshake(bench: Bench) -> None:
    with pytest.raises((requests.exceptions.SSLError, requests.exceptions.ConnectionError)):
        bench.redeem("code", certificate="foreign")


def test_a_secret_authenticates_by_header_or_form_and_only_the_right_one(bench: Bench) -> None:
    quoted = requests.auth.HTTPBasicAuth("secret-client", "mot+de+passe%3A%C3%A9")
    for right, more in ((True, {}), (False, {"client_secret": "faux"})):
        fields = {"client_id": "secret-client", "grant_type": "refresh_token", "refresh_token": "x", **more}
        form = {**fields, "client_secret": "mot de passe:é"} if right else fields
        answer = bench.token(certificate=None, **form)
        assert answer.json()["error"] == ("invalid_grant" if right else "invalid_client")
    fields = {"client_id": "secret-client", "grant_type": "refresh_token", "refresh_token": "x"}
    assert bench.token(certificate=None, auth=quoted, **fields).json()["error"] == "invalid_grant"
    wrong = requests.auth.HTTPBasicAuth("secret-client", "faux")
    assert bench.token(certificate=None, auth=wrong, **fields).status_code == 401
    assert bench.token(auth=quoted, grant_type="refresh_token", refresh_token="x").status_code == 401, "two clients"


def test_a_code_of_another_client_is_refused(bench: Bench) -> None:
    code = bench.choose(bench.authorize(client_id="secret-client"))["code"]
    assert bench.redeem(code).json()["error"] == "invalid_grant"


def test_unknown_grants_and_other_bodies_are_refused(bench: Bench) -> None:
    assert bench.token(grant_type="password").json()["error"] == "unsupported_grant_type"
    answer = requests.post(
        f"{bench.connect}/token", json={}, verify=str(bench.keys / "igc-ca.pem"),
        cert=bench.certificate("psc-client"), timeout=10,
    )  # fmt: skip
    assert answer.json()["error"] == "invalid_request"


def test_refreshing_rotates_and_the_old_token_is_void(bench: Bench) -> None:
    first = bench.login()
    bench.time.seconds += 100
    second = bench.token(grant_type="refresh_token", refresh_token=first["refresh_token"]).json()
    assert bench.claims(second["access_token"])["iat"] == bench.claims(first["access_token"])["iat"] + 100
    assert bench.claims(second["access_token"])["sid"] == bench.claims(first["access_token"])["sid"]
    again = bench.token(grant_type="refresh_token", refresh_token=first["refresh_token"])
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    third = bench.token(grant_type="refresh_token", refresh_token=second["refresh_token"])
    assert third.status_code == 200
    bench.time.seconds += 1801
    late = bench.token(grant_type="refresh_token", refresh_token=third.json()["refresh_token"])
    assert late.json()["error"] == "invalid_grant"


def test_a_session_ends_after_four_hours_however_often_it_is_used(bench: Bench) -> None:
    made = bench.login()
    for _ in range(9):
        bench.time.seconds += 1500
        answer = bench.token(grant_type="refresh_token", refresh_token=made["refresh_token"])
        assert answer.status_code == 200
        made = answer.json()
    bench.time.seconds += 1500
    assert bench.token(grant_type="refresh_token", refresh_token=made["refresh_token"]).status_code == 400


def test_an_access_token_is_no_refresh_token(bench: Bench) -> None:
    made = bench.login()
    assert bench.token(grant_type="refresh_token", refresh_token=made["access_token"]).status_code == 400
    assert bench.userinfo(made["refresh_token"]).status_code == 401


# --- userinfo, introspection


def test_userinfo_is_complete_for_each_kind_of_person(bench: Bench) -> None:
    facts = {p.id: bench.userinfo(bench.login(p.id)["access_token"]).json() for p in PEOPLE}
    count = {
        person: [len(e["activities"]) for e in found["SubjectRefPro"]["exercices"]] for person, found in facts.items()
    }
    assert count == {"radiologue": [1], "generaliste": [2], "infirmiere": [1], "etudiant": [0], "radiologue-cps": [1]}
    doctor = facts["radiologue"]
    assert doctor["SubjectRole"] == ["10^1.2.250.1.213.1.1.5.5"]
    assert doctor["Palier_Authentification"] == "APPPRIP3^1.2.250.1.213.1.5.1.1.1"
    assert doctor["UITVersion"] == "1.0"
    assert {"identifiant", "origine", "qualite"} <= set(doctor["otherIds"][0])
    activity = doctor["SubjectRefPro"]["exercices"][0]["activities"][0]
    assert activity["identifiantTechniqueDeLaStructure"] == "R10100000999901"
    assert doctor["given_name"] == "HÉLÈNE"
    assert facts["infirmiere"]["SubjectRole"] == ["60^1.2.250.1.213.1.1.5.5"]
    assert facts["etudiant"]["Secteur_Activite"] == ""


def test_userinfo_refuses_what_is_no_living_access_token(bench: Bench) -> None:
    made = bench.login()
    for token in ("", "x.y.z", made["id_token"], made["access_token"][:-3] + "AAA"):
        answer = bench.userinfo(token)
        assert answer.status_code == 401
        assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
    bench.time.seconds += 121
    assert bench.userinfo(made["access_token"]).status_code == 401


def test_a_smaller_scope_gives_fewer_claims(bench: Bench) -> None:
    made = bench.redeem(bench.choose(bench.authorize(scope="openid"))["code"]).json()
    assert "SubjectRefPro" not in bench.userinfo(made["access_token"]).json()


def test_introspection_answers_as_psc_does(bench: Bench) -> None:
    made = bench.login()
    access, refresh = bench.introspect(made["access_token"]), bench.introspect(made["refresh_token"])
    assert access["active"] is True
    assert access["SubjectNameID"] == "899799999011"
    assert {"exp", "iat", "auth_time", "jti", "iss", "sub", "typ", "azp", "nonce"} <= set(access)
    assert refresh["active"] is True
    assert "SubjectNameID" not in refresh
    assert bench.introspect(made["id_token"]) == {"active": False}
    assert bench.introspect("n'importe quoi") == {"active": False}
    bench.time.seconds += 121
    assert bench.introspect(made["access_token"]) == {"active": False}


def test_introspection_wants_a_client(bench: Bench) -> None:
    token = bench.login()["access_token"]
    for certificate in (None, "peer"):
        answer = bench.post("/token/introspect", certificate, token=token)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    other = bench.introspect(token, None, client_id="secret-client", client_secret="mot de passe:é")
    assert other["active"] is True
    bench.handle("/settings", cross_client_introspection=False)
    other = bench.introspect(token, None, client_id="secret-client", client_secret="mot de passe:é")
    assert other == {"active": False}
    assert bench.introspect(token)["active"] is True


def test_revoking_voids_one_token_or_the_whole_session(bench: Bench) -> None:
    made = bench.login()
    assert bench.post("/revoke", token="inconnu").status_code == 200
    assert bench.post("/revoke", token=made["access_token"]).status_code == 200
    assert bench.introspect(made["access_token"]) == {"active": False}
    renewed = bench.token(grant_type="refresh_token", refresh_token=made["refresh_token"]).json()
    assert bench.post("/revoke", token=renewed["refresh_token"]).status_code == 200
    assert bench.introspect(renewed["access_token"]) == {"active": False}


def test_logout_ends_the_session_and_returns_to_a_registered_address(bench: Bench) -> None:
    made = bench.login()
    url = f"{bench.connect}/logout"
    hint = {"id_token_hint": made["id_token"]}
    bench.time.seconds += 600
    far = {**hint, "post_logout_redirect_uri": "https://ailleurs.example/"}
    assert bench.browser.get(url, params=far, allow_redirects=False, timeout=10).status_code == 400
    assert bench.browser.get(url, timeout=10).status_code == 400
    near = {**hint, "post_logout_redirect_uri": GOODBYE, "state": "fin é"}
    answer = bench.browser.get(url, params=near, allow_redirects=False, timeout=10)
    assert answer.headers["Location"] == f"{GOODBYE}?state=fin+%C3%A9"
    assert bench.token(grant_type="refresh_token", refresh_token=made["refresh_token"]).status_code == 400
    assert bench.authorize().status_code == 200, "the single sign-on is over too"
    assert "Vous êtes déconnecté" in bench.browser.get(url, params=hint, timeout=10).text


# --- test handles


@pytest.mark.parametrize(
    ("kind", "signed", "active"),
    [
        ("valid", True, True),
        ("expired", True, False),
        ("wrong-key", False, False),
        ("inactive", True, False),
        ("other-issuer", True, False),
    ],
)
def test_forged_tokens_are_bad_in_one_way_only(bench: Bench, kind: str, signed: bool, active: bool) -> None:
    token = bench.handle("/tokens", kind=kind, person="generaliste", acr="eidas2")["access_token"]
    assert jwt.get_unverified_header(token)["kid"] in bench.jwks()
    if signed:
        claims = bench.claims(token)
        assert (claims["SubjectNameID"], claims["acr"], claims["typ"]) == ("899799999029", "eidas2", "Bearer")
        assert (claims["exp"] < bench.time.seconds) is (kind == "expired")
        assert (claims["iss"] == bench.running.issuer) is (kind != "other-issuer")
    else:
        with pytest.raises(jwt.InvalidSignatureError):
            bench.claims(token)
    assert bench.introspect(token)["active"] is active


def test_a_token_may_be_bound_to_a_certificate_in_both_spellings(bench: Bench) -> None:
    path = bench.keys / "peer.pem"
    der = ssl.PEM_cert_to_DER_cert(
        path.read_text().split("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n"
    )
    digest = hashlib.sha256(der)
    short = base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode()
    long = base64.b64encode(digest.hexdigest().encode()).decode()
    for variant, expected in (("rfc8705", short), ("hex-base64", long)):
        token = bench.handle("/tokens", cnf=variant, cnf_certificate=str(path))["access_token"]
        assert bench.claims(token)["cnf"] == {"x5t#S256": expected}
        assert bench.introspect(token)["cnf"] == {"x5t#S256": expected}
    assert (len(short), len(long)) == (43, 88)
    assert "cnf" not in bench.claims(bench.login()["access_token"])
    bench.handle("/settings", cnf="rfc8705")
    assert len(bench.claims(bench.login()["access_token"])["cnf"]["x5t#S256"]) == 43


def test_rotated_keys_are_published_late_on_demand_and_old_ones_stay_a_while(bench: Bench) -> None:
    old = bench.login()["access_token"]
    new = bench.handle("/rotate-keys", hidden_seconds=30)["kid"]
    token = bench.login()["access_token"]
    assert jwt.get_unverified_header(token)["kid"] == new
    assert new not in bench.jwks()
    assert bench.introspect(token)["active"] is True
    bench.time.seconds += 31
    assert bench.claims(token)["iss"] == bench.running.issuer
    assert bench.claims(old)["iss"] == bench.running.issuer
    for _ in range(3):
        bench.handle("/rotate-keys")
    assert len(bench.jwks()) == 3
    assert jwt.get_unverified_header(old)["kid"] not in bench.jwks()


def test_the_clock_may_be_set_wrong(bench: Bench) -> None:
    bench.handle("/clock-skew", seconds=300)
    assert bench.claims(bench.login()["access_token"])["iat"] == int(bench.time.seconds) + 300


def test_the_service_may_be_away_for_a_while(bench: Bench) -> None:
    bench.handle("/unavailable", seconds=20)
    answer = bench.post("/token/introspect", token="x")
    assert answer.status_code == 503
    assert 0 < int(answer.headers["Retry-After"]) <= 21
    assert bench.authorize().status_code == 503
    bench.handle("/unavailable", seconds=20, how="drop")
    with pytest.raises(requests.exceptions.ConnectionError):
        bench.post("/token/introspect", token="x")
    bench.time.seconds += 21
    assert bench.authorize().status_code == 200


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/tokens", {"person": "personne"}),
        ("/tokens", {"kind": "étrange"}),
        ("/tokens", {"acr": "eidas9"}),
        ("/tokens", {"lifetime": "long"}),
        ("/tokens", {"autre": 1}),
        ("/tokens", {"cnf_certificate": "/absent.pem"}),
        ("/settings", {"cnf": "autre"}),
        ("/settings", {"access_seconds": "1"}),
        ("/settings", {"acr": {"personne": "eidas1"}}),
        ("/unavailable", {"seconds": 1, "how": "autrement"}),
        ("/rien", {}),
    ],
)
def test_a_handle_refuses_what_it_does_not_know(bench: Bench, path: str, content: dict[str, Any]) -> None:
    with pytest.raises(psc_cli.HandleRefused):
        psc_cli.call(bench.running.admin_url, path, content)


def test_a_web_page_elsewhere_cannot_use_the_handles(bench: Bench) -> None:
    answer = requests.post(
        bench.running.admin_url + "tokens", data="{}", headers={"Origin": "https://ailleurs.example"}, timeout=10
    )
    assert answer.status_code == 403


def test_the_command_prints_the_token_alone(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*argv: str) -> str:
        assert psc_cli.main(list(argv), bench.running.admin_url) == 0
        return capsys.readouterr().out.strip()

    token = run("token", "--person", "infirmiere", "--acr", "eidas2", "--lifetime", "600")
    claims = bench.claims(token)
    assert (claims["SubjectNameID"], claims["acr"]) == ("899799999037", "eidas2")
    assert claims["exp"] - claims["iat"] == 600
    assert bench.claims(run("token", "--expired"))["exp"] < bench.time.seconds
    assert bench.introspect(run("token", "--inactive")) == {"active": False}
    assert set(json.loads(run("token", "--json"))) == {"access_token"}
    assert "radiologue" in run("people")
    assert psc_cli.main(["token", "--person", "personne"], bench.running.admin_url) == 1
    assert psc_cli.main(["token"], "http://127.0.0.1:9/") == 1


# --- pages, registration


class Outline(HTMLParser):
    """What an accessible page must have, as read from it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.found if name == tag]


def outline(text: str) -> Outline:
    parser = Outline()
    parser.feed(text)
    return parser


def test_the_login_page_is_french_labelled_plain_and_stable(bench: Bench) -> None:
    page = bench.authorize()
    tree = outline(page.text)
    assert tree.all("html") == [{"lang": "fr"}]
    assert "SIMULATEUR" in page.text
    assert len(tree.all("h1")) == len(tree.all("main")) == len(tree.all("legend")) == len(tree.all("title")) == 1
    labelled = {label["for"] for label in tree.all("label")}
    assert {select["id"] for select in tree.all("select")} <= labelled
    buttons = {b["value"] for b in tree.all("button") if b["name"] == "person"}
    assert buttons == {p.id for p in PEOPLE}
    assert {f"person-{p.id}" for p in PEOPLE} | {"refuse"} == {b["id"] for b in tree.all("button")}
    assert not tree.all("script")
    style = re.search(r"<style>(.*?)</style>", page.text)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(html.unescape(style[1]).encode()).digest()).decode()
    assert f"'sha256-{digest}'" in page.headers["Content-Security-Policy"]
    assert page.headers["Cache-Control"] == "no-store"
    assert "form-action" not in page.headers["Content-Security-Policy"], "it would block the way back"


def test_the_page_of_the_handles_lists_the_people(bench: Bench) -> None:
    answer = requests.get(bench.running.admin_url, timeout=10)
    tree = outline(answer.text)
    assert len(tree.all("tr")) == len(PEOPLE) + 1
    assert tree.all("caption")
    assert {cell["scope"] for cell in tree.all("th")} == {"col"}


def test_addresses_given_at_start_replace_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "clients.json"
    load(path, ["https://a.example/1"], "CN=un")
    kept = load(path, [], "CN=deux")[DEFAULT_CLIENT]
    assert kept == Client(DEFAULT_CLIENT, ("https://a.example/1",), (), "CN=deux")
    assert load(path, ["https://a.example/2"], "CN=deux")[DEFAULT_CLIENT].redirect_uris == ("https://a.example/2",)


@pytest.mark.parametrize(
    "change",
    [
        lambda o: Options(o.pki, o.data, host="auth.bas.psc.esante.gouv.fr"),
        lambda o: Options(o.pki, o.data, redirect_uris=("https://vi1.mesimagesmedicales.fr/retour",)),
    ],
)
def test_a_national_host_name_is_refused(keys: Path, tmp_path: Path, change: Callable[[Options], Options]) -> None:
    with pytest.raises(ProductionName):
        start(change(Options(keys, tmp_path)))


def test_the_process_starts_with_the_launchers_options_and_ends_on_sigterm(keys: Path, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "sandbox.psc_server", "--port", "0", "--wallet-port", "0", "--admin-port", "0"]
    argv += ["--pki", str(keys), "--data", str(tmp_path), "--redirect-uri", RETURN, "--redirect-uri", OTHER_RETURN]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(4)]
        process.terminate()
        assert process.wait(10) == 0
    assert "SIMULATEUR" in lines[0]
    assert lines[1].strip().endswith("/auth/realms/esante-wallet")
    assert lines[3].strip().startswith("http://127.0.0.1:")
    registered = json.loads((tmp_path / "clients.json").read_text())[0]
    assert registered["redirect_uris"] == [RETURN, OTHER_RETURN]


def test_secrets_do_not_show_in_a_key(bench: Bench) -> None:
    assert "private" not in repr(bench.running.realm._keys)
