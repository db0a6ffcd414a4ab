"""docs/ci.md: its budget is one, its snippets are what GitHub, GitLab and pytest would run, its exit codes are ours."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from edgekd.budget import Budget
from edgekd.errors import ExitCode
from edgekd.schema import from_mapping
from tests.gate.reports import report

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "ci.md").read_text()
FENCES = re.findall(r"```(\w*)\n(.*?)```", PAGE, flags=re.S)
BUDGET, GITHUB, GITLAB = (yaml.safe_load(text) for kind, text in FENCES if kind == "yaml")
JOB: dict[str, Any] = GITLAB["engine gate"]
STEP = next(step for step in GITHUB["jobs"]["gate"]["steps"] if step.get("id") == "gate")
COMMANDS = [
    *(line for kind, text in FENCES if kind == "sh" for line in text.splitlines()),
    *(line for line in JOB["script"] if line.startswith("edgekd ")),
]


def options_of(*names: str) -> set[str]:
    """Return every option a command takes."""
    answer = subprocess.run(
        [sys.executable, "-m", "edgekd.cli.main", *names, "--help"], capture_output=True, text=True, check=True
    )
    return set(re.findall(r"--[a-z][a-z-]+", answer.stdout))


def test_the_budget_is_a_budget() -> None:
    assert from_mapping(Budget, BUDGET, "ci.md").latency_ratio == 1.05


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_has_the_options_it_is_given(line: str) -> None:
    words = shlex.split(line)
    assert words[0] == "edgekd"
    verbs = words[1:3] if words[1] == "targets" else words[1:2]
    assert {word for word in words if word.startswith("--")} <= options_of(*verbs)


def test_the_action_gives_the_gate_only_options_it_has() -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    script = next(step for step in action["runs"]["steps"] if step["name"] == "Gate")["run"]
    assert set(re.findall(r"--[a-z][a-z-]+", script)) <= options_of("gate")


def test_the_github_snippet_fits_the_action() -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    required = {name for name, given in action["inputs"].items() if given.get("required")}
    assert required <= set(STEP["with"]) <= set(action["inputs"])
    assert all(isinstance(value, str) for value in STEP["with"].values())
    assert set(re.findall(r"steps\.gate\.outputs\.([\w-]+)", PAGE)) <= set(action["outputs"])
    assert STEP["with"]["comment"] == "true"
    assert GITHUB["permissions"]["pull-requests"] == "write"


@pytest.mark.parametrize("code", [0, 3, 5])
def test_the_script_of_the_gitlab_snippet_ends_as_the_gate_does(code: int, tmp_path: Path) -> None:
    stand_in = '#!/bin/bash\necho "$(basename "$0") $*" >> calls\n'
    for name, more in (("python", ""), ("git", "echo content\n"), ("edgekd", f"exit {code}\n")):
        (tmp_path / name).write_text(stand_in + more)
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main"}
    script = "\n".join(["set -eo pipefail", *JOB["script"]])
    answer = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, check=False)
    assert answer.returncode == code
    install, fetch, show, gate = (tmp_path / "calls").read_text().splitlines()
    assert install == "python -m pip install edgekd[onnxruntime]"
    assert (fetch, show) == ("git fetch --depth 1 origin main", "git show FETCH_HEAD:model.onnx")
    assert (tmp_path / "main.onnx").read_text() == "content\n"
    written = dict(re.findall(r"--(baseline|junit|markdown|raw) (\S+)", gate))
    assert written["baseline"] == "main.onnx"
    assert JOB["artifacts"]["reports"]["junit"] == written["junit"]
    assert set(JOB["artifacts"]["paths"]) == {written["markdown"], written["raw"]}
    assert JOB["artifacts"]["when"] == "always", "a failed gate is the one whose report is wanted"
    assert JOB["allow_failure"]["exit_codes"] == [ExitCode.NOT_TRUSTWORTHY]


def test_the_pytest_snippet_runs(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "edgekd.gate.session", SimpleNamespace(gate=lambda *_, **__: report()))
    pytester.makepyfile(next(text for kind, text in FENCES if kind == "python"))
    assert pytester.runpytest_inprocess().parseoutcomes() == {"passed": 1}


def test_the_table_of_exit_codes_is_complete() -> None:
    told = [int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, flags=re.M)]
    assert told == [code for code in ExitCode if code < ExitCode.INTERRUPTED]
