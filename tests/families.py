# SPDX-License-Identifier: AGPL-3.0-or-later
"""Import-linter contract: the families of a flat package do not import one another.

Modules that belong to no family wire them together; those of the family ``common`` may be imported by all
and import none.
"""

from __future__ import annotations

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class FamiliesContract(Contract):
    """See pyproject.toml for the families."""

    type_name = "families"
    package = fields.StringField()
    families = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        broken = []
        for module in sorted(m for m in graph.modules if m.startswith(f"{self.package}.")):
            family = self._family(module)
            if not family:
                continue
            for imported in sorted(graph.find_modules_directly_imported_by(module)):
                other = self._family(imported)
                if other and other not in (family, "common"):
                    broken.append(f"{module} ({family}) imports {imported} ({other})")
        return ContractCheck(kept=not broken, metadata={"broken": broken})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for line in check.metadata["broken"]:
            output.print_error(line)

    def _family(self, module: str) -> str:
        name = module.removeprefix(f"{self.package}.")
        for line in self.families:
            family, _, names = str(line).partition(":")
            for pattern in names.split():
                if name == pattern or (pattern.endswith("_") and name.startswith(pattern)):
                    return family
        return ""
