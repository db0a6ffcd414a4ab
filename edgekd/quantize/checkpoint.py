"""A quantized network on disk, as data only: the float network's description, the scheme, weights and steps."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from edgekd.errors import UsageError
from edgekd.placement.scheme import Scheme, scheme_named
from edgekd.quantize.prepare import prepare
from edgekd.schema import Schema, from_mapping
from edgekd.train import checkpoint
from edgekd.train.checkpoint import Description

EXTRA = "quantization"


class Quantized(Schema):
    """What a checkpoint says beyond the description of a float network."""

    scheme: str
    network: Description
    """The float network that was prepared."""


def save(module: nn.Module, folder: Path, scheme: Scheme, of: Description, probe: Tensor) -> None:
    """Write what `prepare` made of the float network described by `of`, with its answer to `probe` (N, C, H, W)."""
    extra = {**of.extra, EXTRA: Quantized(scheme=scheme.name, network=of.replace(extra={})).plain()}
    plain = copy.deepcopy(module).to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
    with _reproducible():
        checkpoint.save(plain, folder, of.spec, of.input_shape, of.classes, probe, extra)


def load(folder: Path) -> nn.Module:
    """Return a quantized network in eval mode, trainable and exportable.

    Raises UsageError when the folder holds no quantized network or is damaged, EdgekdError when its answer to the
    recorded input has changed.
    """
    with _reproducible():
        return checkpoint.load(folder, rebuild, _FLIPPED)


_FLIPPED = 0.02
"""On another processor a value halfway between two integers may round the other way, which is no damage."""


@contextmanager
def _reproducible() -> Iterator[None]:
    """Compute on one thread: other numbers of them may add in another order, and a last bit can flip a rounding."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def rebuild(description: Description) -> nn.Module:
    """Return the prepared network a checkpoint's weights and steps belong to, with arbitrary values."""
    if EXTRA not in description.extra:
        raise UsageError("this checkpoint holds a float network; load it with edgekd.train.checkpoint.load")
    quantized = from_mapping(Quantized, description.extra[EXTRA], EXTRA)
    with torch.random.fork_rng(devices=[]):
        model = checkpoint.rebuilt(quantized.network)
        return prepare(model, torch.zeros(2, *description.input_shape), scheme_named(quantized.scheme))
