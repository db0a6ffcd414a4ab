from __future__ import annotations

import torch

from edgekd.prune.criterion import create
from edgekd.prune.finding import find
from tests.prune.networks import EXAMPLE, network


def test_the_seed_alone_says_which_channels() -> None:
    model = network("mlp")
    (group,) = find(model, EXAMPLE).groups
    first, again, other = (create("random", {"seed": seed}).score(group, model) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first.argsort(), other.argsort())
    with torch.no_grad():
        model.first.weight *= 3
    assert torch.equal(create("random", {}).score(group, model), first)


def test_every_channel_is_as_likely_to_go() -> None:
    model = network("mlp")
    (group,) = find(model, EXAMPLE).groups
    gone = torch.zeros(group.channels)
    for seed in range(200):
        gone[create("random", {"seed": seed}).score(group, model).argsort()[: group.channels // 2]] += 1
    assert gone.min() > 70
    assert gone.max() < 130
