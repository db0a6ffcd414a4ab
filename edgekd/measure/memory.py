"""Peak memory of an engine: a fresh process that loads and runs it, minus an empty one with the same runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from edgekd.budget import OperatingPoint
from edgekd.errors import TargetError
from edgekd.figure import Figure, Origin
from edgekd.measure.connection import Connection
from edgekd.measure.engine import Engine
from edgekd.measure.turns import usable_cores

TIMEOUT_S = 300.0


def peak_memory(
    engines: Sequence[Engine],
    inputs: Path,
    point: OperatingPoint,
    *,
    processes: int,
    origin: Origin,
    connection: Connection,
) -> dict[str, tuple[Figure, ...]]:
    """Return by engine key `peak_memory_mb` and, where the kernel tells it, `steady_memory_mb` (after loading).

    Values are medians over fresh processes, the bounds their extremes (repeatable to 1 MB, so few processes do).
    Raises TargetError where the system does not tell a process's peak.
    """
    runtimes = sorted({engine.runtime for engine in engines})
    common = {"verb": "memory", "inputs": str(inputs.resolve()), "threads": point.threads, "batch": point.batch}
    empty = [(runtime, {**common, "runtime": runtime, "engine": None}) for runtime in runtimes]
    full = [(e.key, {**common, "runtime": e.runtime, "engine": str(e.path.resolve())}) for e in engines]
    tasks = [task for task in [*empty, *full] for _ in range(processes)]
    answers = connection.at_once(lambda task: _ask(connection, *task), tasks, usable_cores())
    found: dict[str, list[dict[str, float | None]]] = {}
    for (label, _), answer in zip(tasks, answers, strict=True):
        found.setdefault(label, []).append(answer)
    base = {runtime: median(_values(found[runtime], "peak_mb", runtime)) for runtime in runtimes}
    return {engine.key: _figures(found[engine.key], base[engine.runtime], engine.key, origin) for engine in engines}


def _ask(connection: Connection, label: str, request: dict[str, object]) -> dict[str, float | None]:
    with connection.start(label) as child:
        return child.ask(request, TIMEOUT_S)


def _values(answers: Sequence[dict[str, float | None]], key: str, label: str) -> list[float]:
    values = [value for answer in answers if (value := answer[key]) is not None]
    if not values:
        raise TargetError(f"this system does not tell the peak memory of a process (no VmHWM), asked for {label}")
    return values


def _figures(
    answers: Sequence[dict[str, float | None]], empty_mb: float, key: str, origin: Origin
) -> tuple[Figure, ...]:
    measured = {"peak_memory_mb": _values(answers, "peak_mb", key)}
    steady = [value for answer in answers if (value := answer["steady_peak_mb"]) is not None]
    if steady:
        measured["steady_memory_mb"] = steady
    return tuple(
        Figure(
            name=name,
            value=median(values) - empty_mb,
            origin=origin,
            samples=len(values),
            lower=min(values) - empty_mb,
            upper=max(values) - empty_mb,
        )
        for name, values in measured.items()
    )
