# SPDX-License-Identifier: AGPL-3.0-or-later
"""Counted changes to OHIF's published files: each must apply exactly as often as it did when it was written.

The package holds only built JavaScript; these are the few things that its configuration cannot reach
(sub-path, French).  A count that differs stops the build and names the patch, so that a new version of
OHIF cannot slip past one of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


class PatchError(Exception):
    """A patch did not apply as often as expected."""


@dataclass(frozen=True, slots=True)
class Patch:
    """Replace `old` (literal text) by `new` in the files that `files` (a glob) names, `count` times in all.

    ``{assets}`` in `new` stands for the address of the patched folder, ending in a slash.
    """

    name: str
    files: str
    old: str
    new: str
    count: int

    def apply(self, texts: dict[Path, str], assets: str) -> int:
        """Change `texts` in place; give how often the patch applied.  Raises `PatchError`."""
        new = self.new.replace("{assets}", assets)
        found = 0
        for path, text in texts.items():
            if path.match(self.files) and self.old in text:
                found += text.count(self.old)
                texts[path] = text.replace(self.old, new)
        if found != self.count:
            raise PatchError(f"patch {self.name!r}: applied {found} times, expected {self.count}")
        return found


PATCHES: tuple[Patch, ...] = (
    # Sub-path: chunks, WebAssembly and workers.
    Patch("public-path", "*.js", '__webpack_require__.p = "/";', '__webpack_require__.p = "{assets}";', 8),
    Patch("fonts", "app.bundle.css", "url(/", "url({assets}", 5),
    # French: the bundle's own texts pass through a function of boot.js, which completes them.
    Patch(
        "french-texts",
        "app.bundle.*.js",
        "/* export default */ const fr = ({\n  fr: {",
        "/* export default */ const fr = window.drimboxFrench({\n  fr: {",
        1,
    ),
    Patch(
        "french-unavailable",
        "app.bundle.*.js",
        "One or more of the requested studies are not available at this time.",
        "Un ou plusieurs des examens demandés ne sont pas disponibles.",
        1,
    ),
    # In production OHIF shows "Une erreur s'est produitefalse.": a false value is put in the sentence.
    Patch(
        "error-context",
        "app.bundle.*.js",
        "!isProduction && ` ${t('in')} ${context}`",
        "isProduction ? '' : ` ${t('in')} ${context}`",
        1,
    ),
    Patch("french-details", "app.bundle.*.js", "'Show Details'", "'Afficher les détails'", 1),
    Patch("french-patients", "*.bundle.*.js", "'Multiple Patients'", "'Patients multiples'", 1),
    Patch("french-no-measurement", "*.bundle.*.js", '"No Measurements"', '"Aucune mesure"', 1),
    Patch("french-measurement", "*.bundle.*.js", "label: 'Measurement',", "label: 'Mesures',", 1),
    # OHIF's own React, for the panel of site/drimbox-ext.js, which is not part of the bundle.
    Patch(
        "react",
        "app.bundle.*.js",
        "loadDynamicConfig(window.config).then(config_json => {",
        "loadDynamicConfig(window.config).then(config_json => { window.drimboxReact = react;",
        1,
    ),
)


def apply_patches(folder: Path, patches: Sequence[Patch], assets: str) -> dict[str, int]:
    """Patch the files at the top of `folder`; give how often each patch applied.  Raises `PatchError`."""
    texts = _texts(p for p in folder.iterdir() if p.suffix in {".js", ".css"})
    before = dict(texts)
    counts = {patch.name: patch.apply(texts, assets) for patch in patches}
    for path, text in texts.items():
        if text is not before[path]:
            path.write_text(text, encoding="utf-8", newline="")
    return counts


def _texts(paths: Iterable[Path]) -> dict[Path, str]:
    # bytes, then decoding: universal newlines would change the files that are not patched at all
    return {path: path.read_bytes().decode("utf-8") for path in sorted(paths)}


_BUNDLE = re.compile(r'src="/(app\.bundle\.[0-9a-f]+\.js)"')
# What our own index.html relies on; another version of OHIF may want more.
_EXPECTED = ('<div id="react-portal"></div>', '<div id="root"></div>', "/app-config.js", 'href="/app.bundle.css"')


def main_bundle(index: str) -> str:
    """File name of the main script that OHIF's own index.html loads.  Raises `PatchError`."""
    found = _BUNDLE.findall(index)
    missing = [e for e in _EXPECTED if e not in index]
    if len(found) != 1 or missing or index.count("<script") != 5:
        raise PatchError(f"patch 'index': OHIF's index.html has another shape (bundles {found}, missing {missing})")
    return str(found[0])
