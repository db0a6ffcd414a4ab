"""One smoke run of the whole chain, looked at from every side a user has."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import edgekd.runtime
from edgekd import bundle
from edgekd.recipe import DataSpec
from edgekd.report import RunReport
from edgekd.schema import read_json
from edgekd.train import data
from tests.conftest import Run, compress


@pytest.fixture(scope="module")
def folder(smoke: Run) -> Path:
    return smoke.folder


@pytest.fixture(scope="module")
def report(folder: Path) -> RunReport:
    return read_json(RunReport, folder / "run.json")


def test_the_last_line_is_the_verdict_and_the_exit_code_is_its_own(smoke: Run, report: RunReport) -> None:
    answer = smoke.answer
    assert answer.returncode == report.verdict.exit_code, answer.stderr
    assert answer.stdout.splitlines() == [report.verdict.line()]
    assert report.verdict.status in {"met", "not trustworthy"}  # a busy machine may spoil the measurement, nothing else


def test_run_json_begins_with_the_verdict(folder: Path) -> None:
    assert next(iter(json.loads((folder / "run.json").read_text()))) == "verdict"


def test_every_figure_has_origin_and_samples_and_ratios_are_bounded(report: RunReport) -> None:
    assert [row.what.split(" (")[0] for row in report.rows[:3]] == [
        "teacher in fp32",
        "distilled in fp32",
        "pruned in fp32",
    ]
    for row in report.rows:
        share = next(figure for figure in row.figures if figure.name == "share_of_teacher")
        assert share.samples >= 11
        assert share.lower is not None
        assert share.upper is not None
        assert share.lower <= share.value <= share.upper
    assert {figure.origin for row in report.rows for figure in row.figures} <= {"device", "host", "counted"}


def test_the_bundle_alone_reproduces_the_reported_test_accuracy(folder: Path, report: RunReport) -> None:
    manifest = bundle.verify(folder / "bundle")
    loaded = data.load(DataSpec(name="mnist5k"))
    engine = edgekd.runtime.load(str(folder / "bundle"))
    logits = np.concatenate([engine.predict(engine.preprocess(x[None])) for x in loaded.test.inputs])
    percent = 100 * float((logits.argmax(1) == loaded.test.labels).mean())
    shipped = manifest.engines[manifest.chosen]
    told = next(
        f for row in report.rows if "shipped" in row.what for f in row.figures if f.name == "accuracy_percent_test"
    )
    assert percent == pytest.approx(told.value, abs=0.07)  # one image of 1,500: batch 1 here, batches there
    assert shipped.variant in report.verdict.engine


def test_raw_measurements_are_kept(folder: Path) -> None:
    lines = [json.loads(line) for line in next((folder / "measurements").glob("*.jsonl")).read_text().splitlines()]
    assert len(lines) > 11


def test_the_same_command_replays_the_verdict_without_torch(folder: Path, report: RunReport) -> None:
    code = (
        "import sys; sys.argv = ['edgekd', 'compress', '--smoke', '--run-folder', sys.argv[1]]\n"
        "from edgekd.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as leaving:\n"
        "    print('torch' in sys.modules, leaving.code)\n"
    )
    answer = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines() == [report.verdict.line(), f"False {report.verdict.exit_code}"]
    assert "replayed" in answer.stderr


def test_json_goes_to_standard_output_and_nothing_else(folder: Path, report: RunReport) -> None:
    answer = compress(folder, "--json", "--quiet")
    assert json.loads(answer.stdout)["verdict"]["status"] == report.verdict.status
    assert report.verdict.line() in answer.stderr


def test_another_limit_reuses_every_stage_that_does_not_depend_on_it(folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(folder, tmp_path / "run")
    answer = compress(folder, "--set", "budget.size_mb=0.001")
    assert answer.returncode in {3, 5}, answer.stderr
    told = read_json(RunReport, folder / "run.json")
    reused = {line.name: line.reused for line in told.stages}
    assert reused["teacher"]
    assert reused["distill"]
    assert "size is" in answer.stdout


def test_a_target_that_this_machine_is_not_is_never_met(folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(folder, tmp_path / "run")
    own = tmp_path / "board.yaml"
    text = (Path(__file__).parents[2] / "targets" / "x86-avx2.yaml").read_text()
    own.write_text(text.replace("name: x86-avx2", "name: some-board").replace("isa: [", "isa: [sve, "))
    answer = compress(folder, "--target", str(own), "--set", "stages.measure.processes=3")
    assert answer.returncode == 5, answer.stderr
    assert "not on some-board" in answer.stdout


def test_dry_run_prints_plan_and_recipe_and_writes_nothing(tmp_path: Path) -> None:
    answer = compress(tmp_path / "none", "--dry-run")
    assert answer.returncode == 0, answer.stderr
    assert "distill: at most" in answer.stdout
    assert "latency_ratio" in answer.stdout
    assert not (tmp_path / "none").exists()
