"""Ternary weights: whether it helps a text encoder to see its teacher's attention (KD-QAT; Kim et al. 2022).

    python -m tools.bench_ternary [--seeds 8] [--windows 15000] [--rows FILE]

The teacher of `python-topics` (tools/bench_losses.py) is its own student, with weights of -1, 0 and 1 and 8-bit
activations, trained on the teacher's logits alone, or on these and its attention: the KL divergence of the attention
maps of every block and the relative squared distance of the outputs of every self-attention, half each, which is the
paper's loss up to edgekd's normalisation (loss `featalign`). A row is one training; those in FILE are not made again.
Prints accuracy and agreement with the teacher on the test split, with the paired difference to logits only and its 95 %
interval (Student's t over seeds).
"""

from __future__ import annotations

import argparse
import tempfile
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgekd.artifact import ArtifactSet
from edgekd.distill.lesson import Lesson
from edgekd.distill.teach import TeachConfig
from edgekd.placement.scheme import scheme_named
from edgekd.quantize.prepare import calibrate, prepare
from edgekd.quantize.tapping import tapped
from edgekd.train import checkpoint, data
from edgekd.train.evaluate import accuracy, logits
from edgekd.train.loop import train
from tools.bench_losses import context_of, interval, taught
from tools.rows import add_row, rows_in

SETTING, SCHEME, CALIBRATION = "python-topics", "u8t", 256
OUTPUTS, MAPS = "attention", "attention.softmax"
ALONE = {"logits-kl": {"weight": 1.0}}
METHODS: dict[str, dict[str, dict[str, float]]] = {
    "logits only": ALONE,
    "logits and attention": {**ALONE, "featalign": {"features": 0.5, "attention": 0.5, "output": 0.0}},
    "logits and attention maps": {**ALONE, "featalign": {"features": 0.0, "attention": 1.0, "output": 0.0}},
    "logits and attention outputs": {**ALONE, "featalign": {"features": 1.0, "attention": 0.0, "output": 0.0}},
}


def trained(method: str, seed: int, windows: int, artifacts: ArtifactSet) -> dict[str, Any]:
    """Quantize the teacher, train it and judge it."""
    torch.set_num_threads(1)
    context = context_of(SETTING, 0)
    dataset = data.load(context.recipe.data)
    teacher = checkpoint.load(context.path(artifacts.newest(scheme="fp32", written_as="torch")))
    paths = {part: [f"blocks.{block}.{part}" for block in range(3)] for part in (OUTPUTS, MAPS)}
    seen = data.normalised(dataset.calibration, dataset)[:CALIBRATION]
    example = torch.from_numpy(seen[:2])
    module = prepare(teacher, example, scheme_named(SCHEME), taps=[*paths[OUTPUTS], *paths[MAPS]])
    calibrate(module, seen)
    config = TeachConfig.model_validate(
        {
            "epochs": max(1, round(windows / len(dataset.train))),
            "batch": 32,
            "optimizer": "adamw",
            "learning_rate": 1e-3,
            "weight_decay": 1e-4,
            "label_weight": 0.0,
            "losses": METHODS[method],
            "taps": {
                "features": [[tapped(path), path] for path in paths[OUTPUTS]],
                "attention": [[tapped(path), path] for path in paths[MAPS]],
            },
        }
    )
    torch.manual_seed(seed)
    test = data.normalised(dataset.test, dataset)
    row = {"method": method, "seed": seed, "float": accuracy(logits(teacher, test), dataset.test.labels)}
    row["calibrated"] = accuracy(logits(module, test), dataset.test.labels)
    batches, objective = Lesson(artifacts, context, config, context.recipe.data).begin(module, order_seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        train(module, batches, objective, config, folder=Path(folder), title=method)
    said = logits(module, test)
    row["trained"] = accuracy(said, dataset.test.labels)
    row["agreement"] = accuracy(said, logits(teacher, test).argmax(1))
    return row


def main() -> None:
    """Train what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--windows", type=int, default=15_000)
    parser.add_argument("--rows", type=Path, default=None)
    given = parser.parse_args()
    rows: list[dict[str, Any]] = rows_in(given.rows, dict)
    done = {(row["method"], row["seed"]) for row in rows}
    artifacts = taught(SETTING)
    trained("logits and attention", 0, 1, artifacts)  # fills the teacher store before two want to
    with ProcessPoolExecutor(2) as pool:
        wanted = [(name, seed) for seed in range(given.seeds) for name in METHODS if (name, seed) not in done]
        for job in as_completed([pool.submit(trained, *one, given.windows, artifacts) for one in wanted]):
            rows.append(job.result())
            print(rows[-1], flush=True)
            add_row(rows[-1], given.rows)
    by = {name: {row["seed"]: row for row in rows if row["method"] == name} for name in METHODS}
    print(f"float {rows[0]['float']:.2f} %, calibrated alone {rows[0]['calibrated']:.2f} %")
    for name, mine in by.items():
        shared = [seed for seed in mine if seed in by["logits only"]]
        said = []
        for key, words in (("trained", "right on"), ("agreement", "agrees with the teacher on")):
            gain = np.array([mine[seed][key] - by["logits only"][seed][key] for seed in shared])
            said.append(f"{words} {np.mean([row[key] for row in mine.values()]):.2f} % ({interval(gain)})")
        print(f"{name}: {', '.join(said)}")


if __name__ == "__main__":
    main()
