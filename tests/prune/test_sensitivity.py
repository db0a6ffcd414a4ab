from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from edgekd.models.kernels import kernels
from edgekd.prune.config import PruneConfig
from edgekd.prune.cost import FilledMacs
from edgekd.prune.schedule import Schedule
from edgekd.prune.sensitivity import Sensitivity, sensitivities
from edgekd.prune.trial import prunable
from tests.distill.tiny_run import quadrants
from tests.models import INPUT_SHAPE
from tests.prune.networks import network
from tests.prune.test_cut import COST, cutter


def widths_of(model: nn.Module) -> dict[str, int]:
    return prunable(model, INPUT_SHAPE).widths


@pytest.mark.parametrize("name", ["residual", "depthwise"])
def test_one_group_at_a_time_is_cut_to_a_half_and_a_quarter(name: str) -> None:
    model = network(name)
    found, judged = prunable(model, INPUT_SHAPE), list[nn.Module]()

    def judge(alone: nn.Module) -> float:
        judged.append(alone)
        return float(len(judged))

    rows = list(sensitivities(model, found, cutter("taylor"), judge))
    assert {row.group for row in rows} == set(found.widths)
    assert [row.accuracy_percent for row in rows] == list(range(1, len(rows) + 1))
    whole = COST.of(kernels(model, INPUT_SHAPE))
    for row, alone in zip(rows, judged, strict=True):
        assert widths_of(alone) == {**found.widths, row.group: row.width}
        assert row.width <= row.channels / 2
        assert row.width % 4 == 0
        assert row.saved == pytest.approx(1 - COST.of(kernels(alone, INPUT_SHAPE)) / whole)
        assert row.saved > 0


def test_the_network_itself_stays_as_it_is() -> None:
    model = network("residual")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = prunable(model, INPUT_SHAPE)
    assert list(sensitivities(model, found, cutter("taylor"), lambda _: 0.0))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_row_in_words() -> None:
    assert Sensitivity("stem", 32, 16, 71.5, 0.125).text() == "stem 32 -> 16: 71.50 %, 12.5 % saved"


@pytest.mark.parametrize("asked", [True, False])
def test_the_stage_notes_it_where_it_is_asked_for(asked: bool, tmp_path: Path) -> None:
    model, cost = network("residual"), FilledMacs(4)
    whole = cost.of(kernels(model, INPUT_SHAPE))
    schedule = Schedule(PruneConfig(samples=32, sensitivity=asked), quadrants(), cost, 4, seed=0)
    outcome = schedule.run(model, whole, 0.7 * whole, tmp_path, lambda model, folder, number: None)
    assert ("sensitivity" in outcome.notes) == asked
    if asked:
        assert {part.split()[0] for part in outcome.notes["sensitivity"].split("; ")} == set(widths_of(model))
