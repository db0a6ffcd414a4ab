"""How often is the gate wrong? Simulated gates of known truth, judged by the functions that judge real ones.

    python -m tools.study_gate [--quick] [--gates 2000] [--seed 1] [--write docs/gate-study.md]

Prints tables and exits with 1 when a promise is broken: at most 1 % wrong `met`, at most 1 % wrong `missed`, at 5 %
from the limit at least 95 % right and at most 10 % not trustworthy. Five minutes on one core. `--write` renews the
tables in a document, between the two comments that say so.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekd.disk import whole_file
from edgekd.measure.decision import (
    GUARD_BAND,
    REGISTERED_PROCESSES,
    at_registered_speed,
    decide,
    decide_anchored,
)
from edgekd.measure.sequence import next_look
from edgekd.measure.statistics import median_bounds, percentiles_of, ratio_bounds
from edgekd.measure.turns import BLOCK_RUNS, blocks_needed
from edgekd.report import Status
from tools.gate_cases import Case, Sampler, Times, cases

DISTANCES = (-5.0, -3.0, -2.0, -1.0, -0.3, 0.0, 0.3, 1.0, 2.0, 3.0, 5.0)
"""How far the engine is over its limit, in percent of the limit."""
PERCENTILES = (90.0, 50.0)
ROUND_S, LIMIT_S = 0.9, 60.0
"""What a round of two engines of 1 ms takes (start, load, warm-up, blocks), and what may be spent on measuring."""
MOST_ROUNDS = 96
MOST_WRONG, LEAST_RIGHT, MOST_OPEN = 0.01, 0.95, 0.1
TRUTH_SAMPLES, SHIFT_PROCESSES = 4_000_000, 200_000
_CHUNK = 250

Judge = Callable[[int, tuple[int, ...], float], Status]
"""Returns the verdict of gate number i of a chunk at the last of these looks, given the limit."""


@dataclass(frozen=True)
class Outcome:
    """What came out of all gates of one case; the arrays are (distances,)."""

    kind: str
    case: Case
    percentile: float
    met: Times
    missed: Times
    seconds: Times
    shift: float
    """By what share the median over many processes differs from the truth: what no number of processes removes."""

    @property
    def open(self) -> Times:
        """Return the shares of gates that were not trustworthy."""
        return 1 - self.met - self.missed

    @property
    def wrong(self) -> tuple[float, float]:
        """Return the largest share of wrong `met` and of wrong `missed` over all distances."""
        over = np.array(DISTANCES) > 0
        return float(self.met[over].max()), float(self.missed[~over].max())

    @property
    def right(self) -> float:
        """Return the smaller share of right verdicts at 5 % under and 5 % over the limit."""
        return float(min(self.met[0], self.missed[-1]))

    def broken(self, slack: float = 0.0) -> list[str]:
        """Return which promises are broken by more than `slack`."""
        decided = self.right >= LEAST_RIGHT - slack and self.open[[0, -1]].max() <= MOST_OPEN
        found = {
            "wrong met": self.wrong[0] > MOST_WRONG + slack,
            "wrong missed": self.wrong[1] > MOST_WRONG + slack,
            "undecided": not decided and not self.case.disturbed,
        }
        return [name for name, is_broken in found.items() if is_broken]


def study(kind: str, case: Case, percentile: float, gates: int, seed: int = 1) -> Outcome:
    """Let gates judge an engine whose truth is known, at every distance from the limit."""
    random = np.random.default_rng([seed, *kind.encode(), *case.name.encode(), int(percentile)])
    truth = _truth(kind, case, percentile, random)
    found: list[tuple[Times, Times, Times]] = []
    for begin in range(0, gates, _CHUNK):
        count = min(_CHUNK, gates - begin)
        judge = _JUDGES[kind](case, percentile, count, random)
        clocks = _clocks(count, random)
        found += [_gate(judge, gate, clocks[gate], truth) for gate in range(count)]
    met, missed, seconds = (np.mean(part, axis=0) for part in zip(*found, strict=True))
    return Outcome(kind, case, percentile, met, missed, seconds, _shift(kind, case, percentile, truth, random))


def _gate(judge: Judge, gate: int, clock: Times, truth: float) -> tuple[Times, Times, Times]:
    """Return for each distance whether a gate said `met`, whether it said `missed`, and after how many seconds."""
    met, missed, seconds = (np.zeros(len(DISTANCES)) for _ in range(3))
    undecided = list(range(len(DISTANCES)))
    looks: tuple[int, ...] = ()
    spent = 0.0
    while undecided and (look := next_look(looks[-1] if looks else 0, spent, LIMIT_S, MOST_ROUNDS)) is not None:
        looks, spent = (*looks, look), float(clock[look - 1])
        seconds[undecided] = spent
        for place in list(undecided):
            status = judge(gate, looks, truth / (1 + DISTANCES[place] / 100))
            if status != "not trustworthy":
                (met if status == "met" else missed)[place] = 1
                undecided.remove(place)
    return met, missed, seconds


def _relative(case: Case, percentile: float, gates: int, random: np.random.Generator) -> Judge:
    """Return gates by the ratio to a baseline measured interleaved: what the machine does is common to both."""
    shape = (gates, MOST_ROUNDS)
    machine = case.machine(random, shape) if case.machine else 1.0
    engine = machine * _measured(case.runs, case.processes, percentile, percentile, shape, random)
    baseline = machine * _measured(case.runs, case.others or case.processes, percentile, percentile, shape, random)

    def judge(gate: int, looks: tuple[int, ...], limit: float) -> Status:
        bounds = ratio_bounds(engine[gate, : looks[-1]].tolist(), baseline[gate, : looks[-1]].tolist(), looks)
        return decide(bounds.lower, bounds.upper, limit, GUARD_BAND)

    return judge


def _absolute(case: Case, percentile: float, gates: int, random: np.random.Generator) -> Judge:
    """Return gates by milliseconds, with an anchor, each on a registered machine of its own."""
    shape = (gates, MOST_ROUNDS)
    machine = case.machine(random, shape) if case.machine else 1.0
    others = case.others or case.processes
    engine = machine * _measured(case.runs, case.processes, percentile, percentile, shape, random)
    felt = 1 + case.felt * (machine - 1)
    anchor = felt * _measured(case.runs, others, 50, percentile, shape, random)
    registered = [
        median_bounds(values.tolist())
        for values in _measured(case.runs, others, 50, percentile, (gates, REGISTERED_PROCESSES), random)
    ]

    def judge(gate: int, looks: tuple[int, ...], limit: float) -> Status:
        latencies, anchors = engine[gate, : looks[-1]].tolist(), anchor[gate, : looks[-1]].tolist()
        before = registered[gate]
        restored = at_registered_speed(latencies, anchors, before, looks)
        speed = median_bounds(anchors, looks).value / before.value
        return decide_anchored(median_bounds(latencies, looks), restored, speed, limit)

    return judge


_JUDGES = {"relative": _relative, "absolute": _absolute}


def _measured(  # noqa: PLR0917
    runs: Sampler,
    processes: Sampler,
    percentile: float,
    asked: float,
    shape: tuple[int, ...],
    random: np.random.Generator,
) -> Times:
    """Return a percentile of each process, of as many runs as a series makes when percentile `asked` is limited."""
    times = runs(random, (*shape, blocks_needed(asked) * BLOCK_RUNS))
    return processes(random, shape) * percentiles_of(times, percentile)


def _truth(kind: str, case: Case, percentile: float, random: np.random.Generator) -> float:
    """Return the median over processes of the true percentile; for a ratio, over rounds of the true percentiles'."""
    engine = case.processes(random, (TRUTH_SAMPLES,))
    if kind == "relative":
        return float(np.median(engine / (case.others or case.processes)(random, engine.shape)))
    return float(np.median(engine) * np.quantile(case.runs(random, engine.shape), percentile / 100))


