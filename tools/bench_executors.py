"""How much sooner several workers have trained the same trials than one: the ratio of seconds, taken in turns.

    python -m tools.bench_executors [--executors processes,ray] [--workers 2] [--trials 8] [--epochs 2] [--rounds 1]

The trials are residual networks of one size, trained with labels on mnist5k; one thread a worker. Each round is one
worker, several, several, one, each in an empty cache, from the start of the workers to their end; one worker is this
process itself. Printed is the median over rounds with the smallest and the largest, and whether all found the same.
Asked for is a ratio of 1.7 on two cores. About three minutes for an executor; wants a core a worker, and quiet.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from edgekd import target as targets
from edgekd.artifact import ArtifactSet
from edgekd.measure import machine
from edgekd.recipe import ModelSpec, Recipe
from edgekd.search import executor
from edgekd.search.course import Score
from edgekd.search.executor import Job
from edgekd.search.trials import TrialsConfig, score_of
from edgekd.stage import Context
from edgekd.train import data

GOAL = 1.7
PLAIN = {
    "model": {"name": "resnet"},
    "data": {"name": "mnist5k"},
    "budget": {"latency_ratio": 1.0},
    "stages": {"trials": {}},
}


@dataclass(frozen=True)
class Search:
    """The same trials, for any number of workers."""

    specs: tuple[ModelSpec, ...]
    config: TrialsConfig

    def run(self, name: str, workers: int) -> tuple[float, dict[str, float]]:
        """Return how many seconds the trials took, and what each network got wrong."""
        here = targets.load("host", machine.host_target())
        recipe = Recipe.model_validate({**PLAIN, "target": here.name})
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            context = Context(place, place, place / "cache", recipe, here, origin_is_device=True)
            found: dict[str, float] = {}
            began = time.perf_counter()
            with executor.create(name, {}, workers) as pool:
                for job, score in pool.results(self._job(spec, context) for spec in self.specs):
                    found[job.title] = score.error_percent
            return time.perf_counter() - began, found

    def _job(self, spec: ModelSpec, context: Context) -> Job[Score]:
        return Job(str(spec.options["channels"]), score_of, (spec, ArtifactSet(), context, self.config))


def ratio(search: Search, name: str, workers: int) -> float:
    """Return the seconds of one worker over those of several; raises SystemExit where they found something else."""
    turns = [search.run(*turn) for turn in (("processes", 1), (name, workers), (name, workers), ("processes", 1))]
    if any(found != turns[0][1] for _, found in turns):
        raise SystemExit(f"{name}: the same trials had other results: {[found for _, found in turns]}")
    seconds = [taken for taken, _ in turns]
    print(f"  {name}: " + ", ".join(f"{taken:.1f} s" for taken in seconds), flush=True)
    return (seconds[0] + seconds[3]) / (seconds[1] + seconds[2])


def main() -> None:
    """Measure, print, and exit with 1 when the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executors", default="processes,ray")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(1)
    config = TrialsConfig(epochs=given.epochs, losses={}, batch=64)
    # Widths that differ in so little that all trials take as long, and yet each is a network of its own.
    options = [{"depth": 8, "channels": [16, 32, 64 + number]} for number in range(given.trials)]
    search = Search(tuple(ModelSpec(name="resnet", options=one) for one in options), config)
    data.load(Recipe.model_validate({**PLAIN, "target": "host"}).data)
    missed = []
    for name in given.executors.split(","):
        found = [ratio(search, name, given.workers) for _ in range(given.rounds)]
        middle = median(found)
        missed += [] if middle >= GOAL else [name]
        print(f"{name}: {middle:.2f} [{min(found):.2f}, {max(found):.2f}] with {given.workers} workers")
    raise SystemExit(f"missed: {', '.join(missed)}" if missed else 0)


if __name__ == "__main__":
    main()
