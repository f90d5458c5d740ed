# SPDX-License-Identifier: AGPL-3.0-or-later
"""The XML parser reads what is sound and refuses every known bomb, quickly."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drimbox.errors import DocumentError
from drimbox.xml_safe import MAXIMUM_ATTRIBUTES, MAXIMUM_DEPTH, local_name, parse_xml

_LAUGHS = (
    b'<!DOCTYPE a [<!ENTITY x "ha">' + b"".join(b'<!ENTITY x%d "&x;&x;">' % i for i in range(20)) + b"]><a>&x19;</a>"
)


def _reason(data: bytes, **limits: int) -> str:
    start = time.monotonic()
    with pytest.raises(DocumentError) as caught:
        parse_xml(data, **limits)
    assert time.monotonic() - start < 5, "a refusal must be quick"
    return caught.value.reason


@pytest.mark.parametrize(
    "data",
    [
        b"<a>\xc3\xa9</a>",
        b"\xef\xbb\xbf<a>\xc3\xa9</a>",
        b"\r\n \xef\xbb\xbf \n<?xml version='1.0' encoding='utf-8'?><a>\xc3\xa9</a>",
        b"<?xml version='1.0' encoding='iso-8859-15'?><a>\xe9</a>",
        b"<?xml version='1.0' encoding='windows-1252'?><!-- c --><?pi x?><a>\xe9</a>",
        "<?xml version='1.0' encoding='utf-16'?><a>é</a>".encode("utf-16"),
    ],
)
def test_encodings_marks_and_comments_before_the_root_are_read(data: bytes) -> None:
    assert parse_xml(data).text == "é"


@pytest.mark.parametrize(
    "data",
    [
        _LAUGHS,
        b"<!DOCTYPE a><a/>",
        b'<!DOCTYPE a SYSTEM "http://127.0.0.1:9/x.dtd"><a/>',
        b'<!DOCTYPE a [<!ENTITY f SYSTEM "file:///etc/passwd">]><a>&f;</a>',
        b'<!DOCTYPE a [<!ENTITY % p SYSTEM "file:///etc/passwd"> %p;]><a/>',
        "<?xml version='1.0' encoding='utf-16'?><!DOCTYPE a><a/>".encode("utf-16"),
    ],
)
def test_any_doctype_is_refused(data: bytes) -> None:
    assert _reason(data) == "xml-doctype"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"   \n",
        b"<a>",
        b"<a></b>",
        b"plain text",
        b"<a>&undeclared;</a>",
        b"<a b='1' b='2'/>",
        b"<x:a/>",
        b"<a/><b/>",
        b"<a>\xe9</a>",
        b"<?xml version='1.0' encoding='utf-7'?>+ADw-a/+AD4-",
        b"<?xml version='1.0' encoding='no-such'?><a/>",
        b"<?xml version='1.0' encoding='shift_jis'?><a/>",
    ],
)
def test_what_is_not_wellformed_is_refused(data: bytes) -> None:
    assert _reason(data) == "xml-not-wellformed"


def test_depth_is_bounded_exactly() -> None:
    parse_xml(b"<a>" * MAXIMUM_DEPTH + b"</a>" * MAXIMUM_DEPTH)
    assert _reason(b"<a>" * (MAXIMUM_DEPTH + 1) + b"</a>" * (MAXIMUM_DEPTH + 1)) == "xml-too-deep"
    assert _reason(b"<a>" * 1_000_000) == "xml-too-deep"


def test_attributes_are_bounded_exactly() -> None:
    def element(count: int) -> bytes:
        return b"<a " + b" ".join(b"a%d='>'" % i for i in range(count)) + b"/>"

    assert len(parse_xml(element(MAXIMUM_ATTRIBUTES)).attrib) == MAXIMUM_ATTRIBUTES
    assert _reason(element(MAXIMUM_ATTRIBUTES + 1)) == "xml-too-large"
    assert _reason(element(300_000)) == "xml-too-large"


def test_prefixes_in_scope_are_bounded() -> None:
    level = b"<a " + b" ".join(b"xmlns:p%d='u'" % i for i in range(100)) + b">"
    assert _reason(level * 6 + b"</a>" * 6) == "xml-too-large"
    parse_xml(b"<r>" + (level + b"</a>") * 50 + b"</r>")


def test_nodes_are_bounded() -> None:
    assert _reason(b"<a>" + b"<b/>" * 500_000 + b"</a>") == "xml-too-large"
    assert _reason(b"<a>" + b"<!---->" * 500_000 + b"</a>") == "xml-too-large"


def test_bytes_are_bounded_exactly() -> None:
    data = b"<a>" + b"x" * 100 + b"</a>"
    parse_xml(data, maximum_bytes=len(data))
    assert _reason(data, maximum_bytes=len(data) - 1) == "xml-too-large"


def test_a_text_node_over_ten_megabytes_is_read() -> None:
    assert len(parse_xml(b"<a>" + b"A" * 11_000_000 + b"</a>").text or "") == 11_000_000


def test_the_refusal_never_quotes_the_document() -> None:
    with pytest.raises(DocumentError) as caught:
        parse_xml(b"<a><SECRETNAME></a>")
    assert "SECRET" not in str(caught.value)


def test_local_name_of_elements_and_comments() -> None:
    root = parse_xml(b"<x:a xmlns:x='u'><!-- c --></x:a>")
    assert local_name(root) == "a"
    assert local_name(root[0]) == ""


def test_no_other_xml_parser_is_called_in_the_product() -> None:
    for module in (Path(__file__).resolve().parent.parent / "plugin").glob("*.py"):
        if module.name == "xml_safe.py":
            continue
        source = module.read_text(encoding="utf-8")
        source = source.replace('etree.fromstring(b"', "")  # our own text
        for forbidden in ("etree.fromstring", "etree.parse(", "etree.XML(", "etree.XMLParser", "minidom", "xml.etree"):
            assert forbidden not in source, f"{module.name} calls {forbidden}"


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.text(alphabet="<>/&;!-[]?ab='\" ", max_size=60).map(str.encode)))
def test_any_bytes_are_read_or_refused_by_our_own_error(data: bytes) -> None:
    with suppress(DocumentError):
        assert parse_xml(data).tag