def _shift(kind: str, case: Case, percentile: float, truth: float, random: np.random.Generator) -> float:
    shape = (SHIFT_PROCESSES,)
    values = _measured(case.runs, case.processes, percentile, percentile, shape, random)
    if kind == "relative":
        values /= _measured(case.runs, case.others or case.processes, percentile, percentile, shape, random)
    return float(np.median(values) / truth - 1)


def _clocks(gates: int, random: np.random.Generator) -> Times:
    """Return when each round of each gate ends, (gates, rounds): gates differ by 10 %, rounds by 5 %."""
    of_gate = ROUND_S * np.exp(0.1 * random.standard_normal((gates, 1)))
    return np.cumsum(of_gate * np.exp(0.05 * random.standard_normal((gates, MOST_ROUNDS))), axis=1)


def tables(outcomes: list[Outcome]) -> str:
    """Return a Markdown table for each kind of gate."""
    return "\n\n".join("\n".join(_table([o for o in outcomes if o.kind == kind], kind)) for kind in _JUDGES)


def _table(outcomes: list[Outcome], kind: str) -> Iterator[str]:
    yield f"### {kind.capitalize()}"
    yield ""
    distances = [f"{distance:+g}" if distance else "0" for distance in DISTANCES]
    head = ["case", "p", "wrong met", "wrong missed", "right at ±5", "shift", *distances, "s"]
    yield "| " + " | ".join(head) + " |"
    yield "| --- |" + " ---: |" * (len(head) - 1)
    for one in outcomes:
        rates = [f"{100 * rate:.2f}" for rate in one.wrong] + [f"{100 * one.right:.1f}", f"{100 * one.shift:+.2f}"]
        undecided = [f"{100 * share:.0f}" for share in one.open]
        name = one.case.name + (" *" if one.case.disturbed else "")
        yield f"| {name} | {one.percentile:g} | " + " | ".join([*rates, *undecided, f"{one.seconds[0]:.0f}"]) + " |"


