"""Which layer of a teacher stands behind which of its student's, and what the student takes from it."""

from __future__ import annotations

import re

import torch
from torch import nn

from edgekd.models.transformer import stacked

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)")


@torch.no_grad()
def inherit(student: nn.Module, teacher: nn.Module, *, sliced: bool) -> None:
    """Copy parameters and statistics of every layer's counterpart into the student, in place.

    With `sliced` a larger tensor gives its first entries along each axis: the same channels everywhere, so that what a
    layer gives is what the next one knows; of queries, keys and values in one layer the first of each. Without, and
    where it is smaller, the student keeps its own.
    """
    ours, theirs, several = dict(student.named_modules()), dict(teacher.named_modules()), stacked(student)
    for path, other in counterparts(student, teacher).items():
        given = _tensors(theirs[other])
        for name, tensor in _tensors(ours[path]).items():
            source = given.get(name)
            if source is None or source.dim() != tensor.dim():
                continue
            fits = all(mine <= its for mine, its in zip(tensor.shape, source.shape, strict=True))
            if source.shape == tensor.shape or (fits and sliced):
                count = several.get(path)
                pairs = zip(tensor.chunk(count), source.chunk(count), strict=True) if count else [(tensor, source)]
                for mine, its in pairs:
                    mine.copy_(its[tuple(slice(size) for size in mine.shape)])


def counterparts(student: nn.Module, teacher: nn.Module) -> dict[str, str]:
    """Return by path of each layer of the student the teacher's of the same name.

    Numbered siblings are taken at the same relative depth, the nearest one that has parameters of the same names.
    """
    ours, theirs = _layers(student), _layers(teacher)
    found = {}
    for path, names in ours.items():
        pattern = _NUMBER.sub("#", path)
        rivals = [other for other, parts in theirs.items() if _NUMBER.sub("#", other) == pattern and parts == names]
        if rivals:
            wanted = _depth(path, ours)
            found[path] = min(rivals, key=lambda other: abs(_depth(other, theirs) - wanted))
    return found


def _tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    return {**dict(module.named_parameters(recurse=False)), **dict(module.named_buffers(recurse=False))}


def _layers(network: nn.Module) -> dict[str, tuple[str, ...]]:
    """Return the modules that hold parameters themselves, each with the names of those."""
    every = {
        path: tuple(name for name, _ in module.named_parameters(recurse=False))
        for path, module in network.named_modules()
    }
    return {path: names for path, names in every.items() if names}


def _depth(path: str, layers: dict[str, tuple[str, ...]]) -> float:
    """Return where in its network the first numbered module on a path stands, 0 to 1, by the end of it."""
    number = _NUMBER.search(path)
    if number is None:
        return 0.0
    before = path[: number.start()]
    siblings = {
        int(m.group()) for other in layers if other.startswith(before) and (m := _NUMBER.match(other, len(before)))
    }
    return (int(number.group()) + 1) / (max(siblings) + 1)
