"""Memory a network needs while it runs, predicted: its weights, and the activations alive at the same time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from math import prod

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from edgekd.figure import Figure
from edgekd.kernel import BYTES, FusedKernel, MemoryProbe
from edgekd.onnx_graph.graph import Graph, Node

VIEWS = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "DequantizeLinear"}
"""Operators whose result lies where their input lies; engines read integers wherever a network dequantizes them."""
MOVING = VIEWS | {"MaxPool", "Transpose"}
"""Operators that give back elements of their input: integers, dequantized before or not, stay integers."""
ELEMENTWISE = {
    "Abs", "Add", "Clip", "Div", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Log",
    "Mish", "Mul", "Neg", "PRelu", "Relu", "Selu", "Sigmoid", "Softplus", "Sqrt", "Sub", "Sum", "Swish", "Tanh",
    "BatchNormalization", "Softmax",
}  # fmt: skip
"""Operators that may write their result over an input nobody reads afterwards."""
_SMALL_MB = 2.0
"""Below, absolute errors count, not relative ones: so much varies from process to process."""


def weights_bytes(graph: Graph) -> int:
    """Return the bytes of all stored constants, each counted once."""
    read = {name for node in graph.nodes for name in node.inputs}
    stored = [name for name in read if name in graph.constants and graph.producer(name) is None]
    return sum(_bytes(graph, name) for name in stored)


def activation_peak_bytes(graph: Graph, kernels: Iterable[FusedKernel] = ()) -> int:
    """Return the most bytes of activations alive at the same time, running the operators in order.

    Tensors within one of `kernels` (by the nodes they cover) are never stored; without kernels, nothing but a
    QuantizeLinear is fused. Inputs and results of the network are alive throughout, because callers bind them. Copies
    in another layout are not counted.
    """
    return _Liveness(graph, kernels).peak()


def _bytes(graph: Graph, tensor: str) -> int:
    made = tensor
    while (maker := graph.producer(made)) is not None and maker.op in MOVING:
        made = maker.inputs[0]
    return prod(graph.shapes[tensor]) * BYTES[graph.types[made]]


class _Liveness:
    """Buffers are called after the first tensor that lies in them; time is counted in operators."""

    def __init__(self, graph: Graph, kernels: Iterable[FusedKernel]) -> None:
        self._graph = graph
        self._kernel = {node: number for number, kernel in enumerate(kernels) for node in kernel.covers}
        self._spans = self._times()
        self._buffer: dict[str, str] = {}
        self._sizes: dict[str, int] = {}
        self._starts: dict[str, int] = {}
        self._ends: dict[str, int] = {}

    def peak(self) -> int:
        end = len(self._graph.nodes)
        for name in self._graph.inputs:
            self._place(name, name, 0, end)
        for node in self._graph.nodes:
            start, last = self._spans[node.name]
            for name in node.outputs:
                if name and name not in self._graph.constants:
                    users = [self._spans[user.name][1] for user in self._graph.consumers(name)]
                    bound = name in self._graph.outputs
                    self._place(name, self._shared(node, name), 0 if bound else start, max([last, *users, end * bound]))
        changes = [0] * (end + 2)
        for buffer, size in self._sizes.items():
            changes[self._starts[buffer]] += size
            changes[self._ends[buffer] + 1] -= size
        return max(accumulate(changes))

    def _times(self) -> dict[str, tuple[int, int]]:
        """Return when each operator starts and ends: with the first and the last of its kernel."""
        positions = {node.name: position for position, node in enumerate(self._graph.nodes)}
        together: dict[int, list[int]] = {}
        for position, node in enumerate(self._graph.nodes):
            maker = self._graph.producer(node.inputs[0]) if node.op == "QuantizeLinear" else None
            if node.name in self._kernel:
                together.setdefault(self._kernel[node.name], []).append(position)
            elif maker is not None and not self._kernel and len(self._graph.consumers(node.inputs[0])) == 1:
                together[-1 - position] = [positions[maker.name], position]
        times = {name: (position, position) for name, position in positions.items()}
        for members in together.values():
            for position in members:
                times[self._graph.nodes[position].name] = (min(members), max(members))
        return times

    def _place(self, tensor: str, buffer: str, start: int, end: int) -> None:
        self._buffer[tensor] = buffer
        self._starts[buffer] = min(start, self._starts.get(buffer, start))
        self._ends[buffer] = max(end, self._ends.get(buffer, end))
        self._sizes.setdefault(buffer, 0 if self._is_never_stored(tensor) else _bytes(self._graph, tensor))

    def _is_never_stored(self, tensor: str) -> bool:
        """Return whether all of a tensor's readers are part of the kernel that makes it."""
        maker, users = self._graph.producer(tensor), self._graph.consumers(tensor)
        if maker is None or tensor in self._graph.outputs:
            return False
        span = self._spans[maker.name]
        return span[0] < span[1] and all(self._spans[user.name] == span for user in users)

    def _shared(self, node: Node, tensor: str) -> str:
        """Return the buffer a new tensor lies in: that of an input for views and work in place, else its own."""
        if tensor in self._graph.outputs:
            return tensor
        for source in node.inputs:
            buffer = self._buffer.get(source)
            if buffer is None or not self._sizes[buffer]:
                continue
            dies = self._ends[buffer] <= self._spans[node.name][1]
            fits = self._sizes[buffer] == _bytes(self._graph, tensor)
            if node.op in VIEWS or (node.op in ELEMENTWISE and dies and fits):
                return buffer
        return tensor


class MemoryModel:
    """Peak memory as a constant, plus so many times the weights, plus so many times the activations of a network."""

    def __init__(self, probes: Sequence[MemoryProbe]) -> None:
        rows = np.array([[1.0, probe.weights_mb, probe.activations_mb] for probe in probes])
        measured = np.array([probe.peak_mb for probe in probes])
        self._samples = len(probes)
        self._factors = _solved(rows, measured)
        keep = ~np.eye(len(rows), dtype=bool)
        missed = [measured[i] - rows[i] @ _solved(rows[keep[i]], measured[keep[i]]) for i in range(len(rows))]
        self._spread = np.abs(missed) / (measured + _SMALL_MB)

    def peak_mb(self, graph: Graph, kernels: Sequence[FusedKernel]) -> Figure:
        """Return the peak above that of a process that has loaded no engine; bounds are the largest miss of a probe."""
        sizes = [1.0, weights_bytes(graph) / 1e6, activation_peak_bytes(graph, kernels) / 1e6]
        value = float(np.array(sizes) @ self._factors)
        reach = float(self._spread.max()) * (value + _SMALL_MB)
        return Figure(
            name="peak_memory_mb",
            value=value,
            origin="predicted",
            samples=self._samples,
            lower=max(0.0, value - reach),
            upper=value + reach,
        )


def _solved(rows: NDArray[np.float64], measured: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return factors that are never negative, fitted to relative errors."""
    weights = 1 / (np.abs(measured) + _SMALL_MB)
    found, _ = nnls(rows * weights[:, None], measured * weights)
    return np.asarray(found, dtype=np.float64)
