"""Which layers of an ONNX file are 2:4, as a builder would find them: by their stored weights.

Mishra et al. 2021, https://arxiv.org/abs/2104.08378; see `edgekd.models.two_of_four`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from edgekd.errors import ExportError
from edgekd.models.two_of_four import share

_PASSING = {"Cast", "Identity", "DequantizeLinear", "Transpose"}


def shares(model: onnx.ModelProto) -> dict[str, float]:
    """Return, by the names of the layers whose weights are stored in the file, the share of fours that are 2:4."""
    weights, found = _Weights(model), {}
    for node in model.graph.node:
        axis = _added_up(node)
        weight = None if axis is None else weights.zeros_of(node.input[1])
        if axis is not None and weight is not None and weight.ndim > 1:
            found[node.name or node.output[0]] = share(weight, axis)
    return found


def is_sparse(path: Path) -> bool:
    """Return whether any layer of a file is 2:4 throughout, which is what builders look for."""
    return 1.0 in shares(onnx.load(path)).values()


def refuse_lost(path: Path, layers: int) -> None:
    """Raise ExportError where fewer than `layers` of a file are 2:4."""
    found = list(shares(onnx.load(path)).values())
    if found.count(1.0) < layers:
        raise ExportError(
            f"{path.name}: {layers} layers of the network are 2:4, of the file {found.count(1.0)}; "
            "something between the two has moved weights that were zero"
        )


def _added_up(node: onnx.NodeProto) -> int | None:
    """Return the axis of a layer's weight along which products are added up; None for what is no layer."""
    if node.op_type == "Conv":
        return 1
    if node.op_type == "Gemm":
        return 1 if any(given.name == "transB" and given.i for given in node.attribute) else 0
    return -2 if node.op_type == "MatMul" else None


class _Weights:
    """The stored weights of a file, whatever stands between them and the layer that reads them."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._stored = {tensor.name: tensor for tensor in model.graph.initializer}
        self._makers = {name: node for node in model.graph.node for name in node.output}

    def zeros_of(self, name: str) -> NDArray[Any] | None:
        """Return an array that is zero where the weight is; None where it is not stored in the file itself."""
        if name in self._stored:
            return self._read(name)
        maker = self._makers.get(name)
        if maker is None or maker.op_type not in _PASSING:
            return None
        read = self.zeros_of(maker.input[0])
        if read is None or maker.op_type in {"Cast", "Identity"}:
            return read
        given = {attribute.name: attribute for attribute in maker.attribute}
        if maker.op_type == "Transpose":
            return read.transpose(list(given["perm"].ints) if "perm" in given else None)
        point = self._read(maker.input[2]) if len(maker.input) > 2 else None
        return read if point is None else self._centred(read, point, given["axis"].i if "axis" in given else 1)

    def _read(self, name: str) -> NDArray[Any] | None:
        tensor = self._stored.get(name)
        if tensor is None or tensor.data_location == TensorProto.EXTERNAL:
            return None
        return numpy_helper.to_array(tensor)

    @staticmethod
    def _centred(integers: NDArray[Any], point: NDArray[Any], axis: int) -> NDArray[Any]:
        """Return integers without their zero point, which is one, one a channel, or one a block of an axis."""
        if point.ndim == 1 and point.size > 1:
            point = point.reshape([-1 if at == axis % integers.ndim else 1 for at in range(integers.ndim)])
        elif point.size > 1:
            point = np.repeat(point, -(-integers.shape[axis] // point.shape[axis]), axis).take(
                range(integers.shape[axis]), axis
            )
        return integers.astype(np.int32) - point.astype(np.int32)
