"""What a network consists of as far as latency is concerned: its fused operators, seen in one dry forward pass."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from edgekd.models.example import example
from edgekd.models.mode import evaluating
from edgekd.profile import Kernel

_aten = torch.ops.aten
_LINEAR = {_aten.addmm.default: 1, _aten.mm.default: 0, _aten.bmm.default: 0}
_ATTENTION = {
    _aten._scaled_dot_product_flash_attention_for_cpu.default,
    _aten._scaled_dot_product_flash_attention.default,
    _aten._scaled_dot_product_efficient_attention.default,
}
_POOL = {
    _aten.mean.dim,
    _aten.avg_pool2d.default,
    _aten._adaptive_avg_pool2d.default,
    _aten.max_pool2d_with_indices.default,
}
_ALONE = {_aten.native_layer_norm.default: "layer_norm", _aten.gelu.default: "gelu"}
_JOIN = {_aten.add.Tensor, _aten.add_.Tensor, _aten.sub.Tensor, _aten.mul.Tensor, _aten.mul_.Tensor}


def kernels(module: nn.Module, input_shape: tuple[int, ...]) -> tuple[Kernel, ...]:
    """Return the operators of a network at batch 1, in the order they run.

    Convolutions, matrix products, poolings and operators that join two tensors count. So do LayerNorm, whose statistics
    no engine has before it has seen every channel, and GELU, which is a kernel of its own in some. BatchNorm, scale and
    shift by channel and other activations do not, because engines fuse them, other than ONNX Runtime a scale and shift
    that follow no layer. A convolution or linear layer is named by its module path.
    """
    parameter = next(module.parameters(), torch.zeros(()))
    return record(module, example(input_shape, 1, parameter.device), Recorder())


def record(module: nn.Module, seen: Tensor, recorder: Recorder) -> tuple[Kernel, ...]:
    """Return what a recorder sees of one forward pass in eval mode."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # its fused operator is none that is exported or cut
    try:
        with evaluating(module), _named(module, recorder.path), torch.no_grad(), recorder:
            module(seen)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return tuple(recorder.found)


def macs(found: Iterable[Kernel]) -> int:
    """Return the multiply-accumulate operations of all kernels together."""
    return sum(kernel.macs for kernel in found)


def parameters(module: nn.Module) -> int:
    """Return the number of trainable and frozen parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


@contextmanager
def _named(module: nn.Module, path: list[str]) -> Iterator[None]:
    """Keep `path` at the names of the modules being run, outermost first."""
    handles = []
    for name, child in module.named_modules():
        handles.append(child.register_forward_pre_hook(lambda *_, name=name: path.append(name)))
        handles.append(child.register_forward_hook(lambda *_: path.__delitem__(-1)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every ATen operator, also those of functions that are no modules."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[Kernel] = []
        self.path: list[str] = []
        self._names: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        del types
        out = func(*args, **(kwargs or {}))
        result = out[0] if isinstance(out, tuple) else out
        if func is _aten.convolution.default:
            self._convolution(args[0], args[1], args[8], result)
        elif func in _LINEAR:
            self._linear(args[_LINEAR[func]], result, result)
        elif func in _ATTENTION:
            tokens = args[1].transpose(-1, -2)
            self._linear(args[0], tokens, args[0])
            self._linear(tokens, result, result)
        elif func in _POOL and args[0].dim() == 4:
            self._passing("pool", args[0], result, _window(func, args))
        elif func in _JOIN and _joins(args):
            self._passing("elementwise", args[0], result, 1, str(func._schema.name).split("::")[1].strip("_"))
        elif func in _ALONE:
            self._passing("elementwise", args[0], result, 1, _ALONE[func])
        elif func is _aten.cat.default:
            self._passing("elementwise", result, result, 1, "cat")
        return out

    def note(self, op: str, x: Tensor, out: Tensor, rows: Tensor) -> None:
        """Do something about a kernel that was just added; `rows` is what a linear one has its positions from."""

    def _convolution(self, x: Tensor, weight: Tensor, groups: int, out: Tensor) -> None:
        self._passing("conv", x, out, math.isqrt(math.prod(weight.shape[2:])), "conv", groups)

    def _linear(self, x: Tensor, out: Tensor, rows: Tensor) -> None:
        positions = math.prod(rows.shape[:-1])
        self._add("linear", "linear", x.shape[-1], out.shape[-1], 1, 1, positions, positions)
        self.note("linear", x, out, rows)

    def _passing(  # noqa: PLR0917 - the sizes of an operator
        self, op: Any, x: Tensor, out: Tensor, window: int, suffix: str = "pool", groups: int = 1
    ) -> None:
        self._add(op, suffix, x.shape[1], out.shape[1], groups, window, _positions(out), _positions(x))
        self.note(op, x, out, out)

    def _add(self, op: Any, suffix: str, *sizes: int) -> None:
        path = self.path[-1] if self.path else ""
        name = path if op in {"conv", "linear"} else ".".join(filter(None, [path, suffix]))
        self._names[name] += 1
        if self._names[name] > 1:
            name = f"{name}#{self._names[name]}"
        self.found.append(Kernel(op, name, *(int(size) for size in sizes)))


def _positions(tensor: Tensor) -> int:
    return math.prod(tensor.shape[2:])


def _joins(args: tuple[Any, ...]) -> bool:
    return all(isinstance(arg, Tensor) and arg.dim() > 1 for arg in args[:2])


def _window(func: Callable[..., Any], args: tuple[Any, ...]) -> int:
    if func in {_aten.mean.dim, _aten._adaptive_avg_pool2d.default}:
        return max(1, math.isqrt(_positions(args[0])))
    return int(args[1][0])
