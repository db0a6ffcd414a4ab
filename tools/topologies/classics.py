"""The nine classic networks inside the onnx package, with weights: there most are a shape to fill with one value.

The few that are stored, among them zeros, fit nothing any more and are drawn anew like the others. Opset 9 becomes 17
by hand, because few of their operators have changed: Dropout lost its ratio, Unsqueeze takes its axes as an input,
Softmax works along one axis, by default another one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from tools.topologies.builder import around, normal

OPSET = 17
FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
NAMES = (
    "bvlc_alexnet",
    "densenet121",
    "inception_v1",
    "inception_v2",
    "resnet50",
    "shufflenet",
    "squeezenet",
    "vgg19",
    "zfnet512",
)
_FACTORS = {("BatchNormalization", 1), ("BatchNormalization", 4), ("Mul", 0), ("Mul", 1)}
"""Scales, variances and constant factors lie around 1; biases, means and constant summands around 0."""


def classic(name: str) -> onnx.ModelProto:
    """Return one of them for the batch of 1 that it was made for."""
    old = onnx.load(FOLDER / f"light_{name}.onnx")
    kept = [node for node in old.graph.node if node.op_type != "ConstantOfShape"]
    values = {tensor.name: tensor for tensor in old.graph.initializer}
    uses = _uses(kept)
    shapes = {t.name: list(t.dims) for t in old.graph.initializer if t.data_type == onnx.TensorProto.FLOAT}
    filled = [node for node in old.graph.node if node.op_type == "ConstantOfShape"]
    shapes |= {node.output[0]: numpy_helper.to_array(values[node.input[0]]).tolist() for node in filled}
    random = np.random.default_rng(0)
    for weight in sorted(shapes.keys() & uses.keys()):
        user, position = uses[weight]
        summed = user.output[0] in uses and uses[user.output[0]][0].op_type == "Sum"
        values[weight] = numpy_helper.from_array(
            _drawn(random, shapes[weight], user.op_type, position, summed=summed), weight
        )
    nodes = [_renewed(node, number, values) for number, node in enumerate(kept)]
    read = {name for node in nodes for name in node.input}
    inputs = [value for value in old.graph.input if value.name not in values and value.name in read]
    stored = [tensor for name, tensor in values.items() if name in read]
    graph = helper.make_graph(nodes, name, inputs, list(old.graph.output), stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


def _uses(nodes: list[onnx.NodeProto]) -> dict[str, tuple[onnx.NodeProto, int]]:
    """Return who reads each tensor first and where; one that only gets more axes is used by whoever reads it then."""
    found: dict[str, tuple[onnx.NodeProto, int]] = {}
    for node in reversed(nodes):
        for position, name in enumerate(node.input):
            through = found.get(node.output[0]) if node.op_type == "Unsqueeze" else None
            found[name] = through or (node, position)
    return found


def _drawn(
    random: np.random.Generator, shape: Sequence[int], user: str, position: int, *, summed: bool
) -> NDArray[np.float32]:
    """Return random values for this input of this operator; what is summed up is small, so that sums stay finite."""
    if len(shape) > 1 and user in {"Conv", "Gemm"}:
        return normal(random, shape, math.sqrt(2 / math.prod(shape[1:])))
    if (user, position) in _FACTORS:
        return around(random, shape, 0.2, 0.15) if summed and position == 1 else around(random, shape, 1.0, 0.2)
    return around(random, shape, 0.0, 0.1)


def _renewed(node: onnx.NodeProto, number: int, values: dict[str, onnx.TensorProto]) -> onnx.NodeProto:
    """Return the node in the present opset, under a name of its own."""
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    inputs = list(node.input)
    if node.op_type == "Dropout":
        attributes.clear()
    if node.op_type == "Softmax":
        attributes.setdefault("axis", 1)
    if node.op_type == "Unsqueeze":
        axes = f"{node.output[0]}_axes"
        values[axes] = numpy_helper.from_array(np.asarray(attributes.pop("axes"), np.int64), axes)
        inputs.append(axes)
    return helper.make_node(node.op_type, inputs, [*node.output], name=f"{node.op_type.lower()}_{number}", **attributes)


TOPOLOGIES = {name: partial(classic, name) for name in NAMES}
