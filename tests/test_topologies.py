"""The networks on which the latency predictor is judged: they run, are what they say, and are the same every time."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from edgekd.recipe import ModelSpec
from edgekd.search import space
from tools.topologies import classics, members, topologies
from tools.topologies.__main__ import write
from tools.topologies.residual import WIDTHS, stages

SMALL = {
    "space_mobilenet_025_050_28": [(1, 10)],
    "pruned_resnet20_32": [(1, 10)],
    "shufflenet_v2_050_160": [(1, 1000)],
    "vit_small_images_32": [(1, 1000)],
    "autoencoder_64": [(1, 3, 64, 64)],
    "tiny_yolo_v3_half_256": [(1, 255, 8, 8), (1, 255, 16, 16)],
    "squeezenet": [(1, 1000, 1, 1)],
}


def _results(model: onnx.ModelProto) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    return session.run(None, {given.name: np.random.default_rng(1).standard_normal(given.shape, np.float32)})


def _weights(model: onnx.ModelProto) -> list[np.ndarray]:
    arrays = [numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    return [array for array in arrays if array.dtype == np.float32 and array.size > 8]


@pytest.mark.parametrize("name", SMALL)
def test_a_network_is_valid_and_runs(name: str) -> None:
    model = topologies()[name]()

    onnx.checker.check_model(model, full_check=True)
    results = _results(model)

    assert [result.shape for result in results] == SMALL[name]
    assert all(np.isfinite(result).all() and result.std() > 1e-4 for result in results)
    assert model.graph.name == name
    assert model.ir_version <= 10
    nodes = [node.name for node in model.graph.node]
    assert all(nodes)
    assert len(set(nodes)) == len(nodes)
    assert all(abs(array).min() > 1e-30 for array in _weights(model))


def test_there_are_enough_and_names_are_file_names() -> None:
    names = topologies().keys()

    assert len(names) >= 44
    assert set(classics.NAMES) <= names
    assert len(classics.NAMES) == 9
    assert all(re.fullmatch(r"[a-z0-9_]+", name) for name in names)
    assert sum(name.startswith("pruned_") for name in names) >= 8
    assert len(members.TOPOLOGIES) >= 8


def test_members_belong_to_the_space() -> None:
    choices = space.create("resnet", {}, ModelSpec(name="resnet", options={"depth": 32}), 8).choices()
    found = {(choice.options["depth"], *choice.options["channels"]) for choice in choices}
    own = {build.args[1:] for build in members.TOPOLOGIES.values() if build.func is members.resnet}

    assert len(own) >= 6
    assert own <= found


def test_pruned_widths_are_odd_and_sums_fit() -> None:
    convolutions = [array for array in _weights(topologies()["pruned_resnet20_32"]()) if array.ndim == 4]
    widths = [array.shape[0] for array in convolutions]
    full = [width for block in stages(WIDTHS, [3] * 3) for width in (block.inner, block.outputs)]

    assert len(widths) == 1 + len(full) + 2
    assert all(width % 4 for width in widths)
    assert max(widths) < max(full)


def test_writing_twice_writes_once_and_the_same(tmp_path: Path) -> None:
    names = ["lenet5_28", "space_resnet8_8_8_16_28"]

    assert write(tmp_path / "first", names) == names
    assert write(tmp_path / "second", names) == names
    (tmp_path / "second" / "lenet5_28.int8.onnx").unlink()

    assert write(tmp_path / "first", names) == []
    assert write(tmp_path / "second", names) == ["lenet5_28"]
    contents = [{path.name: path.read_bytes() for path in (tmp_path / run).iterdir()} for run in ("first", "second")]
    assert contents[0] == contents[1]
    assert contents[0].keys() == {f"{name}{kind}.onnx" for name in names for kind in ("", ".int8")}
