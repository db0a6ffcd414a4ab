from __future__ import annotations

import pytest
import torch

from edgekd.prune.groups import find
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


def test_what_edgekd_cannot_cut_is_named() -> None:
    found = find(Grouped(), EXAMPLE)
    assert [group.name for group in found.groups] == ["last"]
    assert "grouped convolution" in found.fixed["first"]
