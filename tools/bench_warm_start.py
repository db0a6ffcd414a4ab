"""Does a search that begins from a bank of earlier tasks need fewer trials? Warm against cold, on tables.

    python -m tools.bench_warm_start FOLDER [--seeds 5] [--settings limit,fastest] [--samplers random,evolution]

Every task is left out once; the bank is then one cold search of each other task, with the same sampler and another
seed. The quality asked for is what half of the cold searches of a task have after N networks. Told is after how many
networks the median search has it, warm over cold: the geometric mean over tasks with its 95 % interval (Student's t
over tasks, each the mean over paired seeds). A search ends after 3 N; one that has not reached the quality counts as
3 N + 1. Asked for is a ratio of 1/3. Beside it, the share of searches that have the quality after N / 3; of cold ones
half have it after N. `misleading` is the same bank with every cost negated: what a bank does that is wrong.

Eight settings. `limit` and `fastest` are cells of NAS-Bench-201 on fourteen devices (N = 100), on which nothing was
trained: tasks are devices, and the cost is a score that ranks like accuracy, or a measured latency (see
tools/warm_start_tasks.py). Three devices, on which the prior's constants were chosen, are in the bank alone. `images`
is Fashion-MNIST, plain, inverted, rotated, with five classes and with few images, and digits (N = 12): 1,000 images
(300 where there are few) of 14 by 14 pixels, four epochs, all ResNets of a small space within half of the largest one's
multiplications, each trained once a task and kept in FOLDER, about ten minutes of one core. A table holds the noise of
its one training, for the warm and the cold search alike. `stage` is the same, begun with the largest network, as the
stage `trials` begins both.

`again` and `stage-again` do not count that noise as quality: a search sees the same tables, and is worth what the
network that it would keep costs when it is trained again, the mean of AGAIN other seeds (half an hour of one core). The
quality asked for is the mean of the cold searches after N networks, and told is after how many the mean of the warm
ones has it first, over after how many that of the cold ones has.

`budget` and `budget-stage` are judged like them, on the same data sets, and are larger (N = 24): ResNets of three
widths and three depths of their own, below a third of the latency of the dearest one, predicted by probes that are
measured here (two hours of one core).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from edgekd.search.space import Point
from tools.warm_start_tasks import CHOSEN_ON, Task, budget, cells, first_at, images

Array = NDArray[np.float64]
Rows = Mapping[Point, float]
HORIZON = 3
"""Searches are this many times N long."""
AGAIN = 3
BANKS = {"warm": 1.0, "misleading": -1.0}
"""What a cost in the bank is multiplied by."""


def compared(tasks: Sequence[Task], sampler: str, seeds: int, count: int) -> list[str]:
    """Return the lines of the table for one sampler: warm against cold, and misled against cold."""
    told = [task for task in tasks if task.name not in CHOSEN_ON]
    cold, *others = (
        np.array([[[task.costs[p] for p in one] for one in own] for task, own in zip(told, found, strict=True)])
        for found in _searches(tasks, told, sampler, seeds, count)
    )
    quality = np.median(cold[:, :, :count].min(axis=2), axis=1)
    theirs, lines = _first(cold, quality), []
    for name, found in zip(BANKS, others, strict=True):
        mine = _first(found, quality)
        medians = " / ".join(f"{np.median(one):.0f}" for one in (theirs, mine))
        early = " / ".join(f"{(one <= count // 3).mean():.2f}" for one in (theirs, mine))
        ratio = _interval(np.log(mine / theirs).mean(axis=1))
        lines.append(f"| {sampler} | {name} | {medians} | {ratio} | {early} |")
    return lines


def judged_again(tasks: Sequence[Task], sampler: str, seeds: int, count: int) -> list[str]:
    """Return the lines of the table for one sampler, where a search is worth what its network costs once more."""
    cold, *others = (
        np.array([[_kept(task, one) for one in own] for task, own in zip(tasks, found, strict=True)]).mean(axis=1)
        for found in _searches(tasks, tasks, sampler, seeds, count)
    )
    quality = cold[:, count - 1]
    theirs, lines = _first(cold[:, None], quality)[:, 0], []
    for name, found in zip(BANKS, others, strict=True):
        mine = _first(found[:, None], quality)[:, 0]
        means = " / ".join(f"{np.exp(np.log(one).mean()):.1f}" for one in (theirs, mine))
        early = " / ".join(f"{(quality - one[:, count // 3 - 1]).mean():+.2f}" for one in (cold, found))
        lines.append(f"| {sampler} | {name} | {means} | {_interval(np.log(mine / theirs))} | {early} |")
    return lines


def _searches(
    tasks: Sequence[Task], told: Sequence[Task], sampler: str, seeds: int, count: int
) -> Iterator[list[list[list[Point]]]]:
    """Yield what searches look at, by task of `told` and seed: cold ones, then with each of `BANKS`."""
    most = min(HORIZON * count, *(len(task.costs) for task in tasks))
    yield [[task.searched(sampler, seed, most) for seed in range(seeds)] for task in told]
    banks = {
        task.name: [task.rows(task.searched(sampler, 1000 * (number + 1) + seed, count)) for seed in range(seeds)]
        for number, task in enumerate(tasks)
    }
    for sign in BANKS.values():
        yield [
            [task.searched(sampler, seed, most, bank) for seed, bank in enumerate(_others(banks, task.name, sign))]
            for task in told
        ]


def _kept(task: Task, found: Sequence[Point]) -> list[float]:
    """Return after each network what the best so far costs when it is trained again."""
    assert task.again is not None
    return [task.again[min(found[: at + 1], key=task.costs.__getitem__)] for at in range(len(found))]


def _others(banks: Mapping[str, Sequence[Rows]], left_out: str, sign: float) -> list[list[Rows]]:
    """Return for every seed what the bank holds of all other tasks."""
    others = [own for name, own in banks.items() if name != left_out]
    return [[{point: sign * cost for point, cost in rows.items()} for rows in one] for one in zip(*others, strict=True)]


def _first(found: Array, quality: Array) -> Array:
    """Return after how many networks each search (tasks, seeds, networks) has the quality of its task."""
    return np.array([[first_at(costs, q) for costs in own] for own, q in zip(found, quality, strict=True)], np.float64)


def _interval(logs: Array) -> str:
    """Return the geometric mean of ratios given as logarithms, and its 95 % interval."""
    half = stats.t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs))
    return "{:.2f} [{:.2f}, {:.2f}]".format(*(float(np.exp(logs.mean() + shift)) for shift in (0, -half, half)))


def main() -> None:
    """Search and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the scores of trained networks are kept")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--settings", default="limit,fastest,images,stage,again,stage-again", help="names, with commas")
    parser.add_argument("--samplers", default="random,evolution", help="names, with commas")
    given = parser.parse_args()
    torch.set_num_threads(1)
    settings: dict[str, tuple[Callable[[], list[Task]], int]] = {
        "limit": (lambda: cells("limit"), 100),
        "fastest": (lambda: cells("fastest"), 100),
        "images": (lambda: images(given.folder, largest_first=False), 12),
        "stage": (lambda: images(given.folder, largest_first=True), 12),
        "again": (lambda: images(given.folder, largest_first=False, again=AGAIN), 12),
        "stage-again": (lambda: images(given.folder, largest_first=True, again=AGAIN), 12),
        "budget": (lambda: budget(given.folder, largest_first=False, again=AGAIN), 24),
        "budget-stage": (lambda: budget(given.folder, largest_first=True, again=AGAIN), 24),
    }
    given.folder.mkdir(parents=True, exist_ok=True)
    for name in given.settings.split(","):
        make, count = settings[name]
        tasks = make()
        told = sum(task.name not in CHOSEN_ON for task in tasks)
        print(f"\n{name}: {told} tasks and {len(tasks) - told} in the bank alone, {given.seeds} seeds, N = {count}\n")
        again = tasks[0].again is not None
        early = "points ahead of the quality after N / 3" if again else "there after N / 3"
        print(f"| sampler | bank | networks, cold / with the bank | ratio | {early}, cold / with the bank |")
        print("|---|---|---|---|---|")
        for sampler in given.samplers.split(","):
            lines = (judged_again if again else compared)(tasks, sampler, given.seeds, count)
            print(*lines, sep="\n", flush=True)


if __name__ == "__main__":
    main()
