"""What a training costs: over a hand-written loop, with a teacher store, with a teacher asked at every step.

    python -m tools.bench_training [--rounds 7] [--json FILE]

Every round runs two ways in turns (first, second, second, first) on the same batches, so that a ratio is between
neighbours in time; printed is the median over rounds with the smallest and the largest. One thread.

- loop: edgekd's training loop over a plain PyTorch loop that does the same (same model, optimizer, schedule, batches).
- store: images/s of a student taught from the store over the same student without any teacher.
- online: images/s from the store over asking a teacher of ten times the student's MACs at every step.
- writing: images/s of writing the store over the teacher's bare inference.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.distill.batches import Kept, StoreBatches
from edgekd.distill.column import Column
from edgekd.distill.loss import create
from edgekd.distill.objective import DistillObjective
from edgekd.distill.store import Identity, TeacherStore
from edgekd.distill.teacher import ModuleTeacher
from edgekd.models.build import build
from edgekd.models.kernels import kernels, macs
from edgekd.recipe import DataSpec, ModelSpec
from edgekd.stage import Progress
from edgekd.train.answer import Answer
from edgekd.train.augment import augmentation
from edgekd.train.batches import AugmentedBatches, Batch, Batches
from edgekd.train.loop import LoopConfig, Terms, train
from edgekd.train.objective import Objective
from edgekd.train.optimizer import learning_rate

SHAPE, CLASSES, BATCH = (1, 28, 28), 10, 64
AUGMENT = augmentation(DataSpec(name="mnist5k", augmentation="crop-flip", augmentation_options={"padding": 2}))
CONFIG = LoopConfig(epochs=1, batch=BATCH, learning_rate=0.05)
GOALS = {"loop": (0.0, 1.05), "store": (0.95, 9e9), "online": (2.5, 9e9), "writing": (0.9, 9e9)}


@dataclass
class Bench:
    """Data, and a teacher of ten times the student's MACs."""

    folder: Path
    samples: int = 512

    def __post_init__(self) -> None:
        random = np.random.default_rng(0)
        self.images = random.standard_normal((self.samples, *SHAPE)).astype(np.float32)
        self.labels = random.integers(0, CLASSES, self.samples)
        self.teacher = self.network([32, 72, 144], 14).eval()
        shares = [macs(kernels(model, SHAPE)) for model in (self.teacher, self.student())]
        self.times_larger = shares[0] / shares[1]

    @staticmethod
    def network(channels: list[int], depth: int) -> nn.Module:
        """Return a ResNet."""
        torch.manual_seed(0)
        return build(ModelSpec(name="resnet", options={"depth": depth, "channels": channels}), SHAPE, CLASSES)

    def student(self) -> nn.Module:
        """Return a fresh student."""
        return self.network([16, 32, 64], 8)

    def plain_batches(self) -> AugmentedBatches:
        """Return batches without a teacher."""
        return AugmentedBatches(self.images, self.labels, batch=BATCH, augmentation=AUGMENT, seed=0)

    def store(self, name: str) -> TeacherStore:
        """Return an empty store."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        identity = Identity(teacher="t", data="d", augmentation="crop-flip", seed=0, samples=self.samples)
        return TeacherStore(self.folder / name, identity)

    def write(self, store: TeacherStore) -> None:
        """Ask the teacher about one view."""
        eaten = torch.from_numpy(self.images)
        store.write(ModuleTeacher(self.teacher), eaten, AUGMENT, views=1, columns=[Column()], progress=Progress())

    def from_store(self, store: TeacherStore) -> StoreBatches:
        """Return batches with the teacher's stored answer."""
        eaten, labels = torch.from_numpy(self.images), torch.from_numpy(self.labels)
        kept = Kept(Column())
        return StoreBatches(store, kept, eaten, labels, batch=BATCH, augmentation=AUGMENT, seed=0, views=1)


