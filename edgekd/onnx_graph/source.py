"""ONNX files as they come: opened without their big weights, and with every size of their inputs settled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgekd.errors import TargetError, UsageError, suggestion

if TYPE_CHECKING:
    import onnx


def opened(network: Path | onnx.ModelProto) -> tuple[onnx.ModelProto, Path | None]:
    """Return the model, with the functions it defines written out, and the folder its external data lie in.

    Raises UsageError for a file that is missing, cut off or something else, TargetError when onnx is not installed.
    """
    try:
        import onnx
        from onnx import inliner
    except ImportError as error:
        raise TargetError("reading ONNX files takes onnx, which is not installed; run: pip install onnx") from error
    if isinstance(network, onnx.ModelProto):
        model, folder, called = network, None, "the model"
    else:
        path = Path(network)
        model, folder, called = _parsed(path), path.parent, str(path)
    if not model.graph.node and not model.graph.output:
        raise UsageError(f"{called} is damaged or no ONNX file: it holds no graph; copy or export it again")
    return (inliner.inline_local_functions(model) if model.functions else model), folder


def _parsed(path: Path) -> onnx.ModelProto:
    import onnx

    if not path.is_file():
        raise UsageError(f"there is no file {path}; give an .onnx file")
    try:
        return onnx.load(path, format="protobuf", load_external_data=False)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # protobuf's own error, whose type differs between its implementations
        raise UsageError(f"{path} is damaged or no ONNX file; copy or export it again") from error


def input_shapes(model: onnx.ModelProto, given: Mapping[str, Sequence[int]]) -> dict[str, tuple[int, ...]]:
    """Return the shape of every input that is read and is no constant.

    Sizes are those of the file, then those `given`; one free first dimension is 1, and so is every other of its name.
    Raises UsageError for a size that stays free, and for shapes that fit no input.
    """
    inputs = _fed(model)
    for name in given:
        if name not in inputs:
            raise UsageError(f"there is no input '{name}' to give a shape; {suggestion(name, inputs)}", word=name)
    declared = {name: _declared(value) for name, value in inputs.items()}
    sizes: dict[str, int] = {}
    for name, shape in given.items():
        sizes |= _matched(name, declared[name], tuple(shape))
    for dims in declared.values():
        if dims and isinstance(dims[0], str) and dims[0]:
            sizes.setdefault(dims[0], 1)
    return {
        name: tuple(given[name]) if name in given else _settled(name, dims, sizes) for name, dims in declared.items()
    }


def _fed(model: onnx.ModelProto) -> dict[str, onnx.ValueInfoProto]:
    stored = {tensor.name for tensor in model.graph.initializer}
    stored |= {tensor.values.name for tensor in model.graph.sparse_initializer}
    read = {name for node in model.graph.node for name in node.input} | {value.name for value in model.graph.output}
    return {value.name: value for value in model.graph.input if value.name in read - stored}


def _declared(value: onnx.ValueInfoProto) -> tuple[int | str, ...] | None:
    """Return the sizes the file states, a free one as its name or ""; None where not even their number is known."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return tuple(dim.dim_value if dim.dim_value > 0 else dim.dim_param for dim in tensor.shape.dim)


def _matched(name: str, dims: tuple[int | str, ...] | None, shape: tuple[int, ...]) -> dict[str, int]:
    """Return the named sizes a given shape settles."""
    fits = dims is None or (
        len(dims) == len(shape)
        and all(isinstance(dim, str) or dim == size for dim, size in zip(dims, shape, strict=True))
    )
    if not fits or any(size < 1 for size in shape):
        raise UsageError(f"input '{name}' is {_text(dims)}, the shape given is {_text(shape)}", word=name)
    return {dim: size for dim, size in zip(dims or (), shape, strict=False) if isinstance(dim, str) and dim}


def _settled(name: str, dims: tuple[int | str, ...] | None, sizes: Mapping[str, int]) -> tuple[int, ...]:
    if dims is not None:
        first = [1 if dim == "" else dim for dim in dims[:1]]
        settled = [sizes.get(dim, dim) if isinstance(dim, str) else dim for dim in (*first, *dims[1:])]
        shape = tuple(size for size in settled if isinstance(size, int))
        if len(shape) == len(dims):
            return shape
    example = "x".join("224" if isinstance(dim, str) else str(dim) for dim in dims or ()) or "1x3x224x224"
    if dims and isinstance(dims[0], str):
        example = f"1{example[3:]}"
    raise UsageError(f"input '{name}' has free sizes, {_text(dims)}; give --shape {name}={example}", word=name)


def _text(shape: Sequence[int | str] | None) -> str:
    return "of unknown rank" if shape is None else "x".join(str(size) or "?" for size in shape) or "a single number"
