"""What is written is run: commands, the Python example, links; the tree in the README is the tree."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from edgekd.cli.main import cli
from edgekd.errors import ExitCode
from tests.conftest import Run

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCES = re.findall(r"```(\w*)\n(.*?)```", README, flags=re.S)
SHELL = [line for kind, text in FENCES if kind == "sh" for line in text.splitlines()]
COMMANDS = [line.split("#")[0].strip() for line in SHELL if "edgekd " in line]
VERIFYING = [line for line in COMMANDS if line.startswith("edgekd verify ")]
MEASURING = {"quantize", "lint", "gate", "compare", "profile", "eval", "register-host", "predict"}
"""Take their time, or need a profile, and are run in tests of their own; here they are only parsed."""


@pytest.mark.parametrize("line", [line for line in COMMANDS if line not in VERIFYING])
def test_every_command_of_the_readme_is_accepted(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, *arguments = shlex.split(line)
    if MEASURING & set(arguments[:2]):
        _parse(cli, arguments)
        return
    if arguments[0] == "compress":
        arguments.append("--dry-run")
    _accepted(arguments, tmp_path, monkeypatch)


@pytest.mark.parametrize("line", VERIFYING)
def test_every_bundle_of_the_readme_can_be_one_of_a_run(
    line: str, smoke: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, *arguments = shlex.split(line)
    place = tmp_path / arguments[1]
    place.parent.mkdir(parents=True)
    place.symlink_to(smoke.folder / "bundle")
    _accepted(arguments, tmp_path, monkeypatch)


def _accepted(arguments: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a command in a folder; it must end well."""
    monkeypatch.chdir(folder)
    answer = CliRunner().invoke(cli, arguments, catch_exceptions=False, standalone_mode=False)
    assert answer.return_value in {None, ExitCode.MET}, answer.stderr


def _parse(command: click.Command, arguments: list[str]) -> None:
    """Let click read a line as it would before it runs; raises click.UsageError for what it does not take."""
    if isinstance(command, click.Group):
        inner = command.get_command(click.Context(command), arguments[0])
        assert inner is not None, arguments
        _parse(inner, arguments[1:])
    else:
        command.make_context("edgekd", arguments)


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, flags=re.M):
        assert re.search(rf"^{target}:", makefile, flags=re.M), target


def test_the_python_example_runs_on_a_bundle(smoke: Run, tmp_path: Path) -> None:
    code = next(text for kind, text in FENCES if kind == "python")
    (tmp_path / "runs" / "mnist5k").mkdir(parents=True)
    os.symlink(smoke.folder / "bundle", tmp_path / "runs" / "mnist5k" / "bundle")
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr


def test_every_folder_in_the_tree_exists() -> None:
    tree = next(text for kind, text in FENCES if kind == "" and "edgekd/" in text)
    for name in re.findall(r"^(?:├──|└──|│   ├──|│   └──) (\S+)/", tree, flags=re.M):
        assert (ROOT / name).is_dir() or (ROOT / "edgekd" / name).is_dir(), name


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not link.startswith("http"):
            assert (page.parent / link).exists(), link
