"""The pytest plug-in: fixture `edgekd_gate`, with which a test of yours gates an engine.

    def test_budget(edgekd_gate):
        report = edgekd_gate("bundle", {"latency_ratio": 1.05}, baseline="main.onnx")
        edgekd_gate.require(report)

pytest imports this file in every run of every project in whose environment edgekd is installed: it therefore imports
nothing of edgekd until the fixture is called.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from edgekd.budget import Budget
    from edgekd.gate.report import GateReport


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--edgekd-on-untrusted`."""
    parser.getgroup("edgekd", "measured engines").addoption(
        "--edgekd-on-untrusted",
        choices=("fail", "skip"),
        default="fail",
        help="what edgekd_gate.require does with a measurement that is not trustworthy (default: fail)",
    )


class EdgekdGate:
    """Measures engines against budgets; a call asserts nothing, `require` does."""

    def __init__(self, raw: Path, on_untrusted: str) -> None:
        self._raw, self._on_untrusted = raw, on_untrusted
        self._called = 0

    def __call__(
        self,
        engine: str | Path,
        budget: Mapping[str, object] | str | Path,
        *,
        baseline: str | Path | None = None,
        **options: Any,
    ) -> GateReport:
        """Return what a gate of `engine` beside a `baseline` finds.

        `budget` is a mapping of limits or a YAML file of them; `options` are those of `edgekd.gate.session.gate`, such
        as `data` and `time_limit_s`. The raw measurements stay in the test's `tmp_path` unless `raw` says otherwise.
        Raises what the gate raises: UsageError, MeasurementError, TargetError, ExportError, ResourceError.
        """
        from edgekd.gate.session import gate

        self._called += 1
        options.setdefault("raw", self._raw / f"edgekd-{self._called}")
        return gate(str(engine), _budget(budget), None if baseline is None else str(baseline), **options)

    def require(self, report: GateReport) -> None:
        """Fail the test with the verdict's line unless it is `met`.

        Where `--edgekd-on-untrusted=skip` is given, doubt skips the test, but for a limit that is missed for certain.
        """
        line = report.verdict.line()
        missed = any(check.status == "missed" for check in report.verdict.checks)
        if report.verdict.status == "not trustworthy" and not missed and self._on_untrusted == "skip":
            pytest.skip(line)
        if report.verdict.status != "met":
            pytest.fail(line, pytrace=False)


@pytest.fixture
def edgekd_gate(request: pytest.FixtureRequest, tmp_path: Path) -> EdgekdGate:
    """Return a function that gates an engine and gives a GateReport: `edgekd_gate(engine, budget, baseline=...)`."""
    return EdgekdGate(tmp_path, request.config.getoption("--edgekd-on-untrusted"))


def _budget(given: Mapping[str, object] | str | Path) -> Budget:
    from edgekd import budget
    from edgekd.schema import from_mapping

    if isinstance(given, Mapping):
        return from_mapping(budget.Budget, dict(given), "the budget of the test")
    return budget.read(Path(given))
