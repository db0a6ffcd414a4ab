"""Layers find each other by resolution and by depth, and can be told to."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgekd.distill.layer_map import KINDS, pairs
from edgekd.errors import UsageError
from edgekd.models.build import build
from edgekd.recipe import ModelSpec
from tests.models import settled

IMAGES, TEXT = torch.randn(2, 1, 28, 28), torch.randint(0, 128, (2, 24))


def network(name: str, **options: object) -> nn.Module:
    return build(
        ModelSpec(name=name, options=options),
        (24,) if "vit" not in name and "res" not in name and "mob" not in name else (1, 28, 28),
        5,
    )


def test_maps_pair_by_resolution_the_last_of_each() -> None:
    found = pairs(network("resnet", depth=8), network("resnet", depth=20), IMAGES, ["features"])
    assert found == {"features": [("blocks.0", "blocks.2"), ("blocks.1", "blocks.5"), ("blocks.2", "blocks.8")]}


def test_networks_of_different_families_pair_where_their_maps_have_one_size() -> None:
    ours, theirs = network("mobilenetv2"), network("resnet", depth=8)
    found = pairs(ours, theirs, IMAGES, ["features"])["features"]
    assert found
    sizes = []
    for model, path in ((ours, found[-1][0]), (theirs, found[-1][1])):
        dict(model.named_modules())[path].register_forward_hook(lambda *given: sizes.append(given[2].shape[2:]))
        model(IMAGES)
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("factor", [2, 4])
def test_a_network_that_shrinks_its_images_pairs_stage_by_stage(factor: int) -> None:
    plain, teacher = network("resnet", depth=8), network("resnet", depth=20)
    wanted = pairs(plain, teacher, IMAGES, ["features"])
    assert pairs(network("resnet", depth=8, shrink=factor), teacher, IMAGES, ["features"]) == wanted
    small, big = network("mobilenetv2", shrink=factor), network("mobilenetv2")
    assert pairs(small, teacher, IMAGES, ["features"]) == pairs(big, teacher, IMAGES, ["features"])


def test_blocks_and_attention_of_transformers_pair_by_relative_depth() -> None:
    found = pairs(network("text-encoder", depth=2), network("text-encoder", depth=6), TEXT, KINDS)
    assert found["features"] == [("blocks.0", "blocks.2"), ("blocks.1", "blocks.5")]
    softmax = "attention.softmax"
    assert found["attention"] == [
        (f"blocks.0.{softmax}", f"blocks.2.{softmax}"),
        (f"blocks.1.{softmax}", f"blocks.5.{softmax}"),
    ]
    assert found["embedding"] == [("head:input", "head:input")]


def test_a_deeper_student_keeps_to_the_teachers_layers() -> None:
    found = pairs(network("vit", depth=3), network("vit", depth=1), IMAGES, ["features"])["features"]
    assert found == [("blocks.2", "blocks.0")]


def test_what_is_chosen_is_taken() -> None:
    chosen = {"features": [("conv", "blocks.3")]}
    assert pairs(network("resnet", depth=8), network("resnet"), IMAGES, ["features"], chosen) == chosen


def test_nothing_in_common_is_refused_with_how_to_say_it() -> None:
    with pytest.raises(UsageError, match=r"no features of student and teacher .* taps: \{features: \[\["):
        pairs(network("resnet", depth=8), network("vit", patch=28), IMAGES, ["features"])
    with pytest.raises(UsageError, match="no attention"):
        pairs(network("resnet", depth=8), network("vit"), IMAGES, ["attention"])


def test_looking_changes_neither_modes_nor_statistics() -> None:
    model = settled("residual").train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    pairs(model, settled("residual", 1), torch.randn(2, 1, 12, 12), ["features", "embedding"])
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(not module._forward_hooks for module in model.modules())
