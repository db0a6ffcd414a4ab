"""A NoNorm in front of a linear layer leaves the file, wherever that layer alone reads it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from edgekd.export.onnx_file import write
from edgekd.models.transformer import Block, NoNorm

TOKENS, WIDTH = 5, 8


class Scaled(nn.Module):
    """A NoNorm and a linear layer; `reread`: somebody else reads what is between them."""

    def __init__(self, *, bias: bool = True, reread: bool = False) -> None:
        super().__init__()
        self.norm = NoNorm(WIDTH)
        self.linear = nn.Linear(WIDTH, WIDTH, bias=bias)
        self.reread = reread

    def forward(self, x: Tensor) -> Tensor:
        scaled = self.norm(x)
        out: Tensor = self.linear(scaled)
        return out + scaled if self.reread else out


class ByOne(nn.Module):
    """Every channel times the same number, plus the same one."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.tensor([1.5])), nn.Parameter(torch.tensor([0.5]))
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(x * self.scale + self.shift)
        return out


def settled(model: nn.Module) -> nn.Module:
    """Return a module whose scales and shifts differ from channel to channel."""
    torch.manual_seed(0)
    for part in model.modules():
        if isinstance(part, NoNorm):
            nn.init.uniform_(part.weight, -2, 2)
            nn.init.normal_(part.bias)
    return model.eval()


def written(model: nn.Module, path: Path) -> Counter[str]:
    """Write a network, hold its answer against the module's, and return how many operators of each type it has."""
    write(model, path, (TOKENS, WIDTH))
    x = torch.randn(3, TOKENS, WIDTH)
    (answer,) = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"input": x.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(answer, model(x).numpy(), atol=2e-5)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def test_in_a_block_both_are_gone(tmp_path: Path) -> None:
    model = settled(nn.Sequential(*(Block(WIDTH, 2, 16, activation="relu", norm="nonorm") for _ in range(2))))
    found = written(model, tmp_path / "m.onnx")
    assert found["Mul"] == 2, "only the attention's scale of each block is left"
    assert found["Add"] == 2 * (4 + 2), "biases and shortcuts are left"
    names = [value.name for value in onnx.load(tmp_path / "m.onnx").graph.initializer]
    assert not [name for name in names if "norm" in name]


def test_it_goes_whether_or_not_its_values_differ(tmp_path: Path) -> None:
    """An untrained network, whose scales and biases are equal and stand once, is measured in a trained one's place."""
    fresh = [Block(WIDTH, 2, 16, norm="nonorm") for _ in range(2)]
    for part in nn.ModuleList(fresh).modules():
        if isinstance(part, nn.Linear):
            nn.init.zeros_(part.bias)
    trained = settled(nn.Sequential(*(Block(WIDTH, 2, 16, norm="nonorm") for _ in range(2))))
    assert written(nn.Sequential(*fresh).eval(), tmp_path / "a.onnx") == written(trained, tmp_path / "b.onnx")


def test_a_block_that_runs_twice_still_stands_once(tmp_path: Path) -> None:
    block = settled(Block(WIDTH, 2, 16, norm="nonorm"))
    written(block, tmp_path / "once.onnx")
    written(nn.Sequential(block, block).eval(), tmp_path / "twice.onnx")
    once, twice = (
        {value.name for value in onnx.load(tmp_path / f"{n}.onnx").graph.initializer} for n in ("once", "twice")
    )
    assert len(twice) == len(once)


@pytest.mark.parametrize("model", [Scaled(reread=True), Scaled(bias=False), ByOne()], ids=["reread", "no bias", "one"])
def test_it_stays_where_it_cannot_be_folded(model: nn.Module, tmp_path: Path) -> None:
    assert written(settled(model), tmp_path / "m.onnx")["Mul"] == 1


def test_alone_with_its_layer_it_goes(tmp_path: Path) -> None:
    assert written(settled(Scaled()), tmp_path / "m.onnx") == {"MatMul": 1, "Add": 1}
