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
from edgekd.models.build import build
from edgekd.models.kernels import parameters
from edgekd.models.mode import evaluating
from edgekd.recipe import ModelSpec
from edgekd.schema import Field, Schema, read_json, write_json

_DESCRIPTION, _WEIGHTS, _PROBE = "description.json", "weights.safetensors", "probe.safetensors"
_TOLERANCE = 1e-4
_SIZES: dict[type[nn.Module], tuple[str, ...]] = {
    nn.modules.conv._ConvNd: ("in_channels", "out_channels", "groups"),
    nn.Linear: ("in_features", "out_features"),
    nn.modules.batchnorm._NormBase: ("num_features",),
}


class Description(Schema):
    """How to build the network again, and what it must look like then."""

    schema_version: Literal[1] = 1
    spec: ModelSpec = Field(description="the network before any surgery, without its weights")
    input_shape: tuple[int, ...] = Field(description="channels, height, width; or tokens")
    classes: int
    attributes: dict[str, dict[str, int]] = Field(description="final sizes of layers, by module path")
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
    description = Description(
        spec=spec.replace(weights=None),
        input_shape=input_shape,
        classes=classes,
        attributes=_attributes(model),
        parameters=parameters(model),
        extra=extra or {},
    )
    with whole_folder(folder) as unfinished:
        write_json(description, unfinished / _DESCRIPTION)
        save_file({name: _plain(tensor) for name, tensor in model.state_dict().items()}, unfinished / _WEIGHTS)
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
    model = (rebuild or _rebuild)(description)
    if rebuild is None:
        _resize(model, description.attributes, weights, folder)
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


def _rebuild(description: Description) -> nn.Module:
    # Its random initialisation is overwritten, and must not disturb the caller's random numbers.
    with torch.random.fork_rng(devices=[]):
        return build(description.spec, description.input_shape, description.classes)


def _attributes(model: nn.Module) -> dict[str, dict[str, int]]:
    """Return the sizes of every layer that surgery can change."""
    found: dict[str, dict[str, int]] = {}
    for path, module in model.named_modules():
        for kind, names in _SIZES.items():
            if isinstance(module, kind):
                found[path] = {name: int(getattr(module, name)) for name in names}
    return found


def _resize(model: nn.Module, attributes: dict[str, dict[str, int]], weights: dict[str, Tensor], folder: Path) -> None:
    """Give the layers of a freshly built network the recorded sizes; their values come with the weights."""
    modules = dict(model.named_modules())
    for path, sizes in attributes.items():
        if path not in modules:
            raise EdgekdError(f"{folder}: the network has no layer '{path}' any more; its code has changed")
        module = modules[path]
        for name, size in sizes.items():
            setattr(module, name, size)
        for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            saved = weights.get(f"{path}.{name}" if path else name)
            if saved is not None and saved.shape != tensor.shape:
                empty = torch.empty(saved.shape, dtype=tensor.dtype)
                trainable = isinstance(tensor, nn.Parameter)
                setattr(module, name, nn.Parameter(empty, tensor.requires_grad) if trainable else empty)


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
