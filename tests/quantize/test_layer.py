"""Rows times patches are the layer, whatever its geometry."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from edgekd.quantize.layer import Geometry, Layer

CASES = {
    "plain": (nn.Conv2d(4, 6, 3), Geometry()),
    "strided": (nn.Conv2d(4, 6, 3, stride=2, padding=1), Geometry((2, 2), (1, 1, 1, 1))),
    "dilated": (nn.Conv2d(4, 6, 3, dilation=2, padding=(2, 1)), Geometry((1, 1), (2, 1, 2, 1), (2, 2))),
    "grouped": (nn.Conv2d(4, 6, 3, groups=2, padding=1), Geometry(pads=(1, 1, 1, 1), groups=2)),
    "depthwise": (nn.Conv2d(4, 4, 5, groups=4, padding=2), Geometry(pads=(2, 2, 2, 2), groups=4)),
    "oblong": (nn.Conv2d(4, 6, (1, 3), stride=(2, 1)), Geometry((2, 1))),
    "one axis": (nn.Conv1d(4, 6, 3, stride=2, padding=1), Geometry((1, 2), (0, 1, 0, 1))),
    "linear": (nn.Linear(4, 6), None),
}


@pytest.mark.parametrize("case", CASES)
def test_rows_times_patches_are_what_the_layer_answers(case: str) -> None:
    torch.manual_seed(0)
    module, geometry = CASES[case]
    x = torch.randn(3, 5, 4) if case == "linear" else torch.randn(3, 4, *((9,) if case == "one axis" else (9, 8)))
    layer = Layer("y", "x", module.weight.detach().numpy(), None, geometry)
    with torch.no_grad():
        module.bias.zero_()
        expected = module(x)
    expected = expected.flatten(2).transpose(1, 2) if case != "linear" else expected
    patches = layer.patches(x.numpy(), 10_000, np.random.default_rng(0))
    found = patches @ layer.rows.transpose(0, 2, 1)
    assert np.allclose(
        found.transpose(1, 0, 2).reshape(-1, 6 if case != "depthwise" else 4), expected.flatten(0, 1), atol=1e-5
    )


def test_a_sample_of_patches_is_drawn_without_repetition() -> None:
    layer = Layer("y", "x", np.ones((1, 1, 1, 1), np.float32), None, Geometry())
    x = np.arange(100, dtype=np.float32).reshape(1, 1, 10, 10)
    drawn = layer.patches(x, 30, np.random.default_rng(0)).reshape(-1)
    assert len(drawn) == len(set(drawn.tolist())) == 30
