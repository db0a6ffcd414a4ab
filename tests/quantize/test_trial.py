"""Integers are kept where they are faster, and only there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgekd import target as targets
from edgekd.errors import UsageError
from edgekd.export.onnx_file import write
from edgekd.placement.scheme import SCHEMES
from edgekd.quantize.calibration import CalibrationConfig
from edgekd.quantize.post_training import quantize_file
from edgekd.quantize.trial import inputs_of, tried
from edgekd.stage import Progress
from tests.models import INPUT_SHAPE, settled
from tests.onnx_graph.onnx_graphs import model

TARGET = targets.load("x86-avx2")
ONE = TARGET.replace(runtimes=("onnxruntime",), quantization={"onnxruntime": TARGET.quantization["onnxruntime"]})


class Wide(nn.Module):
    """Two broad convolutions: work that integers do in half the time."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 128, 3, padding=1), nn.ReLU(), nn.Conv2d(128, 128, 3), nn.ReLU())
        self.head = nn.Linear(128, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layers(x).mean((2, 3)))


@pytest.mark.parametrize(
    ("network", "verdict"), [(Wide(), "faster"), (settled("mlp"), "not faster")], ids=["wide", "mlp"]
)
def test_a_network_that_loses_by_integers_is_told_from_one_that_gains(
    network: nn.Module, verdict: str, tmp_path: Path
) -> None:
    write(network.eval(), tmp_path / "float.onnx", INPUT_SHAPE)
    samples = np.random.default_rng(0).standard_normal((16, *INPUT_SHAPE), np.float32)
    np.savez(tmp_path / "data.npz", inputs=samples)
    progress = Progress()
    assert (inputs_of(tmp_path / "float.onnx", tmp_path / "data.npz", progress) == samples).all()
    quantized = tmp_path / "integers.onnx"
    quantize_file(tmp_path / "float.onnx", samples, ONE, SCHEMES["u8w7"], quantized, config=CalibrationConfig())
    found = tried(
        quantized, tmp_path / "float.onnx", ONE, tmp_path / "data.npz",
        time_limit_s=60, raw=tmp_path / "raw", progress=progress,
    )  # fmt: skip
    assert found.verdict == verdict
    assert found.lines()[0].startswith("  onnxruntime: ")


def test_a_network_of_several_inputs_is_refused(tmp_path: Path) -> None:
    import onnx

    onnx.save(model("g (float[N,3] a, float[N,3] b) => (float[N,3] y) { y = Add(a, b) }"), tmp_path / "two.onnx")
    np.savez(tmp_path / "data.npz", a=np.zeros((4, 3), np.float32), b=np.zeros((4, 3), np.float32))
    with pytest.raises(UsageError, match="several inputs"):
        inputs_of(tmp_path / "two.onnx", tmp_path / "data.npz", Progress())
