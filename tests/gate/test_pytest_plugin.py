"""The fixture `edgekd_gate` in test suites of others: verdicts become results, at no cost for whoever needs none."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from edgekd.budget import Budget
from edgekd.errors import UsageError
from edgekd.gate.report import GateReport
from tests.gate.reports import check, report
from tests.measure.tiny_engines import write_onnx

pytest_plugins = ["pytester"]

REQUIRING = """
def test_budget(edgekd_gate):
    found = edgekd_gate("model.onnx", {"latency_ratio": 1.05, "operating_point": {"threads": 2}}, baseline="main.onnx")
    edgekd_gate.require(found)
"""


class Gate:
    """Stands in for `edgekd.gate.session.gate`."""

    def __init__(self, answer: GateReport) -> None:
        self.answer = answer
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def __call__(self, *arguments: Any, **options: Any) -> GateReport:
        self.calls.append((arguments, options))
        return self.answer


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    found = Gate(report())
    monkeypatch.setitem(sys.modules, "edgekd.gate.session", SimpleNamespace(gate=found))
    return found


def outcomes(pytester: pytest.Pytester, *options: str) -> dict[str, int]:
    return pytester.runpytest_inprocess(*options).parseoutcomes()


def test_a_met_budget_passes_and_the_gate_gets_what_was_said(pytester: pytest.Pytester, gate: Gate) -> None:
    pytester.makepyfile(REQUIRING)
    assert outcomes(pytester) == {"passed": 1}
    ((engine, budget, baseline), options) = gate.calls[0]
    assert engine == "model.onnx"
    assert budget == Budget.model_validate({"latency_ratio": 1.05, "operating_point": {"threads": 2}})
    assert baseline == "main.onnx"
    assert options["raw"].parent.parent.is_dir(), "the raw log lies in the test's own folder"


def test_a_missed_budget_fails_with_the_line_of_the_verdict_alone(pytester: pytest.Pytester, gate: Gate) -> None:
    gate.answer = report(check("latency_ratio", 1.05, 1.2, "missed"), status="missed")
    pytester.makepyfile(REQUIRING)
    answer = pytester.runpytest_inprocess()
    assert answer.parseoutcomes() == {"failed": 1}
    answer.stdout.fnmatch_lines(["missed: model/fp32/onnxruntime: latency_ratio is 1.2, limit 1.05"])
    answer.stdout.no_fnmatch_line("*pytest_plugin.py*")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), {"failed": 1}),
        (("--edgekd-on-untrusted=fail",), {"failed": 1}),
        (("--edgekd-on-untrusted=skip",), {"skipped": 1}),
    ],
)
def test_doubt_fails_unless_the_option_says_skip(
    pytester: pytest.Pytester, gate: Gate, options: tuple[str, ...], expected: dict[str, int]
) -> None:
    gate.answer = report(status="not trustworthy", reasons=("the clock jumped",))
    pytester.makepyfile(REQUIRING)
    answer = pytester.runpytest_inprocess("-rs", *options)
    assert answer.parseoutcomes() == expected
    answer.stdout.fnmatch_lines(["*the clock jumped*"])


def test_a_limit_that_is_missed_for_certain_is_never_skipped(pytester: pytest.Pytester, gate: Gate) -> None:
    checks = check("latency_ratio", 1.05, 1.04, "not trustworthy"), check("size_mb", 1, 2, "missed")
    gate.answer = report(*checks, status="not trustworthy")
    pytester.makepyfile(REQUIRING)
    assert outcomes(pytester, "--edgekd-on-untrusted=skip") == {"failed": 1}


def test_a_call_alone_asserts_nothing(pytester: pytest.Pytester, gate: Gate) -> None:
    gate.answer = report(status="missed")
    pytester.makepyfile("def test_it(edgekd_gate):\n    assert edgekd_gate('m', {}).verdict.status == 'missed'")
    assert outcomes(pytester) == {"passed": 1}


def test_a_budget_may_be_a_file(pytester: pytest.Pytester, gate: Gate) -> None:
    pytester.makefile(".yaml", budget="size_mb: 2.0\n")
    pytester.makepyfile("def test_it(edgekd_gate):\n    edgekd_gate('m', 'budget.yaml')")
    assert outcomes(pytester) == {"passed": 1}
    assert gate.calls[0][0][1] == Budget(size_mb=2.0)


def test_a_wrong_budget_is_a_usage_error_in_the_test(pytester: pytest.Pytester, gate: Gate) -> None:
    pytester.makepyfile(
        f"import pytest\nfrom {UsageError.__module__} import UsageError\n"
        "def test_it(edgekd_gate):\n"
        "    with pytest.raises(UsageError, match='unknown key'):\n        edgekd_gate('m', {'latency': 3})"
    )
    assert outcomes(pytester) == {"passed": 1}
    assert not gate.calls


def test_a_real_gate_in_a_suite_that_says_nothing_of_the_plugin(pytester: pytest.Pytester) -> None:
    for name, layers in (("model", 1), ("main", 4)):
        write_onnx(pytester.path / f"{name}.onnx", layers)
    pytester.makepyfile(
        """
        LIMITS = {"latency_ratio": 1.0, "percentile": 50, "size_mb": 1}

        def test_faster(edgekd_gate):
            report = edgekd_gate("model.onnx", LIMITS, baseline="main.onnx")
            assert report.subject.figure("latency_ms_p50").samples == report.processes >= 11
            edgekd_gate.require(report)

        def test_larger(edgekd_gate, tmp_path):
            report = edgekd_gate("main.onnx", {"size_mb": 0.001})
            assert list(tmp_path.rglob("size.jsonl"))
            edgekd_gate.require(report)
        """
    )
    answer = pytester.runpytest_subprocess("-W", "error", "--edgekd-on-untrusted=skip")
    assert answer.parseoutcomes() in [
        {"passed": 1, "failed": 1},
        {"skipped": 1, "failed": 1},
    ]  # a busy machine may doubt
    answer.stdout.fnmatch_lines(["missed: main/given/onnxruntime: size is *"])


def test_pytest_finds_the_plugin_and_importing_it_imports_nothing_else_of_edgekd() -> None:
    said = "import sys, pytest; before = set(sys.modules); import edgekd.gate.pytest_plugin; "
    said += "print(sorted(set(sys.modules) - before))"
    answer = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "['edgekd', 'edgekd.gate', 'edgekd.gate.pytest_plugin']"
    helped = subprocess.run([sys.executable, "-m", "pytest", "--help"], capture_output=True, text=True, check=True)
    assert "--edgekd-on-untrusted={fail,skip}" in helped.stdout
