"""What onnx itself knows of single operators: attributes, shapes of results, values of small constants."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekd.errors import ExportError

if TYPE_CHECKING:
    import onnx

ONNX = ("", "ai.onnx")
"""Both names of the domain of ONNX's own operators."""
_TYPES = {
    "FLOAT": "f32",
    "FLOAT16": "f16",
    "UINT8": "u8",
    "INT8": "s8",
    "INT32": "s32",
    "INT64": "s64",
    "BOOL": "bool",
}
_KEEPING_SHAPE = {"GroupNormalization", "MeanVarianceNormalization"}
"""Operators onnx has no rule for: the result is as large as the first input."""
Inferred = tuple[tuple[int, ...] | None, str]
"""Shape, or None where it is not known, and type."""


class Operators:
    """The operators in the versions one model imports."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._imports = list(model.opset_import)
        self._ir_version = model.ir_version
        self._versions = {entry.domain or "": entry.version for entry in model.opset_import}
        self._versions.setdefault("", self._versions.get("ai.onnx", 1))

    def infer(
        self,
        node: onnx.NodeProto,
        shapes: Mapping[str, tuple[int, ...]],
        types: Mapping[str, str],
        values: Mapping[str, np.ndarray],
    ) -> dict[str, Inferred]:
        """Return shapes and types of the outputs that onnx can tell; raises ExportError for what does not fit."""
        import onnx
        from onnx import numpy_helper, shape_inference

        given = {name: type_proto(shapes[name], types[name]) for name in node.input if name}
        data = {name: numpy_helper.from_array(values[name], name) for name in node.input if name in values}
        try:
            schema = onnx.defs.get_schema(node.op_type, self._versions[""], "")
            if node.domain not in ONNX and node.op_type not in {"QuantizeLinear", "DequantizeLinear"}:
                return {}
            found = shape_inference.infer_node_outputs(
                schema, node, given, data, opset_imports=self._imports, ir_version=self._ir_version
            )
        except onnx.defs.SchemaError:
            return {}
        except Exception as error:  # onnx raises errors of several unrelated kinds
            reason = " ".join(str(error).split()).removeprefix("[ShapeInferenceError] ")
            raise ExportError(
                f"node '{node.name or node.output[0]}' ({node.op_type}) does not fit its inputs, onnx says: {reason}"
            ) from error
        if node.op_type in _KEEPING_SHAPE:
            return {node.output[0]: (shapes[node.input[0]], types[node.input[0]])}
        return {name: shape_and_type(proto) for name, proto in found.items()}

    def is_optional(self, node: onnx.NodeProto, output: int) -> bool:
        """Return whether the operator may leave out an output."""
        import onnx

        try:
            outputs = onnx.defs.get_schema(node.op_type, self._versions.get(node.domain, 1), node.domain).outputs
        except onnx.defs.SchemaError:
            return False
        stated = outputs[min(output, len(outputs) - 1)]
        return stated.option == onnx.defs.OpSchema.FormalParameterOption.Optional

    def compute(self, node: onnx.NodeProto, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the outputs by onnx's reference implementation; none where it has none for the operator."""
        if node.op_type == "ConstantOfShape":
            return {node.output[0]: _filled(node, values[node.input[0]])}
        from onnx import helper
        from onnx.reference import ReferenceEvaluator

        names = [name for name in node.output if name]
        sources = {name: values[name] for name in node.input if name}
        graph = helper.make_graph(
            [node],
            "constant",
            [
                helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
                for name, array in sources.items()
            ],
            [helper.make_value_info(name, onnx_type()) for name in names],
        )
        try:
            evaluator = ReferenceEvaluator(helper.make_model(graph, opset_imports=self._imports))
            results = evaluator.run(None, sources)
        except Exception:  # whatever a reference implementation raises: then only the shape is known
            return {}
        return {name: np.asarray(value) for name, value in zip(names, results, strict=True)}


def onnx_type() -> onnx.TypeProto:
    """Return the type of a tensor of which nothing is known."""
    import onnx

    return onnx.TypeProto(tensor_type=onnx.TypeProto.Tensor())


def _filled(node: onnx.NodeProto, shape: np.ndarray) -> np.ndarray:
    value = attributes(node).get("value", np.zeros(1, np.float32))
    return np.full(tuple(shape.tolist()), value.reshape(()), value.dtype)


