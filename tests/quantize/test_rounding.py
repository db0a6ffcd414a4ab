from __future__ import annotations

import itertools

import numpy as np
import pytest

from edgekd.quantize.rounding import adaptive, lost, nearest, steps_that_cover, steps_that_fit


def problem(outputs: int, inputs: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return weights and the second moments of inputs that go together, as those of neighbouring pixels do."""
    random = np.random.default_rng(seed)
    patches = random.normal(size=(200, inputs)) @ random.normal(size=(inputs, inputs)) + 0.5
    return random.normal(size=(outputs, inputs)), patches.T @ patches / len(patches)


def test_no_weight_is_cut_off_and_none_is_more_than_half_a_step_away() -> None:
    rows, _ = problem(5, 12)
    steps = steps_that_cover(rows, 63)
    integers = nearest(rows, steps, 63)
    assert np.abs(integers).max() == 63
    assert (np.abs(integers * steps[:, None] - rows) <= steps[:, None] / 2 + 1e-12).all()


def test_a_channel_of_zeros_gets_a_step_that_a_bias_can_be_written_in() -> None:
    rows, _ = problem(3, 8)
    rows[1] = 0
    steps = steps_that_cover(rows, 127)
    assert steps[1] >= steps.max() / 1024
    assert not nearest(rows, steps, 127)[1].any()


def test_rounding_that_looks_at_the_answers_is_never_worse_and_mostly_much_better() -> None:
    gains = []
    for seed in range(8):
        rows, gram = problem(6, 24, seed)
        steps = steps_that_cover(rows, 7)
        plain, clever = nearest(rows, steps, 7), adaptive(rows, steps, 7, gram)
        assert np.abs(clever - rows / steps[:, None]).max() <= 1
        before, after = lost(plain, steps, rows, gram), lost(clever, steps, rows, gram)
        assert (after <= before * 1.01).all()
        gains.append(after.sum() / before.sum())
    assert np.median(gains) < 0.7


def test_it_is_nearly_the_best_of_all_roundings() -> None:
    rows, gram = problem(4, 8, 3)
    steps = steps_that_cover(rows, 3)
    floor = np.floor(rows / steps[:, None])
    best = np.full(len(rows), np.inf)
    for up in itertools.product((0, 1), repeat=8):
        best = np.minimum(best, lost(np.clip(floor + up, -3, 3), steps, rows, gram))
    found = lost(adaptive(rows, steps, 3, gram), steps, rows, gram)
    plain = lost(nearest(rows, steps, 3), steps, rows, gram)
    assert found.sum() < best.sum() + 0.25 * (plain.sum() - best.sum())


def test_without_relations_between_inputs_the_nearest_is_best() -> None:
    rows, _ = problem(3, 10)
    steps = steps_that_cover(rows, 63)
    assert (adaptive(rows, steps, 63, np.eye(10)) == nearest(rows, steps, 63)).all()


def test_an_outlier_is_cut_off_where_it_hardly_counts() -> None:
    rows, _ = problem(1, 64)
    rows[0, 0] = 2 * np.abs(rows).max()
    importance = np.ones(64)
    importance[0] = 1e-6
    assert steps_that_fit(rows, 7, importance) < steps_that_cover(rows, 7)
    importance[0] = 1e6
    assert steps_that_fit(rows, 7, importance) == pytest.approx(steps_that_cover(rows, 7))
