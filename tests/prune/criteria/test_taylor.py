from __future__ import annotations

import pytest
import torch

from edgekd.errors import EdgekdError
from edgekd.prune.criterion import create
from edgekd.prune.finding import find
from edgekd.train.loop import Batch
from tests.models import INPUT_SHAPE
from tests.prune.networks import EXAMPLE, network
from tests.prune.test_criteria import objective


def test_sees_a_channel_that_is_large_and_does_nothing() -> None:
    """Magnitude keeps a channel with large weights that no output depends on; the gradient knows better."""
    model = network("mlp")
    with torch.no_grad():
        model.first.weight[5] *= 100
        model.first.bias[5] = -1e4  # behind a ReLU that never opens
    (group,) = find(model, EXAMPLE).groups
    batch = Batch(torch.randn(16, *INPUT_SHAPE), torch.arange(16) % 4)
    taylor, magnitude = create("taylor", {}), create("magnitude", {})
    taylor.observe(model, [group], [batch], objective)
    assert int(taylor.score(group, model).argmin()) == 5
    assert int(magnitude.score(group, model).argmax()) == 5


@pytest.mark.parametrize("join", ["gate", "weights"])
def test_estimates_the_change_of_the_loss(join: str) -> None:
    """Taking away a tiny share of one channel's outgoing weights changes the loss by that share of the product."""
    model = network("mlp").double()
    (group,) = find(model, EXAMPLE.double()).groups
    reader = next(member for member in group.members if member.side == "in")
    batch = Batch(torch.randn(16, *INPUT_SHAPE).double(), torch.arange(16) % 4)
    judge = create("taylor", {"join": join})
    judge.observe(model, [group], [batch], objective)
    estimate = judge.of_member(reader, model)
    with torch.no_grad():
        before = objective(model, batch).total
        model.second.weight[:, 3] *= 1 - 1e-5
        change = float((objective(model, batch).total - before).abs()) / 1e-5
    if join == "gate":
        assert float(estimate[3]) == pytest.approx(change, rel=1e-3)
    else:
        assert float(estimate[3]) >= change * (1 - 1e-3)


def test_without_data_it_says_so() -> None:
    model = network("mlp")
    with pytest.raises(EdgekdError, match="no training batch"):
        create("taylor", {}).score(find(model, EXAMPLE).groups[0], model)
