"""Two of every four, along the axis that is added up, and only where there are fours."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

from edgekd.models.two_of_four import largest, layers, share
from tests.models import DepthwiseCnn


def test_the_two_largest_of_every_four_are_kept_and_of_equals_the_first() -> None:
    weight = np.array([[1, -4, 3, 2, 0, 0, 0, 5], [7, 7, 7, 7, -1, 2, -3, 0]], np.float32)
    assert largest(weight).tolist() == [
        [False, True, True, False, True, False, False, True],
        [True, True, False, False, False, True, True, False],
    ]


@pytest.mark.parametrize("shape", [(6, 8), (5, 4, 3), (3, 12, 3, 2), (2, 8, 3, 3, 3)], ids=str)
def test_fours_run_along_the_input_channels_at_every_place_of_a_kernel(shape: tuple[int, ...]) -> None:
    weight = np.random.default_rng(0).standard_normal(shape)
    kept = largest(weight)
    for place in np.ndindex(shape[0], *shape[2:]):
        row = (place[0], slice(None), *place[1:])
        for four, chosen in zip(weight[row].reshape(-1, 4), kept[row].reshape(-1, 4), strict=True):
            assert sorted(np.abs(four[chosen])) == sorted(np.abs(four))[2:]
    assert share(weight * kept) == 1.0
    assert share(weight) == 0.0


def test_a_share_counts_fours_along_one_axis() -> None:
    weight = np.ones((4, 8))
    weight[:, :2] = 0
    assert share(weight) == 0.5
    assert share(weight, axis=0) == 0.25, "columns of zeros"
    weight[0, 4:6] = 0
    assert share(weight) == 0.625
    assert share(np.zeros((4, 6))) == 0.0, "six are no fours"


class Odd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(8, 8, 2)
        self.groups = nn.Conv2d(16, 8, 3, groups=2)
        self.narrow = nn.Conv2d(16, 8, 3, groups=8)
        self.tokens = nn.Embedding(10, 8)
        self.answers = nn.Linear(8, 10)
        self.answers.weight = self.tokens.weight


def test_layers_without_fours_stay_dense_and_say_why() -> None:
    found = layers(DepthwiseCnn())
    assert set(found.fitting) == {"features.6", "head"}
    assert found.dense == {
        "features.0": "it adds up 1 inputs, which is no multiple of 4",
        "features.3": "it adds up 1 inputs, which is no multiple of 4",
    }
    odd = Odd()
    found = layers(odd)
    assert set(found.fitting) == {"groups"}
    assert found.fitting["groups"] is odd.groups.weight
    assert found.dense == {
        "up": "it is a transposed convolution",
        "narrow": "it adds up 2 inputs, which is no multiple of 4",
        "answers": "its weight is also another layer's",
    }
