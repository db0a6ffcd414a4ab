"""A draft of a probe network, written as an ONNX model with random weights."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgekd.kernels.segment import Segment, Weight

PERIOD = 65521
"""Random numbers drawn per network, repeated for larger weights; a prime, so that rows of a matrix differ."""

IR_VERSIONS = {17: 8, 18: 8, 19: 9, 20: 9}
"""By opset: what was current when that opset came out, and what old runtimes read."""


def written(segment: Segment, name: str, seed: int, notes: dict[str, str]) -> onnx.ModelProto:
    """Return the segment as a model whose weights are drawn from `seed`; `notes` become its metadata."""
    shapes = segment.shapes
    nodes = [
        helper.make_node(node.op, node.inputs, node.outputs, name=node.outputs[0], **node.attributes)
        for node in segment.nodes
    ]
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shapes["input"])],
        [helper.make_tensor_value_info(segment.output, TensorProto.FLOAT, shapes[segment.output])],
    )
    model = helper.make_model(
        graph,
        producer_name="edgekd",
        opset_imports=[helper.make_opsetid("", segment.opset)],
        ir_version=IR_VERSIONS[segment.opset],
    )
    helper.set_model_props(model, notes)
    # Weights come last: the helpers above copy the graph, and weights may be a hundred megabytes.
    constants = model.graph.initializer
    constants.extend(numpy_helper.from_array(array, key) for key, array in segment.constants.items())
    buffer = _buffer(seed)
    for index, (key, weight) in enumerate(segment.weights.items()):
        raw = _raw(weight, buffer[1009 * index % PERIOD :])
        constants.add(name=key, data_type=TensorProto.FLOAT, dims=weight.shape, raw_data=raw)
    return model


def _buffer(seed: int) -> NDArray[np.float32]:
    """Return, twice over, PERIOD numbers of either sign, 0.5 to 1.5 in size: no zero and nothing denormal."""
    # NumPy keeps the sequence of this old generator for good.
    uniform = np.random.RandomState(seed % 2**32).random_sample(PERIOD).astype(np.float32) * 2 - 1
    return np.tile(uniform + np.copysign(np.float32(0.5), uniform), 2)


def _raw(weight: Weight, buffer: NDArray[np.float32]) -> bytes:
    size = prod(weight.shape)
    values: NDArray[Any] = buffer[: min(size, PERIOD)] * np.float32(weight.scale)
    block = (np.abs(values) if weight.positive else values).tobytes()
    whole, rest = divmod(size, PERIOD) if size > PERIOD else (1, 0)
    return b"".join([block] * whole + [block[: 4 * rest]])
