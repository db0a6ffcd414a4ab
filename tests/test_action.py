"""The GitHub action: its shape, and its scripts run as a runner would, with stand-ins for what they call."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
STEPS: dict[str, dict[str, Any]] = {step["name"]: step for step in ACTION["runs"]["steps"]}

# Stand-ins note their arguments, one a line, and behave as the environment variables of the test say.
PYTHON = """#!/bin/bash
printf '%s\\n' "$@" >> "$TEST_LOG/python3"
if [[ $1 == -m && $2 == venv ]]; then
  mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; cp "$TEST_BIN/edgekd" "$3/bin/"; exit 0
fi
if [[ $1 == -m && $2 == pip ]]; then exit 0; fi
exec "$TEST_PYTHON" "$@"
"""
EDGEKD = """#!/bin/bash
printf '%s\\n' "$@" > "$TEST_LOG/edgekd"
while (($#)); do if [[ $1 == --markdown && -n $TEST_STATUS ]]; then echo "the report" > "$2"; fi; shift; done
if [[ -n $TEST_STATUS ]]; then echo "{\\"verdict\\": {\\"status\\": \\"$TEST_STATUS\\"}}"; fi
exit "$TEST_CODE"
"""
GH = """#!/bin/bash
printf '%s\\n' "$@" "--" >> "$TEST_LOG/gh"
printenv MARK > "$TEST_LOG/mark"
if [[ $1 == pr && $2 == view ]]; then printf '%s' "$TEST_COMMENT"; fi
exit "$TEST_GH_CODE"
"""


class Runner:
    """A runner's environment: its files, a PATH with stand-ins, and the outputs of steps."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        for name in ("bin", "log", "temp"):
            (folder / name).mkdir()
        for name, script in (("python3", PYTHON), ("edgekd", EDGEKD), ("gh", GH)):
            (folder / "bin" / name).write_text(script)
            (folder / "bin" / name).chmod(0o755)
        self.environment = {
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "RUNNER_TEMP": str(folder / "temp"),
            "GITHUB_ACTION_PATH": "/action",
            "GITHUB_OUTPUT": str(folder / "output"),
            "GITHUB_STEP_SUMMARY": str(folder / "summary"),
            "GITHUB_REPOSITORY": "me/mine",
            "GITHUB_SERVER_URL": "https://github.example",
            "GITHUB_RUN_ID": "7",
            "TEST_LOG": str(self.log),
            "TEST_BIN": str(folder / "bin"),
            "TEST_PYTHON": shutil.which("python3") or "python3",
            "TEST_STATUS": "met",
            "TEST_CODE": "0",
            "TEST_COMMENT": "",
            "TEST_GH_CODE": "0",
        }

    def step(self, name: str, **inputs: str) -> subprocess.CompletedProcess[str]:
        """Run one step as GitHub does; `inputs` are inputs or outputs of the action, underscores for dashes."""
        given = {key: str(value.get("default", "")) for key, value in ACTION["inputs"].items()}
        given |= self.outputs() | {key.replace("_", "-"): value for key, value in inputs.items()}
        names = {key: expression.strip("${} ").split(".")[-1] for key, expression in STEPS[name]["env"].items()}
        script = self.folder / "step.sh"
        script.write_text(STEPS[name]["run"])
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
            env={**self.environment, **{key: given.get(value, "") for key, value in names.items()}},
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )

    def called(self, program: str) -> list[str]:
        return (self.log / program).read_text().splitlines()

    def outputs(self) -> dict[str, str]:
        file = self.folder / "output"
        return dict(line.split("=", 1) for line in file.read_text().splitlines()) if file.is_file() else {}


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    found = Runner(tmp_path)
    installed = found.step("Install edgekd")
    assert installed.returncode == 0, installed.stderr
    return found


def test_the_action_has_the_shape_of_a_composite_action() -> None:
    assert set(ACTION) == {"name", "description", "branding", "inputs", "outputs", "runs"}
    assert ACTION["runs"]["using"] == "composite"
    for name, given in ACTION["inputs"].items():
        assert set(given) <= {"description", "default", "required"}, name
        assert given["description"], name
        assert isinstance(given.get("default", ""), str), f"{name}: an input is always a text"
        assert ("default" in given) != given.get("required", False), name
    for step in ACTION["runs"]["steps"]:
        assert set(step) <= {"name", "id", "if", "shell", "env", "run"}
        assert step["shell"] == "bash"
    assert {"verdict", "exit-code", "report"} == set(ACTION["outputs"])


@pytest.mark.parametrize("name", STEPS)
def test_no_expression_stands_in_a_script_and_every_input_arrives(name: str) -> None:
    script, known = STEPS[name]["run"], {*ACTION["inputs"], *ACTION["outputs"], "number"}
    assert "${{" not in script, "an expression in a script is code whoever names a file can write"
    for variable, expression in STEPS[name]["env"].items():
        assert re.search(rf"\$\{{?{variable}\b|env\.{variable}\b", script) or variable == "GH_TOKEN", variable
        assert expression.strip("${} ").split(".")[-1] in known, expression


def test_every_input_is_used() -> None:
    expressions = [expression for step in STEPS.values() for expression in step["env"].values()]
    used = {expression.strip("${} ").removeprefix("inputs.") for expression in expressions}
    assert set(ACTION["inputs"]) - used == {"comment"}
    assert "inputs.comment" in STEPS["Comment"]["if"]


@pytest.mark.parametrize("name", STEPS)
def test_the_scripts_are_clean(name: str, tmp_path: Path) -> None:
    script = tmp_path / "step.sh"
    script.write_text("#!/bin/bash\n" + STEPS[name]["run"])
    subprocess.run(["bash", "-n", str(script)], check=True)
    if checker := shutil.which("shellcheck"):
        answer = subprocess.run([checker, str(script)], capture_output=True, text=True, check=False)
        assert answer.returncode == 0, answer.stdout


def test_it_installs_what_it_came_with_or_the_release_that_is_named(runner: Runner) -> None:
    assert runner.called("python3")[-1] == "/action[onnxruntime]"
    runner.step("Install edgekd", version="1.2", runtime="openvino")
    assert runner.called("python3")[-1] == "edgekd[openvino]==1.2"


def test_an_old_python_is_told_what_to_do(tmp_path: Path) -> None:
    runner = Runner(tmp_path)
    (tmp_path / "bin" / "python3").write_text("#!/bin/bash\nexit 1\n")
    answer = runner.step("Install edgekd")
    assert answer.returncode == 2
    assert "::error::edgekd needs Python 3.11" in answer.stdout


def test_the_gate_is_called_with_what_was_given(runner: Runner) -> None:
    inputs = {"engine": "-odd name.onnx", "budget": "b.yaml", "baseline": "main.onnx", "data": "d.npz"}
    inputs |= {"runtime": "openvino", "threads": "2", "batch": "4", "shape": "a=4,3\nb c=4,1\n"}
    answer = runner.step("Gate", **inputs, time_limit="60", on_untrusted="retry")
    assert answer.returncode == 0, answer.stderr
    called = runner.called("edgekd")
    assert called[0] == "gate"
    assert called[-2:] == ["--", "-odd name.onnx"]
    options = dict(itertools.pairwise(called))
    wanted = {"budget": "b.yaml", "baseline": "main.onnx", "data": "d.npz", "runtime": "openvino", "threads": "2"}
    wanted |= {"time-limit": "60", "batch": "4", "on-untrusted": "retry", "summary": str(runner.folder / "summary")}
    assert {key: options[f"--{key}"] for key in wanted} == wanted
    assert [after for option, after in itertools.pairwise(called) if option == "--shape"] == ["a=4,3", "b c=4,1"]
    assert runner.outputs()["verdict"] == "met"
    assert json.loads((Path(runner.outputs()["report"]) / "gate.json").read_text()) == {"verdict": {"status": "met"}}


def test_what_is_not_given_is_not_passed_on(runner: Runner) -> None:
    runner.step("Gate", engine="m.onnx", budget="b.yaml")
    always = {"--budget", "--on-untrusted", "--json", "--junit", "--markdown", "--summary", "--raw", "--"}
    assert {word for word in runner.called("edgekd") if word.startswith("--")} == always


@pytest.mark.parametrize(
    ("status", "code"), [("met", 0), ("missed", 3), ("missed", 4), ("not trustworthy", 5), ("", 2)]
)
def test_the_exit_code_is_passed_on_after_the_comment(runner: Runner, status: str, code: int) -> None:
    runner.environment |= {"TEST_STATUS": status, "TEST_CODE": str(code)}
    assert runner.step("Gate", engine="m.onnx", budget="b.yaml").returncode == 0, "the comment still has to come"
    assert runner.outputs()["exit-code"] == str(code)
    assert runner.outputs()["verdict"] == (status or "none")
    last = runner.step("Verdict")
    assert last.returncode == code
    assert ("::error" in last.stdout) == (code != 0)


def test_doubt_that_is_declared_neutral_passes_but_is_told(runner: Runner) -> None:
    runner.environment |= {"TEST_STATUS": "not trustworthy", "TEST_CODE": "0"}
    runner.step("Gate", engine="m.onnx", budget="b.yaml", on_untrusted="neutral")
    assert runner.outputs()["verdict"] == "not trustworthy"
    assert runner.step("Verdict").returncode == 0


@pytest.mark.parametrize("text", ["$(touch hacked)", "`touch hacked`", '"; touch hacked; "', "a\nb'\\"])
def test_no_input_is_run(runner: Runner, text: str) -> None:
    for name in STEPS:
        runner.step(name, engine=text, budget=text, baseline=text, runtime=text, version=text, number=text, token=text)
    assert not list(runner.folder.rglob("hacked"))
    assert "\n".join(runner.called("edgekd")).endswith(f"--\n{text}")


def test_the_comment_is_written_once_and_then_renewed(runner: Runner) -> None:
    runner.step("Gate", engine="a b.onnx", budget="b.yaml")
    first = runner.step("Comment", engine="a b.onnx", budget="b.yaml", number="12", token="t")
    assert first.returncode == 0, first.stderr
    assert "::warning" not in first.stdout
    comment = Path(runner.outputs()["report"]) / "comment.md"
    mark, *text = comment.read_text().splitlines()
    assert mark == "<!-- edgekd-action:a-b.onnx-b.yaml -->" == runner.called("mark")[0]
    assert text == ["the report", "", "[The run](https://github.example/me/mine/actions/runs/7)"]
    assert runner.called("gh")[-8:] == ["pr", "comment", "12", "--repo", "me/mine", "--body-file", str(comment), "--"]
    runner.environment["TEST_COMMENT"] = "https://github.example/me/mine/pull/12#issuecomment-99"
    runner.step("Comment", engine="a b.onnx", budget="b.yaml", number="12", token="t")
    assert runner.called("gh")[-8:-1] == [
        *("api", "--silent", "--method", "PATCH", "repos/me/mine/issues/comments/99", "--field", f"body=@{comment}"),
    ]


def test_a_gate_without_a_verdict_renews_the_comment_too(runner: Runner) -> None:
    runner.environment |= {"TEST_STATUS": "", "TEST_CODE": "7"}
    runner.step("Gate", engine="m.onnx", budget="b.yaml")
    runner.step("Comment", engine="m.onnx", budget="b.yaml", number="12", token="t")
    text = (Path(runner.outputs()["report"]) / "comment.md").read_text()
    assert "no verdict" in text
    assert "exit code 7" in text


def test_a_comment_that_is_not_allowed_does_not_change_the_verdict(runner: Runner) -> None:
    runner.step("Gate", engine="m.onnx", budget="b.yaml")
    runner.environment["TEST_GH_CODE"] = "1"
    answer = runner.step("Comment", engine="m.onnx", budget="b.yaml", number="12", token="t")
    assert answer.returncode == 0
    assert "::warning::edgekd gate could not comment" in answer.stdout
