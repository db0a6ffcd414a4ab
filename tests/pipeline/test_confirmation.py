"""The verdict rests on a series that chose nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgekd import bundle
from edgekd.measure.statistics import percentile_of, ratio_bounds
from edgekd.report import RunReport
from edgekd.schema import read_json
from tests.conftest import Run


@pytest.fixture(scope="module")
def report(smoke: Run) -> RunReport:
    return read_json(RunReport, smoke.folder / "run.json")


def _p90(raw: Path, key: str) -> list[float]:
    lines = [json.loads(line) for line in raw.read_text().splitlines()]
    found = [line["blocks"] for line in lines if line["kind"] == "process" and line["engine"] == key]
    return [percentile_of([ms for block in blocks for ms in block["ms"]], 90) for blocks in found]


def test_the_ratio_of_the_verdict_is_that_of_the_fresh_series(smoke: Run, report: RunReport) -> None:
    fresh, first = (smoke.folder / "measurements" / f"{name}-0.jsonl" for name in ("verdict", "measure"))
    check = next(check for check in report.verdict.checks if check.limit_name == "latency_ratio")
    teacher = next(row.engine for row in report.rows if row.what == "teacher in fp32")
    taken, reference = (_p90(fresh, key) for key in (report.verdict.engine, teacher))
    assert check.figure.samples == len(taken) >= 11
    assert check.figure.value == pytest.approx(ratio_bounds(taken, reference).value)
    assert taken != _p90(first, report.verdict.engine)[: len(taken)]


def test_the_fresh_series_holds_the_chosen_engine_and_the_teacher_alone(smoke: Run, report: RunReport) -> None:
    header = json.loads((smoke.folder / "measurements" / "verdict-0.jsonl").read_text().splitlines()[0])
    keys = [key for key, _ in header["engines"]]
    assert keys[0] == report.verdict.engine
    assert [key.rpartition("/")[0] for key in keys[1:]] == ["teacher/fp32"]


def test_the_bundle_tells_the_figures_the_verdict_rests_on(smoke: Run, report: RunReport) -> None:
    manifest = bundle.read(smoke.folder / "bundle")
    figures = {figure.name: figure for figure in manifest.engines[manifest.chosen].figures}
    taken = _p90(smoke.folder / "measurements" / "verdict-0.jsonl", report.verdict.engine)
    assert figures["latency_ms_p90"].value == pytest.approx(float(np.median(taken)))
    assert {"peak_memory_mb", "size_mb", "accuracy_percent"} <= figures.keys()
