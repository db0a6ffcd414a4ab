"""What each operator does with labels: most only move elements or join them one by one, some read a whole axis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from edgekd.prune import products
from edgekd.prune.labels import Labels, along, narrowed, varies

_POINTWISE = {"hardswish", "_prelu_kernel", "copy", "leaky_relu", "where", "masked_fill", "native_dropout"}
_SAME = {"clone", "_to_copy", "detach", "alias", "contiguous", "lift_fresh"}


class Call(NamedTuple):
    """One operator that was run."""

    name: str
    func: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    out: Any


Rule = Callable[[Labels, Call], None]
_RULES: dict[str, Rule] = {}


def follow(labels: Labels, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
    """Label what an operator gave; one that edgekd does not know fixes every channel it reads."""
    name = func._schema.name.split("::")[1]
    call = Call(name if name in _RULES else name.rstrip("_"), func, args, kwargs, out)
    if call.name in _RULES:
        _RULES[call.name](labels, call)
    elif call.name in _SAME:
        labels.put(out, labels.of(args[0]), weight=labels.is_weight(args[0]))
    elif torch.Tag.pointwise in func.tags or call.name in _POINTWISE:
        _pointwise(labels, [arg for arg in args if isinstance(arg, Tensor)], out, call.name)
    else:
        for label in (label for tensor in _tensors((args, tuple(kwargs.values()))) for label in labels.of(tensor)):
            labels.fix(label, f"the operator '{name}' is none that edgekd can follow")


def _tensors(found: Any) -> Iterator[Tensor]:
    if isinstance(found, Tensor):
        yield found
    elif isinstance(found, tuple | list):
        for part in found:
            yield from _tensors(part)


def _rule(*names: str) -> Callable[[Rule], Rule]:
    def add(rule: Rule) -> Rule:
        _RULES.update(dict.fromkeys(names, rule))
        return rule

    return add


def _pointwise(labels: Labels, operands: list[Tensor], out: Tensor, name: str) -> None:
    """Unite the labels of what is joined element by element; values of a fixed size fix what they are joined with."""
    shape = out.shape
    found: list[Tensor] = []
    given: list[tuple[Tensor, list[Tensor]]] = []
    fixed: list[tuple[Tensor, int]] = []
    for operand in operands:
        own = [label.broadcast_to(shape) for label in labels.of(operand)]
        given.append((operand, own))
        for label in own:
            twin = next((other for other in found if _share(label, other)), None)
            if twin is None:
                found.append(label)
            else:
                labels.unite(twin, label)
    for operand, own in given:
        for label in found:
            if any(label is other or _share(label, other) for other in own):
                continue
            for dim in range(-operand.dim(), 0):
                if operand.shape[dim] > 1 and varies(label, dim):
                    labels.merge(label, dim, f"'{name}' joins them with values of a fixed size")
                    fixed.append((label, dim % out.dim()))
    # What has become one channel along all it lay along is a value of a fixed size from here on.
    labels.put(out, [x for x in found if any(_free(x, dim, fixed) for dim in range(x.dim())) or x.dim() == 0])


def _free(label: Tensor, dim: int, fixed: list[tuple[Tensor, int]]) -> bool:
    return varies(label, dim) and not any(label is other and dim == along for other, along in fixed)


def _share(first: Tensor, second: Tensor) -> bool:
    return any(varies(first, dim) and varies(second, dim) for dim in range(first.dim()))


@_rule("view", "_unsafe_view", "reshape", "_reshape_alias")
def _view(labels: Labels, call: Call) -> None:
    source, shape = call.args[0], call.out.shape
    found = [label.reshape(shape) for label in labels.of(source)]
    for dims in _dealt_out(tuple(source.shape), tuple(shape)):
        for label in found:
            if any(varies(label, dim) for dim in dims):
                rows = narrowed(label, keep=dims).movedim(dims, tuple(range(-len(dims), 0)))
                labels.splits.append(rows.reshape(-1, shape[dims[0]], int(torch.tensor(shape)[list(dims[1:])].prod())))
    labels.put(call.out, found, weight=labels.is_weight(source))


def _dealt_out(before: tuple[int, ...], after: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Yield the dimensions of `after`, at least two, that one dimension of `before` was dealt out to."""
    end = 0
    sizes = list(after)
    position = 0
    while position < len(before):
        total, product, start, first = before[position], 1, end, position
        position += 1
        while end < len(sizes) and (product < total or (product == total and sizes[end] == 1)):
            product *= sizes[end]
            end += 1
        while product != total and position < len(before):
            total *= before[position]
            position += 1
            while end < len(sizes) and product < total:
                product *= sizes[end]
                end += 1
        real = tuple(dim for dim in range(start, end) if sizes[dim] > 1)
        if len(real) > 1 and sum(size > 1 for size in before[first:position]) == 1:
            yield real


