"""The codes of kernels, and the operators of the runtime that have them."""

from __future__ import annotations

from collections.abc import Set
from functools import cache

CODES = {
    "Gemm": "gemm",
    "FusedGemm": "gemm",
    "QGemm": "qgemm",
    "ConvTranspose": "convtranspose",
    "MaxPool": "pool.max",
    "AveragePool": "pool.average",
    "GlobalAveragePool": "pool.global_average",
    "GlobalMaxPool": "pool.global_max",
    "QLinearAveragePool": "qpool.average",
    "QLinearGlobalAveragePool": "qpool.global_average",
    "NhwcMaxPool": "qpool.max",
    "ReorderInput": "reorder.in",
    "ReorderOutput": "reorder.out",
    "Add": "add",
    "Sum": "add",
    "Sub": "sub",
    "Mul": "mul",
    "Div": "div",
    "QLinearAdd": "qadd",
    "QLinearMul": "qmul",
    "Concat": "concat",
    "QLinearConcat": "qconcat",
    "Split": "split",
    "Slice": "slice",
    "Gather": "gather",
    "Pad": "pad",
    "Transpose": "transpose",
    "DepthToSpace": "depth_to_space",
    "Softmax": "softmax",
    "QLinearSoftmax": "qsoftmax",
    "LayerNormalization": "layernorm",
    "SkipLayerNormalization": "layernorm.skip",
    "InstanceNormalization": "instancenorm",
    "BatchNormalization": "batchnorm",
    "LRN": "lrn",
    "ReduceMean": "reduce.mean",
    "ReduceMax": "reduce.max",
    "ReduceSum": "reduce.sum",
    "QuantizeLinear": "quantize",
    "DequantizeLinear": "dequantize",
}
DILATED = 19
"""The opset from which on an AveragePool may be dilated; the runtime computes such ones by a slow loop of its own."""
SLOW_AVERAGE = "pool.average.dilated"
ACTIVATIONS = {
    "Relu", "Clip", "Sigmoid", "Tanh", "LeakyRelu", "PRelu", "Elu", "HardSigmoid", "Softplus", "Gelu", "BiasGelu",
    "FastGelu", "QuickGelu", "Erf", "Sqrt", "Exp", "Pow",
}  # fmt: skip
SHAPES = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})
"""Operators that give the same numbers another shape."""

_FAMILIES: dict[str, Set[str]] = {
    "copy": SHAPES,
    "view": SHAPES,
    "qgemm": {"QGemm", "QLinearMatMul", "MatMulIntegerToFloat"},
    "matmul.q": {"QLinearMatMul", "MatMulIntegerToFloat"},
    "conv": {"Conv", "FusedConv"},
    "qconv": {"QLinearConv"},
    "gemm": {"Gemm", "FusedGemm", "MatMul", "FusedMatMul"},
    "matmul": {"MatMul", "FusedMatMul"},
    "resize": {"Resize", "Upsample"},
}


@cache
def operators(code: str) -> frozenset[str]:
    """Return the operators of the runtime, as its profile calls them, that kernels of a code may be."""
    plain = code.removesuffix(".nchwc").removesuffix(".dilated")
    family, _, rest = plain.partition(".")
    named = {op for op, known in CODES.items() if known == plain} | _FAMILIES.get(plain, set())
    if named or family in _FAMILIES:
        return frozenset(named or _FAMILIES[family])
    if family == "activation":
        return frozenset(op for op in ACTIVATIONS if op.lower() == rest)
    if family == "qactivation":
        return frozenset(f"QLinear{op}" for op in ACTIVATIONS if op.lower() == rest)
    return frozenset({rest})