def type_proto(shape: tuple[int, ...], type_: str) -> onnx.TypeProto:
    """Return onnx's description of a tensor."""
    from onnx import TensorProto, helper

    names = {ours: theirs for theirs, ours in _TYPES.items()}
    return helper.make_tensor_type_proto(TensorProto.DataType.Value(names.get(type_, type_.upper())), shape)


def dtype(type_: str) -> np.dtype[Any]:
    """Return numpy's type of a key of `edgekd.kernel.BYTES`."""
    from onnx import helper

    return helper.tensor_dtype_to_np_dtype(type_proto((), type_).tensor_type.elem_type)


def attribute_types(op: str, domain: str, version: int) -> dict[str, Any]:
    """Return the types of an operator's attributes, which an empty list does not tell; none where onnx knows none."""
    import onnx

    try:
        schema = onnx.defs.get_schema(op, version, domain)
    except onnx.defs.SchemaError:
        return {}
    return {name: attribute.type for name, attribute in schema.attributes.items()}


def type_name(number: int) -> str:
    """Return the key of `edgekd.kernel.BYTES` of ONNX's type, or ONNX's own name in small letters."""
    from onnx import TensorProto

    name: str = TensorProto.DataType.Name(number)
    return _TYPES.get(name, name.lower())


def type_name_of(value: np.ndarray) -> str:
    """Return the type of an array likewise."""
    from onnx import helper

    return type_name(helper.np_dtype_to_tensor_dtype(value.dtype))


def shape_and_type(proto: onnx.TypeProto) -> Inferred:
    """Return what onnx's description of a tensor says."""
    tensor = proto.tensor_type
    sizes = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
    shape = tuple(size for size in sizes if size is not None)
    known = tensor.HasField("shape") and len(shape) == len(sizes)
    return (shape if known else None), type_name(tensor.elem_type)


def array(tensor: onnx.TensorProto, folder: Path | None) -> np.ndarray | None:
    """Return the elements of a small tensor; None where they lie in a file that is not there."""
    import onnx
    from onnx import external_data_helper, numpy_helper

    if external_data_helper.uses_external_data(tensor):
        if folder is None:
            return None
        copy = onnx.TensorProto()
        copy.CopyFrom(tensor)
        try:
            external_data_helper.load_external_data_for_tensor(copy, str(folder))
        except (OSError, ValueError, onnx.checker.ValidationError):
            return None
        tensor = copy
    return numpy_helper.to_array(tensor)


def listed(attribute: onnx.AttributeProto) -> np.ndarray:
    """Return the value of a Constant that is written as a number, text or a list of them."""
    from onnx import helper

    value = helper.get_attribute_value(attribute)
    dtype = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
    return np.asarray(value, dtype=dtype.get(attribute.name, np.object_))


def measured(node: onnx.NodeProto, shape: tuple[int, ...]) -> np.ndarray:
    """Return what Shape or Size gives for a tensor of that shape."""
    if node.op_type == "Size":
        return np.asarray(np.prod(shape, dtype=np.int64))
    stated = attributes(node)
    return np.asarray(shape[slice(stated.get("start", 0), stated.get("end"))], dtype=np.int64)


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Return what the node states: numbers, text, tuples of them, arrays."""
    from onnx import helper

    return {entry.name: _plain(helper.get_attribute_value(entry)) for entry in node.attribute}


def _plain(value: Any) -> Any:
    from onnx import TensorProto, numpy_helper

    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, TensorProto):
        return numpy_helper.to_array(value)
    if isinstance(value, int | float | str):
        return value
    return tuple(_plain(part) for part in value) if hasattr(value, "__iter__") else value


def holds_graph(node: onnx.NodeProto) -> bool:
    """Return whether an attribute is a graph, as in If, Loop and Scan."""
    return any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute)


def read(graph: onnx.GraphProto) -> set[str]:
    """Return all tensors some operator reads, also in graphs within operators, and all results of the graph."""
    found = {value.name for value in graph.output} | {name for node in graph.node for name in node.input}
    inner = [part.g for node in graph.node for part in node.attribute if part.HasField("g")]
    return found.union(*(read(branch) for branch in inner))


def identity(source: str, target: str) -> onnx.NodeProto:
    """Return an operator that copies."""
    from onnx import helper

    return helper.make_node("Identity", [source], [target])


def qualified(node: onnx.NodeProto) -> str:
    """Return the operator's name, with its domain where that is not ONNX's own."""
    return node.op_type if node.domain in ONNX else f"{node.domain}.{node.op_type}"
