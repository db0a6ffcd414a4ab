"""Taps in captured graphs see what the modules of the network gave, and leave no trace in the file."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch

from edgekd.distill.taps import Taps
from edgekd.errors import UsageError
from edgekd.export.onnx_file import write
from edgekd.placement.scheme import SCHEMES
from edgekd.quantize.emission import freeze
from edgekd.quantize.prepare import calibrate, prepare
from edgekd.quantize.tapping import tapped
from edgekd.quantize.torch_network import floating
from tests import architectures

PATHS = ("blocks.0.attention.softmax", "blocks.1.attention", "blocks.1", "norm")


@pytest.mark.parametrize("name", ["text-encoder", "vit"])
def test_a_tap_sees_what_its_module_gave_and_a_gradient_passes(name: str, tmp_path: Path) -> None:
    model, inputs = architectures.settled(name), architectures.inputs(name, 8)
    module = prepare(model, inputs[:2], SCHEMES["u8w7"], taps=PATHS)
    calibrate(module, inputs.numpy())
    _, expected = Taps(model, PATHS)(model, inputs)
    with floating(module):
        _, found = Taps(module, [tapped(path) for path in PATHS])(module, inputs)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().mean() < 0.02 * theirs.abs().mean()
    _, (maps, *_) = Taps(module, [tapped(PATHS[0])])(module.train(), inputs)
    maps.square().sum().backward()
    assert module.get_parameter("blocks.0.attention.qkv.weight").grad is not None

    plain = prepare(model, inputs[:2], SCHEMES["u8w7"])
    assert {key for key, _ in plain.named_parameters()} == {key for key, _ in module.named_parameters()}
    write(freeze(module), tmp_path / "tapped.onnx", tuple(inputs.shape[1:]), inputs.dtype)
    assert "Identity" not in {node.op_type for node in onnx.load(tmp_path / "tapped.onnx").graph.node}
    with torch.no_grad():
        frozen, alive = freeze(module)(inputs), module.eval()(inputs)
    assert (frozen - alive).abs().mean() < 0.02 * alive.std()  # biases are rounded, and a few integers by that


def test_a_module_that_is_not_there_is_refused() -> None:
    model, inputs = architectures.settled("text-encoder"), architectures.inputs("text-encoder", 2)
    with pytest.raises(UsageError, match=r"tap 'blocks\.0\.atention': .*did you mean 'blocks\.0\.attention'"):
        prepare(model, inputs, SCHEMES["u8w7"], taps=["blocks.0.atention"])
