"""`edgekd gate` as a job runs it: without torch, with every report, and every mistake with its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from edgekd.gate.report import GateReport
from tests.measure.tiny_engines import CLASSES, SHAPE, write_onnx

BARE = """\
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "onnx", "onnxscript", "torch_pruning", "safetensors"}:
            raise ModuleNotFoundError(f"no module named {name}", name=name)
sys.meta_path.insert(0, Blocked())
from edgekd.cli.main import main
main()
"""
BUDGET = """\
latency_ratio: 10      # whatever this machine does meanwhile
peak_memory_mb: 500
size_mb: 1
accuracy_drop: 100
ece: 1
"""


def gate(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in an interpreter without torch and onnx, with a measurement lock and a cache of its own."""
    command = [sys.executable, "-c", BARE, "gate", *arguments]
    environment = {**os.environ, "TMPDIR": str(folder), "EDGEKD_CACHE": str(folder / "cache")}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=environment)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("job")
    write_onnx(here / "new.onnx", seed=1)
    write_onnx(here / "old.onnx", seed=2)
    random = np.random.default_rng(0)
    inputs = random.standard_normal((40, *SHAPE)).astype(np.float32)
    np.savez(here / "data.npz", inputs=inputs, labels=random.integers(0, CLASSES, 40))
    (here / "budget.yaml").write_text(BUDGET)
    return here


@pytest.fixture(scope="module")
def job(folder: Path) -> subprocess.CompletedProcess[str]:
    reports = ["--json", "--junit", "junit.xml", "--markdown", "gate.md", "--summary", "summary.md", "--raw", "raw"]
    (folder / "summary.md").write_text("# the job\n")
    options = ["--budget", "budget.yaml", "--baseline", "old.onnx", "--data", "data.npz"]
    return gate(folder, *options, *reports, "--", "new.onnx")


def test_a_gate_needs_no_torch_and_says_everything_in_json(folder: Path, job: subprocess.CompletedProcess[str]) -> None:
    report = GateReport.model_validate_json(job.stdout)
    assert job.returncode == report.exit_code, job.stderr
    assert {check.limit_name: check.status for check in report.verdict.checks} == dict.fromkeys(
        ["latency_ratio", "accuracy_drop", "ece", "peak_memory_mb", "size_mb"], "met"
    )
    assert job.returncode == (5 if report.verdict.reasons else 0)
    assert job.stderr.splitlines()[-1] == report.verdict.line()
    assert report.processes == 11
    for key in (report.subject.key, report.baseline.key, report.anchor.key):
        assert key.endswith("/onnxruntime")
    assert {Path(file).name for file in report.raw} == {"latency.jsonl", "memory.jsonl", "size.jsonl", "answers.jsonl"}


def test_every_report_is_written(folder: Path, job: subprocess.CompletedProcess[str]) -> None:
    assert ET.parse(folder / "junit.xml").getroot().tag.startswith("testsuite")
    assert "new/given/onnxruntime" in (folder / "gate.md").read_text()
    summary = (folder / "summary.md").read_text()
    assert summary.startswith("# the job\n")
    assert (folder / "gate.md").read_text() in summary


def test_the_medians_follow_from_the_raw_lines(folder: Path, job: subprocess.CompletedProcess[str]) -> None:
    report = GateReport.model_validate_json(job.stdout)
    lines = [json.loads(line) for line in (folder / "raw" / "latency.jsonl").read_text().splitlines()]
    for measured in (report.subject, report.baseline):
        runs = [
            [ms for block in line["blocks"] for ms in block["ms"]]
            for line in lines
            if line["kind"] == "process" and line["engine"] == measured.key
        ]
        found = np.median([np.quantile(times, 0.9, method="median_unbiased") for times in runs])
        assert measured.figure("latency_ms_p90").value == pytest.approx(found)


def test_options_make_a_budget_and_the_last_line_is_the_verdict(folder: Path) -> None:
    answer = gate(folder, "new.onnx", "--max-size-mb", "0.000001")
    assert answer.returncode == 3, answer.stderr
    assert answer.stdout.splitlines()[-1].startswith("missed: new/given/onnxruntime: size is 0.00")
    assert gate(folder, "new.onnx", "--max-size-mb", "1", "--budget", "budget.yaml").returncode == 2  # no baseline


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["new.onnx"], "the budget gives no limit"),
        (["none.onnx", "--max-size-mb", "1"], "there is no file or folder none.onnx"),
        (["new.onnx", "--max-size-mb", "-1"], "the options: size_mb = -1.0: Input should be greater than 0"),
        (["new.onnx", "--max-size-mb", "nan"], "finite number"),
        (["new.onnx", "--budget", "none.yaml"], "none.yaml: cannot be read"),
        (["new.onnx", "--budget", "typo.yaml"], "typo.yaml:2: unknown key 'latency_m'; did you mean 'latency_ms'?"),
        (["new.onnx", "--max-size-mb", "1", "--percentile", "100"], "percentile = 100.0"),
        (["new.onnx", "--max-size-mb", "1", "--also", "memori"], "did you mean 'memory'"),
        (["new.onnx", "--max-size-mb", "1", "--also", "latency"], "latency is measured where it is limited"),
        (["new.onnx", "--max-size-mb", "1", "--shape", "input"], "expected NAME=SIZE"),
        (["new.onnx", "--max-size-mb", "1", "--data", "none.npz"], "there is no file none.npz"),
        (["new.onnx", "--max-size-mb", "1", "--batch", "0"], "Invalid value for '--batch'"),
        (["new.onnx", "--max-size-mb", "1", "--on-untrusted", "maybe"], "Invalid value for '--on-untrusted'"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_two(folder: Path, arguments: list[str], sentence: str) -> None:
    (folder / "typo.yaml").write_text("size_mb: 1\nlatency_m: 3\n")
    answer = gate(folder, *arguments)
    assert answer.returncode == 2, answer.stderr
    assert sentence in answer.stderr
    assert answer.stdout == ""
    assert "Traceback" not in answer.stderr


def test_a_percentile_out_of_reach_says_what_it_needs(folder: Path) -> None:
    answer = gate(
        folder,
        "new.onnx",
        "--baseline",
        "old.onnx",
        "--max-latency-ratio",
        "2",
        "--percentile",
        "99.99",
        "--time-limit",
        "2",
    )
    assert answer.returncode == 5
    assert "p99.99 needs" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_report_that_cannot_be_written_is_an_error_of_resources(folder: Path) -> None:
    answer = gate(folder, "new.onnx", "--max-size-mb", "1", "--summary", "no/such/folder.md")
    assert answer.returncode == 8
    assert "the report cannot be written there" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_help_documents_every_exit_code(folder: Path) -> None:
    text = " ".join(gate(folder, "--help").stdout.split())
    for part in ("0 met", "3 latency", "4 accuracy", "5 not trustworthy", "6 runtime", "7 the engine", "8 out of disk"):
        assert part in text
