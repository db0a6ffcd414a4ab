from __future__ import annotations

import numpy as np
import torch

from edgekd.models.build import build
from edgekd.models.kernels import kernels
from edgekd.recipe import ModelSpec
from edgekd.search.candidate import Candidate, candidate, narrowest, spread

SHAPE = (1, 16, 16)


def resnet(depth: int, *channels: int) -> Candidate:
    spec = ModelSpec(name="resnet", options={"depth": depth, "channels": list(channels)})
    return candidate(f"r{depth}-{channels}", spec, SHAPE, 4)


def test_sizing_up_a_network_leaves_the_random_numbers_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    assert resnet(8, 16, 16, 16).parameters > 0
    assert torch.equal(before, torch.get_rng_state())


def test_probes_are_the_corners_of_the_space() -> None:
    teacher = resnet(20, 16, 32, 64)
    choices = [resnet(8, 16, 16, 16), resnet(8, 16, 16, 32), resnet(8, 32, 64, 128), resnet(20, 16, 16, 32), teacher]
    names = [c.name for c in spread(teacher, choices, 2, 16)]
    assert names == ["r8-(16, 16, 16)", "r8-(32, 64, 128)"]
    assert len(spread(teacher, choices, 9, 16)) == 4  # the teacher itself is measured anyway


def test_narrowest_keeps_a_quarter_and_at_least_a_step() -> None:
    wide, narrow = resnet(8, 16, 64, 144).kernels, resnet(8, 16, 16, 48).kernels
    assert [k[2:] for k in narrowest(wide, 16)] == [k[2:] for k in narrow]


def test_narrowest_keeps_what_is_not_the_networks_own() -> None:
    found = narrowest(resnet(8, 16, 32, 64).kernels, 8)
    assert found[0].in_channels == 1
    assert found[-1].out_channels == 4


def test_narrowest_keeps_the_channels_of_an_image_that_is_made_smaller() -> None:
    spec = ModelSpec(name="resnet", options={"depth": 8, "channels": [4, 4, 4], "shrink": 2})
    found = narrowest(kernels(build(spec, (3, 12, 12), 4), (3, 12, 12)), 1)
    assert found[0].op == "pool"
    assert [(k.in_channels, k.out_channels) for k in found[:3]] == [(3, 3), (3, 1), (1, 1)]


def test_narrowest_of_a_depthwise_network_stays_depthwise() -> None:
    module = build(ModelSpec(name="mobilenetv2", options={"width": 1.0, "depth": 0.5}), SHAPE, 4)
    wide = kernels(module, SHAPE)
    found = narrowest(wide, 16)
    depthwise = [k for k in found if k.groups > 1]
    assert len(depthwise) == sum(k.groups > 1 for k in wide) > 0
    assert all(k.groups == k.in_channels == k.out_channels for k in depthwise)
    assert np.sum([k.macs for k in found]) < np.sum([k.macs for k in wide]) / 4
