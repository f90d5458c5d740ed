# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from drimbox.config import DrimboxConfig, Section, parse_config
from drimbox.errors import ConfigurationError


def keys(section: type[Section] = DrimboxConfig, path: str = "DrimBox") -> Iterator[tuple[str, str, Any]]:
    """Path, name and field of every key."""
    for name, field in section.model_fields.items():
        alias = str(field.alias)
        yield f"{path}.{alias}", name, field
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from keys(kind, f"{path}.{alias}")


KEYS = list(keys())
DMP = {
    "Url": "https://dmp.example.test/services/",
    "ClientCertificate": "/c.pem",
    "ClientKey": "/c.key",
    "SignatureCertificate": "/s.pem",
    "SignatureKey": "/s.key",
    "TrustFile": "/t.pem",
    "StructureId": "1990000001",
    "HomologationNumber": "H",
    "SourceId": "1.2.3",
}


def refused(raw: dict[str, Any]) -> str:
    with pytest.raises(ConfigurationError) as caught:
        parse_config(raw)
    return str(caught.value)


def test_an_empty_section_is_good() -> None:
    config = parse_config({})
    assert config.mllp.port == 2575
    assert config.messages.processing_ids == ("P",)
    assert not config.sandbox


@pytest.mark.parametrize(("path", "_name", "field"), KEYS, ids=[k[0] for k in KEYS])
def test_every_key_has_a_description(path: str, _name: str, field: Any) -> None:
    assert field.description, path
    assert field.description.endswith("."), path


@pytest.mark.parametrize(("path", "_name", "_field"), KEYS, ids=[k[0] for k in KEYS])
def test_every_key_is_reached_by_the_images_environment_variables(path: str, _name: str, _field: Any) -> None:
    key = path.rpartition(".")[2]
    assert re.fullmatch(r"[A-Z][A-Za-z0-9]*", key)
    assert not re.search(r"[A-Z]{2}", key), "two capitals in a row are lost in ORTHANC__DRIM_BOX__…"


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        ({"Mllp": {"Prot": 1}}, "DrimBox.Mllp.Prot"),
        ({"Mlpp": {"Port": 1}}, "DrimBox.Mlpp"),
        ({"Dmp": {"URL": "https://x"}}, "DrimBox.Dmp.URL"),
        ({"Psc": {"ClientSecret": "s3cret"}}, "DrimBox.Psc.ClientSecret"),
    ],
)
def test_an_unknown_key_is_refused_by_its_full_name(raw: dict[str, Any], key: str) -> None:
    told = refused(raw)
    assert told.startswith(f"{key}: unknown key; see docs/configuration.md")
    assert "s3cret" not in told


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        ({"Mllp": {"Port": "abc"}}, "DrimBox.Mllp.Port"),
        ({"Mllp": {"Port": 65536}}, "DrimBox.Mllp.Port"),
        ({"Mllp": {"MaximumBytes": 10}}, "DrimBox.Mllp.MaximumBytes"),
        ({"Http": {"Threads": 0}}, "DrimBox.Http.Threads"),
        ({"Manifest": {"UidRoot": "1.2.a"}}, "DrimBox.Manifest.UidRoot"),
        ({"Manifest": {"TimeZone": "Europe/London"}}, "DrimBox.Manifest.TimeZone"),
        ({"Messages": {"MissingRestrictions": "perhaps"}}, "DrimBox.Messages.MissingRestrictions"),
        ({"Outbox": {"LeaseSeconds": 0}}, "DrimBox.Outbox.LeaseSeconds"),
        ({"Psc": {"SkewSeconds": 61}}, "DrimBox.Psc.SkewSeconds"),
        ({"Sandbox": "perhaps"}, "DrimBox.Sandbox"),
        ({"Mllp": "on"}, "DrimBox.Mllp"),
    ],
)
def test_a_wrong_value_is_refused_by_its_full_name(raw: dict[str, Any], key: str) -> None:
    assert refused(raw).startswith(f"{key}: ")


def test_every_wrong_key_is_told_at_once() -> None:
    told = refused({"Mllp": {"Prot": 1, "Port": -1}, "Http": {"Threads": 1}})
    assert [part.split(":")[0] for part in told.split("; ") if part.startswith("DrimBox.")] == [
        "DrimBox.Http.Threads",
        "DrimBox.Mllp.Port",
        "DrimBox.Mllp.Prot",
    ]


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        ({"Dmp": DMP | {"Url": "http://dmp.example.test/"}}, "Dmp.Url"),
        ({"Wado": {"Root": "http://db.example.test/"}, "Sandbox": True}, "Wado.Root"),
        ({"Psc": {"Issuer": "psc.example.test"}}, "Psc.Issuer"),
        ({"Viewer": {"PublicUrl": "ftp://x"}}, "Viewer.PublicUrl"),
        *(({"Dmp": {k: v for k, v in DMP.items() if k != key}}, f"Dmp.{key}") for key in DMP if key != "Url"),
        ({"Wado": {"Root": "https://db.example.test/wado-rs"}}, "Whitelist.TrustFile"),
        ({"Messages": {"ProcessingIds": ["P", "X"]}}, "Messages.ProcessingIds"),
        ({"Psc": {"Algorithms": ["RS256", "HS256"]}}, "Psc.Algorithms"),
        ({"Psc": {"Algorithms": ["none"]}}, "Psc.Algorithms"),
        ({"Psc": {"Algorithms": ["None"]}}, "Psc.Algorithms"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_contradictory_or_unsafe_settings_are_refused_with_the_key(raw: dict[str, Any], key: str) -> None:
    told = refused(raw)
    assert told.startswith("DrimBox: ")
    assert key in told


def test_what_is_complete_is_accepted() -> None:
    config = parse_config(
        {
            "Dmp": DMP,
            "Wado": {"Root": "https://db.example.test/wado-rs"},
            "Whitelist": {"TrustFile": "/root.pem"},
            "Psc": {"Issuer": "https://psc.example.test/realms/x"},
            "Viewer": {"PublicUrl": "https://vi.example.test"},
        }
    )
    assert config.dmp.structure_id == "1990000001"
    assert (
        parse_config({"Wado": {"Root": "https://db.example.test/wado-rs"}, "Sandbox": True}).whitelist.trust_file
        is None
    )


def test_a_configuration_does_not_change_once_read() -> None:
    config = parse_config({})
    with pytest.raises(ValueError, match="frozen"):
        config.mllp.port = 1  # type: ignore[misc]
