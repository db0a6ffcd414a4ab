"""How near a pruned network's engine comes to the latency that was asked for, and how many engines that takes.

    python -m tools.bench_landing [--networks resnet mobilenetv2 vit convnext] [--processes 9]

Four networks are cut to 0.75, 0.5 and 0.25 of their measured latency on this machine, by the latency allocator with
nothing measured before but the whole network: the first engine is a guess by filled multiplications, the next ones are
where the measured points say. Nothing is trained; what an engine costs does not depend on its weights. The last column
is a fresh series of the engine that was kept, in turns with the whole network: what counts.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edgekd import target as targets
from edgekd.budget import Budget
from edgekd.cli.progress import best_for_this_output
from edgekd.disk import scratch
from edgekd.measure import machine
from edgekd.models.build import build
from edgekd.predict.features import step_of
from edgekd.prune import allocator, criterion
from edgekd.prune.cost import FilledMacs
from edgekd.prune.cut import Cutter, perform
from edgekd.prune.landing import land
from edgekd.prune.measured import MeasuredShare
from edgekd.prune.samples import Samples
from edgekd.prune.trial import prunable
from edgekd.quantize.drafts import Drafts
from edgekd.recipe import DataSpec, ModelSpec, Recipe
from edgekd.stage import Context
from edgekd.train import data
from edgekd.train.dataset import DataSet

SHAPE, CLASSES = (3, 64, 64), 10
NETWORKS = {
    "resnet": ModelSpec(name="resnet", options={"depth": 20, "channels": [32, 64, 128]}),
    "mobilenetv2": ModelSpec(name="mobilenetv2", options={"width": 1.0, "depth": 0.7}),
    "vit": ModelSpec(name="vit", options={"depth": 4, "width": 128, "heads": 4}),
    "convnext": ModelSpec(factory="tests.architectures:ConvNext"),
}
GOALS = (0.75, 0.5, 0.25)


def context(folder: Path) -> Context:
    """Return a run on this machine."""
    here = targets.load("host", machine.host_target())
    recipe = Recipe(
        model=NETWORKS["resnet"],
        data={"name": "mnist5k"},
        target=here.name,
        budget=Budget(latency_ratio=1.0, percentile=50),
        stages={"quantize": {}},
    )
    return Context(folder, folder, folder, recipe, here, origin_is_device=True, progress=best_for_this_output())


def choosing(model: nn.Module, step: int, dataset: DataSet) -> Callable[[float], tuple[nn.Module, float]]:
    """Return what gives a network within a share of the whole cost, and that share."""
    found, cost = prunable(model, SHAPE), FilledMacs(step)
    units = {group.name: group.unit for group in found.groups}
    floors = allocator.floors(found.widths, 0.9, step, units)
    # Magnitude looks at no sample.
    samples = Samples(dataset, 1, 1, seed=0)
    cutter = Cutter(criterion.create("magnitude", {}), allocator.create("latency", {}), samples, cost, step)
    within = cutter.chooser(model, found, floors)
    whole = cost.of(found.kernels.whole)

    def choose(share: float) -> tuple[nn.Module, float]:
        cut = within(share * whole)
        return perform(model, found, cut), cost.of(found.kernels.at(cut.widths)) / whole

    return choose


def main() -> None:
    """Cut, build, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS))
    parser.add_argument("--processes", type=int, default=9)
    given = parser.parse_args()
    images = np.random.default_rng(0).normal(size=(32, *SHAPE)).astype(np.float32)
    dataset = data.load(DataSpec(name="mnist5k"))
    landed = 0
    for name in given.networks:
        torch.manual_seed(0)
        model = build(NETWORKS[name], SHAPE, CLASSES).eval()
        for goal in GOALS:
            with scratch("edgekd-bench") as folder:
                run = context(folder)
                schemes = (*run.target.schemes(), *run.target.float_schemes())
                step = max(step_of(run.target, scheme) for scheme in schemes)
                share = MeasuredShare(Drafts(run, schemes, images), model, given.processes)
                built = land(goal, choosing(model, step, dataset), share)
                again = share(built[0].network)
            error = again / goal - 1
            landed += abs(error) <= 0.05
            shown = " ".join(f"{one.predicted:.3f}->{one.measured:.3f}" for one in built)
            print(f"{name} {goal}: {len(built)} engines ({shown}), measured anew {again:.3f}, {error:+.1%}", flush=True)
    print(f"within 5 %: {landed} of {len(given.networks) * len(GOALS)}")


if __name__ == "__main__":
    main()
