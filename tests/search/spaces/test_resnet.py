from __future__ import annotations

import pytest

from edgekd.errors import UsageError
from edgekd.recipe import ModelSpec
from edgekd.search.space import create


def test_a_resnet_teacher_is_one_of_its_own_students() -> None:
    teacher = ModelSpec(name="resnet", options={"depth": 14, "channels": [32, 64, 144]})
    found = [spec.options for spec in create(None, {}, teacher, 16).choices()]
    assert {"depth": 14, "channels": [32, 64, 144]} in found
    assert max(options["depth"] for options in found) == 14


def test_shallow_students_may_be_wider_than_the_teacher() -> None:
    found = [spec.options for spec in create(None, {}, ModelSpec(name="resnet"), 16).choices()]
    assert {"depth": 8, "channels": [32, 64, 128]} in found
    assert {"depth": 8, "channels": [16, 48, 144]} in found


def test_another_familys_teacher_gets_resnets_of_the_default_width() -> None:
    found = [spec.options for spec in create(None, {}, ModelSpec(factory="my_networks:huge"), 8).choices()]
    assert {"depth": 32, "channels": [16, 32, 64]} in found


def test_options_narrow_the_space_and_unknown_ones_are_refused() -> None:
    teacher = ModelSpec(name="resnet")
    assert len(create("resnet", {"depths": [8], "multipliers": [0.5, 1.0], "growths": [1]}, teacher, 8).choices()) == 2
    with pytest.raises(UsageError, match="options of search space 'resnet': unknown key 'depth'"):
        create("resnet", {"depth": 8}, teacher, 8)


def test_a_teacher_with_blocks_of_its_own_is_as_deep_as_they_are() -> None:
    teacher = ModelSpec(name="resnet", options={"blocks": [1, 3, 2], "channels": [16, 32, 64]})
    assert max(spec.options["depth"] for spec in create(None, {}, teacher, 16).choices()) == 14
