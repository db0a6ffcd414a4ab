"""From a model specification to a module: built-in family or user factory, with weights from safetensors."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from edgekd.errors import UsageError
from edgekd.models.factory import call
from edgekd.models.network import NETWORKS
from edgekd.recipe import ModelSpec
from edgekd.schema import from_mapping


def build(spec: ModelSpec, input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return the module of a specification, with its weights where the specification names some.

    `input_shape` is (channels, height, width). Without weights the initialisation follows torch's global seed.
    Raises UsageError for an unknown name, wrong options, a factory that fails, weights that do not fit, and a module
    that does not map (N, *input_shape) to (N, classes).
    """
    title = spec.name or spec.factory or ""
    if spec.factory is not None:
        module = call(spec.factory, spec.options)
        if not isinstance(module, nn.Module):
            raise UsageError(f"factory '{spec.factory}' returned {type(module).__name__}, not a torch.nn.Module")
    else:
        family = NETWORKS.get(title)
        module = family(from_mapping(family.Config, spec.options, f"options of model '{title}'")).build(
            input_shape, classes
        )
    _check_output(module, title, input_shape, classes)
    if spec.weights is not None:
        _load(module, Path(spec.weights), title)
    return module


def _check_output(module: nn.Module, title: str, input_shape: tuple[int, int, int], classes: int) -> None:
    training = module.training
    try:
        with torch.no_grad():
            output = module.eval()(torch.zeros(2, *input_shape))
    except Exception as error:
        raise UsageError(
            f"model '{title}' cannot run on an input of shape (N, {', '.join(map(str, input_shape))}): "
            f"{' '.join(str(error).split())}"
        ) from error
    finally:
        module.train(training)
    shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
    if shape != (2, classes):
        raise UsageError(
            f"model '{title}' gives {shape} for two inputs; expected logits of shape (2, {classes}), "
            f"because the data has {classes} classes"
        )


def _load(module: nn.Module, path: Path, title: str) -> None:
    if path.suffix != ".safetensors":
        raise UsageError(
            f"weights '{path}' are not a .safetensors file; convert a state dict with safetensors.torch.save_file"
        )
    if not path.is_file():
        raise UsageError(f"weights of model '{title}': no such file: {path}")
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UsageError(f"weights '{path}' cannot be read: {error}") from error
    own = module.state_dict()
    faults = [f"'{name}' is missing" for name in own.keys() - state.keys()]
    faults += [f"'{name}' is unknown" for name in state.keys() - own.keys()]
    faults += [
        f"'{name}' has shape {tuple(state[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own.keys() & state.keys()
        if state[name].shape != own[name].shape
    ]
    if faults:
        more = f" and {len(faults) - 4} more" if len(faults) > 4 else ""
        raise UsageError(f"weights '{path}' do not fit model '{title}': {', '.join(sorted(faults)[:4])}{more}")
    module.load_state_dict(state)
