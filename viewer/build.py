# SPDX-License-Identifier: AGPL-3.0-or-later
"""Turn the published package of OHIF into the folder that nginx serves under ``/ohif/``.

``python3 -m viewer.build --out DIR --cache DIR``

Fetch by ``npm pack`` (checked against `pins.json`), prune, patch, minify, complete the French, precompress.
Nothing of OHIF is rebuilt; `README.md` says what each step is for.  Standard library, ``npm`` and ``brotli``.

::

    DIR/index.html        the viewer's document; our application serves it, nginx must not
    DIR/site/…            our own files and boot.js: short, editable, served with ``no-cache``
    DIR/v-HASH/…          everything else: the folder's name changes with its content, so ``immutable``
    DIR/build-info.json   what was built from what
"""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from viewer.patches import PATCHES, Patch, PatchError, apply_patches, main_bundle

HERE = Path(__file__).parent
PREFIX = "/ohif/"
# Not served: demonstration files, other hosts' services, AI models, whole-slide microscopy, service workers.
DROPPED = frozenset(
    {
        *("ort", "dicom-microscopy-viewer", "customizations", "google.js", "oidc-client.min.js", "silent-refresh.html"),
        *("sw.js", "init-service-worker.js", "manifest.json", "serve.json", "_headers", "_redirects"),
        *("polyfill.min.js", "es6-shim.min.js", "app-config.js", "index.html"),
    }
)
KEPT_ASSETS = frozenset({"images"})
COMPRESSED = frozenset({".js", ".css", ".wasm", ".svg", ".json"})
SMALLEST_COMPRESSED = 1024  # bytes
NPM_SECONDS = 300

Say = Callable[[str], None]


class BuildError(Exception):
    """The viewer cannot be built; the sentence says what to do."""


@dataclass(frozen=True, slots=True)
class Pin:
    """One published package: `integrity` is that of its archive, in the form of npm (``sha512-`` base64)."""

    name: str
    version: str
    integrity: str


def read_pins(machine: str) -> tuple[Pin, Pin]:
    """Read the pins of the viewer and of the minifier for `machine` (``uname -m``).  Raises `BuildError`."""
    pins = json.loads((HERE / "pins.json").read_text(encoding="utf-8"))
    if machine not in pins["minifier"]:
        raise BuildError(f"no minifier is pinned for {machine}; add it to viewer/pins.json")
    return Pin(**pins["viewer"]), Pin(**pins["minifier"][machine])


def inputs_hash() -> str:
    """SHA-256 over every file of this folder that shapes the result, in hexadecimal."""
    digest = hashlib.sha256()
    files = [*HERE.glob("*.py"), *HERE.glob("*.json"), *HERE.glob("shell/*"), *HERE.glob("site/*")]
    for path in sorted(files):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(HERE).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def integrity_of(path: Path) -> str:
    """Integrity of a file in npm's form."""
    with path.open("rb") as handle:
        return "sha512-" + base64.b64encode(hashlib.file_digest(handle, "sha512").digest()).decode()


def fetch(pin: Pin, cache: Path, say: Say) -> Path:
    """Give the package's archive, from `cache` or by ``npm pack``.  Raises `BuildError`."""
    cache.mkdir(parents=True, exist_ok=True)
    archive = cache / f"{pin.name.lstrip('@').replace('/', '-')}-{pin.version}.tgz"
    if archive.exists() and integrity_of(archive) == pin.integrity:
        return archive
    say(f"téléchargement de {pin.name} {pin.version}")
    npm = shutil.which("npm")
    if npm is None:
        raise BuildError("npm est absent : installez requirements/build.txt")
    command = [npm, "pack", f"{pin.name}@{pin.version}", "--pack-destination", str(cache)]
    command += ["--cache", str(cache / "npm"), "--silent", "--no-update-notifier"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=cache, timeout=NPM_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"npm pack {pin.name} n'a pas fini en {NPM_SECONDS} s ; vérifiez l'accès au réseau") from error
    if done.returncode or not archive.exists():
        raise BuildError(f"npm pack {pin.name}@{pin.version} a échoué : {done.stderr.strip()[-400:]}")
    found = integrity_of(archive)
    if found != pin.integrity:
        archive.unlink()
        raise BuildError(f"{pin.name} {pin.version} : empreinte {found}, attendue {pin.integrity} ; paquet refusé")
    return archive


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack an archive of npm; give its folder ``package``."""
    with tarfile.open(archive) as package:
        package.extractall(folder, filter="data")
    return folder / "package"


def prune(dist: Path, assets: Path) -> None:
    """Copy what the viewer needs of OHIF's `dist` into `assets`."""

    def ignored(folder: str, names: list[str]) -> set[str]:
        dropped = {n for n in names if n.endswith(".map")}
        if Path(folder) == dist:
            dropped |= DROPPED & set(names)
        elif Path(folder) == dist / "assets":
            dropped |= set(names) - KEPT_ASSETS
        return dropped

    shutil.copytree(dist, assets, ignore=ignored)


def minify(folder: Path, esbuild: Path) -> None:
    """Minify the scripts at the top of `folder` in place; licence comments stay, at their end."""
    scripts = sorted(folder.glob("*.js"))
    out = folder.with_name(folder.name + ".minified")
    # never --keep-names: it breaks OHIF's React components
    options = ["--minify", "--charset=utf8", "--target=es2022", "--legal-comments=eof", "--log-level=error"]
    done = subprocess.run(
        [str(esbuild), *map(str, scripts), *options, f"--outdir={out}"], capture_output=True, text=True
    )
    if done.returncode:
        raise BuildError(f"esbuild a échoué : {done.stderr.strip()[-400:]}")
    for script in scripts:
        (out / script.name).replace(script)
    shutil.rmtree(out)


