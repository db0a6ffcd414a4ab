"""CoFi against the plain prune stage: an encoder of four layers at the same sparsity, trained for equally many epochs.

    python -m tools.bench_cofi [--seeds 1] [--sparsity 0.75] [--epochs 6] [--finetune 3] [--processes 9] [--rows FILE]

The encoder reads 64 characters of `python-topics`; it is trained once, or taken from the cache. A row is one network:
cut by CoFi after `epochs` epochs of masks and fine-tuned for `finetune`; or cut by `taylor` with an allocator to as few
parameters in its attention and feed-forward layers, and fine-tuned for `epochs + finetune`. Both are fine-tuned alike
under the float encoder. Rows are kept in FILE, and those that are there are not made again. Prints accuracy on the test
split with paired differences and their 95 % interval (Student's t over seeds), and the latency of the first engine of
each method made here by that of the whole encoder, measured in turns in ONNX Runtime. One thread.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from edgekd import cache
from edgekd import target as targets
from edgekd.artifact import ArtifactSet, digest_of_path
from edgekd.cli.progress import best_for_this_output
from edgekd.disk import scratch
from edgekd.distill.teach import TeachConfig, teach
from edgekd.export.onnx_file import write
from edgekd.measure.comparison import paired_ratio
from edgekd.measure.engine import Engine
from edgekd.models.kernels import parameters
from edgekd.profile import Kernel
from edgekd.prune import allocator, criterion
from edgekd.prune.cofi.config import CofiConfig
from edgekd.prune.cofi.masks import Masked
from edgekd.prune.cofi.plan import Plan, plan
from edgekd.prune.cofi.removal import cut
from edgekd.prune.cofi.rounding import rounded
from edgekd.prune.cofi.sparsity import Parameters
from edgekd.prune.cofi.stage import described
from edgekd.prune.cofi.training import MaskTraining
from edgekd.prune.cost import Cost
from edgekd.prune.cut import Cutter
from edgekd.prune.samples import Samples
from edgekd.prune.trial import prunable
from edgekd.recipe import Recipe
from edgekd.stage import Context
from edgekd.train import checkpoint, data
from edgekd.train.augment import augmentation
from edgekd.train.batches import AugmentedBatches
from edgekd.train.dataset import DataSet
from edgekd.train.evaluate import accuracy, logits
from edgekd.train.stage import TeacherConfig, TeacherStage
from edgekd.train.task import task_called
from tools.bench_losses import interval
from tools.in_turns import in_turns
from tools.rows import add_row, rows_in

DATA = {"name": "python-topics", "options": {"tokens": 64}}
MODEL = {"name": "text-encoder", "options": {"depth": 4, "width": 48, "heads": 4, "expansion": 4}}
TEACHER = TeacherConfig(epochs=20, batch=32, learning_rate=2e-3, optimizer="adamw", weight_decay=0.05)
FINETUNE = TeachConfig(batch=32, optimizer="adamw", learning_rate=2e-3, weight_decay=0.05)
ALLOCATORS = {"taylor, uniform": "uniform", "taylor, latency": "latency"}
SEEN = {"count": 512, "batch": 32}
MOST = 0.9
"""Share of a group's channels that the prune stage may take."""


@dataclass(frozen=True)
class Row:
    """One network; accuracies in percent of the test split."""

    method: str
    seed: int
    sparsity: float
    masked: float
    """Under masks of zeros and ones and between, before the cut; of the other methods as `cut`."""
    cut: float
    tuned: float
    parameters: int
    told: str


@dataclass(frozen=True)
class LayerParameters(Cost):
    """Weights of attention and feed-forward layers: what CoFi's sparsity is about."""

    paths: frozenset[str]
    unit: ClassVar[str] = "weights"

    def of(self, kernels: Sequence[Kernel]) -> float:
        """Return how many there are."""
        return float(sum(k.in_channels * k.out_channels + k.out_channels for k in kernels if k.name in self.paths))


def context_of(seed: int, root: Path, name: str) -> Context:
    """Return the context of a training of a seed, in a folder of its own inside of `root`."""
    plain = {"budget": {"latency_ratio": 1.0}, "stages": {"teacher": TEACHER.plain()}, "seed": seed}
    recipe = Recipe.model_validate({"model": MODEL, "data": DATA, **plain})
    target, progress = targets.load("x86-avx2"), best_for_this_output()
    return Context(root, root / name, cache.folder(), recipe, target, origin_is_device=False, progress=progress)


def percent(model: nn.Module, dataset: DataSet) -> float:
    """Return the accuracy on the test split."""
    return accuracy(logits(model, data.normalised(dataset.test, dataset)), dataset.test.labels)


def by_masks(
    model: nn.Module, planned: Plan, dataset: DataSet, context: Context, config: CofiConfig
) -> tuple[nn.Module, float, str]:
    """Return the network cut by CoFi, its accuracy under masks, and what was cut; trains `model` in place."""
    seed = context.recipe.seed
    training = MaskTraining(model, planned, config, task_called(dataset.task), seed)
    inputs = data.normalised(dataset.train, dataset)
    augment = augmentation(context.recipe.data)
    batches = AugmentedBatches(inputs, dataset.train.labels, batch=config.batch, augmentation=augment, seed=seed)
    training.run(batches, context.progress)
    probabilities = {name: value.detach() for name, value in training.masks.probabilities().items()}
    expected = float(training.counted.sparsity(probabilities))
    values = rounded(planned, training.counted, training.masks.log_alpha, config.sparsity)
    pruned = cut(model, planned, values, torch.from_numpy(inputs[:4]))
    told = described(planned, values)
    masked = percent(Masked(model, planned, values), dataset)
    return pruned, masked, f"expected {expected:.3f}; without {told['layers']}; {told['widths']}"


