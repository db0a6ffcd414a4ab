"""Every command answers --help at once and in a bare install; wrong usage ends with exit code 2 and one sentence."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.desk import Desk, refused

COMMANDS = sorted(p.stem.replace("_", "-") for p in Path("edgekd/cli/commands").glob("[!_]*.py"))


def edgekd(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgekd.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command(name: str) -> None:
    answer = edgekd(name, "--help")
    assert answer.returncode == 0, answer.stderr
    assert "Usage:" in answer.stdout


@pytest.mark.measured
def test_help_lists_every_command_with_its_first_line_and_is_instant() -> None:
    fastest = float("inf")
    for _ in range(10):
        begin = time.perf_counter()
        answer = edgekd("--help")
        fastest = min(fastest, time.perf_counter() - begin)
    assert all(name in answer.stdout for name in COMMANDS)
    bare = float("inf")
    for _ in range(10):
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import click"], check=True)
        bare = min(bare, time.perf_counter() - begin)
    assert fastest < 3 * bare  # a ratio to starting Python with click: absolute times are not stable


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv=['edgekd','--help']\n"
        "from edgekd.cli import main\n"
        "try: main.main()\n"
        "except SystemExit: pass\n"
        "heavy={'torch','numpy','pydantic','rich','scipy','yaml','onnx'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("compres",), "did you mean 'compress'"),
        (("compress", "--recipe", "mnist5"), "did you mean 'mnist5k'"),
        (("compress", "--target", "x86-avx"), "did you mean 'x86-avx2'"),
        (("compress", "--set", "budget.latency=3"), "unknown key 'budget.latency'"),
        (("compress", "--set", "nonsense"), "expected KEY.KEY=VALUE"),
        (("compress", "--executor", "ray"), "are about the stage 'trials', and recipe 'mnist5k' has none"),
        (("compress", "--recipe", "no/such/file.yaml"), "no such recipe file"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_two(
    arguments: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    answer = edgekd(*arguments, cwd=tmp_path)
    assert answer.returncode == 2, answer.stderr
    assert sentence in answer.stderr
    assert "Traceback" not in answer.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("override", "sentence"),
    [("stages.prune.critterion=taylor", "did you mean 'criterion'"), ("stages.prun={}", "did you mean 'prune'")],
)
def test_a_wrong_option_of_a_stage_is_one_sentence_and_exit_code_two(override: str, sentence: str, desk: Desk) -> None:
    before = set(desk.folder.rglob("*"))
    refused(desk.give("compress", "--set", override, "--dry-run"), 2, sentence)
    assert set(desk.folder.rglob("*")) == before
