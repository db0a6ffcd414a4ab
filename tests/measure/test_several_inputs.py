"""An engine with an integer and a float input, from the folder of inputs to the figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgekd.measure.engine import Engine
from edgekd.measure.evaluate import outputs
from edgekd.measure.meter import Setup, create
from tests.measure.tiny_engines import write_openvino


def _write(path: Path) -> Path:
    """Write a network that adds an int64 and a float32 input of (N, 4)."""
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["ids"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["ids", "mask"], ["sum"]),
    ]
    types = {"input_ids": TensorProto.INT64, "mask": TensorProto.FLOAT, "sum": TensorProto.FLOAT}
    ids, mask, result = (helper.make_tensor_value_info(name, kind, ["batch", 4]) for name, kind in types.items())
    graph = helper.make_graph(nodes, "two", [ids, mask], [result])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_each_input_has_its_own_file_and_type(runtime: str, tmp_path: Path, setup_: Setup) -> None:
    source = _write(tmp_path / "two.onnx")
    path = source if runtime == "onnxruntime" else write_openvino(source, tmp_path / "two")
    folder = tmp_path / "inputs"
    folder.mkdir()
    ids, mask = np.arange(40).reshape(10, 4), np.linspace(0, 1, 40, dtype=np.float32).reshape(10, 4)
    np.save(folder / "0-input_ids.npy", ids)
    np.save(folder / "1-mask.npy", mask)
    engine = Engine("two", "fp32", runtime, path, "d", inputs=folder)
    found = outputs(engine, folder, tmp_path / "out.npy", batch=4, connection=setup_.connection)
    np.testing.assert_allclose(found, ids + mask, rtol=1e-6)
    reading = create("latency", {"processes": 1}).measure([engine], setup_)
    assert reading.figures[engine.key][0].value > 0
