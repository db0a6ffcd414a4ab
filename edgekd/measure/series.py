"""Measures engines against each other: rounds of fresh processes that take turns in short blocks, on this machine."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from edgekd.budget import OperatingPoint
from edgekd.connection.connection import Connection, reached
from edgekd.errors import UsageError
from edgekd.figure import Figure, Origin
from edgekd.measure import machine
from edgekd.measure.engine import Engine
from edgekd.measure.rawlog import RawLog
from edgekd.measure.statistics import median_bounds, percentile_of
from edgekd.measure.timelimit import TimeLimit
from edgekd.measure.turns import WARM_MOST_S, Round, blocks_needed
from edgekd.profile import EngineRecord, latency_name
from edgekd.stage import Progress

__all__ = ["Engine", "Series", "measure"]

MOST_DISTURBED = 0.2
"""Share of blocks that were disturbed in all their attempts, above which nobody should believe them."""
FORMAT = 2
"""Of the raw lines: a log of another format is not continued."""


@dataclass(frozen=True)
class Series:
    """What a series found: the records, and what is to be said about the machine meanwhile."""

    records: list[EngineRecord]
    machine: dict[str, Any]
    """`before`, `after`, `remarks`, `doubts` (any makes a verdict not trustworthy), `engine_doubts` by engine key."""
    seconds: float = 0.0
    """What all its rounds took."""
    seconds_per_round: float = 0.0
    """The median; what one more process of every engine will take."""
    not_finite: tuple[str, ...] = ()
    """Keys of the engines that answered NaN or infinity to some of the first inputs."""
    discarded: dict[str, int] = field(default_factory=dict)
    """How many blocks were measured again or could not be, by the reason."""
    blocks: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """By engine key, the median of each block in ms, process by process: those of one place were taken in turns."""


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
    time_limit_s: float | None = None,
) -> Series:
    """Measure the latency of engines in `processes` rounds of one fresh process an engine, interleaved in ABBA order.

    `inputs` is an .npy file (N, ...) used in rotation, or a folder with one per engine input; an engine may have its
    own. Called again with the same `raw` file it replays what is there and measures only what is missing: that is how a
    killed series resumes and how one is extended, by more processes and never by more runs of the same. Statistics
    `latency_ms_p50`, `latency_ms_p<percentile>`, `load_ms` (from the file to a bound session) and `first_result_ms`:
    one value a process; `look` counts the judgements a process was part of. Raises MeasurementError when a process dies
    or hangs, and after the first warm-up when the missing rounds will take longer than `time_limit_s`.
    """
    _check(engines, processes)
    with ExitStack() as stack:
        here = stack.enter_context(reached(connection))
        log = RawLog(raw, _header(engines, inputs, point, percentile, here.probe()))
        log.plan(processes)
        missing = processes - len(log.rounds)
        advance = stack.enter_context(progress.task(title, max(missing, 0)))
        if missing > 0:
            stack.enter_context(here.locked())
            log.add_state(here.probe()["state"])
            late = None
            if time_limit_s is not None:
                late = TimeLimit(time_limit_s, missing, len(engines), percentile).refuse_late
        for number in range(len(log.rounds), processes):
            begin = time.monotonic()
            found = Round(here, engines, inputs, point, hang_s, late).run(number, blocks_needed(percentile))
            log.add_round(found, {"seconds": time.monotonic() - begin, **here.probe()["state"]})
            advance(1)
            late = None  # how long the others take is known from the first
    looks = sorted({*(look for look in log.looks if look < processes), processes})
    records = [
        _record(e, [r[e.key] for r in log.rounds[:processes]], looks, percentile, origin, point) for e in engines
    ]
    return _told(records, log)


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


def _header(
    engines: Sequence[Engine], inputs: Path, point: OperatingPoint, percentile: float, here: dict[str, Any]
) -> dict[str, Any]:
    return {
        "format": FORMAT,
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
    values = {latency_name(p): tuple(percentile_of(times, p) for times in runs) for p in sorted({50.0, percentile})}
    values |= {name: tuple(process[name] for process in found) for name in ("load_ms", "first_result_ms")}
    counted = tuple(float(sum(number < look for look in looks)) for number in range(len(found)))
    figures = tuple(figure(name, per_process, looks, origin) for name, per_process in values.items())
    return engine.record(point, {**values, "look": counted}, figures)


def _told(records: list[EngineRecord], log: RawLog) -> Series:
    """Return the series with what is to be said about the machine and the processes."""
    processes = {record.key: [found[record.key] for found in log.rounds] for record in records}
    blocks = [block for found in processes.values() for process in found for block in process["blocks"]]
    attempts = [attempt for block in blocks for attempt in (*block["discarded"], block)]
    discarded = Counter(reason for attempt in attempts for reason in attempt["disturbed_by"])
    seconds = [state["seconds"] for state in log.states if "seconds" in state]
    remarks = machine.remarks(log.states)
    if discarded:
        said = ", ".join(f"{count} x {reason}" for reason, count in discarded.most_common())
        remarks.append(f"of {len(blocks)} blocks some were disturbed and measured again: {said}")
    told = {"before": log.states[0], "after": log.states[-1], "remarks": remarks, "doubts": machine.doubts(log.states)}
    engine_doubts = {key: doubt for key, found in processes.items() if (doubt := _doubt(found))}
    return Series(
        records,
        {**told, "engine_doubts": engine_doubts},
        seconds=sum(seconds),
        seconds_per_round=median(seconds) if seconds else 0.0,
        not_finite=tuple(key for key, found in processes.items() if not all(process["finite"] for process in found)),
        discarded=dict(discarded),
        blocks={
            key: tuple(median(block["ms"]) for process in found for block in process["blocks"])
            for key, found in processes.items()
        },
    )


def _doubt(processes: Sequence[dict[str, Any]]) -> str:
    """Return why the figures of one engine cannot be trusted, nothing when they can."""
    restless = sum(not process["settled"] for process in processes)
    if restless:
        return f"{restless} of {len(processes)} processes had not settled after {WARM_MOST_S:g} s of warm-up"
    blocks = [block for process in processes for block in process["blocks"]]
    disturbed = [block for block in blocks if block["disturbed"]]
    if len(disturbed) <= MOST_DISTURBED * len(blocks):
        return ""
    reasons = Counter(reason for block in disturbed for reason in block["disturbed_by"])
    said = ", ".join(reason for reason, _ in reasons.most_common())
    return f"{len(disturbed) / len(blocks):.0%} of the blocks were disturbed in all attempts: {said}"
