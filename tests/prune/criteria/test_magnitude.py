from __future__ import annotations

import torch

from edgekd.prune.criterion import create
from edgekd.prune.finding import find
from tests.prune.networks import EXAMPLE, network


def test_is_the_norm_of_a_channels_weights() -> None:
    model = network("mlp")
    (group,) = find(model, EXAMPLE).groups
    maker = next(member for member in group.members if member.side == "out")
    weight, bias = model.first.weight.detach(), model.first.bias.detach()
    expected = (weight.square().sum(1) + bias.square()).sqrt()
    torch.testing.assert_close(create("magnitude", {}).of_member(maker, model).float(), expected)
