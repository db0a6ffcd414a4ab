"""The whole chain on a device with TensorRT: built there, proved there, measured there, bound to it by its key.

TensorRT and the GPU are simulated (tests/connection/simulated); that the calls are those of the real one is checked
against its bindings (tests/runtime/test_tensorrt_api.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import Result
from onnx import TensorProto, helper, numpy_helper

from edgekd import bundle
from edgekd.artifact import digest_of_path
from edgekd.budget import OperatingPoint
from edgekd.connection.device import named
from edgekd.connection.ssh import remote
from edgekd.errors import ExportError, MeasurementError, TargetError
from edgekd.export.on_target import BuiltThere
from edgekd.measure.engine import Engine
from edgekd.measure.layers import measure_layers
from edgekd.measure.meter import Setup
from edgekd.profile import Profile
from edgekd.runtime import tensorrt_key
from edgekd.schema import read_json
from tests.connection import sshd
from tests.connection.boards import QUICK, board, run, with_tensorrt

pytestmark = pytest.mark.skipif(sshd.PROGRAM is None, reason="no sshd here: install the package openssh-server")


@pytest.fixture(scope="module", autouse=True)
def _served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("orin")
    with board(folder, "my-orin", "jetson-orin-nano"):
        with_tensorrt(folder / "site")
        yield


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory, _served: None) -> tuple[Path, Result]:
    folder = tmp_path_factory.mktemp("tensorrt") / "run"
    once = ("--set", "stages.measure.processes=1")  # it is a simulator that is timed
    return folder, run(
        "--smoke", "--target", "my-orin", "--device", "board", "--run-folder", str(folder), *QUICK, *once
    )


def shipped(folder: Path) -> Engine:
    """Return the engine of a bundle."""
    manifest = bundle.verify(folder / "bundle")
    engine = manifest.engines["tensorrt"]
    path = (folder / "bundle" / engine.path).parent
    return Engine("net", engine.variant, "tensorrt", path, digest_of_path(path))


def test_the_figures_are_the_devices(ended: tuple[Path, Result]) -> None:
    folder, answer = ended
    assert "not measured on the device" not in answer.stdout
    profile = read_json(Profile, folder / "profile.json")
    assert (profile.target, profile.origin, profile.versions["tensorrt"]) == ("my-orin", "device", "10.3.0")
    assert profile.machine["gpu"]["compute_capability"] == "8.7"
    assert {(r.scheme, r.runtime) for r in profile.records} == {("fp16", "tensorrt"), ("s8", "tensorrt")}


def test_the_bundle_holds_the_engine_with_its_key(ended: tuple[Path, Result]) -> None:
    engine = shipped(ended[0])
    assert {file.name for file in engine.files} == {tensorrt_key.ENGINE, tensorrt_key.KEY, "model.onnx"}
    key = json.loads((engine.path / tensorrt_key.KEY).read_text())
    assert key.pop("digest") == tensorrt_key.digest_of(str(engine.path / tensorrt_key.ENGINE))
    assert key == {"GPU": "Simulated Orin", "TensorRT": "10.3.0", "compute capability": "8.7", "driver": "12.6"}


def test_layers_name_what_only_changes_a_layout(ended: tuple[Path, Result], tmp_path: Path) -> None:
    np.save(tmp_path / "inputs.npy", np.zeros((2, 1, 28, 28), np.float32))
    with remote(named("board")) as connection:
        setup = Setup(tmp_path / "inputs.npy", OperatingPoint(), 90, "device", connection, tmp_path / "raw")
        table = measure_layers(shipped(ended[0]), setup)
    assert [(layer.op, layer.executed_as) for layer in table.layers] == [
        ("Reformat", "tensorrt"),
        ("Layer", "tensorrt"),
    ]
    assert table.layers_ms == pytest.approx(0.011)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("GPU", "Another", "was built by GPU Another, here it is Simulated Orin; build it again on this device"),
        ("TensorRT", "8.5.2", r"was built by TensorRT 8\.5\.2, here it is 10\.3\.0"),
        ("digest", "0" * 64, "is not the file its key was written for"),
        (None, None, "has no key that can be read"),
    ],
)
def test_an_engine_of_another_device_is_never_loaded(
    ended: tuple[Path, Result], tmp_path: Path, name: str | None, value: str | None, said: str
) -> None:
    path = tmp_path / "tensorrt"
    path.mkdir()
    for file in shipped(ended[0]).files:
        (path / file.name).write_bytes(file.read_bytes())
    key = json.loads((path / tensorrt_key.KEY).read_text())
    (path / tensorrt_key.KEY).write_text(json.dumps({**key, name: value}) if name else "")
    np.save(tmp_path / "inputs.npy", np.zeros((2, 1, 28, 28), np.float32))
    with remote(named("board")) as connection, connection.start("net") as child:
        called = Engine("net", "s8", "tensorrt", path, "").called(OperatingPoint(), tmp_path / "inputs.npy", connection)
        with pytest.raises(MeasurementError, match=said):
            child.ask({"verb": "time", "step": "open", **called}, 60)


def test_a_refused_operator_is_named_with_its_module(tmp_path: Path) -> None:
    shape = ["N", 2, 2]
    node = helper.make_node("Det", ["x"], ["y"], name="head/volume/det")
    graph = helper.make_graph(
        [node],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), tmp_path / "model.onnx")
    with remote(named("board")) as connection, pytest.raises(ExportError) as caught:
        BuiltThere("tensorrt", connection).build(tmp_path / "model.onnx", tmp_path)
    said = "TensorRT 10.3.0 refuses the operator Det 'head/volume/det' of module 'head/volume' in model.onnx"
    assert said in str(caught.value)
    assert not (tmp_path / "tensorrt").exists()


def test_a_target_of_another_major_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"has TensorRT 10\.3\.0, and jetson-agx-orin-jetpack7 is about TensorRT 11"):
        run(
            *("--smoke", "--target", "jetson-agx-orin-jetpack7", "--device", "board"),
            *("--run-folder", str(tmp_path / "run")),
        )


def test_a_runtime_that_cannot_be_run_yet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="is aarch64, and rtx-ada is x86_64"):
        run("--smoke", "--target", "rtx-ada", "--device", "board", "--run-folder", str(tmp_path / "run"))


@pytest.mark.parametrize("sparse", [True, False], ids=["sparse", "dense"])
def test_the_builder_looks_for_zeros_where_a_layer_has_two_of_four(sparse: bool, tmp_path: Path) -> None:
    weight = np.tile(np.array([0, 1, 0, 1] if sparse else [1, 1, 0, 1], np.float32)[:, None], (2, 4))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size]) for name, size in (("x", 8), ("y", 4))]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "net",
        ends[:1],
        ends[1:],
        [numpy_helper.from_array(weight, "w")],
    )
    file = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.save(file, tmp_path / "model.onnx")
    with remote(named("board")) as connection:
        engine = BuiltThere("tensorrt", connection).build(tmp_path / "model.onnx", tmp_path)
    head = json.loads((engine / tensorrt_key.ENGINE).read_bytes().partition(b"\n")[0])
    assert head["flags"] == (["SPARSE_WEIGHTS"] if sparse else [])
