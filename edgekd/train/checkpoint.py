"""A network on disk as data only: how to build it, its final layer sizes, its weights, and one recorded answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from edgekd.disk import whole_folder
from edgekd.errors import EdgekdError, UsageError
from edgekd.models import stand_in
from edgekd.models.build import build
from edgekd.models.kernels import parameters
from edgekd.models.mode import evaluating
from edgekd.models.sharing import share, shared
from edgekd.recipe import ModelSpec
from edgekd.schema import Field, Schema, read_json, write_json

_DESCRIPTION, _WEIGHTS, _PROBE = "description.json", "weights.safetensors", "probe.safetensors"
_TOLERANCE = 1e-4


class Description(Schema):
    """How to build the network again, and what it must look like then."""

    schema_version: Literal[1] = 1
    spec: ModelSpec = Field(description="the network before any surgery, without its weights")
    input_shape: tuple[int, ...] = Field(description="channels, height, width; or tokens")
    classes: int
    attributes: dict[str, dict[str, int | tuple[int, ...]]] = Field(
        description="whole numbers that modules hold, final sizes of layers among them, by module path"
    )
    shapes: dict[str, tuple[int, ...]] = Field(
        default_factory=dict, description="final shapes of parameters and buffers"
    )
    stand_ins: dict[str, str] = Field(default_factory=dict, description="what replaces a module, by path")
    shared: dict[str, str] = Field(
        default_factory=dict, description="parameters that are another's too, by name; its weights stand there once"
    )
    parameters: int
    extra: dict[str, Any] = Field(default_factory=dict, description="what else `rebuild` needs, such as quantization")


def save(  # noqa: PLR0917 - a signature other stages share
    model: nn.Module,
    folder: Path,
    spec: ModelSpec,
    input_shape: tuple[int, ...],
    classes: int,
    probe: Tensor,
    extra: dict[str, Any] | None = None,
) -> None:
    """Write a network as data: description.json, weights.safetensors, probe.safetensors.

    `probe` is a normalised input (N, *input_shape) whose answer is recorded, and compared on every load. The folder
    appears complete or not at all; one that exists is replaced.
    """
    tied = shared(model)
    description = Description(
        spec=spec.replace(weights=None),
        input_shape=input_shape,
        classes=classes,
        attributes=_attributes(model),
        shapes={name: tuple(tensor.shape) for name, tensor in model.state_dict().items()},
        stand_ins=stand_in.stand_ins(model),
        shared=tied,
        parameters=parameters(model),
        extra=extra or {},
    )
    with whole_folder(folder) as unfinished:
        write_json(description, unfinished / _DESCRIPTION)
        weights = {name: _plain(tensor) for name, tensor in model.state_dict().items() if name not in tied}
        save_file(weights, unfinished / _WEIGHTS)
        save_file({"input": _plain(probe), "output": _answer(model, probe)}, unfinished / _PROBE)


def is_saved(folder: Path) -> bool:
    """Return whether a network was saved in `folder`."""
    return (folder / _DESCRIPTION).is_file()


def describe(folder: Path) -> Description:
    """Return the description of a saved network; raises UsageError when it is missing or damaged."""
    return read_json(Description, folder / _DESCRIPTION)


def load(
    folder: Path, rebuild: Callable[[Description], nn.Module] | None = None, tolerance: float = _TOLERANCE
) -> nn.Module:
    """Return a saved network in eval mode.

    `rebuild` makes the module whose state dict was saved; by default the specification is built and its layers take
    the recorded sizes. `tolerance` is how far an answer may be off, as a share of the largest. Raises UsageError when
    files are missing or damaged, EdgekdError when the weights do not fit or the recorded input is answered
    differently.
    """
    description = describe(folder)
    weights, probe = _read(folder / _WEIGHTS), _read(folder / _PROBE)
    model = (rebuild or rebuilt)(description)
    weights |= {name: weights[origin] for name, origin in description.shared.items() if origin in weights}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise EdgekdError(f"{folder}: the weights do not fit the network: {' '.join(str(error).split())}") from error
    model.eval()
    answer, expected = _answer(model, probe["input"]), probe["output"]
    worst = float((answer - expected).abs().max()) if answer.shape == expected.shape else float("inf")
    if not worst <= tolerance * max(1.0, float(expected.abs().max())):
        raise EdgekdError(
            f"{folder}: the loaded network answers the recorded input differently (by {worst:.3g}); "
            "the code that builds it has changed since it was saved, or the files are damaged"
        )
    return model


def rebuilt(description: Description, fresh: nn.Module | None = None) -> nn.Module:
    """Return a network as it was after surgery, with arbitrary weights; `fresh` is what its specification builds.

    Raises EdgekdError when the code that builds it no longer makes the layers that were recorded.
    """
    # Its random initialisation is overwritten, and must not disturb the caller's random numbers.
    with torch.random.fork_rng(devices=[]):
        model = fresh or build(description.spec, description.input_shape, description.classes)
    for path, name in description.stand_ins.items():
        stand_in.replace(model, path, name)
    modules = dict(model.named_modules())
    for path, numbers in description.attributes.items():
        if path not in modules:
            raise EdgekdError(f"the network has no layer '{path}' any more; the code that builds it has changed")
        for name, number in numbers.items():
            setattr(modules[path], name, number)
    _resize(modules, description.shapes)
    share(model, description.shared)
    return model


def _resize(modules: dict[str, nn.Module], shapes: dict[str, tuple[int, ...]]) -> None:
    fresh: dict[int, nn.Parameter | Tensor] = {}  # a parameter of two layers stays one
    for path, module in modules.items():
        for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            shape = shapes.get(f"{path}.{name}" if path else name, tensor.shape)
            if shape != tensor.shape:
                blank = torch.ones(shape, dtype=tensor.dtype)
                own = nn.Parameter(blank, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else blank
                setattr(module, name, fresh.setdefault(id(tensor), own))


def _attributes(model: nn.Module) -> dict[str, dict[str, int | tuple[int, ...]]]:
    """Return every whole number a module holds, its own code's too: surgery changes heads and widths among them."""
    found: dict[str, dict[str, int | tuple[int, ...]]] = {}
    for path, module in model.named_modules():
        own = {
            name: value
            for name, value in vars(module).items()
            if not name.startswith("_") and (type(value) is int or name == "normalized_shape")
        }
        if own:
            found[path] = own
    return found


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UsageError(f"{path}: missing or damaged: {error}") from error


def _answer(model: nn.Module, probe: Tensor) -> Tensor:
    with evaluating(model), torch.no_grad():
        return _plain(model(probe))


def _plain(tensor: Tensor) -> Tensor:
    """Return a copy without gradient, strides or shared memory."""
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
