from __future__ import annotations

import copy

import pytest
import torch

from edgekd.errors import EdgekdError
from edgekd.prune.finding import find
from edgekd.prune.groups import Group, Member, Part
from edgekd.prune.surgery import apply
from tests.models import INPUT_SHAPE
from tests.prune.networks import EXAMPLE, NAMES, network


def some(groups: tuple[Group, ...], seed: int = 0) -> dict[str, list[int]]:
    """Keep a random number of random channels of every group."""
    random = torch.Generator().manual_seed(seed)
    return {
        g.name: sorted(
            torch.randperm(g.channels, generator=random)[
                : int(torch.randint(1, g.channels, (), generator=random))
            ].tolist()
        )
        for g in groups
    }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_result_is_the_network_without_the_channels(name: str, seed: int) -> None:
    model = network(name)
    groups = find(model, EXAMPLE).groups
    kept = some(groups, seed)
    pruned = apply(model, groups, kept, EXAMPLE)
    assert sum(p.numel() for p in pruned.parameters()) < sum(p.numel() for p in model.parameters())
    masked = copy.deepcopy(model)
    with torch.no_grad():
        for group in groups:
            gone = sorted(set(range(group.channels)).difference(kept[group.name]))
            for member in (m for m in group.members if m.side == "in"):
                masked.get_submodule(member.path).get_parameter("weight")[:, member.positions[gone].flatten()] = 0
        x = torch.randn(4, *INPUT_SHAPE)
        torch.testing.assert_close(pruned(x), masked(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_pruned_network_trains(name: str) -> None:
    model = network(name)
    groups = find(model, EXAMPLE).groups
    pruned = apply(model, groups, some(groups), EXAMPLE).train()
    assert all(parameter.grad is None for parameter in pruned.parameters())
    loss = torch.nn.functional.cross_entropy(pruned(torch.randn(8, *INPUT_SHAPE)), torch.arange(8) % 4)
    loss.backward()
    for path, parameter in pruned.named_parameters():
        assert parameter.grad is not None, path
        assert parameter.grad.shape == parameter.shape


def test_the_original_is_not_touched() -> None:
    model = network("residual")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    groups = find(model, EXAMPLE).groups
    apply(model, groups, some(groups), EXAMPLE)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("kept", "sentence"),
    [({"nowhere": [0]}, "known: stem, second"), ({"stem": []}, "at least one"), ({"stem": [0, 16]}, "0 to 15"),
     ({"stem": [1, 1]}, "each once")],
)  # fmt: skip
def test_impossible_cuts_are_refused(kept: dict[str, list[int]], sentence: str) -> None:
    model = network("residual")
    with pytest.raises(EdgekdError, match=sentence):
        apply(model, find(model, EXAMPLE).groups, kept, EXAMPLE)


def test_a_misunderstood_model_is_refused() -> None:
    class Across(torch.nn.Module):
        """Takes a maximum over channels, which a missing channel changes even if nobody reads it."""

        def __init__(self) -> None:
            super().__init__()
            self.make = torch.nn.Conv2d(1, 6, 3)
            self.head = torch.nn.Linear(6, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            features = self.make(x).mean((2, 3))
            return self.head(features / features.abs().amax(1, keepdim=True))

    torch.manual_seed(0)
    model = Across()
    found = find(model, EXAMPLE)
    assert found.fixed["make"] == "'amax' is taken over them"
    made, read = torch.arange(6)[:, None], torch.arange(6)[:, None]
    members = (
        Member("make", "out", made, (Part("weight", 0, made), Part("bias", 0, made))),
        Member("head", "in", read, (Part("weight", 1, read),)),
    )
    groups = (Group("make", 6, members),)
    with torch.no_grad():
        model.make.bias[2] = 30.0
    with pytest.raises(EdgekdError, match="differs from the masked one"):
        apply(model, groups, {"make": [0, 1, 3, 4, 5]}, EXAMPLE)
