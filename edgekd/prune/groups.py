"""Groups of channels that can only go together, found by torch-pruning's dependency graph (Fang et al. 2023)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
import torch_pruning
from torch import Tensor, nn

Side = Literal["out", "in"]

_CONVOLUTION = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class Unprunable(Exception):  # noqa: N818 - a reason that is caught and reported, not a failure of the run
    """Why a group of channels has to keep its width."""


@dataclass(frozen=True)
class Member:
    """One layer of a group: it makes the group's channels (`out`) or reads them (`in`)."""

    path: str
    side: Side
    positions: Tensor
    """(channels, n): where each channel of the group lies along the layer's output or input axis."""

    @property
    def key(self) -> tuple[str, Side, int]:
        """Return what tells this member from others; a layer behind a concatenation reads several groups."""
        return self.path, self.side, int(self.positions.min())

    def slices(self, model: nn.Module, value: Callable[[nn.Parameter], Tensor]) -> Iterator[Tensor]:
        """Yield `value` of each parameter of the layer that belongs to the channels, as (channels, elements)."""
        layer = model.get_submodule(self.path)
        for name, parameter in layer.named_parameters(recurse=False):
            if self.side == "in" and name != "weight":
                continue
            tensor = value(parameter).movedim(0 if self.side == "out" else 1, 0)
            yield tensor[self.positions.to(tensor.device)].flatten(1)


@dataclass(frozen=True)
class Group:
    """Channels that exist once for all members: a residual stream, the two sides of a depthwise convolution, ..."""

    name: str
    """Path of the first layer that makes the channels; the same before and after pruning."""
    channels: int
    members: tuple[Member, ...]

    def slices(self, model: nn.Module, value: Callable[[nn.Parameter], Tensor]) -> Iterator[Tensor]:
        """Yield `value` of every parameter of every member, as (channels, elements)."""
        for member in self.members:
            yield from member.slices(model, value)


class Found(NamedTuple):
    """The groups of a network, and the reason for every set of channels that is none."""

    groups: tuple[Group, ...]
    fixed: dict[str, str]


def find(model: nn.Module, example: Tensor) -> Found:
    """Return every group whose layers edgekd can cut, judged by the structure alone (`trial` judges by cutting).

    `example` is an input (N, C, H, W). Convolutions that are plain or depthwise, linear layers and BatchNorm can be
    members; a group with anything else in it, and the layer that gives the logits, keep their width.
    """
    graph, copied = trace(model, example)
    paths = {module: path for path, module in copied.named_modules()}
    groups: list[Group] = []
    fixed: dict[str, str] = {}
    for found in graph.get_all_groups():
        items = [item for item in found if isinstance(item.dep.target.module, nn.Module)]
        items = [item for item in items if item.dep.target.module in paths]
        makers = [item.dep.target.module for item in items if _side(graph, item) == "out"]
        name = next(path for module, path in paths.items() if module in makers and not isinstance(module, _NORM))
        channels = len({*found[0].root_idxs})
        try:
            _no_bare_parameter(found)
            members = tuple(_member(graph, paths, item, channels) for item in items)
        except Unprunable as reason:
            fixed[name] = str(reason)
            continue
        if any(member.side == "in" for member in members):
            groups.append(Group(name, channels, members))
        else:
            fixed[name] = "no layer reads these channels: they are the output"
    order = list(paths.values())
    return Found(tuple(sorted(groups, key=lambda group: order.index(group.name))), fixed)


def trace(model: nn.Module, example: Tensor) -> tuple[Any, nn.Module]:
    """Return torch-pruning's dependency graph of a copy of the model, and that copy in eval mode."""
    copied = copy.deepcopy(model).eval()
    for parameter in copied.parameters():
        parameter.requires_grad_(parameter.is_floating_point())  # torch-pruning follows autograd's graph
    with torch.enable_grad():
        graph = torch_pruning.DependencyGraph().build_dependency(copied, example, verbose=False)
    return graph, copied


def _side(graph: Any, item: Any) -> Side:
    return "out" if graph.is_out_channel_pruning_fn(item.dep.handler) else "in"


def _no_bare_parameter(found: Any) -> None:
    for item in found:
        if isinstance(item.dep.target.module, nn.Parameter):
            raise Unprunable("a parameter that belongs to no known layer has these channels")


def _member(graph: Any, paths: dict[nn.Module, str], item: Any, channels: int) -> Member:
    module, side = item.dep.target.module, _side(graph, item)
    path = paths[module]
    width = _width(module, path, side)
    by_channel: dict[int, list[int]] = {}
    for position, channel in zip(item.idxs, item.root_idxs, strict=True):
        by_channel.setdefault(channel, []).append(position)
    lengths = {len(positions) for positions in by_channel.values()}
    if len(by_channel) != channels or len(lengths) != 1:
        raise Unprunable(f"'{path}' takes only some of the channels, or some more often than others")
    positions = torch.tensor([by_channel[channel] for channel in range(channels)])
    if side == "out" and positions.numel() != width:
        raise Unprunable(f"'{path}' makes channels of this and of another group")
    return Member(path, side, positions)


def _width(module: nn.Module, path: str, side: Side) -> int:
    """Return the channels of a layer on one side, or say why it cannot be cut."""
    if isinstance(module, _CONVOLUTION):
        if module.groups not in {1, module.out_channels} or (module.groups > 1 and module.in_channels != module.groups):
            raise Unprunable(f"'{path}' is a grouped convolution ({module.groups} groups)")
        return module.out_channels if side == "out" else module.in_channels
    if isinstance(module, nn.Linear):
        return module.out_features if side == "out" else module.in_features
    if isinstance(module, _NORM):
        return module.num_features
    raise Unprunable(f"'{path}' is a {type(module).__name__}, which edgekd does not cut")
