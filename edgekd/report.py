"""A report: the verdict first, then every number behind it with origin, sample size and confidence bound."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from edgekd.errors import ExitCode
from edgekd.figure import Figure, Origin
from edgekd.schema import Field, Schema, write_json, write_text

Status = Literal["met", "missed", "not trustworthy"]


class Check(Schema):
    """One limit of the budget held against one figure."""

    limit_name: str
    limit: float
    figure: Figure
    status: Status
    sentence: str
    contested: bool = Field(default=False, description="the limit lies between the bounds: more processes settle it")


class Verdict(Schema):
    """What a run or a gate ends with."""

    status: Status
    exit_code: int
    engine: str = Field(description="network/scheme/runtime of the engine that is judged")
    checks: tuple[Check, ...]
    reasons: tuple[str, ...] = Field(default=(), description="why it is not simply met")

    def line(self) -> str:
        """Return the verdict as one line."""
        facts = "; ".join(check.sentence for check in self.checks)
        return f"{self.status}: {self.engine}: {facts}" + "".join(f"; {reason}" for reason in self.reasons)


class Row(Schema):
    """One engine in the report's table: what a stage turned the network into, at its fastest runtime."""

    what: str
    engine: str
    figures: tuple[Figure, ...]

    def text(self, name: str) -> str:
        """Return one cell; percents need a digit more."""
        found = next((figure for figure in self.figures if figure.name == name), None)
        return found.text(4 if "percent" in name else 3) if found else "–"


class Round(Schema):
    """One turn of the loop: what was predicted, what came out."""

    number: int
    verdict: Verdict
    predicted_ms: float | None
    measured_ms: float
    origin: Origin = Field(default="device", description="of `measured_ms`; predicted where the device was not there")
    correction: float = Field(
        description="measured over uncorrected predicted latency, at the machine's speed when probes were measured"
    )
    kept: bool = Field(default=False, description="whether the bundle holds this round's engine")


class StageLine(Schema):
    """One stage as it went."""

    name: str
    seconds: float
    reused: bool
    notes: dict[str, str] = Field(default_factory=dict)


class RunReport(Schema):
    """Everything `run.json` says; the verdict stands first."""

    verdict: Verdict
    schema_version: Literal[1] = 1
    key: str = Field(
        description="digest of recipe, target and version: a run of the same key is replayed, not repeated"
    )
    title: str
    target: str
    target_resolved_from: str
    bundle: str
    seconds: float
    finished_at: str
    rows: tuple[Row, ...]
    rounds: tuple[Round, ...]
    stages: tuple[StageLine, ...]
    machine: dict[str, Any]
    versions: dict[str, str]
    unfinished: str | None = Field(
        default=None, description="what is left to do on the device, where that was not at hand"
    )

    def write(self, folder: Path) -> None:
        """Write run.json and report.md."""
        write_text(self.markdown(), folder / "report.md")
        write_json(self, folder / "run.json")

    def markdown(self) -> str:
        """Return the report as Markdown."""
        return "\n".join([*self._head(), *self._table(), *self._loop(), *self._stages(), *self._machine()]) + "\n"

    def _head(self) -> list[str]:
        checks = [
            f"| {c.limit_name} | {c.limit:g} | {c.figure.text()} | {c.figure.samples} | {c.status} |"
            for c in self.verdict.checks
        ]
        return [
            f"# {self.title}: {self.verdict.status}",
            "",
            f"**{self.verdict.line()}**",
            "",
            f"Target `{self.target}` (asked for: `{self.target_resolved_from}`), exit code {self.verdict.exit_code} "
            f"({ExitCode(self.verdict.exit_code).name.lower().replace('_', ' ')}), bundle `{self.bundle}`, "
            f"finished {self.finished_at} after {self.seconds:.0f} s.",
            "",
            "| limit | allowed | measured [bounds] | samples | |",
            "| --- | --- | --- | --- | --- |",
            *checks,
            "",
        ]

    def _table(self) -> list[str]:
        names = list(dict.fromkeys(figure.name for row in self.rows for figure in row.figures))
        samples = {f.name: str(f.samples) for row in self.rows for f in row.figures}
        return [
            "## What each stage contributed",
            "",
            "Each column is the fastest engine of that network and arithmetic; ratios are paired, process by process,",
            "and a speed-up is over the column before. Square brackets: confidence bounds. The shipped engine was",
            "chosen by these figures, so the verdict does not rest on them but on a fresh series of it and the",
            "teacher's." if self.unfinished is None else f"teacher's, which is not there: {self.unfinished}.",
            "",
            _line(["", *(row.what for row in self.rows), "samples"]),
            _line(["---"] * (len(self.rows) + 2)),
            _line(["engine", *(f"`{row.engine.rpartition('/')[2]}`" for row in self.rows), ""]),
            *(_line([name, *(row.text(name) for row in self.rows), samples[name]]) for name in names),
            "",
        ]

    def _loop(self) -> list[str]:
        lines = [
            "## The loop",
            "",
            "The factor is what was measured over what is predicted without correction, at the speed that the machine",
            "had when its probes were measured. Predictions are multiplied by that of the round before, and once",
            "rounds lie on both sides of the limit by one in between.",
            "",
            "| round | predicted ms | measured ms | factor | verdict on validation |",
            "| --- | --- | --- | --- | --- |",
        ]
        for turn in self.rounds:
            predicted = "–" if turn.predicted_ms is None else f"{turn.predicted_ms:.3g} (predicted)"
            measured = f"{turn.measured_ms:.3g}" + ("" if turn.origin == "device" else f" ({turn.origin})")
            number = f"{turn.number}{' (kept)' if turn.kept else ''}"
            lines.append(_line([number, predicted, measured, f"{turn.correction:.2f}", turn.verdict.line()]))
        return [*lines, ""]

    def _stages(self) -> list[str]:
        lines = ["## Stages", ""]
        for stage in self.stages:
            lines.append(f"- **{stage.name}**: {'reused' if stage.reused else f'{stage.seconds:.0f} s'}")
            lines += [f"  - {key}: {value}" for key, value in stage.notes.items()]
        return [*lines, ""]

    def _machine(self) -> list[str]:
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return ["## Machine", "", f"Versions: {versions}.", "", "```json", _compact(self.machine), "```"]


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _compact(machine: dict[str, Any]) -> str:
    import json

    return json.dumps(machine, indent=1)
