from __future__ import annotations

import pytest
import torch
from torch import nn

from edgekd.prune.finding import find
from tests.prune.networks import EXAMPLE, NAMES, Grouped, network


@pytest.mark.parametrize("name", NAMES)
def test_the_output_is_fixed_and_every_other_layer_belongs_to_one_group(name: str) -> None:
    model = network(name)
    found = find(model, EXAMPLE)
    output = "second" if name == "mlp" else "head"
    assert set(found.fixed) == {output}
    makers = [member.path for group in found.groups for member in group.members if member.side == "out"]
    assert len(makers) == len(set(makers))
    layers = {path for path, module in model.named_modules() if list(module.parameters(recurse=False))}
    assert set(makers) == layers - {output}


def test_a_residual_stream_is_one_group() -> None:
    groups = {group.name: group for group in find(network("residual"), EXAMPLE).groups}
    assert {name: group.channels for name, group in groups.items()} == {"stem": 16, "second": 32}
    sides = {(member.path, member.side) for member in groups["stem"].members}
    assert {("first", "out"), ("first", "in"), ("stem_norm", "out"), ("shortcut", "in"), ("second", "in")} <= sides


def test_a_depthwise_convolution_shares_the_channels_before_it() -> None:
    groups = {group.name: group for group in find(network("depthwise"), EXAMPLE).groups}
    assert {"features.0", "features.3", "features.6"} <= {member.path for member in groups["features.0"].members}
    assert set(groups) == {"features.0", "features.6"}


def test_positions_lead_to_the_weights_of_each_channel() -> None:
    model = network("concatenation")
    groups = {group.name: group for group in find(model, EXAMPLE).groups}
    readers = {member.path: member for member in groups["right"].members if member.side == "in"}
    assert readers["join"].positions.flatten().tolist() == list(range(8, 14))
    flattened = next(member for member in groups["join"].members if member.path == "head")
    assert flattened.positions.shape == (5, 25)
    (part,) = flattened.slices(model, lambda weight: weight.detach())
    head = model.get_parameter("head.weight").detach()
    torch.testing.assert_close(part[1], head[:, 25:50].T.flatten())


def test_frozen_weights_hide_nothing_and_the_model_is_left_as_it_was() -> None:
    model = network("residual").train()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert len(find(model, EXAMPLE).groups) == 2
    assert model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, before[name])


def test_a_grouped_convolution_loses_equally_many_channels_in_each_group() -> None:
    groups = {group.name: group for group in find(Grouped(), EXAMPLE).groups}
    assert {name: (group.channels, group.unit) for name, group in groups.items()} == {
        "first": (4, 2),
        "grouped": (4, 2),
        "last": (8, 1),
    }
    reader = next(member for member in groups["first"].members if member.path == "grouped")
    assert reader.positions.tolist() == [[0, 4], [1, 5], [2, 6], [3, 7]]
    assert [part.shape for part in groups["first"].slices(Grouped(), lambda weight: weight.detach())] == [
        (4, 2 * 9),
        (4, 2),
        (4, 8 * 9),
    ]


def test_what_edgekd_cannot_follow_is_named() -> None:
    class Sorted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.make, self.head = nn.Conv2d(1, 6, 3), nn.Linear(6, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(torch.histc(self.make(x).mean((2, 3)), 6).expand(x.shape[0], 6))

    found = find(Sorted(), EXAMPLE)
    assert not found.groups
    assert found.fixed["make"] == "the operator 'histc' is none that edgekd can follow"
