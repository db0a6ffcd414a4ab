"""What keeps a Q/DQ file from running in integers on a runtime, told by node: `edgekd lint`.

The rules are what the runtimes' documents ask for and what reading their executed graphs has shown; a file without a
finding may still be slow, one with a finding is slow or refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import onnx
from onnx import numpy_helper

from edgekd.errors import UsageError, suggestion
from edgekd.export.sparse_layers import shares

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
_LAYERS = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
_STANDARD = {"", "ai.onnx"}
_FOUR_BITS = {onnx.TensorProto.INT4, onnx.TensorProto.UINT4}
_PACKED_BLOCKS = {16, 32, 64, 128, 256}
_NEARLY = 0.9
"""Share of 2:4 fours from which on somebody seems to have meant all of them."""


class Finding(NamedTuple):
    """One fault: where it is, and what to do."""

    node: str
    fault: str
    remedy: str

    def text(self) -> str:
        """Return it as one line."""
        return f"{self.node}: {self.fault}; {self.remedy}"


class _File:
    """A model with the questions the rules ask."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.nodes = list(model.graph.node)
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self.makers = {name: node for node in self.nodes for name in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)

    def pairs(self, op: str) -> Iterator[onnx.NodeProto]:
        yield from (node for node in self.nodes if node.op_type == op)

    def packed(self) -> Iterator[tuple[onnx.NodeProto, onnx.TensorProto, int, int]]:
        """Yield what unpacks stored weights of four bits: node, weight, axis and block; 0 is no block."""
        for node in self.pairs(DEQUANTIZE):
            weight = self.constants.get(node.input[0])
            if weight is not None and weight.data_type in _FOUR_BITS:
                given = {attribute.name: attribute.i for attribute in node.attribute}
                yield node, weight, given.get("axis", 1) % max(len(weight.dims), 1), given.get("block_size", 0)

    def zero_point(self, node: onnx.NodeProto) -> np.ndarray | None:
        name = node.input[2] if len(node.input) > 2 else ""
        return numpy_helper.to_array(self.constants[name]) if name in self.constants else None


Rule = Callable[[_File], Iterator[Finding]]


def _name(node: onnx.NodeProto) -> str:
    return node.name or (node.output[0] if node.output else node.op_type)


def _private_operators(file: _File) -> Iterator[Finding]:
    for node in file.nodes:
        if node.domain not in _STANDARD:
            fault = f"the operator {node.domain}.{node.op_type} is of a private domain"
            yield Finding(_name(node), fault, "write it with ONNX's own operators")


def _asymmetric(file: _File) -> Iterator[Finding]:
    for node in file.pairs(QUANTIZE):
        point = file.zero_point(node)
        if point is not None and point.any():
            fault = f"its zero point is {point.reshape(-1)[0]}, integers have to be symmetric"
            yield Finding(_name(node), fault, "quantize with scheme s8")
        elif point is None or point.dtype != np.int8:
            yield Finding(_name(node), "it makes unsigned integers", "quantize with scheme s8")


def _shared_pairs(file: _File) -> Iterator[Finding]:
    for node in file.pairs(QUANTIZE):
        readers = file.readers.get(node.output[0], [])
        others = [reader for reader in readers if reader.op_type != DEQUANTIZE]
        if others:
            fault = f"its integers are read by {others[0].op_type} '{_name(others[0])}' without a DequantizeLinear"
            yield Finding(_name(node), fault, "put one between")
        elif len(readers) > 1:
            fault = f"{len(readers)} DequantizeLinear read it, one is expected"
            yield Finding(_name(node), fault, "let their readers share one")


def _integer_biases(file: _File) -> Iterator[Finding]:
    for node in file.pairs(DEQUANTIZE):
        constant = file.constants.get(node.input[0])
        if constant is not None and constant.data_type == onnx.TensorProto.INT32:
            yield Finding(_name(node), "a bias is stored as 32-bit integers", "store it in float32")


def _float_weights(file: _File) -> Iterator[Finding]:
    for node in file.pairs(QUANTIZE):
        constant = file.constants.get(node.input[0])
        if constant is not None and len(constant.dims) > 1:
            fault = "a stored weight is rounded while the network runs, and its layer stays in float"
            yield Finding(_name(node), fault, "store the weight as 8-bit integers behind a DequantizeLinear")


