"""The tree is the architecture: file budgets, no drawers, one plug-in a file, a docstring on everything public."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

from edgekd.plugins import PluginFolder

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "edgekd").rglob("*.py"))
DRAWERS = {"utils", "util", "helpers", "helper", "misc", "common", "base", "core", "tools"}
FOLDERS = {
    "edgekd.models.network": "NETWORKS",
    "edgekd.train.dataset": "DATASETS",
    "edgekd.train.augment": "AUGMENTATIONS",
    "edgekd.train.optimizer": "OPTIMIZERS",
    "edgekd.train.task": "TASKS",
    "edgekd.distill.loss": "LOSSES",
    "edgekd.distill.schedule": "SCHEDULES",
    "edgekd.distill.initialiser": "INITIALISERS",
    "edgekd.prune.criterion": "CRITERIA",
    "edgekd.prune.allocator": "ALLOCATORS",
    "edgekd.quantize.observer": "OBSERVERS",
    "edgekd.export.backend": "BACKENDS",
    "edgekd.search.space": "SPACES",
    "edgekd.search.sampler": "SAMPLERS",
    "edgekd.search.executor": "EXECUTORS",
    "edgekd.measure.meter": "METERS",
    "edgekd.fuse.fusion": "FUSIONS",
}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_a_file_holds_one_idea(path: Path) -> None:
    assert path.stem not in DRAWERS
    lines = path.read_text().splitlines()
    assert len(lines) <= 320, f"{path.name} has {len(lines)} lines; split it by what its parts are about"


def test_median_file_is_short() -> None:
    lengths = sorted(len(path.read_text().splitlines()) for path in SOURCES if path.name != "__init__.py")
    assert lengths[len(lengths) // 2] <= 130


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_functions_are_short_and_library_code_has_no_asserts(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= 70, f"{path.name}:{node.name} has {length} lines"
        assert not isinstance(node, ast.Assert), f"{path.name}:{node.lineno} asserts; raise an error"


@pytest.mark.parametrize(("module", "variable"), FOLDERS.items())
def test_every_plugin_loads_documents_itself_and_owns_its_options(module: str, variable: str) -> None:
    folder = getattr(importlib.import_module(module), variable)
    assert isinstance(folder, PluginFolder)
    assert folder.names(), f"{module} has no plug-in"
    for name in folder.names():
        plugin = folder.get(name)
        assert folder.help(name), f"{name} lacks a docstring"
        assert isinstance(plugin.Config.model_fields, dict)
        for field, info in plugin.Config.model_fields.items():
            assert info.description, f"{name}: option '{field}' lacks a description"


def test_every_plugin_has_its_own_test_or_contract_suite() -> None:
    suites = {
        path.relative_to(ROOT / "tests").with_suffix("").as_posix() for path in (ROOT / "tests").rglob("test_*.py")
    }
    for module in FOLDERS:
        folder = getattr(importlib.import_module(module), FOLDERS[module]).package.split(".")[1:]
        assert f"{folder[0]}/test_{folder[1]}" in suites, f"tests/{folder[0]}/test_{folder[1]}.py is missing"


def test_test_folders_mirror_the_package() -> None:
    for folder in (p for p in (ROOT / "tests").iterdir() if p.is_dir() and any(p.glob("test_*.py"))):
        assert (ROOT / "edgekd" / folder.name).is_dir(), f"tests/{folder.name} tests nothing of that name"
