"""From a model specification to a module: built-in family or user factory, with weights from safetensors."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from edgekd.errors import UsageError
from edgekd.models.example import example
from edgekd.models.factory import call
from edgekd.models.network import NETWORKS, Network
from edgekd.recipe import ModelSpec
from edgekd.schema import digest_of, from_mapping

_CONVERT = (
    'python -c "import torch, safetensors.torch as s; '
    "s.save_file(torch.load('{source}', weights_only=True), '{result}')\""
)

_MOST_PARAMETERS = 250_000_000
"""A gigabyte, which training needs four times."""


def build(spec: ModelSpec, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return the module of a specification, with its weights where the specification names some.

    `input_shape` is (channels, height, width), or (tokens,). Without weights the initialisation follows torch's global
    seed.
    Raises UsageError for an unknown name, wrong options, a factory that fails, weights that do not fit, and a module
    that does not map (N, *input_shape) to (N, classes), or tokens to (N, tokens, classes).
    """
    title = spec.name or spec.factory or ""
    if spec.factory is not None:
        module = call(spec.factory, spec.options)
        if not isinstance(module, nn.Module):
            raise UsageError(
                f"factory '{spec.factory}' returned {type(module).__name__}, not a torch.nn.Module", spec.factory
            )
    else:
        network = _built_in(title, spec)
        _refuse_huge(network, title, input_shape, classes)
        module = network.build(input_shape, classes)
    _check_output(module, title, input_shape, classes)
    if spec.weights is not None:
        _load(module, Path(spec.weights), title)
    return module


def outline(spec: ModelSpec, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return the module of a built-in network on torch's meta device: shapes and modules without any weights.

    Raises UsageError for a factory, whose code may need real tensors, for an unknown name and for wrong options.
    """
    if spec.name is None:
        raise UsageError(f"only built-in networks have an outline, and '{spec.factory}' is a factory", spec.factory)
    network = _built_in(spec.name, spec)
    with torch.device("meta"):
        return network.build(input_shape, classes)


def _built_in(name: str, spec: ModelSpec) -> Network:
    family = NETWORKS.get(name)
    return family(from_mapping(family.Config, spec.options, f"options of model '{name}'"))


def _refuse_huge(network: Network, title: str, input_shape: tuple[int, ...], classes: int) -> None:
    """Raise UsageError for options that would fill the memory, before anything is allocated."""
    with torch.device("meta"):
        parameters = sum(p.numel() for p in network.build(input_shape, classes).parameters())
    if parameters > _MOST_PARAMETERS:
        raise UsageError(
            f"model '{title}' has {parameters / 1e6:,.0f} million parameters with these options, at most "
            f"{_MOST_PARAMETERS / 1e6:,.0f} million are possible; choose a smaller one",
            title,
        )


def _check_output(module: nn.Module, title: str, input_shape: tuple[int, ...], classes: int) -> None:
    training = module.training
    try:
        with torch.no_grad():
            output = module.eval()(example(input_shape, 2))
    except Exception as error:
        raise UsageError(
            f"model '{title}' cannot run on an input of shape (N, {', '.join(map(str, input_shape))}): "
            f"{' '.join(str(error).split())}",
            title,
        ) from error
    finally:
        module.train(training)
    shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
    at_every_position = (2, *input_shape, classes) if len(input_shape) == 1 else None
    if shape not in {(2, classes), at_every_position}:
        raise UsageError(
            f"model '{title}' gives {shape} for two inputs; expected logits of shape (2, {classes}), "
            f"because the data has {classes} classes",
            title,
        )


def _load(module: nn.Module, path: Path, title: str) -> None:
    if path.suffix != ".safetensors":
        raise UsageError(
            f"weights '{path}' are not a .safetensors file, and a pickle could run any code; convert a state dict you "
            f"trust with: {_CONVERT.format(source=path, result=path.parent / f'{path.stem}.safetensors')}",
            str(path),
        )
    if not os.path.isfile(path):  # unlike Path.is_file it takes a name that is too long for one that is not there
        raise UsageError(f"weights of model '{title}': no such file: {path}", str(path))
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UsageError(f"weights '{path}' cannot be read: {error}", str(path)) from error
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
        raise UsageError(
            f"weights '{path}' do not fit model '{title}': {', '.join(sorted(faults)[:4])}{more}", str(path)
        )
    broken = sorted(name for name, tensor in state.items() if not torch.isfinite(tensor).all())
    if broken:
        raise UsageError(f"weights '{path}' hold values that are NaN or infinite, first in '{broken[0]}'", str(path))
    module.load_state_dict(state)


def digest_of_layers(spec: ModelSpec, input_shape: tuple[int, ...], classes: int) -> str:
    """Return a digest of the layers a specification builds, which change when somebody mends his factory's code.

    Neither the weights nor the caller's random numbers have a part in it, nor what a `forward` does with the layers.
    """
    with torch.random.fork_rng(devices=[]):
        module = build(spec.replace(weights=None), input_shape, classes)
    layers = [(path, type(part).__name__) for path, part in module.named_modules()]
    return digest_of([layers, [(name, list(tensor.shape)) for name, tensor in module.state_dict().items()]])
