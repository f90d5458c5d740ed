# SPDX-License-Identifier: AGPL-3.0-or-later
"""The stub `typings/orthanc.pyi` and the tests' double say of the module `orthanc` what the real one shows."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.orthanc_double import OrthancDouble

pytestmark = pytest.mark.system

STUB = Path(__file__).resolve().parents[2] / "typings" / "orthanc.pyi"
PLUGIN = "/usr/share/orthanc/plugins/libOrthancPython.so"
SCRIPT = """
import json, sys
import orthanc

wanted = json.loads({names!r})
found = {{}}
for name, members in wanted.items():
    real = getattr(orthanc, name, None)
    found[name] = {{
        "present": real is not None,
        "class": isinstance(real, type),
        "exception": isinstance(real, type) and issubclass(real, Exception),
        "members": {{m: [type(getattr(real, m, None)).__name__, getattr(real, m, None)] for m in members}},
    }}
strange = []
for text in ("nul \\0", "surrogate \\udc80"):
    try:
        orthanc.LogInfo(text)
    except Exception as error:
        strange.append(type(error).__name__)
try:
    orthanc.RestApiGet("/system")  # too early, on purpose
except orthanc.OrthancException as error:
    raised = [type(a).__name__ for a in error.args]
sys.stdout.write("\\nFOUND " + json.dumps([found, strange, raised]) + "\\n")
sys.stdout.flush()
raise SystemExit  # Orthanc ends where its script fails
"""


def public_names() -> dict[str, list[str]]:
    """Names of the stub, each with the constants of its class."""
    found: dict[str, list[str]] = {}
    for node in ast.parse(STUB.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = []
        elif isinstance(node, ast.ClassDef):
            found[node.name] = [
                n.target.id for n in node.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
            ]
    return found


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    orthanc = shutil.which("Orthanc")
    assert orthanc, "Orthanc belongs to the platform"
    folder = tmp_path_factory.mktemp("orthanc")
    script, configuration = folder / "probe.py", folder / "orthanc.json"
    script.write_text(SCRIPT.format(names=json.dumps(public_names())))
    configuration.write_text(
        json.dumps(
            {
                "StorageDirectory": str(folder / "storage"),
                "IndexDirectory": str(folder / "storage"),
                "Plugins": [PLUGIN],
                "PythonScript": str(script),
                "HttpServerEnabled": False,
                "DicomServerEnabled": False,
            }
        )
    )
    done = subprocess.run([orthanc, str(configuration)], capture_output=True, text=True, check=False, timeout=30)
    lines = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    assert lines, done.stderr[-2000:]
    return list(json.loads(lines[0].removeprefix("FOUND ")))


def test_the_real_module_has_every_name_of_the_stub(real: list[Any]) -> None:
    found = real[0]
    assert {name: f["present"] for name, f in found.items()} == dict.fromkeys(public_names(), True)
    assert found["OrthancException"]["exception"]


def test_the_constants_are_plain_integers_of_the_doubles_values(real: list[Any]) -> None:
    double = OrthancDouble().module()
    for name, members in public_names().items():
        for member in members:
            assert real[0][name]["members"][member] == ["int", getattr(getattr(double, name), member)], name


def test_the_double_has_exactly_the_names_of_the_stub() -> None:
    module = OrthancDouble().module()
    mine = {name for name in vars(module) if not name.startswith("__")}
    assert mine == set(public_names())
    for name, members in public_names().items():
        constants = [k for k in vars(getattr(module, name, object)) if k.isupper()] if members else []
        assert sorted(constants) == sorted(members)


def test_the_double_refuses_the_log_lines_that_the_real_one_refuses(real: list[Any]) -> None:
    double = OrthancDouble()
    mine = []
    for text in ("nul \0", "surrogate \udc80"):
        with pytest.raises(Exception, match="Bad types") as caught:
            double.LogInfo(text)
        mine.append(caught.type.__name__)
    assert real[1] == mine


def test_an_exception_of_the_real_module_carries_a_number_and_a_text(real: list[Any]) -> None:
    assert real[2] == ["int", "str"]
