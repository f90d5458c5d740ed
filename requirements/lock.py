# SPDX-License-Identifier: AGPL-3.0-or-later
"""Rewrite requirements/*.txt from *.in: every file hash, without what Debian 13 provides.

Run inside the appliance's platform, with pip-tools installed beside it:
``python3 requirements/lock.py``.  pip installs the result with ``--no-deps --require-hashes``.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
# From Debian's packages (docker/packages.txt): a second copy from elsewhere would shadow the
# security-supported one, and break the pair lxml / xmlsec, which must share one libxml2.
DEBIAN = {
    "numpy", "lxml", "requests", "certifi", "charset-normalizer", "idna", "urllib3",
    "packaging", "typing-extensions",
}  # fmt: skip


def compiled(name: str) -> dict[str, str]:
    """Blocks of ``name==version`` with their hashes, keyed by name."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out.txt")
        subprocess.run(
            [sys.executable, "-m", "piptools", "compile", "-q", "--generate-hashes", "--allow-unsafe",
             "--no-emit-index-url", "--no-emit-find-links", "--no-header", "--no-annotate",
             "--strip-extras", "-o", str(out), str(HERE / f"{name}.in")],
            check=True,
        )  # fmt: skip
        text = out.read_text()
    blocks = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.M)
    return {b.split("==")[0]: b for b in blocks if "==" in b}


def main() -> None:
    """Write the three files; a package pinned by an earlier file is not repeated."""
    seen: set[str] = set(DEBIAN)
    for name in ("runtime", "build", "test"):
        blocks = {k: v for k, v in compiled(name).items() if k not in seen}
        seen |= set(blocks)
        body = "".join(re.sub(r"^#.*\n", "", v, flags=re.M) for v in blocks.values())
        Path(HERE / f"{name}.txt").write_text(body)
        print(name, len(blocks), "packages")


if __name__ == "__main__":
    main()
