# SPDX-License-Identifier: AGPL-3.0-or-later
"""Access tokens: the abuse list, each with its reason, and introspection."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from drimbox.config import PscSection
from drimbox.errors import DrimboxError, ServiceRefused, ServiceUnavailable, TokenError
from drimbox.tokens import TokenVerifier, bearer, matches_certificate
from tests import guard_data as g
from tests.conftest import FakeClock


class Psc:
    """An `Introspection` that says yes, or what it is told to."""

    def __init__(self, answer: Mapping[str, Any] | DrimboxError | None = None) -> None:
        self.answer = answer
        self.calls = 0

    def introspect(self, token: str) -> Mapping[str, Any]:
        self.calls += 1
        if isinstance(self.answer, DrimboxError):
            raise self.answer
        if self.answer is not None:
            return self.answer
        body = token.split(".")[1]
        return {"active": True, **json.loads(base64.urlsafe_b64decode(body + "=="))}


def verifier(
    psc: Psc | None = None, keys: g.Keys | None = None, clock: FakeClock | None = None, **settings: Any
) -> TokenVerifier:
    section = PscSection.model_validate(g.PSC.model_dump() | settings)
    return TokenVerifier(section, keys or g.Keys(), psc or Psc(), clock or FakeClock(g.NOW))


def reason(token: str, **settings: Any) -> str:
    with pytest.raises(TokenError) as caught:
        verifier(**settings).check_locally(token)
    assert caught.value.status == 401
    return caught.value.reason


def test_a_good_token_gives_its_claims() -> None:
    claims = verifier().verify([f"Bearer {g.token()}"])
    assert (claims.subject, claims.azp, claims.acr, claims.cnf) == ("899700000001", "other-drimbox", "eidas1", None)
    assert (claims.expires_at - g.NOW).total_seconds() == 110
    assert claims.jti_hash == hashlib.sha256(g.claims()["jti"].encode()).hexdigest()[:32]
    assert g.claims()["jti"] not in repr(claims)


# --- the header ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], "token-missing"),
        ([""], "token-missing"),
        (["Bearer"], "token-malformed"),
        (["Bearer "], "token-malformed"),
        (["Basic dXNlcjpwYXNz"], "token-malformed"),
        (["Bearer a.b.c", "Bearer a.b.c"], "token-malformed"),
        (["Bearer a.b.c, Bearer d.e.f"], "token-malformed"),
        (["Bearer a.b.c d"], "token-malformed"),
        (["a.b.c"], "token-malformed"),
    ],
)
def test_exactly_one_bearer_is_wanted(values: list[str], expected: str) -> None:
    with pytest.raises(TokenError) as caught:
        bearer(values)
    assert caught.value.reason == expected


def test_the_scheme_is_read_whatever_its_case() -> None:
    assert bearer(["bearer  a.b.c"]) == "a.b.c"


# --- G2: what a token may try ----------------------------------------------------------------------------------------

NOW = int(g.NOW.timestamp())
PUBLIC_PEM = g.key(4).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
GOOD = g.token()
DOUBLED = b'{"alg":"none","alg":"RS256","kid":"key-1"}'
HEAD, BODY, SIGNATURE = GOOD.split(".")


def hmac_with_public_key() -> str:
    """HS256 keyed by the public key, made by hand: no library does it any more."""
    import hmac as mac

    signed = f"{g.segment({'alg': 'HS256', 'kid': 'key-1', 'typ': 'JWT'})}.{BODY}"
    return f"{signed}.{g.segment(mac.new(PUBLIC_PEM, signed.encode(), 'sha256').digest())}"


ABUSE: dict[str, tuple[str, str]] = {
    "alg none": (f"{g.segment({'alg': 'none', 'kid': 'key-1'})}.{BODY}.", "token-malformed"),
    "alg none, signed": (f"{g.segment({'alg': 'none', 'kid': 'key-1'})}.{BODY}.{SIGNATURE}", "token-algorithm"),
    "alg None": (f"{g.segment({'alg': 'None', 'kid': 'key-1'})}.{BODY}.{SIGNATURE}", "token-algorithm"),
    "no alg": (f"{g.segment({'kid': 'key-1'})}.{BODY}.{SIGNATURE}", "token-algorithm"),
    "alg is a list": (f"{g.segment({'alg': ['RS256'], 'kid': 'key-1'})}.{BODY}.{SIGNATURE}", "token-algorithm"),
    "HS256 with the public key": (hmac_with_public_key(), "token-algorithm"),
    "an algorithm that is not configured": (g.token(algorithm="PS256"), "token-algorithm"),
    "unknown crit": (g.token(headers={"crit": ["exp"], "exp": 1}), "token-algorithm"),
    "empty crit": (g.token(headers={"crit": []}), "token-algorithm"),
    "embedded jwk": (g.token(5, headers={"jwk": g.jwk(5)}), "token-algorithm"),
    "jku": (g.token(5, headers={"jku": "https://evil.example.test/jwks"}), "token-algorithm"),
    "x5u": (g.token(5, headers={"x5u": "https://evil.example.test/x.pem"}), "token-algorithm"),
    "x5c": (g.token(5, headers={"x5c": ["AAAA"]}), "token-algorithm"),
    "b64 false": (f"{g.segment({'alg': 'RS256', 'kid': 'key-1', 'b64': False})}.{BODY}.{SIGNATURE}", "token-algorithm"),
    "compressed": (g.token(headers={"zip": "DEF"}), "token-algorithm"),
    "huge p2c": (g.token(headers={"p2c": 2**31}), "token-algorithm"),
    "kid with a path": (g.token(headers={"kid": "../../etc/passwd"}), "token-key-unknown"),
    "kid with SQL": (g.token(headers={"kid": "' OR 1=1 --"}), "token-key-unknown"),
    "kid of 1000 characters": (g.token(headers={"kid": "k" * 1000}), "token-key-unknown"),
    "no kid": (f"{g.segment({'alg': 'RS256'})}.{BODY}.{SIGNATURE}", "token-key-unknown"),
    "kid is a number": (f"{g.segment({'alg': 'RS256', 'kid': 1})}.{BODY}.{SIGNATURE}", "token-key-unknown"),
    "signed by somebody else": (g.token(5), "token-signature"),
    "signature of another token": (f"{HEAD}.{BODY}.{g.token(jti='x').split('.')[2]}", "token-signature"),
    "signature cut": (GOOD[:-4], "token-signature"),
    "claims exchanged": (f"{HEAD}.{g.segment(g.claims(SubjectNameID='8000'))}.{SIGNATURE}", "token-signature"),
    "1 MB": (f"{HEAD}.{'A' * 1_000_000}.{SIGNATURE}", "token-malformed"),
    "8 KiB and one": ("a." + "A" * (8 * 1024 - 3) + ".b", "token-malformed"),
    "JWE of five segments": (f"{HEAD}.{BODY}.{BODY}.{BODY}.{SIGNATURE}", "token-malformed"),
    "two segments": (f"{HEAD}.{BODY}", "token-malformed"),
    "padding in base64": (f"{HEAD}=.{BODY}.{SIGNATURE}", "token-malformed"),
    "standard base64": (f"{HEAD}+/.{BODY}.{SIGNATURE}", "token-malformed"),
    "header is a list": (f"{g.segment([1])}.{BODY}.{SIGNATURE}", "token-malformed"),
    "header is not JSON": (f"{g.segment(b'{')}.{BODY}.{SIGNATURE}", "token-malformed"),
    "header is not UTF-8": (f"{g.segment(bytes([255, 254]))}.{BODY}.{SIGNATURE}", "token-malformed"),
    "header nested deep": (f"{g.segment(b'[' * 4000)}.{BODY}.{SIGNATURE}", "token-malformed"),
    "doubled alg": (f"{g.segment(DOUBLED)}.{BODY}.{SIGNATURE}", "token-malformed"),
    "expired": (g.token(iat=NOW - 200, exp=NOW - 31), "token-expired"),
    "not valid before tomorrow": (g.token(nbf=NOW + 86400), "token-not-yet-valid"),
    "issued in the future": (g.token(iat=NOW + 60, exp=NOW + 120), "token-not-yet-valid"),
    "another issuer": (g.token(iss="https://evil.example.test"), "token-issuer"),
    "issuer with a slash more": (g.token(iss=g.ISSUER + "/"), "token-issuer"),
    "no issuer": (g.token(iss=None), "token-issuer"),
    "a refresh token": (g.token(typ="Refresh"), "token-type"),
    "an identity token": (g.token(typ="ID"), "token-type"),
    "no type": (g.token(typ=None), "token-type"),
    "a life of a day": (g.token(exp=NOW + 86400), "token-lifetime"),
    "ends before it begins": (g.token(iat=NOW + 10, exp=NOW), "token-lifetime"),
    "no end": (g.token(exp=None), "token-claims"),
    "no begin": (g.token(iat=None), "token-claims"),
    "end is a text": (g.token(exp=str(NOW + 100)), "token-claims"),
    "end is true": (g.token(exp=True), "token-claims"),
    "level too low": (g.token(acr="eidas0"), "token-level"),
    "no level": (g.token(acr=None), "token-level"),
    "level is a list": (g.token(acr=["eidas1"]), "token-level"),
    "no scope": (g.token(scope=None), "token-scope"),
    "another scope": (g.token(scope="profile"), "token-scope"),
    "no client": (g.token(azp=None), "token-claims"),
    "an empty client": (g.token(azp=""), "token-claims"),
    "no person": (g.token(SubjectNameID=None), "token-claims"),
    "a person with line ends": (g.token(SubjectNameID="8\r\nX: y"), "token-claims"),
    "no jti": (g.token(jti=None), "token-claims"),
    "a confirmation that says nothing": (g.token(cnf={"jkt": "x"}), "token-binding"),
}  # fmt: skip


@pytest.mark.parametrize("case", ABUSE)
def test_each_abuse_is_refused_with_its_reason(case: str) -> None:
    token, expected = ABUSE[case]
    assert reason(token) == expected


def test_an_infinite_or_doubled_claim_is_refused_though_well_signed() -> None:
    for body in (b'{"exp":1e999}', b'{"exp":NaN}', b'{"sub":"a","sub":"b"}', b"[]"):
        signed = jwt.PyJWS().encode(body, g.key(4), algorithm="RS256", headers={"kid": "key-1"})
        assert reason(signed) in {"token-malformed", "token-issuer"}


def test_clocks_may_differ_by_the_configured_seconds() -> None:
    assert verifier().check_locally(g.token(iat=NOW - 120, exp=NOW - 29))
    assert verifier().check_locally(g.token(iat=NOW + 29, exp=NOW + 120))
    assert reason(g.token(iat=NOW - 120, exp=NOW - 29), skew_seconds=0) == "token-expired"


def test_a_level_above_the_wanted_one_is_accepted() -> None:
    assert verifier().check_locally(g.token(acr="eidas2")).acr == "eidas2"
    assert reason(g.token(acr="eidas1"), acr="eidas2") == "token-level"
    assert verifier(acr="eidas2").check_locally(g.token(acr="eidas3"))


def test_a_structure_identifier_is_a_well_formed_person() -> None:
    assert verifier().check_locally(g.token(SubjectNameID="318751275100020/0000012345")).subject.startswith("3187")


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (g.jwk(alg="RS512"), "token-algorithm"),
        (g.jwk(use="enc"), "token-key-unknown"),
        (g.jwk(kty="EC"), "token-key-unknown"),
        (g.jwk(n="", alg=""), "token-signature"),
        (g.jwk(alg="", use=""), None),
    ],
)
def test_a_published_key_serves_only_for_what_it_is(key: dict[str, Any], expected: str | None) -> None:
    keys = g.Keys(key)
    if expected is None:
        assert verifier(keys=keys).check_locally(GOOD)
    else:
        assert reason(GOOD, keys=keys) == expected


def test_other_algorithms_work_where_configured() -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    key = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(private.public_key())) | {"kid": "key-1"}
    token = jwt.encode(g.claims(), private, algorithm="ES256", headers={"kid": "key-1"})
    assert verifier(keys=g.Keys(key), algorithms=("RS256", "ES256")).check_locally(token)
    assert reason(token, keys=g.Keys(key)) == "token-algorithm"
    ps = g.token(algorithm="PS256")
    assert verifier(keys=g.Keys(g.jwk(alg="")), algorithms=("PS256",)).check_locally(ps)


def test_without_a_configured_issuer_no_token_is_good() -> None:
    assert reason(g.token(iss=""), issuer="") == "token-issuer"


@given(st.text(max_size=200))
def test_any_text_is_refused(token: str) -> None:
    with pytest.raises(TokenError):
        verifier().check_locally(token)


@given(st.integers(0, len(GOOD) - 1), st.sampled_from("abcXYZ019-_."))
def test_a_token_with_one_character_changed_is_refused(position: int, character: str) -> None:
    changed = GOOD[:position] + character + GOOD[position + 1 :]
    if changed == GOOD:
        return
    try:
        claims = verifier().check_locally(changed)
    except TokenError:
        return
    # the last character of a base64 segment may hold unused bits: same bytes, same token
    assert position == len(GOOD) - 1
    assert claims == verifier().check_locally(GOOD)


# --- introspection ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"active": False}, "token-inactive"),
        ({}, "token-inactive"),
        ({"active": "true"}, "token-inactive"),
        ({"active": 1}, "token-inactive"),
        ({"active": True}, "token-introspection-mismatch"),
        ({**g.claims(), "active": True, "sub": "other"}, "token-introspection-mismatch"),
        ({**g.claims(), "active": True, "azp": "other"}, "token-introspection-mismatch"),
        ({**g.claims(), "active": True, "jti": "other"}, "token-introspection-mismatch"),
        ({**g.claims(), "active": True, "SubjectNameID": "8999"}, "token-introspection-mismatch"),
    ],
)
def test_psc_must_say_active_of_the_same_token(answer: dict[str, Any], expected: str) -> None:
    with pytest.raises(TokenError) as caught:
        verifier(Psc(answer)).verify([f"Bearer {GOOD}"])
    assert caught.value.reason == expected


@pytest.mark.parametrize("error", [ServiceUnavailable("down"), ServiceRefused("HTTP 401")])
def test_without_psc_the_door_stays_shut(error: DrimboxError) -> None:
    with pytest.raises(DrimboxError) as caught:
        verifier(Psc(error)).verify([f"Bearer {GOOD}"])
    assert (caught.value.status, caught.value.reason) == (503, "psc-unavailable")


def test_without_the_issuers_keys_the_door_stays_shut() -> None:
    class NoKeys(g.Keys):
        def key(self, kid: str) -> Mapping[str, Any] | None:
            raise ServiceUnavailable("down")

    with pytest.raises(DrimboxError) as caught:
        verifier(keys=NoKeys()).verify([f"Bearer {GOOD}"])
    assert (caught.value.status, caught.value.reason) == (503, "psc-unavailable")


def test_psc_is_not_asked_about_a_token_that_is_wrong_by_itself() -> None:
    psc = Psc()
    with pytest.raises(TokenError):
        verifier(psc).verify([f"Bearer {g.token(5)}"])
    assert psc.calls == 0


def test_a_yes_is_believed_thirty_seconds_and_a_no_never() -> None:
    psc, clock = Psc(), FakeClock(g.NOW)
    subject = verifier(psc, clock=clock)
    for _ in range(3):
        subject.verify([f"Bearer {GOOD}"])
    assert psc.calls == 1
    clock.advance(29)
    subject.verify([f"Bearer {GOOD}"])
    assert psc.calls == 1
    clock.advance(2)
    psc.answer = {"active": False}
    for _ in range(2):
        with pytest.raises(TokenError):
            subject.verify([f"Bearer {GOOD}"])
    assert psc.calls == 3


def test_a_yes_dies_with_the_token() -> None:
    """G6: a verdict kept past the end of what it was about."""
    psc, clock = Psc(), FakeClock(g.NOW)
    subject = verifier(psc, clock=clock, skew_seconds=0)
    token = g.token(exp=NOW + 10)
    subject.verify([f"Bearer {token}"])
    clock.advance(11)
    with pytest.raises(TokenError) as caught:
        subject.verify([f"Bearer {token}"])
    assert caught.value.reason == "token-expired"


def test_a_token_within_the_skew_after_its_end_is_asked_about_each_time() -> None:
    psc = Psc()
    subject = verifier(psc)
    token = g.token(iat=NOW - 100, exp=NOW - 5)
    subject.verify([f"Bearer {token}"])
    subject.verify([f"Bearer {token}"])
    assert psc.calls == 2


def test_the_memory_of_tokens_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drimbox.tokens._CACHE_SIZE", 3)
    psc = Psc()
    subject = verifier(psc)
    tokens = [g.token(jti=f"j{n}") for n in range(5)]
    for token in tokens:
        subject.verify([f"Bearer {token}"])
    subject.verify([f"Bearer {tokens[4]}"])
    assert psc.calls == 5
    subject.verify([f"Bearer {tokens[0]}"])
    assert psc.calls == 6


# --- sender constraint -----------------------------------------------------------------------------------------------

DIGEST = hashlib.sha256(g.listed().certificate.public_bytes(Encoding.DER)).digest()
RFC8705 = base64.urlsafe_b64encode(DIGEST).rstrip(b"=").decode()
NATIONAL = base64.b64encode(DIGEST.hex().encode()).decode()


def test_both_written_forms_of_the_thumbprint_are_known() -> None:
    assert (len(RFC8705), len(NATIONAL)) == (43, 88)
    for form in (RFC8705, NATIONAL):
        assert matches_certificate(form, g.listed().certificate)
        assert not matches_certificate(form, g.unlisted().certificate)
        assert not matches_certificate(form[:-1] + "é", g.listed().certificate)
    assert not matches_certificate("", g.listed().certificate)


def test_a_bound_token_is_checked_only_where_configured() -> None:
    token = g.token(cnf={"x5t#S256": RFC8705})
    other, mine = g.unlisted().certificate, g.listed().certificate
    assert verifier().verify([f"Bearer {token}"], other).cnf == RFC8705
    strict = verifier(certificate_binding="check")
    assert strict.verify([f"Bearer {token}"], mine)
    assert strict.verify([f"Bearer {GOOD}"], other)
    for certificate in (other, None):
        with pytest.raises(TokenError) as caught:
            strict.verify([f"Bearer {token}"], certificate)
        assert caught.value.reason == "token-binding"


def test_a_yes_for_one_certificate_is_no_yes_for_another() -> None:
    strict = verifier(certificate_binding="check")
    token = g.token(cnf={"x5t#S256": NATIONAL})
    assert strict.verify([f"Bearer {token}"], g.listed().certificate)
    with pytest.raises(TokenError):
        strict.verify([f"Bearer {token}"], g.unlisted().certificate)
