"""Which layers of a student stand beside which of its teacher, found in one dry run of both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from edgekd.errors import UsageError
from edgekd.models.mode import evaluating
from edgekd.models.shrink import shrunk_by

Kind = Literal["features", "attention", "embedding"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Pairs = Mapping[Kind, Sequence[tuple[str, str]]]
"""By kind: (path in the student, path in the teacher), in the order they are compared."""


@dataclass(frozen=True)
class _Seen:
    """What one module gave, in the order modules finish."""

    path: str
    module: nn.Module
    shape: tuple[int, ...]
    is_attention: bool


def pairs(
    student: nn.Module, teacher: nn.Module, inputs: Tensor, kinds: Sequence[Kind], chosen: Pairs | None = None
) -> dict[Kind, list[tuple[str, str]]]:
    """Return the pairs of every kind asked for: those `chosen`, else those found for `inputs` (N, ...), N >= 2.

    Maps pair by resolution, the last layer of each, where a network that shrinks its images counts as if it did not:
    its last stage belongs to the teacher's last, not to an earlier one with maps as small. Token layers, whole blocks
    of them, and attention maps pair by relative depth; the embedding is what the last linear layer is given. Raises
    UsageError where nothing is found.
    """
    found: dict[Kind, list[tuple[str, str]]] = {}
    missing = [kind for kind in kinds if not (chosen or {}).get(kind)]
    seen = (_watched(student, inputs), _watched(teacher, inputs)) if missing else ((), ())
    for kind in kinds:
        if kind not in missing:
            found[kind] = [(a, b) for a, b in (chosen or {})[kind]]
            continue
        found[kind] = _FINDERS[kind](*seen)
        if not found[kind]:
            raise UsageError(
                f"no {kind} of student and teacher that belong together were found; name them: "
                f"taps: {{{kind}: [[module of the student, module of the teacher]]}}"
            )
    return found


def _features(student: Sequence[_Seen], teacher: Sequence[_Seen]) -> list[tuple[str, str]]:
    blocks = _by_depth(_blocks(student), _blocks(teacher))
    ours, theirs = _maps(student), _maps(teacher)
    return blocks or [(ours[size], theirs[size]) for size in ours if size in theirs]


def _attention(student: Sequence[_Seen], teacher: Sequence[_Seen]) -> list[tuple[str, str]]:
    ours, theirs = ([seen.path for seen in every if seen.is_attention] for every in (student, teacher))
    return _by_depth(ours, theirs)


def _embedding(student: Sequence[_Seen], teacher: Sequence[_Seen]) -> list[tuple[str, str]]:
    heads = [[seen.path for seen in every if isinstance(seen.module, nn.Linear)][-1:] for every in (student, teacher)]
    return [(f"{ours}:input", f"{theirs}:input") for ours, theirs in zip(*heads, strict=False)]


_FINDERS: dict[Kind, Any] = {"features": _features, "attention": _attention, "embedding": _embedding}


def _maps(every: Sequence[_Seen]) -> dict[tuple[int, ...], str]:
    """Return by (height, width) the last module that gives a map of that size."""
    maps = [seen for seen in every if len(seen.shape) == 4 and not seen.is_attention]
    # A sequence gives what the last of its parts gave, which is told more precisely.
    sizes = {seen.shape[2:]: seen.path for seen in maps if not isinstance(seen.module, nn.Sequential)}
    return {size: path for size, path in sizes.items() if max(size) > 1}


def _blocks(every: Sequence[_Seen]) -> list[str]:
    """Return the repeated blocks that give tokens (B, T, D): siblings in a list, those nearest to the root."""
    tokens = [seen for seen in every if len(seen.shape) == 3 and seen.path.rpartition(".")[2].isdecimal()]
    depth = min((seen.path.count(".") for seen in tokens), default=0)
    return list(dict.fromkeys(seen.path for seen in tokens if seen.path.count(".") == depth))


def _by_depth(ours: Sequence[str], theirs: Sequence[str]) -> list[tuple[str, str]]:
    """Return every layer of the shorter network with the one at the same relative depth of the longer."""
    if not ours or not theirs:
        return []
    if len(ours) > len(theirs):
        return [(a, b) for b, a in _by_depth(theirs, ours)]
    return [(path, theirs[-(-(at + 1) * len(theirs) // len(ours)) - 1]) for at, path in enumerate(ours)]


def _watched(model: nn.Module, inputs: Tensor) -> list[_Seen]:
    """Return what every module of a network gives, in the order they finish; modes and statistics stay as they are.

    A network that shrinks its images is given larger ones, so that what it looks at is as large as they are.
    """
    found: list[_Seen] = []
    if (factor := shrunk_by(model)) > 1:
        inputs = inputs.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    handles = [
        module.register_forward_hook(lambda module, _, out, path=path: found.extend(_seen(path, module, out)))
        for path, module in model.named_modules()
        if path
    ]
    try:
        with evaluating(model), torch.no_grad():
            model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _seen(path: str, module: nn.Module, returned: object) -> Iterator[_Seen]:
    if isinstance(returned, Tensor):
        yield _Seen(path, module, tuple(returned.shape), _is_attention(returned))


def _is_attention(tensor: Tensor) -> bool:
    """Return whether a tensor (B, heads, T, T) holds a distribution in every row."""
    if tensor.dim() != 4 or tensor.shape[-1] != tensor.shape[-2] or tensor.shape[-1] < 2:
        return False
    rows = tensor.sum(-1)
    return bool((tensor >= 0).all()) and torch.allclose(rows, torch.ones_like(rows), atol=1e-3)
