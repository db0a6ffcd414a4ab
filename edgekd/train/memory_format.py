"""How images lie in memory while a network is trained: channels last, the fastest way, unless gradients would be wrong.

oneDNN writes past its workspace in the gradient of the weights of a 1x1 convolution with a stride whose channels lie
last and fill less than one vector block (oneDNN issue 6035): gradients are wrong, the heap is damaged, or it hangs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from edgekd.models.mode import evaluating

_BLOCKS = {"AVX512": 16}
_BLOCK = 8
"""Channels in a vector block on every other processor."""


def memory_format(model: nn.Module, inputs: Tensor) -> torch.memory_format:
    """Return the memory format to train a model in, looking at what it computes of some inputs (N, ...)."""
    watch = _NarrowStrided()
    with evaluating(model), torch.no_grad(), torch.random.fork_rng(devices=[]), watch:
        model(inputs)
    return torch.contiguous_format if watch.found else torch.channels_last


class _NarrowStrided(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notices convolutions whose gradients oneDNN gets wrong with channels last."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found = False
        self._block = _BLOCKS.get(torch.backends.cpu.get_cpu_capability(), _BLOCK)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        del types
        if func is torch.ops.aten.convolution.default:
            weight, strides = args[1], args[3]
            narrow = weight.shape[1] < self._block and set(weight.shape[2:]) == {1}
            self.found |= narrow and max(strides) > 1
        return func(*args, **(kwargs or {}))
