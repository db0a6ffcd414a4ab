"""A transformer whose consecutive blocks share weights, each with small transformations of its own."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor, nn

from edgekd.errors import UsageError
from edgekd.models.example import example
from edgekd.models.mode import evaluating
from edgekd.models.multiplexed import MixedHeads, NeighbourNorm
from edgekd.models.sharing import share
from edgekd.models.transformer import Block
from edgekd.prune.multiplex.config import MultiplexConfig

_SHARED = ("attention.qkv", "attention.out", "fc1", "fc2")
"""The layers of a block whose weights and biases it shares; its norms stay its own."""


def groups(model: nn.Module, size: int) -> list[list[str]]:
    """Return the paths of the blocks that share weights, `size` after each other, of the last ones perhaps fewer.

    Raises UsageError where there are no blocks that could: those of edgekd's own transformers can, if they are alike.
    """
    blocks = {path: module for path, module in model.named_modules() if type(module) is Block}
    found = [
        [*paths][at : at + size]
        for _, siblings in groupby(blocks, lambda path: path.rpartition(".")[0])
        for paths in [list(siblings)]
        for at in range(0, len(paths), size)
    ]
    longest = max((len(paths) for paths in found), default=0)
    if longest < min(size, 2):
        raise UsageError(
            f"stages.multiplex: the network has {len(blocks)} transformer blocks of edgekd's own, and layers share "
            "weights only among two of them or more; choose vit, text-encoder or causal-lm with a depth of 2 at least"
        )
    if longest < size:
        raise UsageError(
            f"stages.multiplex.share = {size}, but there are {longest} blocks after each other; ask for {longest} at "
            "most"
        )
    for paths in found:
        for path in paths[1:]:
            _refuse_unlike(model, paths[0], path)
    return found


def multiplexed(model: nn.Module, input_shape: tuple[int, ...], config: MultiplexConfig) -> nn.Module:
    """Return a copy in which every block of a group has the weights of the first, and transformations of its own.

    That the weights are shared, the norms not, and both transformations are the paper's. Ours: biases are shared too;
    the shared weights start as those of the first block, because the units and heads of blocks that were trained apart
    do not correspond and their mean would compute nothing; the transformations start as the identity, so that groups
    of one block change nothing.
    """
    together = groups(model, config.share)
    paths = [path for group in together for path in group]
    rows = _rows(model, input_shape, paths)
    made = copy.deepcopy(model)
    for path in paths:
        block = made.get_submodule(path)
        if isinstance(block, Block):
            _transform(block, rows[path], config)
    for first, *others in together:
        layers = [f"{layer}.{part}" for layer in _SHARED for part in ("weight", "bias")]
        share(made, {f"{path}.{layer}": f"{first}.{layer}" for path in others for layer in layers})
    return made


def _transform(block: Block, rows: int, config: MultiplexConfig) -> None:
    if config.neighbours:
        norm = NeighbourNorm.of(block.norm2)
        norm.lay_out(rows, causal=block.attention.mask.dim() > 0)
        block.set_submodule("norm2", norm)
    if config.heads:
        block.set_submodule("attention", MixedHeads.of(block.attention))


def _rows(model: nn.Module, input_shape: tuple[int, ...], paths: Sequence[str]) -> dict[str, int]:
    """Return by block in how many rows its tokens lie: those of the last map with as many places; one for a text."""
    names = {id(model.get_submodule(path)): path for path in paths}
    maps: dict[int, int] = {}
    found: dict[str, int] = {}

    def look(module: nn.Module, _: object, out: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            maps[out.shape[2] * out.shape[3]] = out.shape[2]
        elif id(module) in names:
            found[names[id(module)]] = maps.get(out.shape[1], 1)

    handles = [module.register_forward_hook(look) for module in model.modules()]
    try:
        with evaluating(model), torch.no_grad():
            model(example(input_shape, 1))
    finally:
        for handle in handles:
            handle.remove()
    return found


def _refuse_unlike(model: nn.Module, path: str, other: str) -> None:
    ours, theirs = ([tuple(p.shape) for p in model.get_submodule(each).parameters()] for each in (path, other))
    if ours != theirs:
        raise UsageError(f"stages.multiplex: '{path}' and '{other}' are of different sizes and cannot share weights")