class Online:
    """Batches whose teacher answers on the spot."""

    def __init__(self, inner: AugmentedBatches, teacher: nn.Module) -> None:
        self._inner, self._teacher = inner, ModuleTeacher(teacher)

    def __len__(self) -> int:
        return len(self._inner)

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield the batches of one epoch."""
        for batch in self._inner.epoch(number):
            batch.teacher = Answer(self._teacher(batch.inputs, [""])[0])
            yield batch


def by_labels(model: nn.Module, batch: Batch) -> Terms:
    """Return the cross-entropy."""
    return Terms(F.cross_entropy(model(batch.inputs), batch.labels))


def taught() -> DistillObjective:
    """Return cross-entropy and logits-kl."""
    return DistillObjective(create({"logits-kl": {"weight": 0.5}}), 0.5)


def by_hand(bench: Bench) -> float:
    """Return the seconds of an epoch as one would write it down without a library."""
    model, batches = bench.student(), bench.plain_batches()
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": 5e-4}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=0.05, momentum=0.9, nesterov=True)
    model.train()
    started = time.perf_counter()
    for step, batch in enumerate(batches.epoch(0)):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(CONFIG, step, len(batches))
        optimizer.zero_grad(set_to_none=True)
        loss: Tensor = F.cross_entropy(model(batch.inputs.contiguous(memory_format=torch.channels_last)), batch.labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        loss.item()
    return time.perf_counter() - started


def seconds_of(work: Callable[[], object]) -> float:
    """Return how long some work takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def by_loop(bench: Bench, batches: Batches, objective: Objective) -> float:
    """Return the seconds of an epoch of edgekd's loop, its checkpoint left out."""
    with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
        seconds: list[float] = []

        def on_step(step: int, model: nn.Module) -> None:
            del step, model
            seconds.append(time.perf_counter())

        train(
            bench.student(),
            batches,
            objective,
            CONFIG,
            folder=Path(folder),
            title="bench",
            on_step=on_step,
        )
        # From step to step: what comes before the first and after the last is paid once a training, not once a step.
        return (seconds[-1] - seconds[0]) * len(seconds) / (len(seconds) - 1)


def bare(bench: Bench) -> None:
    """Run the teacher over augmented images."""
    teacher = bench.teacher.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    seeds = torch.arange(bench.samples)
    with torch.inference_mode():
        for start in range(0, bench.samples, 128):
            part = slice(start, start + 128)
            images = AUGMENT(torch.from_numpy(bench.images[part]), seeds[part])
            teacher(images.contiguous(memory_format=torch.channels_last))


def in_turns(first: Callable[[], float], second: Callable[[], float]) -> float:
    """Return the seconds of the first over those of the second, taken in the order first, second, second, first."""
    one, two, three, four = first(), second(), second(), first()
    return (one + four) / (two + three)


def round_of(bench: Bench) -> dict[str, float]:
    """Return the four ratios of one round."""
    store = bench.store("store")
    inference = seconds_of(lambda: bare(bench))
    writing = seconds_of(lambda: bench.write(store))

    def loop() -> float:
        return by_loop(bench, bench.plain_batches(), by_labels)

    def stored() -> float:
        return by_loop(bench, bench.from_store(store), taught())

    def online() -> float:
        return by_loop(bench, Online(bench.plain_batches(), bench.teacher), taught())

    return {
        "loop": in_turns(loop, lambda: by_hand(bench)),
        "store": in_turns(loop, stored),
        "online": in_turns(online, stored),
        "writing": inference / writing,
    }


def main() -> None:
    """Measure, print, and exit with 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        print(f"teacher / student: {bench.times_larger:.1f} times the MACs")
        round_of(bench)
        rounds = [round_of(bench) for _ in range(given.rounds)]
    missed = []
    for name, (least, most) in GOALS.items():
        found = [ratios[name] for ratios in rounds]
        middle = median(found)
        missed += [] if least <= middle <= most else [name]
        print(f"{name:8} {middle:.3f} [{min(found):.3f}, {max(found):.3f}]")
    if given.json:
        given.json.write_text(json.dumps(rounds))
    raise SystemExit(f"missed: {', '.join(missed)}" if missed else 0)


if __name__ == "__main__":
    main()
