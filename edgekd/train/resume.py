"""The state of a training between two epochs: one safetensors file, its JSON in the header, replaced atomically."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from edgekd.disk import whole_file
from edgekd.errors import UsageError
from edgekd.schema import Schema, from_mapping
from edgekd.train.optimizer import parameters_of

_FILE = "epoch.safetensors"


class History(Schema):
    """What a training went through."""

    losses: tuple[float, ...] = ()
    """Mean training loss of each epoch."""
    scores: tuple[float, ...] = ()
    """What `score` gave after each epoch, empty without one."""
    images: int = 0
    """Samples seen, every view of one counted."""
    seconds: float = 0.0

    @property
    def epochs(self) -> int:
        """Return the number of finished epochs."""
        return len(self.losses)


class State(Schema):
    """The JSON part: what happened so far, and of which training."""

    fingerprint: str
    history: History
    scaler: dict[str, int | float] | None = None
    """The state of the loss scaler where gradients are half precision."""
    compiled: bool | None = None
    """Whether torch.compile was found to pay; None where nobody asked."""


@dataclass
class Parts:
    """Everything of a training that has tensors."""

    model: nn.Module
    step_of: torch.optim.Optimizer
    objective: nn.Module | None = None
    averaged: nn.Module | None = None
    """The average over the weights of all steps."""
    best: dict[str, Tensor] = field(default_factory=dict)
    """The weights of the best epoch so far."""

    @property
    def modules(self) -> Iterator[tuple[str, nn.Module]]:
        """Yield the modules that are kept, each with its name in the file."""
        named = {"model": self.model, "objective": self.objective, "averaged": self.averaged}
        yield from ((name, module) for name, module in named.items() if module is not None)


def write(folder: Path, state: State, parts: Parts) -> None:
    """Write all tensors, the random state and `state`; a killed process leaves the old file or the new."""
    tensors = {f"best.{name}": tensor for name, tensor in parts.best.items()}
    for kept, module in parts.modules:
        tensors |= {f"{kept}.{name}": tensor for name, tensor in module.state_dict().items()}
    for index, parameter in enumerate(parameters_of(parts.step_of)):
        for name, value in parts.step_of.state[parameter].items():
            if value is not None:
                tensors[f"optimizer.{index}.{name}"] = torch.as_tensor(value)
    tensors["random"] = torch.get_rng_state()
    plain = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }
    with whole_file(folder / _FILE) as unfinished:
        unfinished.write_bytes(save(plain, {"state": json.dumps(state.plain())}))


def read(folder: Path) -> State | None:
    """Return where a training stopped, None when it has not finished its first epoch.

    Raises UsageError when the file is damaged.
    """
    path = folder / _FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {})["state"]
        return from_mapping(State, json.loads(text), str(path))
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise UsageError(
            f"{path}: damaged training state ({error}); delete the file to train from the start"
        ) from error


def restore(folder: Path, parts: Parts) -> None:
    """Put all tensors and the random state back as they were."""
    with safe_open(folder / _FILE, framework="pt") as file:
        tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    for kept, module in parts.modules:
        module.load_state_dict(_under(tensors, f"{kept}."))
    parts.best = _under(tensors, "best.")
    for index, parameter in enumerate(parameters_of(parts.step_of)):
        for name, value in _under(tensors, f"optimizer.{index}.").items():
            # The memory layout of the parameter, because sums over another layout round differently.
            same = value.shape == parameter.shape
            laid = torch.empty_like(parameter.detach()).copy_(value) if same else value
            parts.step_of.state[parameter][name] = laid
    torch.set_rng_state(tensors["random"])


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
