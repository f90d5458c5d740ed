# SPDX-License-Identifier: AGPL-3.0-or-later
"""The build of the viewer, on a very small package in the shape of OHIF's."""

from __future__ import annotations

import gzip
import io
import json
import re
import subprocess
import tarfile
from pathlib import Path

import pytest

from viewer import build
from viewer.build import BuildError, Pin, assemble, fetch, fill, integrity_of, precompress, read_pins
from viewer.patches import PATCHES, Patch, PatchError, apply_patches, main_bundle

INDEX = """<!doctype html><html lang="en"><head><script>console.time("x"),window.PUBLIC_URL="/"</script>
<script src="/app-config.js"></script><script src="/init-service-worker.js"></script><script>inline()</script>
<script defer src="/app.bundle.0123456789abcdef.js"></script><link href="/app.bundle.css" rel="stylesheet"></head>
<body><div id="react-portal"></div><div id="root"></div></body></html>"""
FEW = (
    Patch("public-path", "*.js", '__webpack_require__.p = "/";', '__webpack_require__.p = "{assets}";', 2),
    Patch("fonts", "app.bundle.css", "url(/", "url({assets}", 1),
)


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    folder = tmp_path / "dist"
    files = {
        "index.html": INDEX,
        "app.bundle.0123456789abcdef.js": 'a();\r\n__webpack_require__.p = "/";',
        "12.bundle.fedcba9876543210.js": '__webpack_require__.p = "/"; été();',
        "12.bundle.fedcba9876543210.js.map": "{}",
        "app.bundle.css": "@font-face{src:url(/f.woff2)}",
        "app-config.js": "theirs",
        "sw.js": "importScripts('https://elsewhere.test')",
        "google.js": "x",
        "ort/model.wasm": "x",
        "assets/images/CT.png": "x",
        "assets/apple-touch-icon.png": "x",
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    return folder


def test_only_what_the_viewer_needs_is_kept(dist: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    counts = assemble(dist, out, "abc", FEW)
    assert counts == {"public-path": 2, "fonts": 1}
    kept = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    assert kept == {
        "index.html",
        "site/app-config.js",
        "site/boot.js",
        "site/drimbox-ext.js",
        "site/drimbox-mode.js",
        "site/logo.svg",
        "v-abc/12.bundle.fedcba9876543210.js",
        "v-abc/app.bundle.0123456789abcdef.js",
        "v-abc/app.bundle.css",
        "v-abc/assets/images/CT.png",
    }


def test_addresses_lie_below_the_sub_path_and_nothing_else_changes(dist: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assemble(dist, out, "abc", FEW)
    bundle = (out / "v-abc/app.bundle.0123456789abcdef.js").read_bytes()
    assert bundle == b'a();\r\n__webpack_require__.p = "/ohif/v-abc/";'
    assert (out / "v-abc/12.bundle.fedcba9876543210.js").read_text("utf-8").endswith("été();")
    assert (out / "v-abc/app.bundle.css").read_text() == "@font-face{src:url(/ohif/v-abc/f.woff2)}"


def test_the_document_has_no_inline_script_and_no_foreign_address(dist: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assemble(dist, out, "abc", FEW)
    index = (out / "index.html").read_text("utf-8")
    assert re.findall(r"<script[^>]*>", index) == [
        '<script src="/ohif/site/boot.js">',
        '<script src="/ohif/site/app-config.js">',
        '<script defer src="/ohif/v-abc/app.bundle.0123456789abcdef.js">',
    ]
    assert all(a.startswith("/ohif/") for a in re.findall(r'(?:src|href)="([^"]+)"', index))
    assert 'lang="fr"' in index
    assert "{{" not in index


def test_boot_sets_the_addresses_and_completes_the_french(dist: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assemble(dist, out, "abc", FEW)
    boot = (out / "site/boot.js").read_text("utf-8")
    assert 'window.PUBLIC_URL = "/ohif/v-abc/";' in boot
    assert 'window.drimboxPrefix = "/ohif/";' in boot
    assert '"localDateFormat": "DD/MM/YYYY"' in boot
    assert "« {{action}} » utilise" in boot  # a placeholder of OHIF's own, not ours


@pytest.mark.parametrize("patch", FEW, ids=lambda p: p.name)
def test_a_patch_that_no_longer_applies_stops_the_build_by_name(dist: Path, tmp_path: Path, patch: Patch) -> None:
    for path in dist.glob("*.*"):
        path.write_bytes(path.read_bytes().replace(patch.old.encode(), b"changed"))
    with pytest.raises(PatchError, match=rf"'{patch.name}': applied 0 times"):
        assemble(dist, tmp_path / "out", "abc", FEW)


def test_a_patch_that_applies_too_often_stops_the_build(dist: Path, tmp_path: Path) -> None:
    (dist / "new.js").write_text(FEW[0].old)
    with pytest.raises(PatchError, match=r"'public-path': applied 3 times, expected 2"):
        assemble(dist, tmp_path / "out", "abc", FEW)


@pytest.mark.parametrize(
    "index",
    [
        INDEX.replace("app.bundle.0", "main.bundle.0"),
        INDEX.replace('id="root"', 'id="app"'),
        INDEX.replace("</head>", "<script>new()</script></head>"),
        "",
    ],
)
def test_another_shape_of_index_stops_the_build(index: str) -> None:
    with pytest.raises(PatchError, match="index"):
        main_bundle(index)


def test_the_real_patches_have_distinct_names_and_counts() -> None:
    names = [p.name for p in PATCHES]
    assert len(set(names)) == len(names)
    assert all(p.count > 0 and p.old != p.new for p in PATCHES)


def test_files_that_no_patch_touches_are_not_written(dist: Path) -> None:
    path = dist / "google.js"
    path.write_bytes(b"x\r\n")
    before = path.stat().st_mtime_ns
    apply_patches(dist, FEW, "/x/")
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (b"x\r\n", before)


def test_a_placeholder_left_empty_stops_the_build(tmp_path: Path) -> None:
    template = tmp_path / "t.js"
    template.write_text("{{known}} {{forgotten}}")
    with pytest.raises(BuildError, match="forgotten"):
        fill(template, known="x")


def test_compressed_copies_hold_the_same_bytes(tmp_path: Path) -> None:
    content = b"var a = 1;\n" * 500
    (tmp_path / "a.js").write_bytes(content)
    (tmp_path / "small.js").write_bytes(b"x")
    (tmp_path / "f.woff2").write_bytes(content)
    precompress(tmp_path)
    assert gzip.decompress((tmp_path / "a.js.gz").read_bytes()) == content
    unpacked = subprocess.run(["brotli", "-dc", str(tmp_path / "a.js.br")], capture_output=True, check=True)
    assert unpacked.stdout == content
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.js", "a.js.br", "a.js.gz", "f.woff2", "small.js"]


# --- packages


def package(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.mode = 0o755
            archive.addfile(info, io.BytesIO(content))
    return path


class FakeNpm:
    """Stands for ``npm pack``: writes an archive where it is asked to."""

    def __init__(self, content: bytes, code: int = 0) -> None:
        self.content, self.code = content, code
        self.commands: list[list[str]] = []

    def __call__(self, command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        self.commands.append(command)
        folder = Path(command[command.index("--pack-destination") + 1])
        if not self.code:
            (folder / "scope-tool-1.0.tgz").write_bytes(self.content)
        return subprocess.CompletedProcess(command, self.code, "", "E404 not found")


def quiet(_step: str) -> None:
    pass


@pytest.fixture
def npm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeNpm:
    fake = FakeNpm(package(tmp_path / "p.tgz", {"package/x": b"x"}).read_bytes())
    monkeypatch.setattr(build.subprocess, "run", fake)
    monkeypatch.setattr(build.shutil, "which", lambda name: f"/usr/bin/{name}")
    return fake


def test_a_package_is_fetched_once_and_checked(npm: FakeNpm, tmp_path: Path) -> None:
    pin = Pin("@scope/tool", "1.0", integrity_of(tmp_path / "p.tgz"))
    first = fetch(pin, tmp_path / "cache", quiet)
    assert fetch(pin, tmp_path / "cache", quiet) == first
    assert len(npm.commands) == 1
    assert "@scope/tool@1.0" in npm.commands[0]
    first.write_bytes(b"damaged on the disk")
    assert integrity_of(fetch(pin, tmp_path / "cache", quiet)) == pin.integrity
    assert len(npm.commands) == 2


def test_a_package_with_another_content_is_refused_and_not_kept(npm: FakeNpm, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="empreinte"):
        fetch(Pin("@scope/tool", "1.0", "sha512-AAAA"), tmp_path / "cache", quiet)
    assert not list((tmp_path / "cache").glob("*.tgz"))


def test_a_registry_that_says_no_is_reported(npm: FakeNpm, tmp_path: Path) -> None:
    npm.code = 1
    with pytest.raises(BuildError, match="E404"):
        fetch(Pin("@scope/tool", "1.0", "sha512-AAAA"), tmp_path / "cache", quiet)


def test_a_machine_without_npm_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    with pytest.raises(BuildError, match=r"requirements/build\.txt"):
        fetch(Pin("@scope/tool", "1.0", "sha512-AAAA"), tmp_path / "cache", quiet)
    with pytest.raises(BuildError, match="brotli"):
        precompress(tmp_path)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_pins_are_complete(machine: str) -> None:
    for pin in read_pins(machine):
        assert re.fullmatch(r"sha512-[A-Za-z0-9+/]{86}==", pin.integrity)
        assert re.fullmatch(r"\d+\.\d+\.\d+", pin.version)


def test_an_unknown_machine_is_told(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="riscv64"):
        read_pins("riscv64")


# --- the whole build

ESBUILD = b"""#!/bin/sh
for a in "$@"; do case "$a" in --outdir=*) out="${a#--outdir=}";; esac; done
mkdir -p "$out"
for a in "$@"; do case "$a" in *.js) printf 'minified' > "$out/$(basename "$a")";; esac; done
"""


@pytest.fixture
def cache(dist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    folder.mkdir()
    files = {f"package/dist/{p.relative_to(dist)}": p.read_bytes() for p in dist.rglob("*") if p.is_file()}
    viewer = package(folder / "ohif-app-1.0.tgz", {**files, "package/LICENSE": b"MIT"})
    tool = package(folder / "tool-esbuild-1.0.tgz", {"package/bin/esbuild": ESBUILD})
    pins = (Pin("@ohif/app", "1.0", integrity_of(viewer)), Pin("@tool/esbuild", "1.0", integrity_of(tool)))
    monkeypatch.setattr(build, "read_pins", lambda machine: pins)
    monkeypatch.setattr(build.assemble, "__defaults__", (FEW,))
    return folder


def test_a_build_is_complete_and_the_next_one_has_nothing_to_do(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["--out", str(out), "--cache", str(cache)]
    assert build.main(arguments) == 0
    info = json.loads((out / "build-info.json").read_text())
    assets = out / Path(info["assets"]).name
    assert info["assets"] == f"/ohif/v-{info['inputs'][:12]}/"
    assert (assets / "app.bundle.0123456789abcdef.js").read_text() == "minified"
    assert (out / "LICENSE-OHIF.txt").read_text() == "MIT"
    assert not list(tmp_path.glob("out.*"))
    stamp = (out / "index.html").stat().st_mtime_ns
    capsys.readouterr()
    assert build.main(arguments) == 0
    assert "à jour" in capsys.readouterr().out
    assert (out / "index.html").stat().st_mtime_ns == stamp


def test_changed_inputs_build_again_under_another_address(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    first = build.build(out, cache, quiet)
    monkeypatch.setattr(build, "inputs_hash", lambda: "f" * 64)
    second = build.build(out, cache, quiet)
    assert second["assets"] == "/ohif/v-ffffffffffff/" != first["assets"]
    assert [p.name for p in out.glob("v-*")] == ["v-ffffffffffff"]


def test_a_failed_build_leaves_the_one_in_service(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    build.build(out, cache, quiet)
    monkeypatch.setattr(build, "inputs_hash", lambda: "f" * 64)
    monkeypatch.setattr(build.assemble, "__defaults__", ((Patch("gone", "*.js", "no such text", "x", 1),),))
    assert build.main(["--out", str(out), "--cache", str(cache)]) == 1
    assert "'gone'" in capsys.readouterr().err
    assert (out / "index.html").exists()
    assert not list(tmp_path.glob("out.*"))


def test_a_half_written_or_foreign_folder_is_not_current(tmp_path: Path) -> None:
    assert not build.is_current(tmp_path, "x")
    for text in ("", "[]", '{"inputs": "y"}'):
        (tmp_path / "build-info.json").write_text(text)
        assert not build.is_current(tmp_path, "x")


def test_the_inputs_cover_our_own_files() -> None:
    listed = {p.name for p in (build.HERE / "site").iterdir()}
    assert {"app-config.js", "drimbox-ext.js", "drimbox-mode.js", "logo.svg"} == listed
    assert re.fullmatch(r"[0-9a-f]{64}", build.inputs_hash())


@pytest.mark.parametrize("name", ["app-config.js", "drimbox-ext.js", "drimbox-mode.js"])
def test_our_scripts_name_no_foreign_host(name: str) -> None:
    text = (build.HERE / "site" / name).read_text("utf-8")
    assert not re.search(r"https?://(?!www\.w3\.org)", text)
