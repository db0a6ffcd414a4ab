"""TensorRT's parser and builder take what edgekd writes: ten networks, in half precision and in symmetric integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from edgekd.errors import ExportError, TargetError
from edgekd.export import onnx_file
from edgekd.export.backends.tensorrt_rtx import TensorRtRtx
from edgekd.export.half import halved
from edgekd.onnx_graph.quantized import quantized
from edgekd.placement.scheme import scheme_named
from edgekd.quantize.emission import freeze
from edgekd.quantize.prepare import calibrate, prepare
from tests.models import INPUT_SHAPE, settled
from tools.topologies import topologies

NETWORKS = (
    "resnet20_28",
    "mobilenet_v2_100_32",
    "mobilenet_v3_small_075_128",
    "densenet_bc_40_32",
    "convnext_atto_160",
    "unet_transposed_96",
    "shufflenet_v2_050_160",
    "efficientnet_lite0_224",
    "vit_small_images_32",
    "bert_tiny_128",
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("networks")


def written(name: str, folder: Path) -> Path:
    path = folder / f"{name}.onnx"
    if not path.is_file():
        onnx.save(topologies()[name](), path)
    return path


def integers(scheme: str, folder: Path) -> Path:
    """Write what the quantize stage makes of a small network."""
    images = np.random.default_rng(0).standard_normal((16, *INPUT_SHAPE)).astype(np.float32)
    network = prepare(settled("residual"), torch.from_numpy(images[:2]), scheme_named(scheme))
    calibrate(network, images)
    onnx_file.write(freeze(network), folder / f"{scheme}.onnx", INPUT_SHAPE)
    return folder / f"{scheme}.onnx"


@pytest.mark.parametrize("name", NETWORKS)
def test_half_precision_is_accepted(name: str, files: Path, tmp_path: Path) -> None:
    halved(written(name, files), tmp_path / "half.onnx")
    engine = TensorRtRtx().build(tmp_path / "half.onnx", tmp_path)
    assert engine.stat().st_size > 10_000


@pytest.mark.parametrize("name", NETWORKS)
def test_symmetric_integers_are_accepted(name: str, files: Path, tmp_path: Path) -> None:
    model = quantized(onnx.load(written(name, files)), symmetric=True)
    assert sum(node.op_type == "QuantizeLinear" for node in model.graph.node) > 5
    onnx.save(model, tmp_path / "s8.onnx")
    engine = TensorRtRtx().build(tmp_path / "s8.onnx", tmp_path)
    assert engine.stat().st_size > 10_000


def test_what_the_quantizer_writes_is_accepted_in_s8_and_refused_in_u8(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert TensorRtRtx().build(integers("s8", tmp_path), tmp_path).is_file()
    refusal = r"refuses the operator \w+Linear '.+' of module '\w+.*' in u8w8.onnx: .*zero"
    with pytest.raises(ExportError, match=refusal):
        TensorRtRtx().build(integers("u8w8", tmp_path), tmp_path)
    assert capfd.readouterr() == ("", "")


def test_an_operator_nobody_knows_is_named(tmp_path: Path) -> None:
    node = helper.make_node("Unheard", ["input"], ["logits"], name="encoder.block/unheard", domain="made.up")
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("input", "logits")]
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("made.up", 1)]
    graph = helper.make_graph([node], "g", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), tmp_path / "odd.onnx")
    refusal = r"refuses the operator Unheard 'encoder\.block/unheard' of module 'encoder\.block'"
    with pytest.raises(ExportError, match=refusal):
        TensorRtRtx().build(tmp_path / "odd.onnx", tmp_path)


def test_a_gpu_it_does_not_build_for_is_refused_with_those_it_does(tmp_path: Path) -> None:
    backend = TensorRtRtx(TensorRtRtx.Config(compute_capability="9.0"))
    path = integers("s8", tmp_path)
    with pytest.raises(TargetError, match=r"builds for compute capability .*8\.9.*, not for 9\.0"):
        backend.build(path, tmp_path)
