"""docs/raw-measurements.md: its scripts, run on raw lines, give every figure that edgekd printed, to the last digit."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekd.budget import Budget
from edgekd.figure import Figure
from edgekd.gate.report import GateReport, Measured
from edgekd.gate.session import gate
from edgekd.measure.evaluate import Answers, figures, write_raw
from edgekd.measure.statistics import Bounds, median_bounds, percentile_of, ratio_bounds
from tests.measure.tiny_engines import CLASSES, SHAPE, write_onnx

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "raw-measurements.md").read_text()
COSTS, ANSWERS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.S)
RAW_NAMES = {
    "peak_memory_mb": ("peak_mb", 1.0),
    "load_memory_mb": ("load_peak_mb", 1.0),
    "steady_memory_mb": ("steady_peak_mb", 1.0),
    "size_mb": ("size_bytes", 1e-6),
}
"""What the figures are called in the raw lines, and the factor, as the page's table says."""

Told = dict[tuple[str, str], list[list[float]]]


def run(script: str, argument: Path) -> Told:
    """Return the values with their bounds by engine and name, as a script of the page prints them."""
    answer = subprocess.run([sys.executable, "-c", script, str(argument)], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    found: Told = {}
    for key, name, *cells in (line.split("\t") for line in answer.stdout.splitlines()):
        found.setdefault((key, name), []).append([float(cell) for cell in cells])
    return found


def agrees(told: list[float], bounds: Figure | Bounds, factor: float = 1.0, digits: float = 1e-12) -> bool:
    found = np.multiply(told, factor)
    expected = [bounds.value, *(found[1:] if bounds.lower is None else [bounds.lower, bounds.upper])]
    return bool(np.allclose(found, np.array(expected, float), rtol=digits, atol=digits))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[GateReport, Path]:
    """A real gate of two tiny engines, with every figure it can give in a few seconds."""
    folder = tmp_path_factory.mktemp("gate")
    engine, baseline = (str(write_onnx(folder / f"{name}.onnx", layers)) for name, layers in (("new", 1), ("old", 2)))
    random = np.random.default_rng(0)
    inputs = random.standard_normal((60, *SHAPE)).astype(np.float32)
    np.savez(folder / "data.npz", inputs=inputs, labels=random.integers(0, CLASSES, 60))
    limits = {"latency_ratio": 9, "peak_memory_mb": 1e3, "size_mb": 9, "first_result_ms": 1e4, "accuracy_drop": 100}
    budget = Budget.model_validate({**limits, "percentile": 75})
    return gate(engine, budget, baseline, data=folder / "data.npz", raw=folder / "raw"), folder / "raw"


def test_the_scripts_are_as_short_as_the_page_says_and_need_numpy_alone() -> None:
    for script in (COSTS, ANSWERS):
        assert len([line for line in script.splitlines() if line.strip()]) <= 30
        assert max(map(len, script.splitlines())) <= 120
        assert set(re.findall(r"^(?:import|from) ([\w, ]+)", script, flags=re.M)) <= {
            *("glob, json, math, sys", "json, math, sys", "numpy as np"),
        }


def test_every_figure_of_a_gate_is_recomputed(measured: tuple[GateReport, Path]) -> None:
    report, raw = measured
    assert set(report.raw) == {str(path) for path in raw.glob("*.jsonl")}
    told = run(COSTS, raw) | run(ANSWERS, raw / "answers.jsonl")
    engines = [engine for engine in (report.subject, report.baseline, report.anchor) if engine is not None]
    assert len(engines) == 3
    for engine in engines:
        assert engine.figures or engine is report.anchor
        for figure in engine.figures:
            assert_recomputed(figure, engine, report.baseline, told)
    ratio = next(check.figure for check in report.verdict.checks if check.limit_name == "latency_ratio")
    (found,) = told[f"{report.subject.key} / {engines[1].key}", "latency_ms_p75"]
    assert agrees(found, ratio)


def assert_recomputed(figure: Figure, engine: Measured, baseline: Measured | None, told: Told) -> None:
    name, factor = RAW_NAMES.get(figure.name, (figure.name, 1.0))
    key = f"{engine.key} / {baseline.key}" if name == "accuracy_drop" and baseline else engine.key
    if key == f"{engine.key} / {engine.key}":
        assert figure.value == 0
        return
    digits = 1e-7 if name.startswith("accuracy") else 1e-12  # the quantile of the normal distribution has eight digits
    assert any(agrees(found, figure, factor, digits) for found in told[key, name]), (figure, told[key, name])


@pytest.mark.parametrize("looks", [[3], [11], [11, 22], [11, 22, 44, 66]])
def test_the_bounds_of_an_extended_series_are_recomputed(looks: list[int], tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    runs = {key: random.gamma(3, 1, (looks[-1], 8, 16)) for key in ("a/x/r", "b/x/r")}
    lines = [{"kind": "series", "percentile": 90.0}, *({"kind": "look", "processes": look} for look in looks)]
    lines += [
        {"kind": "process", "round": number, "engine": key, "blocks": [{"ms": list(block)} for block in values[number]]}
        for number in range(looks[-1])
        for key, values in runs.items()
    ]
    (tmp_path / "latency.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    told = run(COSTS, tmp_path)
    for p in (50, 90):
        a, b = ([percentile_of(process.ravel().tolist(), p) for process in values] for values in runs.values())
        assert agrees(told["a/x/r", f"latency_ms_p{p}"][0], median_bounds(a, looks))
        assert agrees(told["a/x/r / b/x/r", f"latency_ms_p{p}"][0], ratio_bounds(a, b, looks))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_accuracies_are_recomputed(share: float, tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    mine, reference = (
        Answers(random.random(200) < p, random.random(200), 2 * random.random(200)) for p in (share, 0.5)
    )
    write_raw(tmp_path / "answers.jsonl", {"mine": mine, "reference": reference})
    told = run(ANSWERS, tmp_path / "answers.jsonl")
    for figure in figures(mine, reference, "device"):
        key = "mine / reference" if figure.name == "accuracy_drop" else "mine"
        assert agrees(told[key, figure.name][0], figure, digits=1e-7), figure
