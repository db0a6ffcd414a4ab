"""One forward pass of a network: its kernels, what goes together in its weights, and the blocks its shortcuts go by."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from edgekd.models.kernels import Recorder, record
from edgekd.profile import Kernel
from edgekd.prune.labels import Labels, narrowed, varies
from edgekd.prune.rules import follow

_ADD = {torch.ops.aten.add.Tensor, torch.ops.aten.add_.Tensor}
_AFTER_ADDING = {torch.ops.aten.relu.default, torch.ops.aten.relu_.default, torch.ops.aten.clone.default}


class Size(NamedTuple):
    """A size of a kernel: `times` the number of these atoms, or a constant where there are none."""

    times: int
    atoms: Tensor | None


class Sizes(NamedTuple):
    """The sizes of a kernel, named like its fields."""

    in_channels: Size
    out_channels: Size
    groups: Size
    out_positions: Size
    in_positions: Size


@dataclass(frozen=True)
class Trace:
    """What one forward pass tells."""

    kernels: tuple[Kernel, ...]
    sizes: tuple[Sizes, ...]
    labels: Labels
    shortcuts: tuple[str, ...]
    """Paths of the modules that give what they got plus something, innermost only: a network fits without them."""


def trace(model: nn.Module, example: Tensor) -> Trace:
    """Run a model on an example (1, ...) and follow every channel; the model stays as it is."""
    labels = Labels(model)
    tracer = _Tracer(labels)
    shortcuts = _Shortcuts(tracer)
    with shortcuts.watching(model), _outputs(model, labels):
        kernels = record(model, example, tracer)
    return Trace(kernels, tuple(tracer.sizes), labels, shortcuts.innermost())


@contextmanager
def _outputs(model: nn.Module, labels: Labels) -> Iterator[None]:
    """Fix the channels of every tensor the network gives."""

    def fix(_: nn.Module, __: Any, out: Any) -> None:
        for tensor in torch.utils._pytree.tree_leaves(out):
            for label in labels.of(tensor) if isinstance(tensor, Tensor) else ():
                labels.fix(label, "no layer reads these channels: they are the output")

    handle = model.register_forward_hook(fix)
    try:
        yield
    finally:
        handle.remove()


class _Tracer(Recorder):  # type: ignore[no-untyped-call]
    def __init__(self, labels: Labels) -> None:
        super().__init__()
        self.labels = labels
        self.sizes: list[Sizes] = []
        self.streams: list[_Stream] = []
        self._noted: list[tuple[str, Tensor, Tensor, Tensor]] = []

    def note(self, op: str, x: Tensor, out: Tensor, rows: Tensor) -> None:
        self._noted.append((op, x, out, rows))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = super().__torch_dispatch__(func, types, args, kwargs)
        whole = len(self.labels.whole)
        follow(self.labels, func, args, kwargs or {}, out)
        for stream in self.streams:
            stream.follow(func, args, out)
        for op, x, result, rows in self._noted:
            groups = self.labels.whole[-1][1][:, 0] if len(self.labels.whole) > whole else None
            self.sizes.append(_sizes(self.labels, op, x, result, rows, groups))
        self._noted.clear()
        return out


def _sizes(  # noqa: PLR0917 - a kernel's own
    labels: Labels, op: str, x: Tensor, out: Tensor, rows: Tensor, groups: Tensor | None
) -> Sizes:
    if op == "linear":
        positions = _size(labels, rows, tuple(range(rows.dim() - 1)))
        return Sizes(
            _size(labels, x, (x.dim() - 1,)), _size(labels, out, (out.dim() - 1,)), Size(1, None), positions, positions
        )
    spatial = tuple(range(2, out.dim()))
    inside = tuple(range(2, x.dim()))
    return Sizes(
        _size(labels, x, (1,)),
        _size(labels, out, (1,)),
        Size(1, groups),
        _size(labels, out, spatial),
        _size(labels, x, inside),
    )


def _size(labels: Labels, tensor: Tensor, dims: tuple[int, ...]) -> Size:
    whole = int(torch.tensor([tensor.shape[dim] for dim in dims]).prod()) if dims else 1
    for label in labels.of(tensor):
        if any(varies(label, dim) for dim in dims):
            rows = narrowed(label)
            for dim in range(rows.dim()):
                rows = rows if dim in dims else rows.narrow(dim, 0, 1)
            return Size(whole // rows.numel(), rows.reshape(-1))
    return Size(whole, None)


@dataclass
class _Stream:
    """What came into a module, and what has become of it by additions only."""

    path: str
    came: list[Tensor]
    added: list[Tensor] = field(default_factory=list)

    def follow(self, func: Any, args: tuple[Any, ...], out: Any) -> None:
        """See an operator that is run inside of the module."""
        if func in _ADD and any(_among(arg, [*self.came, *self.added]) for arg in args[:2]):
            if isinstance(args[1], Tensor) and args[0].shape == args[1].shape == out.shape:
                self.added.append(out)
        elif func in _AFTER_ADDING and _among(args[0], self.added):
            self.added.append(out)


def _among(tensor: Any, tensors: list[Tensor]) -> bool:
    return any(tensor is other for other in tensors)


class _Shortcuts:
    """Finds modules that take one tensor and give it back with something added, each time they are called."""

    def __init__(self, tracer: _Tracer) -> None:
        self._tracer = tracer
        self._found: dict[str, bool] = {}

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        with ExitStack() as stack:
            for path, module in model.named_modules():
                if path and any(True for _ in module.children()):
                    for handle in self._watched(path, module):
                        stack.callback(handle.remove)
            yield

    def _watched(self, path: str, module: nn.Module) -> Iterator[Any]:
        streams = self._tracer.streams

        def enter(_: nn.Module, args: Any) -> None:
            streams.append(_Stream(path, [arg for arg in args[:1] if isinstance(arg, Tensor)]))

        def leave(_: nn.Module, __: Any, out: Any) -> None:
            stream = streams.pop()
            self._found[path] = self._found.get(path, True) and _among(out, stream.added)

        yield module.register_forward_pre_hook(enter)
        yield module.register_forward_hook(leave)

    def innermost(self) -> tuple[str, ...]:
        """Return the paths of those that hold none of their kind."""
        found = [path for path, holds in self._found.items() if holds]
        return tuple(path for path in found if not any(other.startswith(f"{path}.") for other in found))
