# SPDX-License-Identifier: AGPL-3.0-or-later
"""Makes docs/configuration.md from the typed configuration: what the code reads is what the page shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from drimbox.config import DrimboxConfig, Section
from drimbox.site import Face

HEAD = """# Configuration

Generated from `plugin/config.py` (`DRIMBOX_UPDATE_DOCS=1 ./drimbox test tests/test_docs.py` rewrites it).

The section `"DrimBox"` of Orthanc's configuration. In the public images each key is also a variable:
`DrimBox.Mllp.Port` is `ORTHANC__DRIM_BOX__MLLP__PORT`. A key that is unknown, of a wrong type or that contradicts
another refuses the start with a sentence that names it. Durations are in the unit of the key's name; paths are
absolute.

The appliance takes a *site file* (`./drimbox up --site FILE`) with four keys: `Orthanc` (any key of Orthanc, laid
over `orthanc-config/appliance/orthanc.json`), `Faces` (below), `DrimBox` (this section), `Authorities` (PEM of the
authorities of the faces, told by `status`).
"""


def _type(annotation: Any) -> str:
    choices = get_args(annotation)
    if choices and all(isinstance(c, str) for c in choices):
        return " or ".join(f"`{c}`" for c in choices)
    text = getattr(annotation, "__name__", str(annotation)) if not choices else str(annotation)
    names = {"str": "text", "int": "integer", "float": "number", "bool": "true or false", "Path": "path"}
    if "Path" in text:
        return "path"
    return names.get(text, "list of texts" if "tuple" in text else text)


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "(required)"
    value = field.default
    if value is None or value == "":
        return ""
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, tuple):
        value = list(value)
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def _table(section: type[Section], prefix: str) -> list[str]:
    lines = ["| key | type | default | |", "|---|---|---|---|"]
    for field in section.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            continue
        description = (field.description or "").replace("|", "\\|")
        lines.append(f"| `{prefix}{field.alias}` | {_type(field.annotation)} | {_default(field)} | {description} |")
    return lines


def page() -> str:
    """The whole page."""
    lines = [HEAD, "## DrimBox", "", *_table(DrimboxConfig, ""), ""]
    for field in DrimboxConfig.model_fields.values():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Section):
            lines += [
                f"## {field.alias}",
                "",
                str(section.__doc__).split("\n")[0],
                "",
                *_table(section, f"{field.alias}."),
            ]
            lines.append("")
    lines += ["## Faces.Db, Faces.Vi, Faces.Conso, Faces.Admin", "", "One server block of nginx each.", ""]
    lines += [*_table(Face, ""), ""]
    return "\n".join(lines)
