# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import UID

from drimbox.errors import ConfigurationError
from drimbox.uids import is_uid, new_uid


def test_without_root_a_uid_is_a_uuid_under_2_25() -> None:
    uid = new_uid()
    assert uid.startswith("2.25.")
    assert is_uid(uid)


def test_the_source_is_injected_and_read_once() -> None:
    numbers = iter([7, 8])
    assert new_uid(source=lambda: next(numbers)) == "2.25.7"
    assert new_uid("1.2.3", source=lambda: next(numbers)) == "1.2.3.8"


def test_uids_differ_and_hold_enough_chance() -> None:
    drawn = {new_uid("1.2.250.1.59") for _ in range(2000)}
    assert len(drawn) == 2000
    assert min(len(uid.rpartition(".")[2]) for uid in drawn) > 30


@given(st.integers(0, 2**128 - 1), st.integers(1, 17))
def test_every_draw_is_valid_whatever_the_root_and_the_number(number: int, parts: int) -> None:
    root = ".".join(["1", "2", *["0"] * parts, "9"])[:39].rstrip(".")
    uid = new_uid(root, source=lambda: number)
    assert is_uid(uid)
    assert UID(uid).is_valid
    assert uid.startswith(f"{root}.")


@pytest.mark.parametrize("root", ["1.2.03", "1.2.", "abc", "1." + "1" * 38, "1.2 "])
def test_a_root_that_leaves_no_room_or_is_no_oid_is_refused(root: str) -> None:
    with pytest.raises(ConfigurationError, match="UidRoot"):
        new_uid(root)


@pytest.mark.parametrize("text", ["1.2", "0.0", "1.2.840.10008.5.1.4.1.1.88.59", "1." + "1" * 62])
def test_uids_are_recognised(text: str) -> None:
    assert is_uid(text)


@pytest.mark.parametrize(
    "text",
    ["", "1", ".1.2", "1.2.", "1..2", "1.02", "1.2\n", " 1.2", "1.2\0", "1.²", "1.٣", "1.2a", "1." + "1" * 63, "1.2/3"],
)
def test_everything_else_is_refused(text: str) -> None:
    assert not is_uid(text)