def _shared_zero_points(file: _File) -> Iterator[Finding]:
    """OpenVINO 2026.4 leaves layers in float where a convolution and a product share a zero point for each channel."""
    kinds: dict[str, set[str]] = {}
    first: dict[str, onnx.NodeProto] = {}
    for node in file.pairs(DEQUANTIZE):
        point = file.zero_point(node)
        if point is None or point.size < 2 or node.input[0] not in file.constants:
            continue
        layers = {reader.op_type for reader in file.readers.get(node.output[0], [])} & _LAYERS
        kinds.setdefault(node.input[2], set()).update("Conv" if op.startswith("Conv") else "MatMul" for op in layers)
        first.setdefault(node.input[2], node)
    for name, found in kinds.items():
        if len(found) > 1:
            fault = f"a convolution and a matrix product share the zero point '{name}', which leaves them in float"
            yield Finding(_name(first[name]), fault, "give each weight a zero point of its own")


def _activations_between(file: _File) -> Iterator[Finding]:
    """ONNX Runtime has integer convolutions only with integers on both sides."""
    for node in file.nodes:
        if node.op_type != "Conv":
            continue
        maker = file.makers.get(node.input[1])
        if maker is None or maker.op_type != DEQUANTIZE:
            continue
        readers = file.readers.get(node.output[0], [])
        if len(readers) == 1 and readers[0].op_type in {"Relu", "Clip"}:
            readers = file.readers.get(readers[0].output[0], [])
        if not any(reader.op_type == QUANTIZE for reader in readers):
            fault = "its weight is integers, but no QuantizeLinear reads its result, so it runs in float"
            yield Finding(_name(node), fault, "quantize its result, or leave its weight in float")


def _unpacked_weights(file: _File) -> Iterator[Finding]:
    """ONNX Runtime has kernels for four bits where a product reads them, inputs first (`MatMulNBits`)."""
    for node, weight, axis, block in file.packed():
        readers = file.readers.get(node.output[0], [])
        is_factor = all(reader.op_type == "MatMul" and reader.input[1] == node.output[0] for reader in readers)
        if not is_factor or len(weight.dims) != 2 or axis != 0 or block not in _PACKED_BLOCKS:
            fault = "its weights of four bits are unpacked in every run"
            remedy = "let a MatMul read them, (inputs, outputs) in blocks of 16, 32, 64, 128 or 256 along axis 0"
            yield Finding(_name(node), fault, remedy)


def _broken_blocks(file: _File) -> Iterator[Finding]:
    """OpenVINO 2026.4 converts whole blocks only."""
    for node, weight, axis, block in file.packed():
        if block and weight.dims[axis] % block:
            fault = f"{weight.dims[axis]} weights along axis {axis} are no multiple of its block_size {block}"
            yield Finding(_name(node), fault, "choose a block_size that divides them, or leave this weight in float")


def _unsigned_weights(file: _File) -> Iterator[Finding]:
    for node, weight, *_ in file.packed():
        if weight.data_type == onnx.TensorProto.UINT4:
            yield Finding(_name(node), "its weights of four bits are unsigned", "quantize with scheme w4")


def _nearly_two_of_four(file: _File) -> Iterator[Finding]:
    """TensorRT looks for kernels that skip zeros where every four is 2:4, and for no others."""
    for name, share in shares(file.model).items():
        if _NEARLY <= share < 1:
            fault = f"{share:.2%} of its fours of weights are 2:4, which is not all"
            yield Finding(name, fault, "keep its zeros while it trains, as the stage sparsify does, or leave it dense")


RULES: dict[str, tuple[Rule, ...]] = {
    "onnxruntime": (_float_weights, _activations_between, _unpacked_weights),
    "openvino": (_private_operators, _float_weights, _shared_zero_points, _broken_blocks),
    "tensorrt": (
        _private_operators,
        _asymmetric,
        _shared_pairs,
        _integer_biases,
        _float_weights,
        _unsigned_weights,
        _nearly_two_of_four,
    ),
}
RULES["tensorrt-rtx"] = RULES["tensorrt"]


def lint(model: onnx.ModelProto, runtime: str, opset_most: int | None = None) -> list[Finding]:
    """Return what is wrong with a quantized model for a runtime whose parser reads opsets up to `opset_most`.

    Raises UsageError for a runtime without rules and for a model without integers.
    """
    if runtime not in RULES:
        raise UsageError(f"there are no rules for '{runtime}'; {suggestion(runtime, RULES)}", runtime)
    file = _File(model)
    if not any(node.op_type in {QUANTIZE, DEQUANTIZE} for node in file.nodes):
        raise UsageError("the network holds no QuantizeLinear and no DequantizeLinear; quantize it first")
    found = [finding for rule in RULES[runtime] for finding in rule(file)]
    version = max((entry.version for entry in model.opset_import if entry.domain in _STANDARD), default=1)
    if opset_most is not None and version > opset_most:
        fault = f"it is of ONNX opset {version}, the parser reads up to {opset_most}"
        found.append(Finding("the file", fault, "export it with an earlier opset"))
    return found
