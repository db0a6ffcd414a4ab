from __future__ import annotations

import pytest
import torch

from edgekd.errors import EdgekdError
from edgekd.prune.criterion import create
from edgekd.prune.finding import find
from edgekd.train.loop import Batch
from tests.models import INPUT_SHAPE
from tests.prune.networks import EXAMPLE, network
from tests.prune.test_criteria import objective

IMAGES = torch.randn(16, *INPUT_SHAPE, generator=torch.Generator().manual_seed(0))


def observed(name: str) -> tuple[object, ...]:
    model = network(name)
    groups = find(model, EXAMPLE).groups
    judge = create("activation", {})
    batches = [Batch(part, torch.zeros(len(part), dtype=torch.int64)) for part in IMAGES.split(6)]
    judge.observe(model, groups, batches, objective)
    return model, {group.name: group for group in groups}, judge


def test_is_the_mean_size_of_what_the_reader_is_given() -> None:
    model, groups, judge = observed("residual")
    with torch.no_grad():
        stem = model.relu(model.stem_norm(model.stem(IMAGES)))
    found = next(judge.of_member(m, model) for m in groups["stem"].members if (m.path, m.side) == ("first", "in"))
    mean = stem.abs().mean((0, 2, 3)).double()
    torch.testing.assert_close(found / found.sum(), mean / mean.sum())


def test_a_channel_of_a_flattened_map_is_all_its_positions() -> None:
    model, groups, judge = observed("concatenation")
    with torch.no_grad():
        left = model.left(IMAGES).sigmoid()
        joined = model.join(torch.cat([left, model.right(left).relu()], 1)).relu()
    found = next(judge.of_member(m, model) for m in groups["join"].members if m.side == "in")
    torch.testing.assert_close(found, joined.double().sum((0, 2, 3)))


def test_a_layer_behind_a_concatenation_gives_each_branch_its_own() -> None:
    model, groups, judge = observed("concatenation")
    with torch.no_grad():
        right = model.right(model.left(IMAGES).sigmoid()).relu()
    found = next(judge.of_member(m, model) for m in groups["right"].members if m.side == "in")
    torch.testing.assert_close(found, right.double().sum((0, 2, 3)))


def test_without_data_it_says_so() -> None:
    model = network("mlp")
    with pytest.raises(EdgekdError, match="Activation has seen no training batch"):
        create("activation", {}).score(find(model, EXAMPLE).groups[0], model)
