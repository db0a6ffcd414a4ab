"""What the loop makes of a wrong profile: half of all kernels are said to take twice as long, or half as long.

    python -m tools.bench_closed_loop FOLDER [--factors 2,0.5] [--ratio 0.5] [--rounds 3] [--margin 0.93]
        [--recovery 1] [--seeds 3] [--first 0]

Every kernel, by a digest of what it computes, is right or wrong, in all networks alike; the untrained engines that the
search measured are then said to have taken as much longer or shorter as their wrong kernels do, by multiplications. A
trained ResNet is cut with this profile, on Fashion-MNIST: what is looked at is where the engine lands that the run ends
with, as a share of the latency limit, how many rounds it took, and which trainings each round made that an earlier one
had not. Of rounds that met the budget the more accurate one is kept: 10,000 images of validation tell them apart as
long as the recovery is so short that what was cut decides; after more training a smaller network may be as good.
FOLDER keeps the runs. A few minutes a case; measuring wants a quiet machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from edgekd.cli.progress import best_for_this_output
from edgekd.pipeline import loop
from edgekd.pipeline.request import resolve
from edgekd.profile import EngineRecord, Kernel, Profile
from edgekd.report import RunReport
from edgekd.schema import digest_of, write_text
from edgekd.search.probes import Bench
from edgekd.yaml_file import dump_yaml

PERCENTILE = 50


@dataclass(frozen=True)
class Asked:
    """What is asked of every run; limit and margin are shares, of the teacher's latency and of the limit."""

    ratio: float
    rounds: int
    margin: float
    recovery: int


def recipe(asked: Asked, seed: int) -> dict[str, object]:
    """Return what is asked for: so little training that a run takes minutes."""
    recovery = {"epochs": asked.recovery, "learning_rate": 0.02}
    return {
        "model": {"name": "resnet", "options": {"blocks": [1, 2, 2], "channels": [32, 64, 128]}},
        "data": {"name": "fashion-mnist", "options": {"validation_size": 10_000}, "augmentation": "crop-flip"},
        "target": "host",
        "budget": {"latency_ratio": asked.ratio, "percentile": PERCENTILE, "accuracy_drop": 30.0},
        "stages": {
            "teacher": {"epochs": 5, "learning_rate": 0.1},
            "search": {"space": "resnet", "student": "teacher", "probes": 5, "processes": 5},
            "prune": {"recovery": recovery, "margin": asked.margin},
            "export": {},
            "measure": {"memory_processes": 1},
        },
        "feedback_rounds": asked.rounds,
        "seed": seed,
    }


def is_wrong(kernel: Kernel) -> bool:
    """Say whether a kernel is one of the half of all that the profile is wrong about."""
    return int(digest_of(list(kernel._replace(name="")))[:8], 16) % 2 == 0


def stretch(kernels: Iterable[Kernel], factor: float) -> float:
    """Return by what a network's latency changes when its wrong kernels take `factor` times as long."""
    kernels = tuple(kernels)
    wrong = sum(kernel.macs for kernel in kernels if is_wrong(kernel))
    return 1 + (factor - 1) * wrong / sum(kernel.macs for kernel in kernels)


def distorted(profile: Profile, factor: float) -> Profile:
    """Return a profile whose wrong kernels take `factor` times as long."""

    def of(record: EngineRecord) -> EngineRecord:
        by = stretch(record.kernels, factor)
        figures = tuple(
            figure.replace(**{k: v * by for k in ("value", "lower", "upper") if (v := getattr(figure, k)) is not None})
            for figure in record.figures
        )
        per_process = {name: tuple(value * by for value in values) for name, values in record.per_process.items()}
        return record.replace(figures=figures, per_process=per_process)

    return profile.replace(records=tuple(map(of, profile.records)))


def compressed(folder: Path, factor: float, asked: Asked, seed: int) -> RunReport:
    """Return the report of a run whose search believes the wrong profile."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(dump_yaml(recipe(asked, seed)), folder / "recipe.yaml")
    request = resolve(str(folder / "recipe.yaml"), "host", folder / "run", ())
    right = Bench.profile

    def wrong(self: Bench, probes: object) -> Profile:
        return distorted(right(self, probes), factor)  # type: ignore[arg-type]

    with mock.patch.object(Bench, "profile", wrong):
        return loop.compress(request, best_for_this_output())


def told(report: RunReport, ratio: float) -> str:
    """Return a run in lines: each round's share of the limit, as measured to judge it."""
    lines = []
    for one in report.rounds:
        check = next(check for check in one.verdict.checks if check.limit_name == "latency_ratio")
        lines.append(
            f"  round {one.number}: {check.figure.value / ratio:.3f} of the limit "
            f"[{(check.figure.lower or 0) / ratio:.3f}, {(check.figure.upper or 0) / ratio:.3f}], "
            f"{one.verdict.status}, factor {one.correction:.3f}; {one.verdict.engine}"
        )
    return "\n".join([*lines, f"  {report.verdict.line()}"])


def main() -> None:
    """Run every case and print how its rounds went."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--factors", default="2,0.5", help="with commas")
    parser.add_argument("--ratio", type=float, default=0.5, help="the limit, of the teacher's latency")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--margin", type=float, default=0.93, help="share of the limit that pruning aims at")
    parser.add_argument("--recovery", type=int, default=1, help="epochs after a cut")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="seed")
    given = parser.parse_args()
    asked = Asked(given.ratio, given.rounds, given.margin, given.recovery)
    for seed in range(given.first, given.first + given.seeds):
        for factor in map(float, given.factors.split(",")):
            report = compressed(given.folder / f"{factor:g}-{seed}", factor, asked, seed)
            print(f"half of the kernels times {factor:g}, seed {seed}:\n{told(report, asked.ratio)}", flush=True)


if __name__ == "__main__":
    main()
