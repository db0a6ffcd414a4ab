"""The kinds of plug-in, found by reading the source: listing what there is must not import torch."""

from __future__ import annotations

import ast
import importlib
from dataclasses import dataclass
from pathlib import Path

from edgekd.errors import UsageError
from edgekd.plugins import PluginFolder
from edgekd.schema import Schema

_PACKAGE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Kind:
    """One kind of plug-in: where its contract and its folder are declared."""

    module: str
    variable: str
    listing: PluginFolder[object]
    """Knows names and help; the contract is in the module, which may need torch."""

    @property
    def name(self) -> str:
        """Return the name of the kind, that of its folder."""
        return self.listing.kind

    def options(self, name: str) -> type[Schema]:
        """Import one plug-in and return its options; raises UsageError when its packages are missing."""
        if name not in self.listing.names():
            self.listing.get(name)  # raises with the nearest name, and without importing the contract
        try:
            folder: PluginFolder[object] = getattr(importlib.import_module(self.module), self.variable)
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            if missing in {"", "edgekd"}:
                raise
            raise UsageError(
                f"the options of {self.name} need the package '{missing}', which is missing; "
                "run: pip install 'edgekd[compress]'"
            ) from None
        config: type[Schema] = getattr(folder.get(name), "Config")  # noqa: B009 - every contract has it
        return config


def kinds() -> dict[str, Kind]:
    """Return every kind of plug-in by name: wherever the package assigns a `PluginFolder`."""
    found = [kind for path in sorted(_PACKAGE.rglob("*.py")) for kind in _declared(path)]
    return {kind.name: kind for kind in sorted(found, key=lambda kind: kind.name)}


def _declared(path: Path) -> list[Kind]:
    source = path.read_text(encoding="utf-8")
    if "PluginFolder(" not in source:
        return []
    module = ".".join(path.relative_to(_PACKAGE.parent).with_suffix("").parts)
    return [
        Kind(module, variable.id, PluginFolder(ast.literal_eval(value.args[0]), object))
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for variable in (node.targets if isinstance(node, ast.Assign) else [node.target])
        for value in [node.value]
        if isinstance(variable, ast.Name) and isinstance(value, ast.Call) and ast.unparse(value.func) == "PluginFolder"
    ]
