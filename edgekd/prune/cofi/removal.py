"""What masks have closed is taken out for good: channels by `surgery`, whole blocks by `depth`, layers by stand-ins."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from edgekd.errors import EdgekdError
from edgekd.models import stand_in
from edgekd.models.mode import evaluating
from edgekd.prune.cofi.masks import Masked, masked_parameters
from edgekd.prune.cofi.plan import LAYERS, Plan, Values
from edgekd.prune.cofi.rounding import opened
from edgekd.prune.cut import Cut, perform
from edgekd.prune.depth import without

_TOLERANCE = 1e-4


def cut(model: nn.Module, plan: Plan, values: Values, inputs: Tensor) -> nn.Module:
    """Return the network under masks as one that has only what they leave, the values of open masks in its weights.

    `inputs` (N, ...) are some the network may get. Raises EdgekdError where the result answers them differently.
    """
    closed = [at for at, value in enumerate(values[LAYERS].tolist()) if value == 0]
    baked = copy.deepcopy(model)
    with torch.no_grad():
        for name, value in masked_parameters(model, plan, values).items():
            baked.get_parameter(name).copy_(value)
    spared = {plan.layers[at].group for at in closed}  # they go with their layer, below
    kept = {name: opened(values[name]) for name in plan.groups if name not in spared}
    pruned = perform(baked, plan.found, Cut(kept=kept))
    blocks = [block.name for block in plan.found.blocks if (own := plan.within(block.name)) and set(own) <= {*closed}]
    pruned = without(pruned, blocks)
    inside = {at for name in blocks for at in plan.within(name)}
    for at in closed:
        if at not in inside:
            pruned = _silenced(pruned, plan.layers[at].output, inputs)
    wanted, got = _answer(Masked(model, plan, values), inputs), _answer(pruned, inputs)
    difference = float((wanted - got).abs().max())
    if not difference <= _TOLERANCE * max(1.0, float(wanted.abs().max())):
        raise EdgekdError(f"the network cut by CoFi differs from the masked one by {difference:.3g} in its output")
    return pruned


def _silenced(model: nn.Module, path: str, inputs: Tensor) -> nn.Module:
    """Return a network in which a layer adds nothing, without what ran for it alone.

    What is no longer used is found by gradients that do not arrive. A step that the network's code cannot follow, or
    that changes its answers, is not taken: then weights stay that do nothing.
    """
    before = _unused(model, inputs)
    silent = _replaced(model, path, "nothing")
    wanted, unused = _answer(silent, inputs), _unused(silent, inputs) - before
    for outer in _around(path):
        rest = {f"{outer}.{name}" for name, _ in model.get_submodule(outer).named_parameters()}
        if all(name in unused or name.startswith(f"{path}.") for name in rest):
            found = _alike(model, outer, "nothing", inputs, wanted)
            if found is not None:
                silent = found
                break
    for name in sorted({name.rpartition(".")[0] for name in _unused(silent, inputs) - before}):
        silent = _alike(silent, name, "skipped", inputs, wanted) or silent
    return silent


def _around(path: str) -> Iterator[str]:
    """Yield the paths of the modules that hold a module, outermost first, without the network."""
    parts = path.split(".")
    for count in range(1, len(parts)):
        yield ".".join(parts[:count])


def _unused(model: nn.Module, inputs: Tensor) -> set[str]:
    """Return the names of the parameters no output depends on."""
    own = dict(model.named_parameters())
    wanted = {name: parameter.requires_grad for name, parameter in own.items()}
    try:
        with evaluating(model), torch.enable_grad():
            for parameter in own.values():
                parameter.requires_grad_(True)
            gradients: tuple[Tensor | None, ...] = torch.autograd.grad(
                model(inputs).sum(), list(own.values()), allow_unused=True
            )
    finally:
        for name, parameter in own.items():
            parameter.requires_grad_(wanted[name])
    return {name for name, gradient in zip(own, gradients, strict=True) if gradient is None}


def _alike(model: nn.Module, path: str, name: str, inputs: Tensor, wanted: Tensor) -> nn.Module | None:
    """Return the network with a stand-in where it runs and answers as it should, else None."""
    try:
        found = _replaced(model, path, name)
        answer = _answer(found, inputs)
    except Exception:  # whatever the network's own code raises
        return None
    same = answer.shape == wanted.shape and torch.allclose(answer, wanted, rtol=1e-5, atol=1e-6)
    return found if same else None


def _replaced(model: nn.Module, path: str, name: str) -> nn.Module:
    other = copy.deepcopy(model)
    stand_in.replace(other, path, name)
    return other


def _answer(model: nn.Module, inputs: Tensor) -> Tensor:
    with evaluating(model), torch.no_grad():
        found: Tensor = model(inputs)
    return found
