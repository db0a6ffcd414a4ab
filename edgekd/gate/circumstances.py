"""Under which circumstances a gate measured, as flat pairs of name and value: what JUnit and Markdown print of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from edgekd.figure import Figure
from edgekd.gate.report import GateReport

MOST_CHARACTERS = 200
_COUNTERS = {"at", "pid", "seconds", "ticks", "stolen_ticks", "busy_s", "total_s", "own_s"}
"""Of the machine's states: what only differences are taken of; the raw log has them."""
_SAID = {"remarks", "doubts", "engine_doubts"}
"""Of the machine: what stands in the verdict and the remarks."""
_INPUTS = ("accuracy", "ece")
"""What figures begin with whose samples are inputs; the samples of all others are processes."""


def identity(report: GateReport) -> str:
    """Return what tells one gate of a job from another: the engine and the operating point, not the figures."""
    point = report.operating_point
    return f"{report.subject.key}, p{report.percentile:g}, batch {point.batch}, threads {point.threads}"


def setting(report: GateReport) -> dict[str, str]:
    """Return what was measured and how: engines, operating point, inputs, processes, policy, time."""
    engines = {"engine": report.subject, "baseline": report.baseline, "anchor": report.anchor}
    found = {name: f"{it.key}, {it.path}, digest {it.digest[:12]}" for name, it in engines.items() if it is not None}
    point = {**report.operating_point.plain(), "percentile": report.percentile}
    return {
        **found,
        **{name: _short(value) for name, value in _flat(point)},
        "inputs": _short(report.inputs),
        "rounds": f"{report.processes}, each of one fresh process per engine, taking turns in short blocks",
        "series": f"{report.attempts}",
        "on_untrusted": report.on_untrusted,
        "seconds": f"{report.seconds:.0f}",
        **({"finished_at": report.finished_at} if report.finished_at else {}),
    }


def machine(report: GateReport) -> dict[str, str]:
    """Return the machine and its state before and, where that differs, after; nested keys joined by dots."""
    told = {name: value for name, value in report.machine.items() if name not in _SAID}
    flat = {name: _short(value) for name, value in _flat(told) if name.rpartition(".")[2] not in _COUNTERS}
    same = {name for name in flat if name.startswith("after.") and flat[name] == flat.get(f"before.{name[6:]}")}
    return {name: value for name, value in flat.items() if name not in same}


def rests_on(figure: Figure) -> str:
    """Return what a figure rests on, with its unit and the confidence of its bounds: `11 processes, 99.4 %`."""
    if figure.origin == "counted":
        return "–"
    unit = "input" if figure.name.startswith(_INPUTS) else "process"
    many = unit if figure.samples == 1 else {"input": "inputs", "process": "processes"}[unit]
    sure = "" if figure.confidence is None else f", {100 * figure.confidence:.3g} %"
    return f"{figure.samples} {many}{sure}"


def _flat(data: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in data.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        elif value is not None and value not in ([], "", ()):
            yield f"{prefix}{name}", value


def _short(value: object) -> str:
    """Return a value in one line: numbers of processors as ranges, a long text cut."""
    if isinstance(value, list | tuple):
        text = _ranges(value) if all(type(item) is int for item in value) else ", ".join(map(_short, value))
    else:
        text = f"{value:.6g}" if isinstance(value, float) else " ".join(str(value).split())
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 4]} ..."


def _ranges(numbers: Sequence[int]) -> str:
    """Return `0-3, 6` for 0, 1, 2, 3, 6."""
    runs = [[n for _, n in run] for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])]
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
