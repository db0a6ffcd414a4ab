"""Masks on a network without touching it: weights that are multiplied, and LayerNorms over what is alive.

A mask of a head, a unit or a hidden dimension multiplies the weights that read it, and the mask of a layer the weights
of its last linear layer; so a kept value is baked into weights by one product, and a zero is what `surgery` proves its
cuts against.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from edgekd.prune.cofi import hard_concrete
from edgekd.prune.cofi.plan import LAYERS, Plan, Values

_START = 2.0
"""log alpha of every mask at first: nearly all are open. The paper's starting point is not reproduced here."""
_SPREAD = 0.01


class Masks(nn.Module):
    """The trained parameters of every mask."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self._names = tuple(plan.sizes)
        random = torch.Generator().manual_seed(0)
        noise = (_SPREAD * torch.randn(size, generator=random) for size in plan.sizes.values())
        self.log_alphas = nn.ParameterList(nn.Parameter(_START + own) for own in noise)

    @property
    def log_alpha(self) -> dict[str, Tensor]:
        """Return log alpha by the name of the masks."""
        return dict(zip(self._names, self.log_alphas, strict=True))

    def sampled(self, generator: torch.Generator) -> Values:
        """Return masks drawn at random."""
        return {name: hard_concrete.sample(own, generator) for name, own in self.log_alpha.items()}

    def probabilities(self) -> Values:
        """Return the probability of every mask to be open."""
        return {name: hard_concrete.kept_probability(own) for name, own in self.log_alpha.items()}


class Masked(nn.Module):
    """A network under masks; it shares the weights, and gradients flow to them and to the masks."""

    def __init__(self, model: nn.Module, plan: Plan, values: Values) -> None:
        super().__init__()
        self.model = model
        self._plan, self._values = plan, values

    def forward(self, inputs: Tensor) -> Any:
        """Return what the network gives for a batch."""
        weights = masked_parameters(self.model, self._plan, self._values)
        with _norms_of_alive(self.model, self._plan, self._values):
            return functional_call(self.model, weights, (inputs,))


def masked_parameters(model: nn.Module, plan: Plan, values: Values) -> dict[str, Tensor]:
    """Return by name the parameters that masks change, as they are under them."""
    factors: dict[str, list[Tensor]] = defaultdict(list)
    for name, group in plan.groups.items():
        for member in (member for member in group.members if member.side == "in"):
            for part, axis, positions in member.parts:
                tensor = model.get_submodule(member.path).get_parameter(part)
                shape = [-1 if at == axis else 1 for at in range(tensor.dim())]
                factors[f"{member.path}.{part}"].append(along(tensor.shape[axis], positions, values[name]).view(shape))
    for at, layer in enumerate(plan.layers):
        for part, _ in model.get_submodule(layer.output).named_parameters():
            factors[f"{layer.output}.{part}"].append(values[LAYERS][at])
    found = {}
    for key, own in factors.items():
        value: Tensor = model.get_parameter(key)
        for factor in own:
            value = value * factor
        found[key] = value
    return found


def along(size: int, positions: Tensor, values: Tensor) -> Tensor:
    """Return (size,): the value of each channel where it lies, 1 elsewhere; `positions` is (channels, n)."""
    at = positions.to(values.device)
    return torch.ones(size, device=values.device).index_put((at.flatten(),), values.repeat_interleave(at.shape[1]))


@contextmanager
def _norms_of_alive(model: nn.Module, plan: Plan, values: Values) -> Iterator[None]:
    """Let LayerNorms take mean and variance over open hidden dimensions, as they will when the others are cut."""
    with ExitStack() as stack:
        for name in plan.hidden:
            for member in plan.groups[name].members:
                layer = model.get_submodule(member.path)
                if isinstance(layer, nn.LayerNorm):
                    size = layer.normalized_shape[-1]
                    alive = along(size, member.positions, (values[name].detach() > 0).float())
                    stack.callback(layer.register_forward_hook(_over(alive)).remove)
        yield


def _over(alive: Tensor) -> Any:
    def norm(layer: nn.LayerNorm, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
        if bool(alive.all()):
            return out
        count = alive.sum().clamp_min(1)
        x = args[0] * alive
        centred = (x - x.sum(-1, keepdim=True) / count) * alive
        variance = centred.square().sum(-1, keepdim=True) / count
        normed = centred * torch.rsqrt(variance + layer.eps)
        own: tuple[Tensor | None, Tensor | None] = (layer.weight, layer.bias)
        weight, bias = own
        normed = normed if weight is None else normed * weight
        return normed if bias is None else normed + bias * alive

    return norm
