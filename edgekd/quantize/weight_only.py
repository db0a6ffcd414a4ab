"""Weights of four bits: the linear layers of an ONNX file read packed weights, and nothing else is rounded.

For networks that wait for their weights: a few rows times big matrices. The form is ONNX's own, DequantizeLinear with
blocks along the inputs (opset 21). In front of a product ONNX Runtime makes MatMulNBits of it, OpenVINO keeps four bits
in its FullyConnected, and TensorRT's parser takes it where it reads that opset. ONNX Runtime also rounds the inputs of
such a product to eight bits, block by block while it runs.

Which way a weight is rounded is decided as for eight bits (`edgekd.quantize.rounding`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import TargetError, UsageError
from edgekd.onnx_graph.graph import Graph, Node
from edgekd.onnx_graph.operators import dtype, type_name_of
from edgekd.placement.scheme import WeightScheme
from edgekd.quantize.calibration import CalibrationConfig, Weight, rounded_weights
from edgekd.quantize.onnx_network import OnnxNetwork
from edgekd.quantize.post_training import Decided, QuantizedFile, judged, matching
from edgekd.target import Target

OPSET = 21
"""The first with four bits and with blocks."""
FEWEST = 1024
"""Weights of a layer that are worth packing: of fewer, less than 4 kB would be saved."""


def quantize_weights(
    model: Path,
    samples: NDArray[Any],
    target: Target,
    scheme: WeightScheme,
    output: Path,
    *,
    config: CalibrationConfig,
    keep_float: Sequence[str] = (),
) -> QuantizedFile:
    """Round the weights of the float network `model` by what its layers do to `samples`, and write it as `output`.

    `keep_float` are patterns of layer names. Raises TargetError where the target's parser does not read four bits,
    UsageError for a network without a layer to pack and for a pattern that fits no layer, ExportError for one that a
    runtime refuses or computes otherwise than the file says; then nothing is written.
    """
    if target.software is not None and target.software.opset_most < OPSET:
        raise TargetError(
            f"the parser of {target.name} reads ONNX opsets up to {target.software.opset_most}, {scheme.name} needs "
            f"{OPSET}; quantize with scheme {' or '.join(target.schemes()) or 's8'}"
        )
    network = OnnxNetwork.read(model, samples[:1], OPSET)
    floating = _floating(network, scheme, matching(network, keep_float))
    packed = [name for name in network.layers if name not in floating]
    kept = _told(network, floating)
    if not packed:
        raise UsageError(f"{model} has no layer whose weights {scheme.name} could pack; in float: {'; '.join(kept)}")
    weights = rounded_weights(network, samples, packed, scheme, config, tensors={})
    decided = Decided(network.plain(_packed(network.graph, weights)), scheme.name, len(packed), kept=kept)
    return judged(decided, model, samples, target, output)


def _floating(network: OnnxNetwork, scheme: WeightScheme, wanted: Sequence[str]) -> dict[str, str]:
    """Return the layers that stay in float, with the reason."""
    found = {}
    for name, layer in network.layers.items():
        if name in wanted:
            found[name] = "as was asked"
        elif network.operators[name].kind != "linear":
            found[name] = "being convolutions"
        elif layer.weight.size < FEWEST:
            found[name] = f"having fewer than {FEWEST} weights"
        elif scheme.block is not None and layer.weight.shape[1] % scheme.block:
            found[name] = f"its inputs being no multiple of {scheme.block}"  # OpenVINO refuses half a block
    return found


def _told(network: OnnxNetwork, floating: Mapping[str, str]) -> tuple[str, ...]:
    labels: dict[str, list[str]] = {}
    for name, reason in floating.items():
        labels.setdefault(reason, []).append(network.layers[name].label)
    return tuple(f"{', '.join(names)} ({reason})" for reason, names in labels.items())


def _packed(graph: Graph, weights: Mapping[str, Weight]) -> Graph:
    """Return the graph with these layers as a product with a DequantizeLinear, and what is subtracted from it.

    Of a sum and an activation behind a product of matrices ONNX Runtime makes a FusedGemm before it looks for four
    bits, and then unpacks the weights in every run; of a difference it does not, and OpenVINO fuses it all the same.
    """
    shapes, types, values = dict(graph.shapes), dict(graph.types), dict(graph.values)
    constants = set(graph.constants)

    def stored(name: str, value: NDArray[Any]) -> str:
        shapes[name], types[name], values[name] = value.shape, type_name_of(value), value
        constants.add(name)
        return name

    def written(node: Node) -> Iterator[Node]:
        result, weight = node.outputs[0], weights[node.outputs[0]]
        inputs = weight.integers.shape[1]
        dequantized, product = f"{result}:weight.dequantized", result if weight.bias is None else f"{result}:product"
        given = (
            stored(f"{result}:weight.integers", np.ascontiguousarray(weight.integers.T).astype(dtype("int4"))),
            stored(f"{result}:weight.scale", np.ascontiguousarray(weight.steps.T)),
        )
        for name, shape in ((dequantized, weight.integers.shape[::-1]), (product, shapes[result])):
            shapes[name], types[name] = shape, "f32"
        constants.add(dequantized)
        blocks = {"axis": 0, "block_size": inputs // weight.steps.shape[1]}
        yield Node("DequantizeLinear", f"{node.name}/dequantize", given, (dequantized,), blocks)
        yield Node("MatMul", node.name, (node.inputs[0], dequantized), (product,))
        if weight.bias is not None:
            negative = stored(f"{result}:bias.negative", -weight.bias)
            yield Node("Sub", f"{node.name}/bias", (product, negative), (result,))

    nodes = [new for node in graph.nodes for new in (written(node) if node.outputs[0] in weights else (node,))]
    return replace(graph, nodes=tuple(nodes), shapes=shapes, types=types, values=values, constants=frozenset(constants))
