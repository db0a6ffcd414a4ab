"""A network as a graph of ONNX operators with all shapes known, as it is before any runtime's own rules.

Constants are folded, BatchNormalization and per-channel factors are part of the layer before them, and operators
without an effect are gone. Values of big weights are never computed nor read: latency does not depend on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekd.onnx_graph import inference, simplify, source
from edgekd.onnx_graph.node import Node

if TYPE_CHECKING:
    import onnx

__all__ = ["Graph", "Node", "read"]


@dataclass(frozen=True)
class Graph:
    """Operators in an order in which each comes after its inputs."""

    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    """Activations that are fed in and used."""
    outputs: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]
    """Of every activation and every constant."""
    types: Mapping[str, str]
    """Likewise; keys of `edgekd.kernel.BYTES`."""
    constants: frozenset[str]
    """Tensors known before the network runs; also those a DequantizeLinear makes of integer weights."""
    values: Mapping[str, np.ndarray]
    """Of constants with at most `inference.SMALL` elements, where they are known."""
    opset: int
    """Version of the standard operators."""

    def producer(self, tensor: str) -> Node | None:
        """Return the operator that writes `tensor`; None for an input and for a stored constant."""
        return self._producers.get(tensor)

    def consumers(self, tensor: str) -> tuple[Node, ...]:
        """Return the operators that read `tensor`, each once, in order."""
        return self._consumers.get(tensor, ())

    @cached_property
    def _producers(self) -> dict[str, Node]:
        return {output: node for node in self.nodes for output in node.outputs if output}

    @cached_property
    def _consumers(self) -> dict[str, tuple[Node, ...]]:
        found: dict[str, tuple[Node, ...]] = {}
        for node in self.nodes:
            for tensor in dict.fromkeys(name for name in node.inputs if name):
                found[tensor] = (*found.get(tensor, ()), node)
        return found


def read(network: Path | onnx.ModelProto, shapes: Mapping[str, Sequence[int]] | None = None) -> Graph:
    """Return the graph of an ONNX file or model, simplified as every runtime does.

    A free first dimension of an input becomes 1; `shapes` gives the inputs whose other dimensions are free.
    Raises UsageError for a file that is no ONNX file and for inputs without a size, ExportError for an operator whose
    result has no shape before the network runs, or that holds a graph of its own.
    """
    model, folder = source.opened(network)
    draft = inference.inferred(model, source.input_shapes(model, shapes or {}), folder)
    simplify.simplify(draft)
    types = inference.checked_types(draft)
    return Graph(
        nodes=tuple(draft.nodes),
        inputs=draft.inputs,
        outputs=draft.outputs,
        shapes={name: draft.shapes[name] for name in types},
        types=types,
        constants=frozenset(name for name in types if name in draft.constants),
        values={name: value for name, value in draft.values.items() if name in types},
        opset=max((entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}), default=1),
    )
