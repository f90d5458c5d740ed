# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

import pytest

from drimbox.request_filter import RequestFilter, operator_rule

SECRET = b"s" * 40


def made() -> RequestFilter:
    return RequestFilter(SECRET, {"admin": operator_rule({"a"}), "vi": lambda path, *_: path == "/allowed"})


def headers(**more: str) -> dict[str, str]:
    return {"x-drimbox-proxy": SECRET.decode(), **{k.replace("_", "-"): v for k, v in more.items()}}


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"x-drimbox-proxy": ""},
        {"x-drimbox-proxy": "s" * 39},
        {"x-drimbox-proxy": "é" * 40},
        {"x-drimbox-face": "admin", "authorization": "Basic YTpi"},
    ],
)
def test_a_request_around_nginx_is_refused_whatever_it_asks(given: dict[str, str]) -> None:
    for path in (
        "/",
        "/allowed",
        "/system",
        "/instances",
        "/dicom-web/studies",
        "/tools/execute-script",
        "/app/explorer.html",
    ):
        assert not made().admit(path, "GET", given, {})


@pytest.mark.parametrize("face", ["", "db", "conso", "ADMIN", "other"])
def test_a_face_without_a_rule_reaches_nothing_of_orthanc(face: str) -> None:
    assert not made().admit("/system", "GET", headers(x_drimbox_face=face, authorization="Basic YTpi"), {})


def test_the_rule_of_the_face_decides() -> None:
    assert made().admit("/allowed", "GET", headers(x_drimbox_face="vi"), {})
    assert not made().admit("/system", "GET", headers(x_drimbox_face="vi"), {})


def test_the_operator_needs_the_credentials_that_orthanc_has_checked() -> None:
    assert made().admit("/system", "GET", headers(x_drimbox_face="admin", authorization="Basic YTpi"), {})
    assert not made().admit("/system", "GET", headers(x_drimbox_face="admin"), {})
    for credentials in ("Bearer YTpi", "Basic", "Basic !", "Basic Yjpi", "Basic " + "/w=="):
        assert not made().admit("/system", "GET", headers(x_drimbox_face="admin", authorization=credentials), {})
