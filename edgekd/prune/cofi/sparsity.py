"""How sparse a network under masks is, and the Lagrangian that holds it to a target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from edgekd.prune.cofi.plan import LAYERS, Plan, Values


class _Counted(NamedTuple):
    """A parameter of a layer, and the groups that lie along its axes."""

    layer: int
    shape: tuple[int, ...]
    axes: tuple[tuple[int, str, Tensor], ...]


class Parameters:
    """The parameters that can go: weights and biases of attention and feed-forward layers.

    The paper counts these too and leaves out the embeddings; that biases count is our choice, as it makes the promise
    exact: at masks of 0 and 1 `kept` is what a cut leaves. Another cost that is a differentiable function of the masks,
    such as a latency, could stand in its place.
    """

    def __init__(self, model: nn.Module, plan: Plan) -> None:
        self.names: tuple[str, ...] = tuple(
            f"{path}.{name}"
            for layer in plan.layers
            for path in layer.paths
            for name, _ in model.get_submodule(path).named_parameters()
        )
        self.total = sum(model.get_parameter(name).numel() for name in self.names)
        self._counted = _counted(model, plan)

    def kept(self, values: Values) -> Tensor:
        """Return how many parameters are left, in the mean where `values` are probabilities; a scalar."""
        total = torch.zeros(())
        for layer, shape, axes in self._counted:
            left: Tensor = values[LAYERS][layer]
            for at, size in enumerate(shape):
                here = [(name, positions) for axis, name, positions in axes if axis == at]
                free = size - sum(positions.numel() for _, positions in here)  # groups on one axis do not overlap
                left = left * (free + sum(positions.shape[1] * values[name].sum() for name, positions in here))
            total = total + left
        return total

    def sparsity(self, values: Values) -> Tensor:
        """Return the share of the parameters that is gone; a scalar."""
        return 1 - self.kept(values) / self.total

    def sparsity_of(self, cut: nn.Module) -> float:
        """Return the share that is gone of a network after its cut."""
        left = dict(cut.named_parameters())
        return 1 - sum(left[name].numel() for name in self.names if name in left) / self.total


class Lagrangian(nn.Module):
    """lambda1 (s - t) + lambda2 (s - t)^2 (after Wang et al. 2020): weights descend it, the multipliers ascend."""

    def __init__(self, target: float, warmup: int) -> None:
        super().__init__()
        self.multipliers = nn.Parameter(torch.zeros(2))
        self._target, self._warmup = target, warmup

    def target(self, step: int) -> float:
        """Return t at a step, from 0: linear up to the asked sparsity over the warm-up, as in the paper."""
        return self._target * min(1.0, (step + 1) / max(1, self._warmup))

    def forward(self, sparsity: Tensor, step: int) -> Tensor:
        """Return the term for a sparsity (a scalar); a scalar."""
        gap = sparsity - self.target(step)
        return self.multipliers[0] * gap + self.multipliers[1] * gap.square()


def _counted(model: nn.Module, plan: Plan) -> Sequence[_Counted]:
    axes: dict[str, list[tuple[int, str, Tensor]]] = {}
    for name, group in plan.groups.items():
        for member in group.members:
            for part, axis, positions in member.parts:
                axes.setdefault(f"{member.path}.{part}", []).append((axis, name, positions))
    return [
        _Counted(at, tuple(tensor.shape), tuple(axes.get(f"{path}.{name}", ())))
        for at, layer in enumerate(plan.layers)
        for path in layer.paths
        for name, tensor in model.get_submodule(path).named_parameters()
    ]
