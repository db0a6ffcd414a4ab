"""What is drawn keeps its bounds and its shares."""

from __future__ import annotations

from random import Random

import numpy as np

from edgekd.kernels.dice import Dice


def test_sequence_is_that_of_the_standard_generator() -> None:
    assert [Dice(Random(1)).whole(0, 999) for _ in range(2)] == [134, 134]
    dice = Dice(Random(1))
    assert [dice.whole(0, 999) for _ in range(3)] == [134, 847, 763]


def test_widths_are_multiples_of_eight_seven_times_in_ten() -> None:
    dice = Dice(Random(2))
    widths = np.array([dice.width(16, 2048) for _ in range(4000)])
    assert 16 <= widths.min() <= widths.max() <= 2048
    assert 0.68 < np.mean(widths % 8 == 0) < 0.80
    assert abs(np.median(widths) / np.sqrt(16 * 2048) - 1) < 0.15


def test_maps_keep_their_bounds_and_few_are_not_square() -> None:
    dice = Dice(Random(3))
    maps = np.array([dice.feature_map(smallest=5, largest=64, narrowest=8, widest=512) for _ in range(2000)])
    assert (maps.min(0) >= (1, 8, 5, 5)).all()
    assert (maps.max(0) <= (1, 512, 64, 64)).all()
    assert 0.08 < np.mean(maps[:, 2] != maps[:, 3]) < 0.2


def test_windows_are_no_wider_than_the_map() -> None:
    dice = Dice(Random(4))
    assert {dice.kernel((3, 5, 7), 5) for _ in range(50)} == {3, 5}
    assert dice.kernel((3, 5), 1) == 3


def test_weights_say_how_often_a_key_comes() -> None:
    dice = Dice(Random(5))
    drawn = [dice.weighted({"often": 3.0, "never": 0.0, "seldom": 1.0}) for _ in range(2000)]
    assert abs(drawn.count("often") / 2000 - 0.75) < 0.04
    assert drawn.count("never") == 0
