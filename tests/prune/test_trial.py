from __future__ import annotations

import pytest

from edgekd.models.kernels import kernels
from edgekd.prune.surgery import apply
from edgekd.prune.trial import prunable
from tests.models import INPUT_SHAPE
from tests.prune.networks import EXAMPLE, NAMES, Heads, network


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("share", [0.3, 0.8])
def test_predicted_kernels_are_those_of_the_real_network(name: str, share: float) -> None:
    model = network(name)
    found = prunable(model, INPUT_SHAPE)
    assert found.kernels.at({}) == kernels(model, INPUT_SHAPE)
    assert found.kernels.at(found.widths) == kernels(model, INPUT_SHAPE)
    widths = {n: max(1, int(share * width) - i % 2) for i, (n, width) in enumerate(found.widths.items())}
    pruned = apply(model, found.groups, {n: range(width) for n, width in widths.items()}, EXAMPLE)
    assert found.kernels.at(widths) == kernels(pruned, INPUT_SHAPE)


def test_a_width_in_the_models_own_code_is_left_alone_and_named() -> None:
    found = prunable(Heads(), INPUT_SHAPE)
    assert [group.name for group in found.groups] == ["free"]
    assert "cannot run with another width" in found.fixed["fixed"]
    assert "output" in found.fixed["head"]