def _write(path: Path, text: str) -> None:
    """Put the tables between the two comments of a document."""
    begin, end = "<!-- tables: python -m tools.study_gate -->", "<!-- end of tables -->"
    old = path.read_text(encoding="utf-8")
    new, count = re.subn(f"{begin}.*{end}", lambda _: f"{begin}\n\n{text}\n\n{end}", old, flags=re.DOTALL)
    if count != 1:
        sys.exit(f"{path} does not hold the comments {begin} and {end}")
    with whole_file(path) as unfinished:
        unfinished.write_text(new, encoding="utf-8")


def main() -> int:
    """Study every case; 1 when a promise is broken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gates", type=int, default=2000, help="per case and percentile")
    parser.add_argument("--quick", action="store_true", help="100 gates, promises with 3 standard errors of slack")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", type=Path, help="the document whose tables are to be renewed")
    options = parser.parse_args()
    gates = 100 if options.quick else options.gates
    slack = 3 * math.sqrt(MOST_WRONG * (1 - MOST_WRONG) / gates) if options.quick else 0.0
    outcomes = []
    for kind, found in cases(round(LIMIT_S / ROUND_S)).items():
        for case in found:
            for percentile in PERCENTILES:
                outcomes.append(study(kind, case, percentile, gates, options.seed))
                print(f"{kind}: {case.name}, p{percentile:g}", file=sys.stderr)
    print(tables(outcomes))
    broken = [(one, said) for one in outcomes for said in one.broken(slack)]
    for one, said in broken:
        print(f"broken: {said}: {one.kind}, {one.case.name}, p{one.percentile:g}")
    if options.write and not options.quick:
        _write(options.write, tables(outcomes))
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
