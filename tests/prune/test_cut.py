from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from edgekd.errors import EdgekdError
from edgekd.models.kernels import kernels
from edgekd.prune import allocator, criterion
from edgekd.prune.cost import FilledMacs
from edgekd.prune.cut import Cut, Cutter, perform
from edgekd.prune.samples import Samples
from edgekd.prune.trial import prunable
from tests.distill.tiny_run import quadrants
from tests.models import INPUT_SHAPE
from tests.prune.networks import network

COST = FilledMacs(4)


def cutter(name: str = "magnitude") -> Cutter:
    samples = Samples(quadrants(), 32, 16, seed=0)
    return Cutter(criterion.create(name, {}), allocator.create("latency", {}), samples, COST, 4)


@pytest.mark.parametrize(
    "name", ["residual", "depthwise", "resnet", "mobilenetv2", "mobile-cells", "mobile-cells-squeezed"]
)
def test_a_cut_meets_its_limit_in_the_real_network(name: str, tmp_path: Path) -> None:
    model = network(name)
    found = prunable(model, INPUT_SHAPE)
    lowest = allocator.floors(found.widths, 0.75, 4)
    whole, least = COST.of(found.kernels.whole), COST.of(found.kernels.at(lowest))
    limit = (whole + least) / 2
    pruned, cut = cutter("taylor")(model, found, lowest, limit, record=tmp_path / "cut.json")
    assert COST.of(kernels(pruned, INPUT_SHAPE)) <= limit
    assert cut.widths == prunable(pruned, INPUT_SHAPE).widths


def test_a_recorded_cut_is_repeated(tmp_path: Path) -> None:
    model = network("residual")
    found = prunable(model, INPUT_SHAPE)
    first, _ = cutter()(model, found, {}, 0.2, record=tmp_path / "cut.json")
    again, _ = cutter()(model, found, {}, 0.4, record=tmp_path / "cut.json")
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


def test_a_plan_that_does_not_come_true_is_an_error() -> None:
    model = network("residual")
    found = prunable(model, INPUT_SHAPE)
    wrong = replace(found, kernels=replace(found.kernels, sizes={}))
    with pytest.raises(EdgekdError, match="planned for"):
        perform(model, wrong, Cut(kept={"stem": (0, 1, 2, 3)}))
