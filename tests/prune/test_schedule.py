from __future__ import annotations

from pathlib import Path

import pytest

from edgekd.models.kernels import kernels
from edgekd.prune.config import PruneConfig
from edgekd.prune.cost import FilledMacs
from edgekd.prune.criterion import CRITERIA
from edgekd.prune.schedule import Schedule
from tests.distill.tiny_run import quadrants
from tests.models import INPUT_SHAPE
from tests.prune.networks import network


@pytest.mark.parametrize("criterion", ["magnitude", "random"])
def test_a_criterion_that_has_not_won_says_so_when_it_prunes(
    criterion: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, cost = network("residual"), FilledMacs(4)
    whole = cost.of(kernels(model, INPUT_SHAPE))
    config = PruneConfig(criterion=criterion, samples=32)
    schedule = Schedule(config, quadrants(), cost, 4, seed=0)
    schedule.run(model, whole, 0.7 * whole, tmp_path, lambda model, folder, number: None)
    warned = f"criterion '{criterion}' is experimental" in caplog.text
    assert warned == CRITERIA.get(criterion).experimental