def fill(template: Path, **values: str) -> str:
    """Fill a file of ``shell/``: each ``{{name}}`` by its value."""

    def value(found: re.Match[str]) -> str:
        if found[1] not in values:
            raise BuildError(f"{template.name} : l'emplacement {found[1]} n'est pas rempli")
        return values[found[1]]

    return re.sub(r"\{\{(\w+)\}\}", value, template.read_text(encoding="utf-8"))


def assemble(dist: Path, out: Path, version: str, patches: Sequence[Patch] = PATCHES) -> dict[str, int]:
    """Lay out `out` from OHIF's `dist`, without minification nor compression; give the patches' counts.

    Raises `PatchError` where OHIF is not the version that the patches were written for.
    """
    bundle = main_bundle((dist / "index.html").read_text(encoding="utf-8"))
    name = f"v-{version}"
    address = f"{PREFIX}{name}/"
    prune(dist, out / name)
    counts = apply_patches(out / name, patches, address)
    shutil.copytree(HERE / "site", out / "site")
    french = json.loads((HERE / "fr-extra.json").read_text(encoding="utf-8"))
    boot = fill(
        HERE / "shell/boot.js",
        assets=json.dumps(address),
        prefix=json.dumps(PREFIX),
        french=json.dumps(french, ensure_ascii=False),
    )
    (out / "site/boot.js").write_text(boot, encoding="utf-8")
    index = fill(HERE / "shell/index.html", assets=address, prefix=PREFIX, bundle=bundle)
    (out / "index.html").write_text(index, encoding="utf-8")
    return counts


def precompress(folder: Path) -> None:
    """Write a ``.gz`` and a ``.br`` beside each compressible file of `folder`.  Raises `BuildError`."""
    brotli = shutil.which("brotli")
    if brotli is None:
        raise BuildError("brotli est absent : apt-get install brotli")

    def one(path: Path) -> None:
        content = path.read_bytes()
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(content, 9, mtime=0))
        subprocess.run([brotli, "--best", "--keep", "--force", str(path)], check=True)

    files = [p for p in folder.rglob("*") if p.suffix in COMPRESSED and p.stat().st_size >= SMALLEST_COMPRESSED]
    files.sort(key=lambda p: -p.stat().st_size)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        list(pool.map(one, files))


def is_current(out: Path, inputs: str) -> bool:
    """Tell whether `out` was built from these very inputs, to its end."""
    try:
        info = json.loads((out / "build-info.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(info, dict) and info.get("inputs") == inputs


def swap(new: Path, out: Path) -> None:
    """Put `new` in the place of `out`."""
    old = out.with_name(out.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    new.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def build(out: Path, cache: Path, say: Say) -> dict[str, Any]:
    """Build the viewer into `out`; give what build-info.json holds.  Raises `BuildError`, `PatchError`."""
    inputs = inputs_hash()
    if is_current(out, inputs):
        say("à jour")
        return dict(json.loads((out / "build-info.json").read_text(encoding="utf-8")))
    viewer, minifier = read_pins(platform.machine())
    version = inputs[:12]
    out.parent.mkdir(parents=True, exist_ok=True)
    work = out.with_name(out.name + ".new")
    shutil.rmtree(work, ignore_errors=True)
    try:
        package = unpack(fetch(viewer, cache, say), work / "ohif")
        tool = unpack(fetch(minifier, cache, say), work / "esbuild")
        say("élagage et adaptation")
        counts = assemble(package / "dist", work / "out", version)
        shutil.copy(package / "LICENSE", work / "out/LICENSE-OHIF.txt")
        say("réduction des scripts")
        minify(work / f"out/v-{version}", tool / "bin/esbuild")
        say("compression (la plus longue étape)")
        precompress(work / f"out/v-{version}")
        files = [p for p in (work / "out").rglob("*") if p.is_file()]
        info: dict[str, Any] = {
            "inputs": inputs,
            "assets": f"{PREFIX}v-{version}/",
            "viewer": f"{viewer.name}@{viewer.version}",
            "minifier": f"{minifier.name}@{minifier.version}",
            "patches": counts,
            "files": len(files),
            "bytes": sum(p.stat().st_size for p in files),
        }
        (work / "out/build-info.json").write_text(json.dumps(info, indent=2) + "\n", encoding="utf-8")
        swap(work / "out", out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return info


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; the exit status is 1 where the build fails."""
    parser = argparse.ArgumentParser(prog="python3 -m viewer.build", description="Prépare la visionneuse OHIF.")
    parser.add_argument("--out", type=Path, required=True, help="dossier servi sous /ohif/")
    parser.add_argument("--cache", type=Path, required=True, help="dossier des paquets téléchargés")
    options = parser.parse_args(argv)
    begin = time.monotonic()

    def say(step: str) -> None:
        print(f"visionneuse : {step} ({time.monotonic() - begin:.0f} s)", flush=True)

    try:
        info = build(options.out.absolute(), options.cache.absolute(), say)
    except (BuildError, PatchError) as error:
        print(f"visionneuse : {error}", file=sys.stderr)
        return 1
    say(f"prête, {info['files']} fichiers, {info['bytes'] / 1e6:.1f} Mo")
    return 0


if __name__ == "__main__":
    sys.exit(main())