def by_criterion(
    model: nn.Module, planned: Plan, samples: Samples, sparsity: float, method: str
) -> tuple[nn.Module, str]:
    """Return the network cut as the prune stage does, within the parameters CoFi may keep, and what was cut."""
    found = planned.found
    cost = LayerParameters(frozenset(path for layer in planned.layers for path in layer.paths))
    widths = allocator.create(ALLOCATORS[method], {})
    cutter = Cutter(criterion.create("taylor", {}), widths, samples, cost, step=1)
    floors = allocator.floors(found.widths, MOST, 1)
    limit = (1 - sparsity) * cost.of(found.kernels.whole)
    with tempfile.TemporaryDirectory() as folder:
        pruned, made = cutter(model, found, floors, limit, record=Path(folder) / "cut.json")
    return pruned, ", ".join(f"{name} {found.widths[name]} -> {width}" for name, width in made.widths.items())


def made(
    method: str, artifacts: ArtifactSet, context: Context, config: CofiConfig, finetune: int
) -> tuple[Row, nn.Module]:
    """Prune and fine-tune one network."""
    dataset, seed = data.load(context.recipe.data), context.recipe.seed
    model = checkpoint.load(context.path(artifacts.newest(network="teacher")))
    planned = plan(model, prunable(model, dataset.input_shape))
    counted, masked, epochs = Parameters(model, planned), None, finetune
    if method == "cofi":
        pruned, masked, told = by_masks(model, planned, dataset, context, config)
    else:
        pruned, told = by_criterion(model, planned, Samples(dataset, **SEEN, seed=seed), config.sparsity, method)
        epochs += config.epochs
    before = percent(pruned, dataset)
    teach(pruned, artifacts, context, FINETUNE.replace(epochs=epochs), folder=context.folder, title=method)
    row = Row(
        method,
        seed,
        counted.sparsity_of(pruned),
        masked=before if masked is None else masked,
        cut=before,
        tuned=percent(pruned, dataset),
        parameters=parameters(pruned),
        told=told,
    )
    return row, pruned


def latencies(networks: dict[str, nn.Module], dataset: DataSet, processes: int) -> Iterator[str]:
    """Measure the engines of networks in turns, and yield the ratio of each to the first."""
    with scratch("edgekd-bench") as folder:
        engines = []
        for name, network in networks.items():
            file = folder / f"{name.replace(', ', '-')}.onnx"
            write(network, file, dataset.input_shape, torch.int64)
            engines.append(Engine(name.replace(", ", "-"), "fp32", "onnxruntime", file, digest_of_path(file)))
        records = in_turns(engines, data.normalised(dataset.test, dataset), processes)
    first = records[0]
    for engine, record in zip(engines[1:], records[1:], strict=True):
        ratio = paired_ratio(record, first, 50, "latency_ratio_p50")
        yield f"{engine.network}: {ratio.text()} of the latency of {engines[0].network}"


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of a markdown table, and the paired differences to CoFi."""
    yield "| method | seeds | sparsity | masked, % | cut, % | fine-tuned, % | parameters | against cofi |"
    yield "|---|---|---|---|---|---|---|---|"
    by = {name: {row.seed: row for row in rows if row.method == name} for name in ("cofi", *ALLOCATORS)}
    for name, mine in by.items():
        if not mine:
            continue
        columns = ("sparsity", "masked", "cut", "tuned", "parameters")
        mean = {column: np.mean([getattr(row, column) for row in mine.values()]) for column in columns}
        both = sorted(mine.keys() & by["cofi"].keys())
        against = interval(np.array([mine[s].tuned - by["cofi"][s].tuned for s in both])) if name != "cofi" else ""
        yield (
            f"| {name} | {len(mine)} | {mean['sparsity']:.3f} | {mean['masked']:.2f} | {mean['cut']:.2f} | "
            f"{mean['tuned']:.2f} | {mean['parameters']:.0f} | {against} |"
        )


def main() -> None:
    """Make what rows are missing, print the table and the latencies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--sparsity", type=float, default=0.75)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--finetune", type=int, default=3)
    parser.add_argument("--processes", type=int, default=9, help="of each engine whose latency is measured")
    parser.add_argument("--rows", type=Path, default=None, help="a JSON file a line each row, read and added to")
    given = parser.parse_args()
    torch.set_num_threads(1)
    config = CofiConfig(sparsity=given.sparsity, epochs=given.epochs)
    rows = rows_in(given.rows, Row)
    done = {(row.method, row.seed) for row in rows}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        context = context_of(0, root, "teacher")
        artifacts = TeacherStage(TEACHER).run(ArtifactSet(), context)
        whole = checkpoint.load(context.path(artifacts.newest(network="teacher")))
        dataset = data.load(context.recipe.data)
        networks: dict[str, nn.Module] = {"whole": whole}
        for seed in range(given.seeds):
            for method in ("cofi", *ALLOCATORS):
                if (method, seed) in done:
                    continue
                place = context_of(seed, root, f"{method}-{seed}")
                row, network = made(method, artifacts, place, config, given.finetune)
                networks.setdefault(method, network)
                rows.append(row)
                print(row, flush=True)
                add_row(row, given.rows)
        print(f"\nfloat encoder: {percent(whole, dataset):.2f} %, {parameters(whole)} parameters\n")
        print(*table(rows), sep="\n")
        if len(networks) > 1:
            print(*latencies(networks, dataset, given.processes), sep="\n")


if __name__ == "__main__":
    main()
