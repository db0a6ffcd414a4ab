"""`edgekd compare`: two engines in turns; faster, slower, or no difference shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from edgekd.budget import OperatingPoint
from edgekd.errors import ExitCode
from edgekd.figure import Figure
from edgekd.gate.bench import Asked, Bench, Given, bench
from edgekd.gate.looks import decided_series, remarks
from edgekd.gate.raw import emptied, written
from edgekd.gate.report import Measured
from edgekd.measure import evaluate
from edgekd.measure.comparison import bootstrap_ratio, paired_ratio
from edgekd.measure.meter import create
from edgekd.measure.series import Series
from edgekd.profile import latency_name
from edgekd.schema import Field, Schema
from edgekd.stage import Progress

TIME_LIMIT_S = 60.0
_CLOSE = 0.01
"""Bounds of a ratio this near to 1 show that the engines are as fast as each other; more processes say nothing else."""

Outcome = Literal["faster", "slower", "no difference shown", "not trustworthy"]


class Comparison(Schema):
    """What a comparison found; the outcome stands first and is about engine A."""

    outcome: Outcome
    schema_version: Literal[1] = 1
    exit_code: int
    a: Measured
    b: Measured
    ratios: tuple[Figure, ...] = Field(
        description="A divided by B, by percentile: median over rounds, and the bootstrap's second opinion"
    )
    operating_point: OperatingPoint
    percentile: float
    inputs: str
    processes: int
    reasons: tuple[str, ...] = Field(default=(), description="why it is not trustworthy")
    remarks: tuple[str, ...] = ()
    machine: dict[str, Any] = Field(default_factory=dict)
    raw: tuple[str, ...] = ()

    def ratio(self, name: str) -> Figure:
        """Return the ratio of that name."""
        return next(figure for figure in self.ratios if figure.name == name)

    def line(self) -> str:
        """Return the outcome as one line."""
        ratio = self.ratio(ratio_name(self.percentile))
        found = f"p{self.percentile:g} of {self.a.key} is {ratio.text()} of that of {self.b.key}"
        why = "".join(f"; {reason}" for reason in self.reasons)
        return f"{self.outcome}: {found}, {self.processes} processes each{why}"


def ratio_name(percentile: float) -> str:
    """Return the name of the ratio of two latency percentiles."""
    return f"latency_ratio_p{percentile:g}"


def compare(
    a: Given,
    b: Given,
    asked: Asked,
    *,
    percentile: float,
    time_limit_s: float,
    raw: Path,
    progress: Progress,
) -> Comparison:
    """Measure two engines in turns (ABBA), in fresh processes, until the ratio is clear or the time is over.

    Memory, size and, with labelled data, accuracy are compared too. Raises UsageError, MeasurementError, TargetError or
    ExportError where there is nothing to compare.
    """
    with bench([a, b], asked, None, progress) as here:
        series = decided_series(
            here,
            here.engines,
            percentile,
            emptied(raw) / "latency.jsonl",
            limit_s=time_limit_s,
            contested=lambda found: _open(_ratio(found, percentile)),
        )
        return _told(here, series, percentile, raw)


def _ratio(series: Series, percentile: float) -> Figure:
    return paired_ratio(series.records[0], series.records[1], percentile, ratio_name(percentile))


def _open(ratio: Figure) -> bool:
    """Say whether more processes could show a difference that matters."""
    if ratio.lower is None or ratio.upper is None:
        return True
    return ratio.lower <= 1 <= ratio.upper and not 1 - _CLOSE <= ratio.lower <= ratio.upper <= 1 + _CLOSE


def _outcome(ratio: Figure) -> Outcome:
    if ratio.upper is not None and ratio.upper < 1:
        return "faster"
    return "slower" if ratio.lower is not None and ratio.lower > 1 else "no difference shown"


def _told(here: Bench, series: Series, percentile: float, raw: Path) -> Comparison:
    others = _figures(here, raw, percentile)
    measured = []
    for record, subject in zip(series.records, here.subjects, strict=True):
        figures = (*record.figures, *others[record.key])
        measured.append(Measured(key=record.key, path=subject.given, digest=record.digest, figures=figures))
    ratios = []
    for p in sorted({50.0, percentile}):
        ratios.append(paired_ratio(series.records[0], series.records[1], p, ratio_name(p)))
        ratios.append(bootstrap_ratio(series.records[0], series.records[1], p, f"{ratio_name(p)}_bootstrap"))
    reasons = [*series.machine["doubts"], *(f"{key}: {said}" for key, said in series.machine["engine_doubts"].items())]
    return Comparison(
        outcome="not trustworthy" if reasons else _outcome(_ratio(series, percentile)),
        exit_code=ExitCode.NOT_TRUSTWORTHY if reasons else ExitCode.MET,
        a=measured[0],
        b=measured[1],
        ratios=tuple(ratios),
        operating_point=here.point,
        percentile=percentile,
        inputs=here.samples.origin,
        processes=len(series.records[0].per_process[latency_name(percentile)]),
        reasons=tuple(reasons),
        remarks=tuple(remarks(here, series)),
        machine=series.machine,
        raw=written(raw),
    )


def _figures(here: Bench, raw: Path, percentile: float) -> dict[str, Sequence[Figure]]:
    """Return by engine key size, memory and, where there are labels, accuracy; the drop is that of A against B."""
    setup = here.setup(percentile, raw)
    readings = [create(name).measure(here.engines, setup) for name in ("size", "memory")]
    found = {engine.key: [f for reading in readings for f in reading.figures[engine.key]] for engine in here.engines}
    if here.samples.labels is not None:
        answers = here.answers()
        evaluate.write_raw(raw / "answers.jsonl", answers)
        a, b = (engine.key for engine in here.engines)
        found[a] += evaluate.figures(answers[a], answers[b], "device")
        found[b] += evaluate.figures(answers[b], None, "device")
    return dict(found)
