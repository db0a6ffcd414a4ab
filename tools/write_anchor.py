"""Write edgekd/measure/anchor.onnx, the network whose speed tells how fast a machine is: python -m tools.write_anchor.

Registered speeds are held against this very network, so it must never change: whoever changes it gives it another name
in `edgekd/measure/anchor.py`. The same bytes come out on every machine: weights are small whole numbers over a power of
two, from a generator whose stream numpy has frozen.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgekd.measure import anchor

WIDTH, LAYERS = 48, 3


def model() -> onnx.ModelProto:
    """Return three 3x3 convolutions with ReLU and a global mean: 77 million multiply-accumulates in float32."""
    random = np.random.RandomState(0)
    weights, nodes, tensor, width = [], [], "input", anchor.SHAPE[0]
    for layer in range(LAYERS):
        whole = random.randint(-127, 128, (WIDTH, width, 3, 3))
        scale = 2.0 ** -np.ceil(np.log2(73 * np.sqrt(4.5 * width)))  # keeps the size of what flows through
        weights.append(numpy_helper.from_array((whole * scale).astype(np.float32), f"kernel{layer}"))
        nodes.append(helper.make_node("Conv", [tensor, f"kernel{layer}"], [f"conv{layer}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"conv{layer}"], [f"relu{layer}"]))
        tensor, width = f"relu{layer}", WIDTH
    nodes += [helper.make_node("GlobalAveragePool", [tensor], ["mean"]), helper.make_node("Flatten", ["mean"], ["out"])]
    source = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, *anchor.SHAPE])
    result = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, WIDTH])
    graph = helper.make_graph(nodes, anchor.NAME, [source], [result], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def content() -> bytes:
    """Return the file's content."""
    return bytes(model().SerializeToString(deterministic=True))


if __name__ == "__main__":
    Path(anchor.FILE).write_bytes(content())
    print(f"{anchor.FILE}: {len(content())} bytes, SHA-256 {hashlib.sha256(content()).hexdigest()}")
