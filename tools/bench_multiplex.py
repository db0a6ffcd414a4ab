"""Shared weights against fewer layers: an encoder of four layers, and what two layers' worth of parameters make of it.

    python -m tools.bench_multiplex FOLDER [--seeds 3] [--epochs 3] [--processes 0]

The encoder is that of `tools.bench_cofi`: it reads 64 characters of `python-topics`, and is trained once or taken from
the cache. A row is one network: `shared`, in which two blocks after each other share their weights and have
transformations of their own; `shared, nothing of its own`, without these; and `two layers`, the first and third block
alone. All begin with the encoder's weights and are trained alike under it, with labels, soft labels and relations; a
block of `two layers` learns from the last of the two it stands for. Rows are kept in FOLDER, and those that are there
are not made again. Prints accuracy on the test split with paired differences and their 95 % interval (Student's t over
seeds), parameters and bytes of the ONNX file, and with `--processes` the latency of each method's engine by that of
the whole encoder, measured in turns in ONNX Runtime. One thread.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edgekd.artifact import ArtifactSet
from edgekd.export.onnx_file import write
from edgekd.models.build import build
from edgekd.models.kernels import parameters
from edgekd.prune.multiplex.config import ImitationConfig, MultiplexConfig
from edgekd.prune.multiplex.network import multiplexed
from edgekd.prune.multiplex.stage import imitate
from edgekd.recipe import ModelSpec
from edgekd.stage import Context
from edgekd.train import checkpoint, data
from edgekd.train.dataset import DataSet
from edgekd.train.stage import TeacherStage
from tools.bench_cofi import MODEL, TEACHER, context_of, latencies, percent
from tools.bench_losses import interval
from tools.rows import add_row, rows_in

SHARED, ALONE, FEWER = "shared", "shared, nothing of its own", "two layers"
LAST = [("blocks.1", "blocks.1"), ("blocks.3", "blocks.3")]
BLOCKS = {SHARED: LAST, FEWER: [("blocks.0", "blocks.1"), ("blocks.1", "blocks.3")], ALONE: LAST}


@dataclass(frozen=True)
class Row:
    """One network; accuracies in percent of the test split."""

    method: str
    seed: int
    before: float
    """Before its training."""
    trained: float
    parameters: int
    bytes: int
    """Of its ONNX file."""


def begun(method: str, encoder: nn.Module, dataset: DataSet) -> nn.Module:
    """Return a network with the encoder's weights as far as the method keeps them."""
    if method != FEWER:
        own = method == SHARED
        return multiplexed(encoder, dataset.input_shape, MultiplexConfig(share=2, heads=own, neighbours=own))
    spec = ModelSpec.model_validate({**MODEL, "options": {**MODEL["options"], "depth": 2}})  # type: ignore[dict-item]
    model, kept = build(spec, dataset.input_shape, dataset.classes), encoder.state_dict()
    model.load_state_dict({name: kept[name.replace("blocks.1.", "blocks.2.")] for name in model.state_dict()})
    return model.eval()


def made(method: str, artifacts: ArtifactSet, context: Context, epochs: int) -> Row:
    """Make and train one network."""
    dataset, encoder = data.load(context.recipe.data), checkpoint.load(context.path(artifacts.newest()))
    model = begun(method, encoder, dataset)
    before = percent(model, dataset)
    config = ImitationConfig(epochs=epochs, batch=32, optimizer="adamw", learning_rate=2e-3, weight_decay=0.05)
    imitate(model, encoder, BLOCKS[method], context, config, folder=context.folder / "training")
    size = written(model, context.folder / "model.onnx", dataset)
    return Row(method, context.recipe.seed, before, percent(model, dataset), parameters(model), size)


def written(model: nn.Module, file: Path, dataset: DataSet) -> int:
    """Return how many bytes a network's ONNX file has."""
    write(model, file, dataset.input_shape, torch.int64)
    return file.stat().st_size


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of a markdown table, with paired differences to fewer layers."""
    yield "| method | seeds | parameters | ONNX file, kB | before, % | trained, % | against two layers |"
    yield "|---|---|---|---|---|---|---|"
    by = {method: {row.seed: row for row in rows if row.method == method} for method in BLOCKS}
    for method, mine in by.items():
        if not mine:
            continue
        first = next(iter(mine.values()))
        means = [float(np.mean([getattr(row, name) for row in mine.values()])) for name in ("before", "trained")]
        both = sorted(mine.keys() & by[FEWER].keys()) if method != FEWER else []
        against = interval(np.array([mine[s].trained - by[FEWER][s].trained for s in both])) if both else ""
        yield (
            f"| {method} | {len(mine)} | {first.parameters} | {first.bytes / 1e3:.0f} | {means[0]:.2f} | "
            f"{means[1]:.2f} | {against} |"
        )


def main() -> None:
    """Make what rows are missing, print the table and the latencies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where rows and trainings are kept")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--processes", type=int, default=0, help="of each engine whose latency is measured; 0: none")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.folder.mkdir(parents=True, exist_ok=True)
    file = given.folder / f"rows-{given.epochs}.jsonl"
    rows = rows_in(file, Row)
    done = {(row.method, row.seed) for row in rows}
    artifacts = TeacherStage(TEACHER).run(ArtifactSet(), context_of(0, given.folder, "teacher"))
    whole = checkpoint.load(context_of(0, given.folder, "teacher").path(artifacts.newest()))
    dataset = data.load(context_of(0, given.folder, "teacher").recipe.data)
    for seed in range(given.seeds):
        for method in BLOCKS:
            if (method, seed) in done:
                continue
            place = context_of(
                seed, given.folder, f"{method.replace(', ', '-').replace(' ', '-')}-{seed}-{given.epochs}"
            )
            place.folder.mkdir(parents=True, exist_ok=True)
            row = made(method, artifacts, place, given.epochs)
            rows.append(row)
            print(row, flush=True)
            add_row(row, file)
    size = written(whole, given.folder / "whole.onnx", dataset)
    print(f"\nfloat encoder: {percent(whole, dataset):.2f} %, {parameters(whole)} parameters, {size / 1e3:.0f} kB\n")
    print(*table(rows), sep="\n")
    if given.processes:
        networks = {"whole": whole, **{method: begun(method, whole, dataset) for method in BLOCKS}}
        print(*latencies(networks, dataset, given.processes), sep="\n")


if __name__ == "__main__":
    main()
