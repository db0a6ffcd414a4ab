"""From operators in ONNX Runtime's words to kernels with the codes under which their costs are known."""

from __future__ import annotations

from math import prod

from edgekd.fuse.onnxruntime.codes import ACTIVATIONS, CODES, DILATED, SHAPES, SLOW_AVERAGE
from edgekd.fuse.onnxruntime.draft import Draft, Operator
from edgekd.kernel import FusedKernel, Shape

_NO_NUMBERS = {"Identity", "Shape", "Constant"}

_WEIGHTS = {
    "Conv", "FusedConv", "ConvTranspose", "Gemm", "FusedGemm", "MatMul", "FusedMatMul", "QLinearConv", "QGemm",
    "QLinearMatMul", "MatMulIntegerToFloat",
}  # fmt: skip
"""Operators whose second input may be weights."""
_POOLS = {"MaxPool", "AveragePool", "QLinearAveragePool", "NhwcMaxPool"}
_ELEMENTWISE = {"Add", "Sub", "Mul", "Div", "Sum", "Max", "Min", "Pow"}
_LAYOUTS = {"ReorderInput", "ReorderOutput"}


def is_view(draft: Draft, operator: Operator) -> bool:
    """Return whether an operator is executed without touching a number.

    Another shape is a view of the same memory, but inputs and results of the graph have memory of their own.
    """
    if operator.op in _NO_NUMBERS:
        return True
    if operator.op not in SHAPES:
        return False
    return operator.output not in draft.outputs and operator.inputs[0] not in draft.inputs


def kernel(draft: Draft, operator: Operator, block: int) -> FusedKernel:
    """Return the kernel of one operator; blocks are `block` channels wide."""
    output = operator.output
    source = next((tensor for tensor in operator.inputs if tensor), output)
    held = operator.inputs[1] if operator.op in _WEIGHTS else ""
    weights = _weights(draft, operator, held)
    groups = int(operator.attributes.get("group", 1))
    types = draft.types
    # A constant operand counts as well: how it is spread over the other decides what an elementwise operator costs.
    read = operator.op in _ELEMENTWISE
    data = [tensor for tensor in operator.inputs if tensor and (read or tensor not in draft.constants)]
    return FusedKernel(
        code=_code(draft, operator, weights, groups, block),
        name=draft.original.get(output, output),
        inputs=tuple(_shapes(draft, operator, data)),
        output=_nchw(draft, operator, output),
        weights=weights,
        groups=groups,
        strides=_strides(operator),
        window=_window(draft, operator, weights),
        types=(types[source], types[held] if weights and held else types[source], types[output]),
        fused=operator.fused,
        covers=operator.covers,
    )


def _code(draft: Draft, operator: Operator, weights: Shape, groups: int, block: int) -> str:
    op = operator.op
    if op in {"Conv", "FusedConv"}:
        code = _convolution(operator, weights, groups, block)
    elif op == "QLinearConv":
        pointwise = prod(weights[2:]) == 1 and _strides(operator) == 1
        code = _grouped("qconv", weights, groups) if groups > 1 else "qconv.pointwise" if pointwise else "qconv"
    elif op in {"MatMul", "FusedMatMul"}:
        code = "gemm" if weights else "matmul"
    elif op in {"QLinearMatMul", "MatMulIntegerToFloat"}:
        code = "qgemm" if weights else "matmul.q"
    elif op == "AveragePool" and draft.opset >= DILATED and not operator.blocked:
        code = SLOW_AVERAGE
    elif op in CODES:
        code = CODES[op]
    elif op in ACTIVATIONS:
        code = f"activation.{op.lower()}"
    elif op in {"QLinearSigmoid", "QLinearLeakyRelu"}:
        code = f"qactivation.{op.removeprefix('QLinear').lower()}"
    elif op in {"Resize", "Upsample"}:
        code = f"resize.{operator.attributes.get('mode', 'nearest')}"
    elif op in SHAPES:
        code = "view" if is_view(draft, operator) else "copy"
    else:
        code = f"other.{op}"
    return f"{code}.nchwc" if operator.blocked and op not in {"Conv", *_LAYOUTS} else code


def _convolution(operator: Operator, weights: Shape, groups: int, block: int) -> str:
    pointwise = prod(weights[2:]) == 1 and not any(operator.attributes.get("pads", ()))
    if not operator.blocked:
        if groups > 1:
            return _grouped("conv", weights, groups)
        strided = prod(operator.attributes.get("strides", (1,))) > 1
        return "conv.gemm" if pointwise and not strided else "conv.im2col"
    if "scales" in operator.attributes:
        return "conv.nchwc_scale"
    if groups > 1:
        return _grouped("conv.nchwc", weights, groups, "_")
    if weights[1] < block:
        return "conv.nchwc_first"
    return "conv.nchwc_pointwise" if pointwise else "conv.nchwc"


def _grouped(code: str, weights: Shape, groups: int, joint: str = ".") -> str:
    return f"{code}{joint}depthwise" if weights[1] == 1 and weights[0] == groups else f"{code}{joint}grouped"


def _weights(draft: Draft, operator: Operator, held: str) -> Shape:
    """Return (out, in / groups, *window) of a convolution, (in, out) of a product with a constant."""
    if "scales" in operator.attributes:
        return (int(operator.attributes["group"]), 1, 1, 1)
    if not held or held not in draft.constants:
        return ()
    shape = draft.shapes[held]
    if operator.op == "ConvTranspose":
        groups = int(operator.attributes.get("group", 1))
        return (shape[1] * groups, shape[0] // groups, *shape[2:])
    if operator.op in {"Conv", "FusedConv", "QLinearConv"}:
        return shape
    if len(shape) != 2:
        return ()
    turned = operator.attributes.get("transB")
    return (shape[1], shape[0]) if turned else shape


def _shapes(draft: Draft, operator: Operator, tensors: list[str]) -> list[Shape]:
    shapes = [_nchw(draft, operator, tensor) for tensor in tensors]
    if operator.op == "FusedMatMul":
        for index, turned in enumerate((operator.attributes.get("transA"), operator.attributes.get("transB"))):
            if turned and index < len(shapes):
                *batch, rows, columns = shapes[index]
                shapes[index] = (*batch, columns, rows)
    return shapes


def _nchw(draft: Draft, operator: Operator, tensor: str) -> Shape:
    """Return a shape as ONNX counts it; operators on the last dimension get their rows as they are."""
    shape = draft.shapes[tensor]
    if operator.attributes.get("channels_last") and operator.op not in _LAYOUTS and len(shape) > 2:
        return (shape[0], shape[-1], *shape[1:-1])
    return shape


def _strides(operator: Operator) -> int:
    if operator.op in _POOLS or "Conv" in operator.op:
        return int(prod(operator.attributes.get("strides", (1,))))
    return 1


def _window(draft: Draft, operator: Operator, weights: Shape) -> int:
    if operator.op in _POOLS:
        return int(prod(operator.attributes.get("kernel_shape", (1,))))
    if len(weights) > 2:
        return int(prod(weights[2:]))
    if "Global" in operator.op or operator.op.startswith("Reduce"):
        return prod(draft.shapes[operator.inputs[0]]) // max(1, prod(draft.shapes[operator.output]))
    return int(operator.attributes.get("size", 1)) if operator.op == "LRN" else 1
