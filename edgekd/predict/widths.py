"""Which widths of a network would be free: channels come in the steps of the machine's vectors, so cost does, too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import NamedTuple

from edgekd.kernel import FusedKernel, Shape
from edgekd.onnx_graph.graph import Graph
from edgekd.predict.latency import LatencyModel

_WIDER = 32
_NARROWER = 64
_FREE = 0.01
"""Relative change of the network's latency that counts as none, as a share of what the changed kernels cost."""
_PAYS = 0.05


class Widths(NamedTuple):
    """What other widths of one layer would cost, its neighbours and all layers tied to it by sums counted in."""

    layer: str
    """The kernel's name."""
    tied: tuple[str, ...]
    """Names of the other layers whose width must change with it."""
    width: int
    free: int
    """The largest width, up to 32 more, that costs no more than this one."""
    next_saving: int | None
    """The largest smaller width, up to 64 fewer, that saves at least 5 % of what these kernels cost; None for none."""
    saving_ms: float
    """What that saves."""


def widths(graph: Graph, kernels: Sequence[FusedKernel], model: LatencyModel, layer: int) -> Widths | None:
    """Return the free widths of the kernel at position `layer`; None where nothing says what depends on its width."""
    group = _Group.around(graph, kernels, layer)
    if group is None:
        return None
    width = group.width
    tried = list(range(max(1, width - _NARROWER), width + _WIDER + 1))
    changed = [group.with_width(size) for size in tried]
    costs = model.many_ms(changed)[:, 0]
    own = {size: float(cost) - model.call_ms(those) for size, those, cost in zip(tried, changed, costs, strict=True)}
    free = max(size for size in tried if size >= width and own[size] <= (1 + _FREE) * own[width])
    saving = [size for size in tried if size < width and own[size] <= (1 - _PAYS) * own[width]]
    best = max(saving, default=None)
    return Widths(
        kernels[layer].name,
        tuple(kernels[number].name for number in sorted(group.makers) if number != layer),
        width,
        free,
        best,
        own[width] - own[best] if best is not None else 0.0,
    )


class _Group:
    """Kernels whose cost depends on one number of channels: those that make, carry and combine it."""

    def __init__(self, kernels: Sequence[FusedKernel], width: int) -> None:
        self._kernels, self.width = kernels, width
        self.makers: set[int] = set()
        self._carriers: set[int] = set()
        self._readers: set[int] = set()

    @classmethod
    def around(cls, graph: Graph, kernels: Sequence[FusedKernel], layer: int) -> _Group | None:
        first = kernels[layer]
        if not _makes(first):
            return None
        group = cls(kernels, _channels(first.output))
        by_node = {node: number for number, kernel in enumerate(kernels) for node in kernel.covers}
        by_tensor = {kernel.name: number for number, kernel in enumerate(kernels) if kernel.covers}
        waiting = [layer]
        while waiting:
            number = waiting.pop()
            if number in group.makers | group._carriers:
                continue
            kernel = kernels[number]
            if _channels(kernel.output) != group.width or kernel.name in graph.outputs:
                return None
            (group.makers if _makes(kernel) else group._carriers).add(number)
            sources = _sources(graph, kernel, by_tensor)
            if not _makes(kernel) or "Add" in kernel.fused:
                tied = [s for s in sources if _channels(kernels[s].output) == group.width]
                if not _makes(kernel) and (len(tied) < len(sources) or not _carries(kernel)):
                    return None
                waiting += [s for s in tied if not _makes(kernel) or kernels[s].output == kernel.output]
            for reader in _readers(graph, kernel.name, by_node):
                if reader is None:
                    return None
                if reader == number:
                    continue
                other = kernels[reader]
                sums = "Add" in other.fused and other.output == kernel.output
                if _makes(other) and not sums:
                    group._readers.add(reader)
                else:
                    waiting.append(reader)
        return group

    def with_width(self, size: int) -> list[FusedKernel]:
        """Return the kernels as they are with so many channels."""
        return [self._changed(number, size) for number in sorted(self.makers | self._carriers | self._readers)]

    def _changed(self, number: int, size: int) -> FusedKernel:
        kernel = self._kernels[number]
        makes, reads = number in self.makers, number in self._readers
        if number in self._carriers:
            groups = size if kernel.groups == self.width and kernel.groups > 1 else kernel.groups
            weights = (size, *kernel.weights[1:]) if kernel.weights else ()
            inputs = tuple(_wide(shape, size) for shape in kernel.inputs)
            return kernel._replace(inputs=inputs, output=_wide(kernel.output, size), weights=weights, groups=groups)
        weights = kernel.weights
        if makes:
            weights = (size, *weights[1:]) if len(weights) > 2 else (weights[0], size)
        if reads:
            of_input = weights[0] // self.width * size
            weights = (weights[0], size, *weights[2:]) if len(weights) > 2 else (of_input, weights[1])
        inputs = kernel.inputs
        if reads:
            inputs = (_wide(inputs[0], size), *inputs[1:])
        output = _wide(kernel.output, size) if makes else kernel.output
        return kernel._replace(inputs=inputs, weights=weights, output=output)


def _makes(kernel: FusedKernel) -> bool:
    """Return whether the kernel combines all channels of its input into new ones."""
    return bool(kernel.weights) and kernel.groups == 1


def _carries(kernel: FusedKernel) -> bool:
    """Return whether every channel is worked on alone."""
    depthwise = kernel.groups > 1 and len(kernel.weights) > 2 and kernel.weights[1] == 1
    family = kernel.code.removeprefix("q").partition(".")[0]
    return depthwise or family in {"pool", "add", "mul", "activation", "eltwise", "reduce", "quantize", "dequantize"}


def _channels(shape: Shape) -> int:
    return shape[1] if len(shape) > 1 else prod(shape)


def _wide(shape: Shape, size: int) -> Shape:
    return (shape[0], size, *shape[2:]) if len(shape) > 1 else shape


def _sources(graph: Graph, kernel: FusedKernel, by_tensor: dict[str, int]) -> list[int]:
    covered = set(kernel.covers)
    nodes = [node for node in graph.nodes if node.name in covered]
    inner = {output for node in nodes for output in node.outputs}
    outer = dict.fromkeys(name for node in nodes for name in node.inputs if name not in inner)
    return [found for name in outer if (found := _origin(graph, name, by_tensor)) is not None]


def _origin(graph: Graph, tensor: str, by_tensor: dict[str, int]) -> int | None:
    while tensor not in by_tensor:
        maker = graph.producer(tensor)
        if maker is None or tensor in graph.constants:
            return None
        tensor = maker.inputs[0]
    return by_tensor[tensor]


def _readers(graph: Graph, tensor: str, by_node: dict[str, int]) -> Iterator[int | None]:
    """Yield the kernels that read a tensor, also through views and quantizers; None where a view mixes channels."""
    seen: set[str] = set()
    waiting = [tensor]
    while waiting:
        for node in graph.consumers(waiting.pop()):
            if node.name in seen:
                continue
            seen.add(node.name)
            if node.name in by_node:
                yield by_node[node.name]
            elif node.op in {"QuantizeLinear", "DequantizeLinear", "Flatten", "Squeeze"}:
                waiting += node.outputs
            else:
                yield None
