from __future__ import annotations

import torch

from edgekd.prune.criterion import create
from edgekd.prune.finding import find
from tests.prune.networks import EXAMPLE, network


def test_is_the_sum_of_distances_to_the_other_filters() -> None:
    model = network("depthwise")
    judge = create("fpgm", {})
    group = next(group for group in find(model, EXAMPLE).groups if group.name == "features.0")
    found = {member.path: judge.of_member(member, model) for member in group.members}
    judged = {path for path, score in found.items() if score is not None}
    assert judged == {"features.0", "features.3"}, "the convolution and the depthwise one behind it"
    filters = model.features[0].weight.detach().flatten(1)
    expected = torch.stack([(filters - one).norm(dim=1).sum() for one in filters])
    torch.testing.assert_close(found["features.0"].float(), expected)


def test_the_filter_in_the_middle_goes_before_a_smaller_one() -> None:
    model = network("mlp")
    (group,) = find(model, EXAMPLE).groups
    with torch.no_grad():
        model.first.weight += 1  # all filters lie on one side of zero
        model.first.weight[5] = model.first.weight.mean(0)
        model.first.weight[6] = 0.5 * model.first.weight.mean(0)
        model.first.bias.zero_()
    maker = next(member for member in group.members if member.side == "out")
    fpgm, magnitude = (create(name, {}).of_member(maker, model) for name in ("fpgm", "magnitude"))
    assert int(fpgm.argmin()) == 5
    assert int(fpgm.argmax()) == int(magnitude.argmin()) == 6
