"""Zeros stay zero to the bit under every optimizer, and nothing else is held."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgekd.errors import EdgekdError
from edgekd.recipe import DataSpec
from edgekd.train.augment import augmentation
from edgekd.train.data import normalised
from edgekd.train.fixed_zeros import zeros_stay
from edgekd.train.loop import AugmentedBatches, Batch, LoopConfig, Terms, train
from tests.models import ResidualCnn
from tests.train.synthetic import quadrants

DATA = quadrants()
HELD = ("first.weight", "head.weight")


def objective(model: nn.Module, batch: Batch) -> Terms:
    logits = model(batch.inputs)
    return Terms(F.cross_entropy(logits, batch.labels), 0.1 * logits.square().mean())


def trained(model: nn.Module, folder: Path, **options: Any) -> None:
    inputs, unchanged = normalised(DATA.train, DATA), augmentation(DataSpec(name="none", augmentation="none"))
    batches = AugmentedBatches(inputs, DATA.train.labels, batch=32, augmentation=unchanged, seed=0)
    config = LoopConfig.model_validate(
        {"epochs": 1, "batch": 32, "learning_rate": 0.02, "weight_decay": 0.1, **options}
    )
    train(model, batches, objective, config, folder=folder, title="zeros")


def halved() -> tuple[nn.Module, dict[str, nn.Parameter], dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    model = ResidualCnn()
    weights = {name: model.get_parameter(name) for name in HELD}
    with torch.no_grad():
        for weight in weights.values():
            weight[:, ::2] = 0.0
    return model, weights, {name: weight.detach() == 0 for name, weight in weights.items()}


@pytest.mark.parametrize(
    "options",
    [{"optimizer": "sgd"}, {"optimizer": "adamw"}, {"optimizer": "dot"}, {"ema": 0.9}, {"clip": 0.1}],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_zeros_stay_and_the_rest_moves(options: dict[str, Any], tmp_path: Path) -> None:
    model, weights, zeros = halved()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    with zeros_stay(weights):
        trained(model, tmp_path, **options)
    for name, parameter in model.named_parameters():
        moved = parameter.detach() != before[name]
        if name in zeros:
            assert torch.equal(parameter.detach() == 0, zeros[name]), name
            assert moved[~zeros[name]].all(), name
        else:
            assert moved.any(), name


def test_afterwards_they_are_free_again(tmp_path: Path) -> None:
    model, weights, zeros = halved()
    with zeros_stay(weights):
        pass
    trained(model, tmp_path)
    assert all(bool((weights[name].detach()[where] != 0).all()) for name, where in zeros.items())


def test_zeros_that_moved_without_a_gradient_are_refused() -> None:
    _, weights, _ = halved()
    with pytest.raises(EdgekdError, match=r"the optimizer moved weights of head\.weight"), zeros_stay(weights):
        weights["head.weight"].data.add_(0.1)
