"""`edgekd compare`: faster, slower or no difference shown; only the clock is made up."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

from edgekd.cli.commands import compare as subject
from tests.cli.test_commands import edgekd
from tests.gate.series_of import Measured, around
from tests.measure.tiny_engines import CLASSES, SHAPE, write_onnx


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Measured:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # a measurement lock of its own
    monkeypatch.chdir(tmp_path)
    write_onnx(tmp_path / "new.onnx", seed=1)
    write_onnx(tmp_path / "old.onnx", seed=2)
    found = Measured({"new": around(1.0), "old": around(1.0), "old-b": around(1.0)})
    found.instead(monkeypatch)
    return found


def compared(*arguments: str) -> Result:
    return CliRunner().invoke(subject.command, [*arguments, "--quiet"], catch_exceptions=False, standalone_mode=False)


@pytest.mark.parametrize(("ms", "outcome"), [(0.8, "faster"), (1.25, "slower"), (1.0, "no difference shown")])
def test_the_ratio_says_which_is_faster(measured: Measured, ms: float, outcome: str) -> None:
    measured.ms["new"] = around(ms)
    answer = compared("new.onnx", "old.onnx")
    assert answer.return_value == 0
    lines = answer.stdout.splitlines()
    assert lines[-1].startswith(f"{outcome}: p90 of new/given/onnxruntime is {ms:.3g} ")
    assert any(line.startswith("latency_ratio_p50_bootstrap (A / B)") for line in lines)
    assert any(line.startswith("peak_memory_mb") for line in lines)
    assert measured.looks == [11]


def test_a_difference_that_is_not_clear_is_looked_at_again(measured: Measured) -> None:
    measured.ms["new"] = around(1.01, 0.2)
    answer = compared("new.onnx", "old.onnx", "--time-limit", "40")
    assert "no difference shown" in answer.stdout
    assert measured.looks[0] > 11


def test_doubt_is_exit_code_five(measured: Measured) -> None:
    measured.machine["doubts"] = ["the processor was throttled by heat meanwhile"]
    answer = compared("new.onnx", "old.onnx")
    assert answer.return_value == 5
    assert answer.stdout.splitlines()[-1].startswith("not trustworthy: ")
    assert "throttled" in answer.stdout


def test_accuracy_is_compared_where_there_are_labels_and_json_holds_all(measured: Measured, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    inputs = random.standard_normal((20, *SHAPE)).astype(np.float32)
    np.savez(tmp_path / "data.npz", inputs=inputs, labels=random.integers(0, CLASSES, 20))
    answer = compared("new.onnx", "old.onnx", "--data", "data.npz", "--json")
    found = json.loads(answer.stdout)
    assert next(iter(found)) == "outcome"
    figures = {figure["name"]: figure["value"] for figure in found["a"]["figures"]}
    other = {figure["name"]: figure["value"] for figure in found["b"]["figures"]}
    assert figures["accuracy_drop"] == pytest.approx(other["accuracy_percent"] - figures["accuracy_percent"])
    assert {Path(file).name for file in found["raw"]} >= {"answers.jsonl", "latency.jsonl", "memory.jsonl"}
    assert answer.stderr.strip().startswith("no difference shown")


def test_an_engine_is_compared_with_itself_under_another_name(measured: Measured) -> None:
    answer = compared("old.onnx", "old.onnx")
    assert "of that of old-b/given/onnxruntime" in answer.stdout


def test_wrong_usage_ends_with_two(measured: Measured, tmp_path: Path) -> None:
    with pytest.raises(click.UsageError):
        compared("new.onnx")
    answer = edgekd("compare", "new.onnx", "none.onnx", cwd=tmp_path)
    assert answer.returncode == 2
    assert "there is no file or folder none.onnx" in answer.stderr
    assert "Traceback" not in answer.stderr
