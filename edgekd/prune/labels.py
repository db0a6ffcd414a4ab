"""Which elements of a network's tensors go together when a channel is taken out.

Every index along an axis of a weight is an *atom*. A tensor carries *labels*: integer tensors of its own shape that say
which atom each element goes with; a weight has one label for each axis, an activation mostly one, along its channels.
Labels are followed through the operators of one forward pass (`rules`), where atoms that can only go together are
united. What is united at the end is one channel, wherever reshapes, concatenations, shuffles and heads have put it. The
idea of a dependency graph is that of DepGraph (Fang et al. 2023); labels of single elements instead of edges between
layers are edgekd's choice, because operators that only move elements need no rule of their own then.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary


class Axis(NamedTuple):
    """One axis of a parameter or buffer of a layer."""

    path: str
    name: str
    axis: int


class Attention(NamedTuple):
    """Where softmax(q k) v was computed: rows are heads, columns their dimensions."""

    query: Tensor
    value: Tensor
    scores: Tensor
    """(heads,): atoms the attention of a head is labelled with."""
    scale_follows: bool
    """The operator divides by the root of the heads' width itself, so that a narrower head is scaled otherwise."""


class Labels:
    """The atoms of a model's weights, what was united so far, and the labels of tensors that are alive."""

    def __init__(self, model: nn.Module) -> None:
        self.owned: dict[int, tuple[str, str]] = {}
        for path, module in model.named_modules():
            for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
                self.owned.setdefault(id(tensor), (path, name))
        self.starts: dict[Axis, tuple[int, int]] = {}
        """First atom and number of atoms of each axis that was met."""
        self.count = 0
        self.made: set[Axis] = set()
        """Axes that make channels: rows of a linear layer."""
        self.read: set[Axis] = set()
        """Axes that read channels: columns of a linear layer."""
        self.splits: list[Tensor] = []
        """(n, pieces, size): atoms of an axis that the model's code deals out in pieces of equal size."""
        self.whole: list[tuple[str, Tensor]] = []
        """Path and (groups, outputs of a group) of convolutions that lose whole groups."""
        self.attentions: list[Attention] = []
        self.scored: dict[int, Tensor] = {}
        """By atom of a head's scores, the atoms of its queries."""
        self.reasons: list[tuple[Tensor, str]] = []
        """Atoms that were united because something needs them all, and what that is."""
        self._labels = WeakTensorKeyDictionary()
        self._weights = WeakTensorKeyDictionary()
        self._pairs: list[NDArray[np.int64]] = []
        self._order: list[Axis] = []

    def axis(self, tensor: Tensor, axis: int) -> Tensor:
        """Return the atoms (n,) of an axis of a parameter or buffer of the model."""
        key = Axis(*self.owned[id(tensor)], axis)
        if key not in self.starts:
            self.starts[key] = (self.count, tensor.shape[axis])
            self._order.append(key)
            self.count += tensor.shape[axis]
        start, size = self.starts[key]
        return torch.arange(start, start + size)

    def fresh(self, number: int) -> Tensor:
        """Return atoms (number,) that belong to no weight."""
        self.count += number
        return torch.arange(self.count - number, self.count)

    def of(self, tensor: Tensor) -> list[Tensor]:
        """Return the labels of a tensor; none where it holds values that no weight's size depends on."""
        if isinstance(tensor, nn.Parameter) and id(tensor) in self.owned:
            shape = tensor.shape
            return [
                along(self.axis(tensor, axis), axis, shape) for axis in range(tensor.dim()) if tensor.shape[axis] > 1
            ]
        found: list[Tensor] = self._labels.get(tensor, [])  # type: ignore[no-untyped-call]
        return found

    def is_weight(self, tensor: Tensor) -> bool:
        """Return whether a tensor is a parameter, or one that was only moved."""
        return isinstance(tensor, nn.Parameter) or tensor in self._weights

    def put(self, tensor: Tensor, labels: list[Tensor], *, weight: bool = False) -> None:
        """Label a tensor."""
        self._labels[tensor] = labels
        if weight:
            self._weights[tensor] = True

    def owner(self, label: Tensor) -> Axis:
        """Return the axis of a weight that the label of a weight, or of what a layer made, comes from."""
        first = int(label[(0,) * label.dim()])
        return self._order[bisect_right(self._order, first, key=lambda axis: self.starts[axis][0]) - 1]

    def unite(self, first: Tensor, second: Tensor) -> None:
        """Let the atoms of two labels go together, element by element."""
        first, second = torch.broadcast_tensors(first, second)  # type: ignore[no-untyped-call]
        for dim in range(first.dim()):
            if first.stride(dim) == second.stride(dim) == 0:
                first, second = first.narrow(dim, 0, 1), second.narrow(dim, 0, 1)
        pairs = np.stack([first.reshape(-1).numpy(), second.reshape(-1).numpy()], axis=1)
        pairs = pairs[pairs[:, 0] != pairs[:, 1]]
        if len(pairs) > 4096:
            coded = np.unique(pairs[:, 0] * self.count + pairs[:, 1])
            pairs = np.stack([coded // self.count, coded % self.count], axis=1)
        if len(pairs):
            self._pairs.append(pairs)

    def merge(self, label: Tensor, dim: int, reason: str) -> None:
        """Let all atoms along a dimension go together, because of something that needs all of them."""
        self.unite(label, label.narrow(dim, 0, 1))
        self.reasons.append((torch.unique(narrowed(label)), reason))

    def fix(self, label: Tensor, reason: str) -> None:
        """Let all atoms of a label go together."""
        self.merge(narrowed(label).reshape(-1), 0, reason)

    def along(self, label: Tensor, dim: int) -> Tensor:
        """Return the atoms along one dimension, one for each index; those of an index are united."""
        rows = narrowed(label.movedim(dim, 0), keep=(0,))
        rows = rows.reshape(len(rows), -1)
        if rows.shape[1] > 1:
            self.unite(rows, rows[:, :1])
        return rows[:, 0]

    def channels(self, tensor: Tensor, dim: int) -> Tensor | None:
        """Return the atoms along the dimension of a tensor's channels; labels along other dimensions are fixed."""
        found: Tensor | None = None
        for label in self.of(tensor):
            if not varies(label, dim):
                self.fix(label, "a layer works along another axis than theirs")
                continue
            atoms = self.along(label, dim)
            if found is not None:
                self.unite(found, atoms)
            found = atoms
        return found

    def classes(self) -> NDArray[np.int64]:
        """Return the number of the channel of every atom."""
        pairs = np.concatenate(self._pairs) if self._pairs else np.zeros((0, 2), np.int64)
        edges = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(self.count, self.count))
        found: NDArray[np.int64] = connected_components(edges, directed=False)[1].astype(np.int64)
        return found


def along(atoms: Tensor, dim: int, shape: tuple[int, ...]) -> Tensor:
    """Return the label of a tensor of that shape whose atoms lie along one dimension; it takes no memory."""
    view = [1] * len(shape)
    view[dim] = len(atoms)
    return atoms.view(view).expand(shape)


def varies(label: Tensor, dim: int) -> bool:
    """Return whether elements along a dimension go with different atoms."""
    if label.shape[dim] == 1 or label.stride(dim) == 0:
        return False
    return bool((label != label.narrow(dim, 0, 1)).any())


def narrowed(label: Tensor, keep: tuple[int, ...] = ()) -> Tensor:
    """Return the label with one element along every dimension, other than those to keep, along which it is the same."""
    for dim in range(label.dim()):
        if dim not in keep and not varies(label, dim):
            label = label.narrow(dim, 0, min(1, label.shape[dim]))
    return label
