"""Cut one channel of each group once: what breaks is left alone, and what changes tells the cost of every width."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgekd.errors import EdgekdError
from edgekd.models.kernels import kernels
from edgekd.profile import Kernel
from edgekd.prune import groups as finding
from edgekd.prune import surgery
from edgekd.prune.groups import Group
from edgekd.shortage import memory_is_out


@dataclass(frozen=True)
class Slope:
    """What one kernel loses for each channel of a group that goes."""

    kernel: int
    in_channels: int
    out_channels: int
    groups: int


@dataclass(frozen=True)
class KernelsByWidth:
    """The kernels of a network at any width of its groups, without building it.

    Every channel count of a kernel is linear in the widths (a sum for a concatenation, a multiple for a flattened
    map), so one trial cut a group gives the slopes, for operators of any kind.
    """

    whole: tuple[Kernel, ...]
    channels: Mapping[str, int]
    slopes: Mapping[str, tuple[Slope, ...]]

    def at(self, widths: Mapping[str, int]) -> tuple[Kernel, ...]:
        """Return the kernels with each named group at its width; a group that is not named is whole."""
        found = list(self.whole)
        for name, width in widths.items():
            gone = self.channels[name] - width
            if not gone:
                continue
            for slope in self.slopes[name]:
                kernel = found[slope.kernel]
                found[slope.kernel] = kernel._replace(
                    in_channels=kernel.in_channels - gone * slope.in_channels,
                    out_channels=kernel.out_channels - gone * slope.out_channels,
                    groups=kernel.groups - gone * slope.groups,
                )
        return tuple(found)


@dataclass(frozen=True)
class Prunable:
    """What can be cut in a network: its groups, why other channels are fixed, and the kernels at every width."""

    groups: tuple[Group, ...]
    fixed: Mapping[str, str]
    kernels: KernelsByWidth
    input_shape: tuple[int, ...]

    @property
    def widths(self) -> dict[str, int]:
        """Return the present width of every group."""
        return {group.name: group.channels for group in self.groups}


def prunable(model: nn.Module, input_shape: tuple[int, ...]) -> Prunable:
    """Return what can be cut in a model for inputs (N, *input_shape).

    A group whose trial cut fails (a width written into the model's own code, an attention head, a channel shuffle)
    keeps its width, with the reason in `fixed`; it never becomes an error.
    """
    example = torch.zeros(2, *input_shape, device=next(model.parameters()).device)
    found = finding.find(model, example)
    whole = kernels(model, input_shape)
    usable: list[Group] = []
    fixed = dict(found.fixed)
    slopes: dict[str, tuple[Slope, ...]] = {}
    for group in found.groups:
        try:
            slopes[group.name] = _slopes(model, group, whole, example)
        except EdgekdError as error:
            fixed[group.name] = str(error)
        except Exception as error:  # whatever the model's own code raises
            if memory_is_out(error):
                raise
            fixed[group.name] = f"the model cannot run with another width here: {' '.join(str(error).split())[:200]}"
        else:
            usable.append(group)
    by_width = KernelsByWidth(whole, {group.name: group.channels for group in usable}, slopes)
    return Prunable(tuple(usable), fixed, by_width, input_shape)


def _slopes(model: nn.Module, group: Group, whole: tuple[Kernel, ...], example: Tensor) -> tuple[Slope, ...]:
    if group.channels < 2:
        raise EdgekdError("a single channel cannot go")
    gone = group.channels // 2  # from the middle, so that a shifted index shows
    kept = [channel for channel in range(group.channels) if channel != gone]
    cut = surgery.apply(model, [group], {group.name: kept}, example)
    shape = tuple(example.shape[1:])
    after = kernels(cut, (shape[0], shape[1], shape[2]))
    if [(k.op, k.name) for k in after] != [(k.op, k.name) for k in whole]:
        raise EdgekdError("the network runs other operators when a channel is missing")
    return tuple(
        Slope(i, a.in_channels - b.in_channels, a.out_channels - b.out_channels, a.groups - b.groups)
        for i, (a, b) in enumerate(zip(whole, after, strict=True))
        if a != b
    )
