"""Groups of channels that can only go together (after DepGraph, Fang et al. 2023), and what has to keep its width."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple
from zlib import crc32

from torch import Tensor, nn

Side = Literal["out", "in"]
Kind = Literal["channels", "heads", "head width"]


class Part(NamedTuple):
    """Where the channels of a group lie in one parameter or buffer of a layer."""

    name: str
    axis: int
    positions: Tensor
    """(channels, n): indices along the axis."""


@dataclass(frozen=True)
class Member:
    """One layer of a group: it makes the group's channels (`out`) or reads them (`in`)."""

    path: str
    side: Side
    positions: Tensor
    """(channels, n): where each channel of the group lies along the layer's output or input axis."""
    parts: tuple[Part, ...] = ()
    whole_groups: bool = False
    """A layer in groups, convolution or GroupNorm, loses whole groups and not the same number of channels in each."""

    @property
    def key(self) -> tuple[str, Side, int]:
        """Return what tells this member from others; a layer behind a concatenation reads several groups."""
        return self.path, self.side, crc32(self.positions.numpy().tobytes())

    def slices(self, model: nn.Module, value: Callable[[nn.Parameter], Tensor]) -> Iterator[Tensor]:
        """Yield `value` of each parameter of the layer that belongs to the channels, as (channels, elements)."""
        layer = model.get_submodule(self.path)
        for name, axis, positions in self.parts:
            parameter = getattr(layer, name)
            if isinstance(parameter, nn.Parameter):
                tensor = value(parameter).movedim(axis, 0)
                yield tensor[positions.to(tensor.device)].flatten(1)


@dataclass(frozen=True)
class Group:
    """Channels that exist once for all members: a residual stream, the two sides of a depthwise convolution, ...

    Heads of attention and the width of its heads are groups as well: a head is a channel that takes many rows.
    """

    name: str
    """Path of the first layer that makes the channels; the same before and after pruning."""
    channels: int
    members: tuple[Member, ...]
    kind: Kind = "channels"
    queries: Member | None = None
    """What makes the queries of attention, for the width of heads: products with keys read them, not a layer."""
    rescaled: bool = False
    """The model's own code divides by the root of the heads' width, so that queries of narrower heads are scaled."""

    def slices(self, model: nn.Module, value: Callable[[nn.Parameter], Tensor]) -> Iterator[Tensor]:
        """Yield `value` of every parameter of every member, as (channels, elements)."""
        for member in self.members:
            yield from member.slices(model, value)

    @property
    def unit(self) -> int:
        """Return how many channels of a layer one of the group's is: one, a head's width, one of each of its groups."""
        if self.kind == "head width":
            return 1
        side = "in" if self.kind == "heads" else "out"
        return next(member.positions.shape[1] for member in self.members if member.side == side)


class Found(NamedTuple):
    """The groups of a network, and the reason for every set of channels that is none."""

    groups: tuple[Group, ...]
    fixed: dict[str, str]
