"""Does the teacher help? The same student, trained equally long with and without it; paired over seeds.

    python -m tools.bench_teacher [--recipe mnist5k] [--seeds 5] [--json FILE]

Both students have the same layers, so the same latency. Prints accuracy on the test split of each pair, the mean
difference and its 95 % interval (Student's t over seeds). The teacher is the recipe's own, trained once.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from edgekd.artifact import ArtifactSet
from edgekd.cli.progress import best_for_this_output
from edgekd.distill.stage import DistillConfig, DistillStage
from edgekd.pipeline import request
from edgekd.pipeline.loop import context_of
from edgekd.schema import from_mapping
from edgekd.stage import Context
from edgekd.train import checkpoint, data
from edgekd.train.evaluate import accuracy, logits
from edgekd.train.stage import TeacherConfig, TeacherStage


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="mnist5k")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--student", type=json.loads, default={"depth": 8, "channels": [16, 16, 32]}, help="ResNet options"
    )
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asked = request.resolve(given.recipe, None, Path(folder), ())
        context = context_of(asked, best_for_this_output())
        torch.set_num_threads(asked.recipe.threads or torch.get_num_threads())
        teacher = TeacherStage(from_mapping(TeacherConfig, asked.recipe.stages.get("teacher", {}), "teacher"))
        artifacts = teacher.run(ArtifactSet(), context)
        options = asked.recipe.stages.get("distill", {})
        taught = from_mapping(
            DistillConfig, {**options, "student": {"name": "resnet", "options": given.student}}, "distill"
        )
        alone = taught.replace(losses={}, label_weight=1.0)
        rows = []
        for seed in range(given.seeds):
            pair = [percent(config, seed, artifacts, context) for config in (taught, alone)]
            rows.append(pair)
            print(f"seed {seed}: with teacher {pair[0]:.2f} %, without {pair[1]:.2f} %", flush=True)
    differences = np.array([with_it - without for with_it, without in rows])
    half = stats.t.ppf(0.975, len(rows) - 1) * differences.std(ddof=1) / np.sqrt(len(rows))
    mean = differences.mean()
    print(f"with the teacher: {mean:+.2f} points, 95 % interval {mean - half:+.2f} to {mean + half:+.2f}")
    if given.json:
        given.json.write_text(json.dumps({"pairs": rows, "mean": differences.mean(), "half_width": half}, indent=1))


def percent(config: DistillConfig, seed: int, artifacts: ArtifactSet, context: Context) -> float:
    """Train one student and return its accuracy on the test split."""
    from dataclasses import replace

    place = context.run_folder / f"{'with' if config.losses else 'without'}-{seed}"
    its = replace(context, folder=place, recipe=context.recipe.replace(seed=seed + 1))
    made = DistillStage(config).run(artifacts, its).newest(network="distilled", written_as="torch")
    loaded = data.load(context.recipe.data)
    model: Any = checkpoint.load(context.path(made))
    return accuracy(logits(model, data.normalised(loaded.test, loaded)), loaded.test.labels)


if __name__ == "__main__":
    main()
