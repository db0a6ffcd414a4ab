"""How a run of several targets ended: one line and one exit code a target, and one of each over all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from edgekd.errors import EdgekdError, ExitCode
from edgekd.pipeline.request import Request
from edgekd.report import RunReport, Verdict
from edgekd.schema import Field, Schema

FILE = "summary.json"
"""In the folder of a run of several targets."""

_STATES = ("met", "chosen", "missed", "not trustworthy", "failed")
_WORST_FIRST = (
    *(ExitCode.INTERNAL, ExitCode.USAGE, ExitCode.RESOURCE, ExitCode.EXPORT, ExitCode.TARGET),
    *(ExitCode.NOT_TRUSTWORTHY, ExitCode.ACCURACY_MISSED, ExitCode.BUDGET_MISSED, ExitCode.MET),
)


def worst(codes: Iterable[int]) -> ExitCode:
    """Return the exit code of a whole run: what stopped a target comes before any verdict.

    Of what stops one, that comes first which others may share: a fault of edgekd's own, then wrong usage, this
    machine's disk or memory, the network's export, the target. Of verdicts 5 > 4 > 3, as within one.
    """
    return min(map(ExitCode, codes), key=_WORST_FIRST.index)


class Outcome(Schema):
    """How one target ended."""

    target: str = Field(description="its exact name; as it was asked for where that could not be found out")
    asked: str
    status: Literal["met", "missed", "not trustworthy", "chosen", "failed"]
    exit_code: int
    said: str = Field(description="the verdict in one line, or what was chosen; why, where it failed")
    result: str | None = Field(default=None, description="file that says all of it, relative to the run folder")
    bundle: str | None = Field(default=None, description="folder, relative to the run folder")
    unfinished: str | None = Field(default=None, description="what is left to do on the device")
    verdict: Verdict | None = None

    @classmethod
    def of_report(cls, asked: Request, report: RunReport) -> Outcome:
        """Return how a target ended that came to its verdict."""
        verdict, name = report.verdict, asked.target.name
        return cls(
            target=name,
            asked=asked.asked_target,
            status=verdict.status,
            exit_code=verdict.exit_code,
            said=verdict.line(),
            result=f"{name}/run.json",
            bundle=f"{name}/{report.bundle}",
            unfinished=report.unfinished,
            verdict=verdict,
        )

    @classmethod
    def of_error(cls, target: str, asked: str, error: Exception) -> Outcome:
        """Return how a target ended that came to no verdict."""
        foreseen = isinstance(error, EdgekdError)
        code = error.exit_code if isinstance(error, EdgekdError) else ExitCode.INTERNAL
        said = str(error) if foreseen else f"internal error: {type(error).__name__}: {error}"
        return cls(target=target, asked=asked, status="failed", exit_code=code, said=" ".join(said.split()))

    def line(self) -> str:
        """Return the outcome in one line."""
        return f"{self.target}: " + (f"failed: {self.said}" if self.status == "failed" else self.said)


class Summary(Schema):
    """How all targets of a run ended, in the order they were asked for."""

    exit_code: int
    schema_version: Literal[1] = 1
    title: str
    targets: tuple[Outcome, ...] = Field(min_length=1)

    @classmethod
    def of(cls, title: str, outcomes: Iterable[Outcome]) -> Summary:
        """Return the summary of these outcomes, with the worst of their exit codes."""
        targets = tuple(outcomes)
        return cls(exit_code=worst(outcome.exit_code for outcome in targets), title=title, targets=targets)

    def line(self) -> str:
        """Return all of it in one line: which targets ended how, and the exit code."""
        ended = {state: [o.target for o in self.targets if o.status == state] for state in _STATES}
        told = "; ".join(f"{state}: {', '.join(names)}" for state, names in ended.items() if names)
        return f"{told}; exit code {self.exit_code}"

    def lines(self) -> list[str]:
        """Return the summary for a terminal, a line a target, what is left to do, and the line over all last."""
        left = [f"left to do for {o.target}: {o.unfinished}" for o in self.targets if o.unfinished]
        return [*(outcome.line() for outcome in self.targets), *left, self.line()]
