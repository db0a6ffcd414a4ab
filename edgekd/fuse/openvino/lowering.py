"""From ONNX operators to steps: one operator is one step, but for norms; constants are no inputs."""

from __future__ import annotations

from edgekd.fuse.openvino.draft import VIEW, Draft, Step
from edgekd.onnx_graph.graph import Graph, Node

ELTWISE = {
    *("Relu", "LeakyRelu", "Elu", "Sigmoid", "Tanh", "Clip", "HardSwish", "Gelu", "Mish", "Swish", "Softplus", "Erf"),
    *("Abs", "Sqrt", "Exp", "Neg", "Softsign", "Pow", "PRelu", "Add", "Sub", "Mul", "Div", "Sum", "Max", "Min"),
    *("Mean", "Round", "Floor", "Ceil", "Equal", "Greater", "Less", "Where", "And", "Or", "Not", "Cast", "Reciprocal"),
    *("GreaterOrEqual", "LessOrEqual", "QuantizeLinear", "ThresholdedRelu", "Mod", "Xor", "Sign"),
    "BatchNormalization",
}
"""Operators whose result at a place depends on its operands there alone, and that OpenVINO compiles for the chain."""

_AS = {"Sum": "Add"}
"""Operators that are another one with two operands."""

_MATH = {"HardSigmoid", "Selu", "Log", "Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Acosh"}
"""Computed by plain code, one by one."""

_VIEWS = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"}

_CODES = {
    "Conv": "conv",
    "ConvTranspose": "conv.transposed",
    "MaxPool": "pool.max",
    "AveragePool": "pool.average",
    "GlobalAveragePool": "reduce",
    "GlobalMaxPool": "reduce",
    "Softmax": "softmax",
    "LogSoftmax": "softmax",
    "Concat": "concat",
    "Split": "split",
    "Slice": "slice",
    "Transpose": "transpose",
    "Resize": "interpolate",
    "Upsample": "interpolate",
    "LRN": "lrn",
    "Gather": "gather",
    "Pad": "pad",
    "DepthToSpace": "depth_to_space",
    "SpaceToDepth": "space_to_depth",
    "InstanceNormalization": "mvn",
    "GroupNormalization": "group_norm",
    "LpNormalization": "normalize",
    "Expand": "broadcast",
    "Tile": "tile",
    "ArgMax": "top_k",
    "ArgMin": "top_k",
    "TopK": "top_k",
    "DequantizeLinear": "dequantize",
}


def lowered(graph: Graph, converted: bool) -> Draft:
    """Return the steps of `graph`; `converted` as in `Draft`."""
    return Draft(graph, [step for node in graph.nodes for step in _steps(graph, node)], converted)


def _steps(graph: Graph, node: Node) -> list[Step]:
    if all(name in graph.constants for name in node.outputs if name):
        return []
    step = Step(_code(graph, node), _activations(graph, node), list(node.outputs), node, [node.name])
    step.constants = [graph.shapes[name] for name in node.inputs if name in graph.constants]
    if step.code in {"conv", "conv.transposed", "pool.max", "pool.average"}:
        step.strides = tuple(node.attributes.get("strides", (1,) * (len(graph.shapes[node.inputs[0]]) - 2)))
    if step.code == "eltwise":
        step.fused, step.bundle = [_AS.get(node.op, node.op)], 1
    if node.op == "BatchNormalization":
        step.constants = [(1, *shape, 1, 1) for shape in step.constants]
    if node.op == "Sum" and len(node.inputs) > 2:
        return _sums(step)
    if node.op == "LayerNormalization":
        return _layer_norm(graph, step)
    return [step]


def _activations(graph: Graph, node: Node) -> list[str]:
    return [name for name in dict.fromkeys(node.inputs) if name and name not in graph.constants]


def _code(graph: Graph, node: Node) -> str:
    if node.op in ELTWISE:
        return "eltwise"
    if node.op in _MATH:
        return "math"
    if node.op in _VIEWS:
        return VIEW
    if node.op in {"MatMul", "Gemm"}:
        return "fully_connected" if node.inputs[1] in graph.constants else "matmul"
    if node.op.startswith("Reduce"):
        return "reduce"
    return _CODES.get(node.op, f"other.{node.op}")


def _sums(step: Step) -> list[Step]:
    """Split a sum of many into sums of two."""
    steps, total = [], step.inputs[0]
    for position, name in enumerate(step.inputs[1:], 1):
        last = position == len(step.inputs) - 1
        partial = step.output if last else f"{step.output}/{position}"
        steps.append(Step("eltwise", [total, name], [partial], step.node, list(step.covers), ["Add"], bundle=1))
        total = partial
    return steps


def _layer_norm(graph: Graph, step: Step) -> list[Step]:
    """Split a LayerNormalization: normalising is one kernel, scale and shift are another.

    Images, with four dimensions, have no such kernel: mean, difference, root mean square and scale come one by one.
    """
    source, normalised = step.inputs[0], f"{step.output}/normalized"
    shift = Step("eltwise", [normalised], step.outputs, step.node, list(step.covers), ["Mul", "Add"], bundle=1)
    if len(graph.shapes[source]) < 4:
        return [Step("mvn", [source], [normalised], step.node, list(step.covers)), shift]
    mean, centred = f"{step.output}/mean", f"{step.output}/centred"
    shift.fused = ["Add"]
    return [
        Step("reduce", [source], [mean], step.node, list(step.covers)),
        Step("eltwise", [source, mean], [centred], step.node, list(step.covers), ["Sub"], bundle=1),
        Step("rms", [centred], [normalised], step.node, list(step.covers)),
        shift,
    ]
