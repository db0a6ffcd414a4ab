"""Take channels out of a network for good, and prove that the result is the network without them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from edgekd.errors import EdgekdError
from edgekd.prune.groups import Group, trace

Kept = Mapping[str, Sequence[int]]
"""By group name, the channels that stay; a group that is not named stays whole."""


def apply(model: nn.Module, groups: Sequence[Group], kept: Kept, example: Tensor) -> nn.Module:
    """Return a copy of the model that has only the kept channels of the named groups.

    `example` is an input (N, C, H, W). Raises EdgekdError for unknown groups or channels, and when the result is not
    exactly the network whose layers ignore the removed channels: then tracing misunderstood the model.
    """
    removed = _removed(groups, kept)
    graph, pruned = trace(model, example)
    for name, channels in removed.items():
        layer = pruned.get_submodule(name)
        graph.get_pruning_group(layer, graph.get_pruner_of_module(layer).prune_out_channels, channels).prune()
    for parameter in pruned.parameters():
        parameter.grad = None
    _check_shapes(pruned, groups, removed)
    _check_function(model, pruned, groups, removed, example)
    return pruned.train(model.training)


def _removed(groups: Sequence[Group], kept: Kept) -> dict[str, list[int]]:
    by_name = {group.name: group for group in groups}
    removed = {}
    for name, channels in kept.items():
        if name not in by_name:
            raise EdgekdError(f"no group of channels is called '{name}'; known: {', '.join(by_name)}")
        everything = set(range(by_name[name].channels))
        if not channels or not everything.issuperset(channels) or len(set(channels)) != len(channels):
            raise EdgekdError(
                f"group '{name}' has channels 0 to {len(everything) - 1} and must keep at least one, each once; "
                f"given: {list(channels)}"
            )
        if gone := sorted(everything.difference(channels)):
            removed[name] = gone
    return removed


def _check_shapes(pruned: nn.Module, groups: Sequence[Group], removed: Mapping[str, Sequence[int]]) -> None:
    """Every producer of a cut group must have exactly the channels that are left."""
    for group in groups:
        left = group.channels - len(removed.get(group.name, ()))
        for member in (member for member in group.members if member.side == "out"):
            for name, parameter in pruned.get_submodule(member.path).named_parameters(recurse=False):
                if parameter.shape[0] != left * member.positions.shape[1]:
                    raise EdgekdError(
                        f"pruning '{group.name}' to {left} channels left '{member.path}.{name}' with shape "
                        f"{tuple(parameter.shape)}"
                    )


def _check_function(
    model: nn.Module,
    pruned: nn.Module,
    groups: Sequence[Group],
    removed: Mapping[str, Sequence[int]],
    example: Tensor,
) -> None:
    """Hold the result against the network whose weights that read a removed channel are zero: the same function."""
    masked = copy.deepcopy(model).eval()
    x = torch.rand(example.shape, generator=torch.Generator().manual_seed(0)).to(example)
    with torch.no_grad():
        for group in (group for group in groups if group.name in removed):
            for member in (member for member in group.members if member.side == "in"):
                weight = masked.get_submodule(member.path).get_parameter("weight")
                weight[:, member.positions[list(removed[group.name])].flatten().to(weight.device)] = 0
        wanted, got = masked(x), pruned(x)
    if got.shape != wanted.shape:
        raise EdgekdError(f"pruning changed the output from {tuple(wanted.shape)} to {tuple(got.shape)}")
    difference = float((got - wanted).abs().max())
    if not difference <= 1e-3 * float(wanted.abs().max()) + 1e-6:
        raise EdgekdError(f"the pruned network differs from the masked one by {difference:.3g} in its output")
