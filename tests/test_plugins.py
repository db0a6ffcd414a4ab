from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgekd.errors import PluginError, UsageError
from edgekd.plugins import PluginFolder


class Shape:
    """A contract."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PluginFolder[Shape]:
    package = tmp_path / "shapes_under_test"
    package.mkdir()
    (package / "__init__.py").write_text("")
    good = '"""A circle.\n\nMore."""\nfrom tests.test_plugins import Shape\nclass Circle(Shape): ...\n'
    (package / "big_circle.py").write_text(good)
    (package / "two.py").write_text("from tests.test_plugins import Shape\nclass A(Shape): ...\nclass B(Shape): ...\n")
    (package / "needy.py").write_text("import no_such_package_anywhere\n")
    (package / "broken.py").write_text("from edgekd import no_such_thing_here\nimport edgekd.no_such_module\n")
    (package / "buggy.py").write_text("import edgekd.no_such_module\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [m for m in sys.modules if m.startswith("shapes_under_test")]:
        del sys.modules[name]
    return PluginFolder("shapes_under_test", Shape)


def test_names_come_from_files_without_importing_them(folder: PluginFolder[Shape]) -> None:
    assert folder.names() == ["big-circle", "broken", "buggy", "needy", "two"]
    assert folder.help("big-circle") == "A circle."
    assert not [m for m in sys.modules if m.startswith("shapes_under_test.")]


def test_get_imports_the_one_file(folder: PluginFolder[Shape]) -> None:
    assert folder.get("big-circle").__name__ == "Circle"
    assert [m for m in sys.modules if m.startswith("shapes_under_test.")] == ["shapes_under_test.big_circle"]


def test_a_typo_gets_the_nearest_name(folder: PluginFolder[Shape]) -> None:
    with pytest.raises(UsageError, match="did you mean 'big-circle'"):
        folder.get("big-cirle")


def test_a_missing_package_is_named_but_our_own_bug_surfaces(folder: PluginFolder[Shape]) -> None:
    with pytest.raises(UsageError, match="pip install no_such_package_anywhere"):
        folder.get("needy")
    with pytest.raises(ModuleNotFoundError, match=r"edgekd\.no_such_module"):
        folder.get("buggy")


def test_two_classes_in_a_file_are_the_authors_fault(folder: PluginFolder[Shape]) -> None:
    with pytest.raises(PluginError, match=r"plug-in author: .* exactly one public Shape, found A, B"):
        folder.get("two")
