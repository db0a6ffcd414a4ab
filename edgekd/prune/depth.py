"""Residual blocks that can be taken out whole, because what comes in goes on without them."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekd.errors import EdgekdError
from edgekd.models import stand_in
from edgekd.models.mode import evaluating
from edgekd.prune.trace import Trace
from edgekd.train.loop import Batch


@dataclass(frozen=True)
class Block:
    """A module that adds something to what it gets: without it the network still fits together."""

    name: str
    """Path of the module."""
    kernels: tuple[int, ...]
    """Positions of its kernels among those of the network."""
    parameters: int


def blocks(model: nn.Module, traced: Trace) -> tuple[Block, ...]:
    """Return the blocks a traced model can do without, in the order they run."""
    found = []
    for path in traced.shortcuts:
        own = tuple(i for i, kernel in enumerate(traced.kernels) if kernel.name.startswith(f"{path}."))
        found.append(Block(path, own, sum(p.numel() for p in model.get_submodule(path).parameters())))
    return tuple(sorted(found, key=lambda block: block.kernels))


def influence(model: nn.Module, found: Sequence[Block], batches: Iterable[Batch]) -> dict[str, float]:
    """Return how much each block changes what it gets: 1 - cosine of its input and output, the mean over inputs.

    Block influence (ShortGPT, Men et al. 2024) compares tokens; here all that belongs to one input is one vector,
    so that convolutions are judged alike.
    """
    sums = dict.fromkeys((block.name for block in found), 0.0)
    count = 0

    def watched(name: str) -> object:
        def add(_: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> None:
            sums[name] += float((1 - F.cosine_similarity(args[0].flatten(1), out.flatten(1))).sum())

        return add

    handles = [model.get_submodule(name).register_forward_hook(watched(name)) for name in sums]  # type: ignore[arg-type]
    try:
        with evaluating(model), torch.no_grad():
            for batch in batches:
                count += len(batch.inputs)
                model(batch.inputs)
    finally:
        for handle in handles:
            handle.remove()
    if not count:
        raise EdgekdError("the influence of blocks is measured on training inputs; there were none")
    return {name: total / count for name, total in sums.items()}


def without(model: nn.Module, names: Sequence[str]) -> nn.Module:
    """Return a copy of the model in which the named blocks give what they get."""
    shallow = copy.deepcopy(model)
    for name in names:
        stand_in.replace(shallow, name, "skipped")
    return shallow
