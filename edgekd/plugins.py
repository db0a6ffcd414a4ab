"""The one plug-in mechanism: a file in a folder is a plug-in, and its file name (with dashes) is its key everywhere."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Generic, TypeVar

from edgekd.errors import PluginError, UsageError, suggestion

T = TypeVar("T")


class PluginFolder(Generic[T]):
    """All plug-ins of one kind: the files of `package` plus entry points of the group with the same dotted name.

    A file holds exactly one public class that fulfils `contract`. Listing names imports nothing, `get` one file.
    """

    def __init__(self, package: str, contract: type[T]) -> None:
        self.package = package
        self.contract = contract
        self.kind = package.rpartition(".")[2].replace("_", "-")

    def names(self) -> list[str]:
        """Return every known name, sorted, without importing any plug-in."""
        return sorted({*self._files(), *self._entry_points()})

    def get(self, name: str) -> type[T]:
        """Import and return the plug-in class called `name`.

        Raises UsageError for an unknown name or a missing optional package, PluginError for a broken contract.
        """
        files, foreign = self._files(), self._entry_points()
        if name in files:
            module = f"{self.package}.{files[name].stem}"
        elif name in foreign:
            module = foreign[name].module
        else:
            raise UsageError(f"unknown name '{name}' in {self.kind}; {suggestion(name, self.names())}", name)
        try:
            loaded = importlib.import_module(module)
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            if missing in {"", "edgekd"}:
                raise  # a bug of ours must surface as it is
            raise UsageError(
                f"'{name}' in {self.kind} needs the package '{missing}', which is missing; run: pip install {missing}"
            ) from error
        found = [
            value
            for key, value in vars(loaded).items()
            if inspect.isclass(value)
            and issubclass(value, self.contract)
            and value.__module__ == loaded.__name__
            and not key.startswith("_")
        ]
        if len(found) != 1:
            listed = ", ".join(c.__name__ for c in found) or "none"
            raise PluginError(
                f"plug-in author: {module} must hold exactly one public {self.contract.__name__}, found {listed}"
            )
        return found[0]

    def help(self, name: str) -> str:
        """Return the first line of a plug-in's module docstring without importing it."""
        path = self._files().get(name)
        if path is None and name in (foreign := self._entry_points()):
            spec = importlib.util.find_spec(foreign[name].module)
            path = Path(spec.origin) if spec and spec.origin else None
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) if path else None
        return (docstring or "").partition("\n")[0]

    def _files(self) -> dict[str, Path]:
        spec = importlib.util.find_spec(self.package)
        folders = list(spec.submodule_search_locations or []) if spec else []
        return {
            path.stem.replace("_", "-"): path
            for folder in folders
            for path in Path(folder).glob("*.py")
            if not path.stem.startswith("_")
        }

    def _entry_points(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=self.package)}
