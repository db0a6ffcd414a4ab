"""Take channels out of a network for good, and prove that the result is the network without them."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekd.errors import EdgekdError
from edgekd.models.mode import evaluating
from edgekd.prune import attributes
from edgekd.prune.groups import Group, Member

Kept = Mapping[str, Sequence[int]]
"""By group name, the channels that stay; a group that is not named stays whole."""
Removed = Mapping[str, Sequence[int]]


def apply(model: nn.Module, groups: Sequence[Group], kept: Kept, example: Tensor) -> nn.Module:
    """Return a copy of the model that has only the kept channels of the named groups.

    `example` is an input (N, C, H, W) or tokens (N, T). Raises EdgekdError for unknown groups or channels, and when the
    result is not exactly the network whose layers ignore the removed channels: then tracing misunderstood the model.
    """
    removed = _removed(groups, kept)
    pruned = copy.deepcopy(model).eval()
    for parameter in pruned.parameters():
        parameter.grad = None
    cut = [group for group in groups if group.name in removed]
    _scale_queries(pruned, cut, removed)
    _take_out(pruned, cut, removed)
    left = {group.name: group.channels - len(removed[group.name]) for group in cut}
    attributes.follow(pruned, cut, left)
    _check_function(model, pruned, cut, removed, example)
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


def _scale_queries(pruned: nn.Module, groups: Sequence[Group], removed: Removed) -> None:
    """Keep the scores of attention as they are where the model divides them by the root of what is now less."""
    for group in groups:
        if group.queries is not None and group.rescaled:
            factor = (1 - len(removed[group.name]) / group.channels) ** 0.5
            layer = pruned.get_submodule(group.queries.path)
            with torch.no_grad():
                for name, _, positions in group.queries.parts:
                    layer.get_parameter(name)[positions.flatten()] *= factor


def _take_out(pruned: nn.Module, groups: Sequence[Group], removed: Removed) -> None:
    """Cut every parameter and buffer once, along all its axes; one of several layers stays one."""
    gone: dict[tuple[str, str], dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
    for group in groups:
        for member in group.members:
            for name, axis, positions in member.parts:
                gone[member.path, name][axis].update(positions[list(removed[group.name])].flatten().tolist())
    fresh: dict[int, tuple[Tensor, Tensor]] = {}
    for (path, name), axes in gone.items():
        tensor = getattr(pruned.get_submodule(path), name)
        cut = tensor.detach()
        for axis, indices in axes.items():
            stays = [index for index in range(tensor.shape[axis]) if index not in indices]
            cut = cut.index_select(axis, torch.tensor(stays, device=tensor.device))
        own = nn.Parameter(cut, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else cut
        fresh[id(tensor)] = (tensor, own)
    for module in pruned.modules():
        for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            if id(tensor) in fresh:
                setattr(module, name, fresh[id(tensor)][1])


def _check_function(
    model: nn.Module, pruned: nn.Module, groups: Sequence[Group], removed: Removed, example: Tensor
) -> None:
    """Hold the result against the network whose weights that read a removed channel are zero: the same function."""
    masked = copy.deepcopy(model)
    x = _drawn(example, masked)
    for group in groups:
        for member in (member for member in group.members if member.side == "in"):
            _silence(masked, member, removed[group.name])
        if group.queries is not None:
            _silence(masked, group.queries, removed[group.name])
    with evaluating(masked), torch.no_grad(), _norms_without(masked, groups, removed):
        wanted = _tensors(masked(x))
    with torch.no_grad():
        got = _tensors(pruned(x))
    for own, other in zip(got, wanted, strict=True):
        if own.shape != other.shape:
            raise EdgekdError(f"pruning changed the output from {tuple(other.shape)} to {tuple(own.shape)}")
        difference = float((own - other).abs().max())
        if not difference <= 1e-3 * float(other.abs().max()) + 1e-6:
            raise EdgekdError(f"the pruned network differs from the masked one by {difference:.3g} in its output")


def _drawn(example: Tensor, model: nn.Module) -> Tensor:
    """Return random pixels, or random tokens as far as the model knows any."""
    random = torch.Generator().manual_seed(0)
    if example.is_floating_point():
        return torch.rand(example.shape, generator=random).to(example)
    tokens = min((layer.num_embeddings for layer in model.modules() if isinstance(layer, nn.Embedding)), default=2)
    return torch.randint(0, tokens, example.shape, generator=random).to(example)


def _tensors(out: Any) -> list[Tensor]:
    return [leaf for leaf in torch.utils._pytree.tree_leaves(out) if isinstance(leaf, Tensor)]


def _silence(masked: nn.Module, member: Member, channels: Sequence[int]) -> None:
    layer = masked.get_submodule(member.path)
    with torch.no_grad():
        for name, axis, positions in member.parts:
            tensor = layer.get_parameter(name)
            tensor.index_fill_(axis, positions[list(channels)].flatten().to(tensor.device), 0)


class _norms_without:  # noqa: N801 - a context manager
    """Lets layers that normalise over channels do so without the removed ones, which is what pruning means there."""

    def __init__(self, masked: nn.Module, groups: Sequence[Group], removed: Removed) -> None:
        gone: dict[str, set[int]] = defaultdict(set)
        for group in groups:
            for member in group.members:
                if isinstance(masked.get_submodule(member.path), nn.LayerNorm | nn.GroupNorm):
                    gone[member.path].update(member.positions[list(removed[group.name])].flatten().tolist())
        whole = {member.path for group in groups for member in group.members if member.whole_groups}
        self._handles = [
            masked.get_submodule(path).register_forward_hook(_without(sorted(indices), whole=path in whole))
            for path, indices in gone.items()
        ]

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()


def _without(gone: Sequence[int], *, whole: bool) -> Any:
    def norm(layer: nn.LayerNorm | nn.GroupNorm, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
        x = args[0]
        axis = 1 if isinstance(layer, nn.GroupNorm) else x.dim() - 1
        stays = torch.tensor([i for i in range(x.shape[axis]) if i not in set(gone)], device=x.device)
        part = x.index_select(axis, stays)
        own: tuple[Tensor | None, Tensor | None] = (layer.weight, layer.bias)
        weight, bias = (None if each is None else each[stays] for each in own)
        if isinstance(layer, nn.GroupNorm):
            groups = layer.num_groups * len(stays) // x.shape[1] if whole else layer.num_groups
            found = F.group_norm(part, groups, weight, bias, layer.eps)
        else:
            found = F.layer_norm(part, (len(stays),), weight, bias, layer.eps)
        return torch.zeros_like(out).index_copy(axis, stays, found)

    return norm
