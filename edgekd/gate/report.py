"""What a gate found: the one object that JSON, JUnit, Markdown and the pytest fixture are made from."""

from __future__ import annotations

from typing import Any, Literal

from edgekd.budget import OperatingPoint
from edgekd.errors import ExitCode
from edgekd.figure import Figure
from edgekd.gate.verdict import ACCURACY_LIMITS, TIMED_LIMITS
from edgekd.report import Verdict
from edgekd.schema import Field, Schema

OnUntrusted = Literal["fail", "retry", "neutral"]


class Measured(Schema):
    """One engine of a gate and everything that was measured of it."""

    key: str = Field(description="network/scheme/runtime, as in the raw log")
    path: str = Field(description="as it was given")
    digest: str = Field(description="of the engine's files")
    figures: tuple[Figure, ...]

    def figure(self, name: str) -> Figure | None:
        """Return the figure of that name, None when it was not measured."""
        return next((figure for figure in self.figures if figure.name == name), None)


class GateReport(Schema):
    """Everything a gate says; the verdict stands first."""

    verdict: Verdict
    schema_version: Literal[1] = 1
    subject: Measured
    baseline: Measured | None = None
    anchor: Measured | None = None
    operating_point: OperatingPoint
    percentile: float
    inputs: str = Field(description="where the inputs came from: a file, or `random (none were given)`")
    on_untrusted: OnUntrusted = "fail"
    attempts: int = Field(default=1, ge=1, description="series that were measured; more than one under `retry`")
    processes: int = Field(default=0, ge=0, description="rounds of fresh processes the latency verdict rests on")
    seconds: float = 0.0
    finished_at: str = ""
    remarks: tuple[str, ...] = Field(default=(), description="what a reader should know although it changes nothing")
    machine: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    raw: tuple[str, ...] = Field(default=(), description="paths of the raw JSON lines")

    @property
    def exit_code(self) -> int:
        """Return what the process leaves with: the verdict's code; where doubt is neutral, that of certain misses.

        A limit on what does not depend on the state of the machine, such as accuracy or size, is missed whatever the
        doubts are.
        """
        if self.verdict.status != "not trustworthy" or self.on_untrusted != "neutral":
            return self.verdict.exit_code
        missed = {check.limit_name for check in self.verdict.checks if check.status == "missed"} - TIMED_LIMITS
        if missed & ACCURACY_LIMITS:
            return int(ExitCode.ACCURACY_MISSED)
        return int(ExitCode.BUDGET_MISSED if missed else ExitCode.MET)
