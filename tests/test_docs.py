# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.docs_configuration import page

REPOSITORY = Path(__file__).resolve().parents[1]
DOCUMENTS = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md"), REPOSITORY / "viewer/README.md"]


def test_the_configuration_page_shows_what_the_code_reads() -> None:
    path = REPOSITORY / "docs/configuration.md"
    if os.environ.get("DRIMBOX_UPDATE_DOCS"):
        path.write_text(page(), "utf-8")
    assert path.read_text("utf-8") == page()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_links_between_documents_resolve(document: Path) -> None:
    text = document.read_text("utf-8")
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", text):
        assert (document.parent / target).exists(), target


def test_every_source_file_says_its_licence() -> None:
    folders = ("plugin", "sandbox", "tests", "viewer", "requirements", "typings")
    files = [f for folder in folders for f in (REPOSITORY / folder).rglob("*.py*") if f.suffix in (".py", ".pyi")]
    missing = [str(f) for f in files if "SPDX-License-Identifier: AGPL-3.0-or-later" not in f.read_text("utf-8")[:200]]
    assert missing == []


def test_every_package_of_the_list_is_named_once() -> None:
    lines = (REPOSITORY / "docker/packages.txt").read_text().splitlines()
    names = [line for line in lines if line and not line.startswith(("#", "["))]
    assert len(names) == len(set(names))


def test_the_launcher_document_tells_every_verb() -> None:
    text = (REPOSITORY / "docs/launcher.md").read_text("utf-8")
    launcher = (REPOSITORY / "drimbox").read_text("utf-8")
    verbs = re.findall(r'"(\w+)": cmd_', launcher) + re.findall(r'"(\w+)": "drimbox|sandbox|tests', launcher)
    assert len(verbs) > 5
    for verb in filter(None, verbs):
        assert f"`{verb}" in text, verb
