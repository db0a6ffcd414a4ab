"""Profiles the kernels of a target: rounds of probes, each chosen by what the last ones left unsure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from edgekd.connection.connection import Connection
from edgekd.disk import scratch
from edgekd.errors import MeasurementError
from edgekd.fuse.fusion import rules
from edgekd.kernel import Fit, KernelProfile, Probe
from edgekd.kernels.bench import Bench, drift
from edgekd.kernels.drawn import Drawn
from edgekd.kernels.memory import memory_probes
from edgekd.kernels.session import Session, Unsure
from edgekd.measure import machine
from edgekd.predict.costs import Costs
from edgekd.predict.learning import learned
from edgekd.predict.schemes import FLOAT
from edgekd.stage import Progress
from edgekd.target import Target

T = TypeVar("T")

_ROUNDS = 3
_LEAST_PROBES = 30
_LEARNING = 0.12
"""Share of the time limit that is kept for the last round's learning."""
MOST_DRIFT = 0.1
"""Of the anchor, between neighbouring fifths of the session; more is told as a doubt."""


class Limits(NamedTuple):
    """When to stop."""

    seconds: float
    error: float | None = None
    """Median relative error of left-out probes that is small enough."""


def profile_kernels(  # noqa: PLR0917
    target: Target,
    runtimes: Sequence[str],
    threads: int,
    limits: Limits,
    progress: Progress,
    connection: Connection,
) -> KernelProfile:
    """Measure probes until the time is over or the median error of left-out ones is small enough everywhere.

    Everything counts towards the limit. Raises MeasurementError when too few probes could be measured, TargetError when
    a runtime is missing.
    """
    begin = time.monotonic()
    schemes = [FLOAT, *target.schemes()]
    probed = connection.probe()
    identity, versions = machine.identified(probed)
    fusions = rules(runtimes, identity["isa"])
    before = probed["state"]
    fits: dict[str, Fit] = {}
    with (
        connection.locked(),
        scratch("edgekd-probes") as folder,
        Bench(connection, threads) as bench,
        progress.task(f"kernels of {target.name}", round(limits.seconds)) as advance,
    ):
        memory = memory_probes(connection, schemes, fusions, threads, folder)
        advance(round(time.monotonic() - begin), "memory")
        session = Session(bench, schemes, fusions, folder)
        probes: list[Probe] = []
        costs: dict[str, Costs] = {}
        learning_s = _LEARNING * limits.seconds
        for number in range(_ROUNDS):
            left_s = limits.seconds - (time.monotonic() - begin)
            share_s = (left_s - learning_s) / (_ROUNDS - number)
            session.round(max(share_s, 0.0), _unsure(costs), advance)
            start = time.monotonic()
            probes = session.probes()
            costs = _costs(probes, runtimes)
            if number == _ROUNDS - 1 or limits.error is not None:
                fits = _fits(probes, costs)
            seconds = time.monotonic() - start
            learning_s = max(learning_s, seconds)
            said = ", ".join(f"{runtime} {fit.error:.1%}" for runtime, fit in fits.items())
            advance(round(seconds), said)
            if fits and limits.error is not None and all(fit.error <= limits.error for fit in fits.values()):
                break
        if not fits:
            raise _too_few(session, runtimes)
        states = [before, connection.probe()["state"]]
        return KernelProfile(
            target=target.name,
            origin="device",
            machine={
                **identity,
                "before": states[0],
                "after": states[1],
                "doubts": [*machine.doubts(states), *_drifted(bench)],
                "remarks": [*machine.remarks(states), *_discarded(session)],
                "seconds": round(time.monotonic() - begin, 1),
            },
            versions=versions,
            threads=threads,
            anchor_ms=session.anchor_ms(),
            probes=tuple(probes),
            memory=tuple(memory),
            fits=fits,
        )


def _costs(probes: Sequence[Probe], runtimes: Sequence[str]) -> dict[str, Costs]:
    """Return what kernels cost on every runtime; nothing while one of them has too few probes."""
    if min(len(_of(probes, runtime)) for runtime in runtimes) < _LEAST_PROBES:
        return {}
    return _on_all(runtimes, lambda runtime: Costs(_of(probes, runtime)))


def _fits(probes: Sequence[Probe], costs: dict[str, Costs]) -> dict[str, Fit]:
    """Return how far off the costs are on probes left out."""
    return _on_all(costs, lambda runtime: learned(_of(probes, runtime), costs[runtime]))


def _of(probes: Sequence[Probe], runtime: str) -> list[Probe]:
    return [probe for probe in probes if probe.runtime == runtime]


def _on_all(runtimes: Iterable[str], learn: Callable[[str], T]) -> dict[str, T]:
    """Return what is learned of every runtime, at the same time: nothing is measured meanwhile.

    Each has one processor to itself, as matrices of a few hundred rows take longer on several than on one.
    """
    names = list(runtimes)
    with threadpool_limits(1), ThreadPoolExecutor() as pool:
        return dict(zip(names, pool.map(learn, names), strict=True))


def _too_few(session: Session, runtimes: Sequence[str]) -> MeasurementError:
    counts = {runtime: sum(probe.runtime == runtime for probe in session.raw()) for runtime in runtimes}
    fewest = min(counts, key=lambda runtime: counts[runtime])
    said = f"; {session.refused[-1]}" if session.refused else ""
    return MeasurementError(
        f"only {counts[fewest]} probes could be measured on {fewest}, {session.discarded} engines were disturbed, at "
        f"least {_LEAST_PROBES} are needed; give more time with --time-limit on a machine that is quiet{said}"
    )


def _unsure(costs: dict[str, Costs]) -> Unsure | None:
    """Return what tells how little is known of a network: the relative deviation of its sums, averaged."""
    if not costs:
        return None

    def unsure(network: Drawn) -> float:
        return float(np.mean([costs[runtime].ignorance(kernels) for (_, runtime), kernels in network.kernels.items()]))

    return unsure


def _drifted(bench: Bench) -> list[str]:
    return [
        f"the anchor on {runtime} drifted by {found:.0%} meanwhile"
        for runtime, values in bench.anchors.items()
        if (found := drift(values)) > MOST_DRIFT
    ]


def _discarded(session: Session) -> list[str]:
    said = [f"{session.discarded} engines were left out, as no two series of them agreed"] if session.discarded else []
    return [*said, *session.refused[:5]]
