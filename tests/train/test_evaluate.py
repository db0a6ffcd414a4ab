"""Logits and accuracy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgekd.train.evaluate import accuracy, logits
from tests.models import INPUT_SHAPE, TINY, settled


@pytest.mark.parametrize("name", TINY)
def test_batches_do_not_change_the_answer(name: str) -> None:
    model = settled(name)
    images = np.random.default_rng(0).standard_normal((23, *INPUT_SHAPE)).astype(np.float32)
    with torch.no_grad():
        expected = model(torch.from_numpy(images)).numpy()
    for batch in (1, 5, 23, 100):
        np.testing.assert_allclose(logits(model, images, batch), expected, atol=1e-5)


def test_the_mode_of_every_module_is_left_as_it_was() -> None:
    model = settled("residual").train()
    model.first_norm.eval()
    modes = [module.training for module in model.modules()]
    before = model.stem_norm.running_mean.clone()
    logits(model, np.ones((4, *INPUT_SHAPE), np.float32))
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(model.stem_norm.running_mean, before)


def test_accuracy_is_in_percent() -> None:
    answers = np.array([[0.1, 0.9], [2.0, 1.0], [0.0, -1.0], [3.0, 4.0]], np.float32)
    assert accuracy(answers, np.array([1, 0, 1, 1])) == 75
