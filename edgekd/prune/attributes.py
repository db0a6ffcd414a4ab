"""The numbers a network's own code reads, sizes of layers and heads: they follow what surgery takes out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from os.path import commonpath

from torch import nn

from edgekd.prune.groups import Group, Member

_LAYERS: dict[type[nn.Module], dict[str, tuple[str, int]]] = {
    nn.Linear: {"out_features": ("weight", 0), "in_features": ("weight", 1)},
    nn.modules.batchnorm._NormBase: {"num_features": ("running_mean", 0)},
    nn.Embedding: {"embedding_dim": ("weight", 1)},
    nn.PReLU: {"num_parameters": ("weight", 0)},
}
"""By kind of layer, the attributes that are the size of an axis."""
_HEADS = re.compile(r"heads?$|^n_?head|heads_")
_HEAD_WIDTH = re.compile(r"head.*(dim|width|size|channel)|(dim|width|size|d|c)_(per_)?head|^d_(k|v|kv)$|^(qk|v)_dim$")
_WIDTH = re.compile(r"dim|width|channel|feature|hidden|embed|inner|planes|filters|size|^d_model$|^c\d?_?$|^ch$|^d$")
_NO_WIDTH = re.compile(r"patch|im(age|g)|kernel|vocab|window|num_emb|seq|token|batch")


def follow(model: nn.Module, groups: Sequence[Group], left: Mapping[str, int]) -> None:
    """Set the attributes of a model whose tensors were cut already.

    Of edgekd's and torch's own layers all sizes are known. In any other module a whole number follows when its name
    says heads or width and its value is the size that changed; a wrong guess is found by the proof after surgery.
    """
    for layer in model.modules():
        _sizes(layer)
    for member in (member for group in groups for member in group.members):
        _in_groups(model.get_submodule(member.path), member)
    # Heads first: widths of heads are then found in what is left of them.
    for group in sorted(groups, key=lambda each: each.kind != "heads"):
        _own_code(model, group, left)


def _sizes(layer: nn.Module) -> None:
    for kind, sizes in _LAYERS.items():
        if isinstance(layer, kind):
            for attribute, (name, axis) in sizes.items():
                tensor = getattr(layer, name, None)
                if tensor is not None:
                    setattr(layer, attribute, tensor.shape[axis])
    if isinstance(layer, nn.LayerNorm) and layer.weight is not None:
        layer.normalized_shape = tuple(layer.weight.shape)


def _in_groups(layer: nn.Module, member: Member) -> None:
    if isinstance(layer, nn.modules.conv._ConvNd):
        _convolution(layer, member)
    if isinstance(layer, nn.GroupNorm):
        if member.whole_groups:
            layer.num_groups = layer.num_groups * len(layer.weight) // layer.num_channels
        layer.num_channels = len(layer.weight)


def _convolution(layer: nn.modules.conv._ConvNd, member: Member) -> None:
    first, second = layer.weight.shape[:2]
    if member.whole_groups:
        before = layer.in_channels if layer.transposed else layer.out_channels
        layer.groups = layer.groups * first // before
    ends = (first, second * layer.groups)
    layer.in_channels, layer.out_channels = ends if layer.transposed else ends[::-1]


def _own_code(model: nn.Module, group: Group, left: Mapping[str, int]) -> None:
    """Set the numbers of modules that are no layers of torch's."""
    old, new = group.channels, left[group.name]
    rules: list[tuple[re.Pattern[str], int, int]] = []
    if group.kind == "channels":
        sizes = {member.positions.shape[1] for member in group.members}
        rules = [(_WIDTH, size * old, size * new) for size in sizes]
    else:
        width = next(member.positions.shape[1] for member in group.members if member.side == "in")
        if group.kind == "heads":
            rules = [(_HEADS, old, new), (_WIDTH, width * old, width * new)]
        else:
            heads = left.get(f"{group.name.rpartition(':')[0]}:heads", width)
            rules = [(_HEAD_WIDTH, old, new), (_WIDTH, heads * old, heads * new)]
    for module in _around(model, group):
        for name, value in list(vars(module).items()):
            if type(value) is int and not _NO_WIDTH.search(name):
                for pattern, before, after in rules:
                    if value == before and pattern.search(name):
                        setattr(module, name, after)
                        break


def _around(model: nn.Module, group: Group) -> Iterator[nn.Module]:
    """Yield the modules that hold layers of a group, and what holds them all, but no layers of torch's."""
    paths = {member.path.rpartition(".")[0] for member in group.members}
    paths |= {member.path for member in group.members}
    paths.add(commonpath([f"/{member.path.replace('.', '/')}" for member in group.members])[1:].replace("/", "."))
    for path in sorted(paths):
        module = model.get_submodule(path)
        if not type(module).__module__.startswith("torch.nn"):
            yield module
