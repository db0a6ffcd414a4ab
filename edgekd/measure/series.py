"""Measures engines against each other: rounds of fresh processes that take turns in short blocks, on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd.budget import OperatingPoint
from edgekd.errors import UsageError
from edgekd.figure import Figure, Origin
from edgekd.measure import machine
from edgekd.measure.connection import Connection, local
from edgekd.measure.engine import Engine
from edgekd.measure.lock import measurement_lock
from edgekd.measure.rawlog import RawLog
from edgekd.measure.statistics import median_bounds, percentile_of
from edgekd.measure.turns import WARM_MOST_S, Round, blocks_needed
from edgekd.profile import EngineRecord
from edgekd.stage import Progress

__all__ = ["Engine", "Series", "measure"]

MOST_DISTURBED = 0.2
"""Share of blocks that had to wait for a processor in all their attempts, above which nobody should believe them."""


@dataclass(frozen=True)
class Series:
    """What a series found: the records, and what is to be said about the machine meanwhile."""

    records: list[EngineRecord]
    machine: dict[str, Any]
    """`before`, `after`, `remarks`, `doubts` (any makes a verdict not trustworthy), `engine_doubts` by engine key."""


def measure(
    engines: Sequence[Engine],
    inputs: Path,
    point: OperatingPoint,
    percentile: float,
    *,
    processes: int,
    raw: Path,
    progress: Progress,
    title: str,
    origin: Origin = "host",
    connection: Connection | None = None,
    hang_s: float = 120.0,
) -> Series:
    """Measure the latency of engines in `processes` rounds of one fresh process an engine, interleaved in ABBA order.

    `inputs` is an .npy file (N, ...) used in rotation. Called again with the same `raw` file it replays what is there
    and measures only what is missing: that is how a killed series resumes and how one is extended, by more processes
    and never by more runs of the same. Statistics `latency_ms_p50`, `latency_ms_p<percentile>` and `load_ms`, one value
    a process; `look` counts the judgements a process was part of. Raises MeasurementError when a process dies or hangs.
    """
    _check(engines, processes)
    log = RawLog(raw, _header(engines, inputs, point, percentile))
    log.plan(processes)
    missing = processes - len(log.rounds)
    with ExitStack() as stack, progress.task(title, max(missing, 0)) as advance:
        if missing > 0:
            stack.enter_context(measurement_lock())
            here = connection or stack.enter_context(local())
            log.add_state(machine.probe()["state"])
        for number in range(len(log.rounds), processes):
            found = Round(here, engines, inputs, point, hang_s).run(number, blocks_needed(percentile))
            log.add_round(found, machine.probe()["state"])
            advance(1)
    looks = sorted({*(look for look in log.looks if look < processes), processes})
    records = [
        _record(e, [r[e.key] for r in log.rounds[:processes]], looks, percentile, origin, point) for e in engines
    ]
    state = {"before": log.states[0], "after": log.states[-1], "remarks": machine.remarks(log.states)}
    engine_doubts = {e.key: doubt for e in engines if (doubt := _doubt([r[e.key] for r in log.rounds]))}
    return Series(records, {**state, "doubts": machine.doubts(log.states), "engine_doubts": engine_doubts})


def looks_of(record: EngineRecord) -> list[int]:
    """Return the numbers of processes at which a record's series was judged, the last being all of them."""
    counts = record.per_process.get("look", ())
    return [sum(1 for count in counts if count >= level) for level in sorted(set(counts), reverse=True)]


def figure(name: str, values: Sequence[float], looks: Sequence[int], origin: Origin) -> Figure:
    """Return the median over processes as a figure with its bounds."""
    return Figure(name=name, origin=origin, samples=len(values), **median_bounds(values, looks)._asdict())


def _check(engines: Sequence[Engine], processes: int) -> None:
    if not engines or processes < 1:
        raise UsageError(f"a series needs an engine and a process; {len(engines)} and {processes} were given")
    keys = [engine.key for engine in engines]
    if len(set(keys)) != len(keys):
        raise UsageError(f"a series names an engine twice: {', '.join(keys)}")


def _header(engines: Sequence[Engine], inputs: Path, point: OperatingPoint, percentile: float) -> dict[str, Any]:
    here = machine.probe()
    return {
        "engines": [[engine.key, engine.digest] for engine in engines],
        "inputs": inputs.name,
        "operating_point": point.plain(),
        "percentile": percentile,
        "boot": here["boot"],
        "versions": here["versions"],
    }


def _record(  # noqa: PLR0917
    engine: Engine,
    found: Sequence[dict[str, Any]],
    looks: Sequence[int],
    percentile: float,
    origin: Origin,
    point: OperatingPoint,
) -> EngineRecord:
    runs = [[ms for block in process["blocks"] for ms in block["ms"]] for process in found]
    values = {
        f"latency_ms_p{p:g}": tuple(percentile_of(times, p) for times in runs) for p in sorted({50.0, percentile})
    }
    values["load_ms"] = tuple(process["load_ms"] for process in found)
    counted = tuple(float(sum(number < look for look in looks)) for number in range(len(found)))
    return EngineRecord(
        network=engine.network,
        scheme=engine.scheme,
        runtime=engine.runtime,
        digest=engine.digest,
        operating_point=point,
        per_process={**values, "look": counted},
        figures=tuple(figure(name, per_process, looks, origin) for name, per_process in values.items()),
        kernels=engine.kernels,
    )


def _doubt(processes: Sequence[dict[str, Any]]) -> str:
    """Return why the figures of one engine cannot be trusted, nothing when they can."""
    restless = sum(not process["settled"] for process in processes)
    if restless:
        return f"{restless} of {len(processes)} processes had not settled after {WARM_MOST_S:g} s of warm-up"
    blocks = [block for process in processes for block in process["blocks"]]
    share = sum(block["disturbed"] for block in blocks) / len(blocks)
    return f"{share:.0%} of the blocks had to wait for a processor: other work ran" if share > MOST_DISTURBED else ""
