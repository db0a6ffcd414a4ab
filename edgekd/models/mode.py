"""A network in eval mode for as long as somebody looks at it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """Yield the network in eval mode; at the end every module is in the mode it was in, which may differ among them."""
    training = {name: module.training for name, module in model.named_modules()}
    try:
        yield model.eval()
    finally:
        for name, module in model.named_modules():
            module.training = training[name]
