from __future__ import annotations

import pytest
import torch

from edgekd.prune.criterion import create
from edgekd.prune.finding import find
from tests.prune.networks import EXAMPLE, network


def test_the_norms_of_a_group_speak_for_its_other_layers() -> None:
    model = network("residual")
    group = next(group for group in find(model, EXAMPLE).groups if group.name == "second")
    with torch.no_grad():
        model.second_norm.weight.copy_(torch.arange(32) - 16.0)
        model.shortcut_norm.weight.copy_(torch.ones(32))
    gammas = [norm.weight.detach().abs().double() for norm in (model.second_norm, model.shortcut_norm)]
    expected = sum(gamma / gamma.sum() for gamma in gammas) / 2 * len(group.members)
    torch.testing.assert_close(create("bn-scale", {}).score(group, model), expected)


def test_a_group_without_one_goes_by_its_weights_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    model = network("mlp")
    (group,) = find(model, EXAMPLE).groups
    found = create("bn-scale", {}).score(group, model)
    assert torch.equal(found, create("magnitude", {}).score(group, model))
    assert "BnScale judges no layer of group 'first'; it goes by its weights" in caplog.text