@_rule(
    "permute", "transpose", "t", "unsqueeze", "squeeze", "expand", "select", "unbind", "repeat", "roll", "flip",
    "index_select", "index", "pixel_shuffle", "pixel_unshuffle", "slice", "split", "split_with_sizes", "narrow",
)  # fmt: skip
def _move(labels: Labels, call: Call) -> None:
    source = call.args[0]
    outs = [call.out] if isinstance(call.out, Tensor) else list(call.out)
    found: list[list[Tensor]] = [[] for _ in outs]
    for label in labels.of(source):
        moved = call.func(label, *call.args[1:], **call.kwargs)
        for place, part in zip(found, [moved] if isinstance(moved, Tensor) else moved, strict=True):
            place.append(part)
        if call.name in {"slice", "split", "split_with_sizes"}:
            _note_pieces(labels, label, call, outs[0])
    for out, own in zip(outs, found, strict=True):
        labels.put(out, own, weight=labels.is_weight(source))


def _note_pieces(labels: Labels, label: Tensor, call: Call, piece: Tensor) -> None:
    if call.name == "slice":
        dim = call.args[1] if len(call.args) > 1 else 0
    else:
        dim = call.args[2] if len(call.args) > 2 else call.kwargs.get("dim", 0)
    size, whole = piece.shape[dim], label.shape[dim]
    if size < whole and whole % size == 0 and varies(label, dim):
        rows = narrowed(label, keep=(dim % label.dim(),)).movedim(dim, -1)
        labels.splits.append(rows.reshape(-1, whole // size, size))


@_rule("cat", "stack")
def _join(labels: Labels, call: Call) -> None:
    dim = call.args[1] if len(call.args) > 1 else 0
    parts = [part for part in call.args[0] if part.numel()]
    if not any(labels.of(part) for part in parts):
        return
    found = []
    for part in parts:
        own = sorted(labels.of(part), key=lambda label: varies(label, dim) if call.name == "cat" else 0)
        for label in own[:-1]:
            labels.fix(label, "a concatenation joins them with others")
        found.append(own[-1] if own else labels.fresh(1).view([1] * part.dim()).expand(part.shape))
    labels.put(call.out, [getattr(torch, call.name)(found, dim)])


@_rule("constant_pad_nd", "pad", "reflection_pad2d", "replication_pad2d")
def _pad(labels: Labels, call: Call) -> None:
    found = []
    for label in labels.of(call.args[0]):
        touched = [-1 - i // 2 for i, size in enumerate(call.args[1]) if size]
        if any(varies(label, dim) for dim in touched):
            border = int(labels.fresh(1))
            found.append(torch.constant_pad_nd(label, call.args[1], border))
        else:
            narrow = label
            for dim in touched:
                narrow = narrow.narrow(dim, 0, 1)
            found.append(narrow.expand(call.out.shape))
    labels.put(call.out, found)


@_rule(
    "max_pool2d_with_indices", "avg_pool2d", "_adaptive_avg_pool2d", "upsample_nearest2d", "upsample_bilinear2d",
    "upsample_nearest1d", "upsample_bicubic2d", "max_pool3d_with_indices", "avg_pool3d", "_adaptive_avg_pool3d",
    "adaptive_max_pool2d", "_upsample_bilinear2d_aa", "_upsample_nearest_exact2d",
)  # fmt: skip
def _channelwise(labels: Labels, call: Call) -> None:
    out = call.out[0] if isinstance(call.out, tuple) else call.out
    atoms = labels.channels(call.args[0], 1)
    labels.put(out, [] if atoms is None else [along(atoms, 1, out.shape)])


@_rule("native_batch_norm", "_native_batch_norm_legit_no_training", "_native_batch_norm_legit", "cudnn_batch_norm")
def _batch_norm(labels: Labels, call: Call) -> None:
    atoms = labels.channels(call.args[0], 1)
    for tensor in (arg for arg in call.args[1:5] if isinstance(arg, Tensor)):
        own = [labels.axis(tensor, 0)] if id(tensor) in labels.owned else labels.of(tensor)
        for label in own:
            if atoms is None:
                labels.fix(label, "they are normalised values of a fixed size")
            else:
                labels.unite(atoms, label)
    labels.put(call.out[0], [] if atoms is None else [along(atoms, 1, call.out[0].shape)])


@_rule("native_layer_norm")
def _layer_norm(labels: Labels, call: Call) -> None:
    x, shape, weights, out = call.args[0], call.args[1], call.args[2:4], call.out[0]
    found = labels.of(x)
    for label in found:
        for dim in range(-len(shape), -1):
            if varies(label, dim):
                labels.merge(label, dim, "a LayerNorm over several axes")
    _pointwise(labels, [x, *(weight for weight in weights if weight is not None)], out, "layer_norm")


@_rule("native_group_norm")
def _group_norm(labels: Labels, call: Call) -> None:
    x, weights, groups, out = call.args[0], call.args[1:3], call.args[6], call.out[0]
    atoms = labels.channels(x, 1)
    for weight in (weight for weight in weights if weight is not None):
        for label in labels.of(weight):
            if atoms is None:
                labels.fix(label, "they are normalised values of a fixed size")
            else:
                labels.unite(atoms, label)
    if atoms is not None and groups > 1:
        labels.splits.append(atoms.view(1, groups, -1))
    labels.put(out, [] if atoms is None else [along(atoms, 1, out.shape)])


@_rule("mean", "sum", "amax", "amin", "var", "std", "linalg_vector_norm", "var_mean", "max", "min", "prod")
def _reduce(labels: Labels, call: Call) -> None:
    source = call.args[0]
    outs = [call.out] if isinstance(call.out, Tensor) else list(call.out)
    place = 2 if call.name == "linalg_vector_norm" else 1
    dims = call.args[place] if len(call.args) > place else call.kwargs.get("dim")
    if isinstance(dims, Tensor):  # the maximum of two tensors
        _pointwise(labels, [source, dims], call.out, call.name)
        return
    every = range(source.dim()) if dims is None or dims == [] else [dims] if isinstance(dims, int) else dims
    found = []
    for label in labels.of(source):
        left = label
        for dim in every:
            if varies(label, dim):
                labels.merge(label, dim, f"'{call.name}' is taken over them")
            left = left.narrow(dim, 0, 1)
        found.append(left.reshape(outs[0].shape))
    for out in outs:
        labels.put(out, found)


@_rule("_softmax", "_log_softmax", "cumsum", "sort", "topk", "glu")
def _whole_axis(labels: Labels, call: Call) -> None:
    dim = call.args[1] if call.name in {"_softmax", "_log_softmax", "cumsum"} else -1
    found = labels.of(call.args[0])
    for label in found:
        if varies(label, dim) or call.name not in {"_softmax", "_log_softmax", "cumsum"}:
            labels.merge(label, dim, f"'{call.name.strip('_')}' is taken over them")
    if isinstance(call.out, Tensor) and call.out.shape == call.args[0].shape:
        labels.put(call.out, found)


@_rule("embedding")
def _embedding(labels: Labels, call: Call) -> None:
    weight = call.args[0]
    if id(weight) not in labels.owned:
        return
    atoms = labels.axis(weight, 1)
    labels.made.add(labels.owner(atoms))
    labels.put(call.out, [along(atoms, call.out.dim() - 1, call.out.shape)])


@_rule("addmm", "baddbmm")
def _add_product(labels: Labels, call: Call) -> None:
    products.multiply(labels, call.args[1], call.args[2], call.out)
    _pointwise(labels, [call.out, call.args[0]], call.out, "add")


@_rule("mm", "bmm")
def _product(labels: Labels, call: Call) -> None:
    products.multiply(labels, call.args[0], call.args[1], call.out)


@_rule("convolution")
def _convolution(labels: Labels, call: Call) -> None:
    if id(call.args[1]) in labels.owned:
        products.convolve(labels, call.args[0], call.args[1], call.args[2], call.out, call.args[6], call.args[8])
        return
    for label in (label for tensor in call.args[:3] if tensor is not None for label in labels.of(tensor)):
        labels.fix(label, "a convolution whose weights are computed anew each time")


@_rule("_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_efficient_attention",
       "_scaled_dot_product_flash_attention", "_scaled_dot_product_cudnn_attention")  # fmt: skip
def _attention(labels: Labels, call: Call) -> None:
    mask = call.kwargs.get("attn_mask")
    follows = call.kwargs.get("scale") is None
    query, key, value = call.args[:3]
    products.attend(labels, query, key, value, mask, call.out[0], scale_follows=follows)
