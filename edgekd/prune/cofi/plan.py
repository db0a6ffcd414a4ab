"""What CoFi masks in a network: attention and feed-forward layers, their heads and units, and the residual stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

from torch import Tensor, nn

from edgekd.errors import UsageError
from edgekd.models.transformer import NoNorm
from edgekd.prune.groups import Group
from edgekd.prune.trial import Prunable

LAYERS: Final = ":layers"
"""The name of the masks of whole layers, beside those that are named after groups."""
Values = Mapping[str, Tensor]
"""A number for every mask: (layers,) under LAYERS, and (channels,) under the name of each masked group."""


@dataclass(frozen=True)
class Layer:
    """One attention or feed-forward layer: what makes the channels of a group, and what reads them."""

    kind: Literal["attention", "feed-forward"]
    group: str
    """Its heads or units."""
    inputs: tuple[str, ...]
    """Paths of the linear layers that make them."""
    output: str
    """Path of the linear layer that reads them; its output is the layer's."""

    @property
    def paths(self) -> tuple[str, ...]:
        """Return the linear layers, in the order they run."""
        return (*self.inputs, self.output)


@dataclass(frozen=True)
class Plan:
    """The masks of a network: one for each layer, and one for each channel of the named groups."""

    found: Prunable
    layers: tuple[Layer, ...]
    hidden: tuple[str, ...]
    """Groups that are the residual stream: those that a norm before a layer reads, a LayerNorm or a NoNorm."""

    @cached_property
    def groups(self) -> dict[str, Group]:
        """Return the masked groups by name, those of layers first."""
        names = [*(layer.group for layer in self.layers), *self.hidden]
        every = {group.name: group for group in self.found.groups}
        return {name: every[name] for name in names}

    @property
    def sizes(self) -> dict[str, int]:
        """Return how many masks there are under each name."""
        return {LAYERS: len(self.layers), **{name: group.channels for name, group in self.groups.items()}}

    def within(self, path: str) -> list[int]:
        """Return the positions of the layers inside of a module."""
        return [at for at, layer in enumerate(self.layers) if layer.output.startswith(f"{path}.")]


def plan(model: nn.Module, found: Prunable) -> Plan:
    """Return what is masked in a network whose groups were found.

    Raises UsageError where there is no attention that can lose heads: CoFi knows transformers only.
    """
    hidden = tuple(group.name for group in found.groups if group.kind == "channels" and _normalised(model, group))
    streams = [group for group in found.groups if group.name in hidden]
    stream = {member.path for group in streams for member in group.members if member.side == "out"}
    layers = tuple(_layers(model, [group for group in found.groups if group.name not in hidden], stream))
    if not any(layer.kind == "attention" for layer in layers):
        fixed = "; ".join(f"{name}: {reason}" for name, reason in found.fixed.items()) or "nothing"
        raise UsageError(
            "stages.cofi: the network has no attention whose heads can go, and CoFi prunes transformers only; "
            f"its groups are {', '.join(group.name for group in found.groups) or 'none'}, fixed is {fixed}; "
            "the stage 'prune' cuts other networks"
        )
    order = {path: place for place, (path, _) in enumerate(model.named_modules())}
    return Plan(found, tuple(sorted(layers, key=lambda layer: order[layer.output])), hidden)


def _layers(model: nn.Module, groups: list[Group], stream: set[str]) -> Iterator[Layer]:
    for group in groups:
        readers = [member.path for member in group.members if member.side == "in"]
        makers = tuple(dict.fromkeys(member.path for member in group.members if member.side == "out"))
        linear = all(isinstance(model.get_submodule(path), nn.Linear) for path in (*readers, *makers))
        # A layer that does not write to the stream, such as a classifier's hidden one, is no part of the encoder.
        if group.kind == "head width" or len(readers) != 1 or not linear or (stream and readers[0] not in stream):
            continue
        yield Layer("attention" if group.kind == "heads" else "feed-forward", group.name, makers, readers[0])


def _normalised(model: nn.Module, group: Group) -> bool:
    return any(isinstance(model.get_submodule(member.path), nn.LayerNorm | NoNorm) for member in group.members)
