from __future__ import annotations

import torch

from edgekd.prune.criterion import create
from edgekd.prune.finding import find
from tests.prune.networks import EXAMPLE, network


def test_is_the_share_among_those_at_least_as_large() -> None:
    model = network("mlp")
    (group,) = find(model, EXAMPLE).groups
    reader = next(member for member in group.members if member.side == "in")
    with torch.no_grad():
        model.second.weight.zero_()
        model.second.weight[0, :4] = torch.tensor([2.0, 1.0, 2.0, 3.0])
    expected = torch.tensor([4 / 17, 1 / 18, 4 / 17, 1.0])  # equals count for each other
    torch.testing.assert_close(create("lamp", {}).of_member(reader, model)[:4].float(), expected)


def test_orders_a_layer_as_magnitude_does() -> None:
    model = network("residual")
    for group in find(model, EXAMPLE).groups:
        for member in group.members:
            scores = [create(name, {}).of_member(member, model) for name in ("lamp", "magnitude")]
            if len(scores[1].unique()) == group.channels:
                assert torch.equal(*(score.argsort() for score in scores))
