from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from edgekd.prune.criterion import create
from edgekd.prune.finding import find
from edgekd.train.loop import Batch
from tests.models import INPUT_SHAPE
from tests.prune.networks import EXAMPLE, network
from tests.prune.test_criteria import objective

SHARES = torch.tensor([1, 2, 3, 4]).double()


def test_is_the_diagonal_of_the_hessian_where_labels_are_as_the_network_says() -> None:
    """There the gradient vanishes, so that a first-order estimate sees nothing."""
    model = network("mlp").double()
    (group,) = find(model, EXAMPLE.double()).groups
    reader = next(member for member in group.members if member.side == "in")
    image = torch.randn(1, *INPUT_SHAPE, generator=torch.Generator().manual_seed(0)).double()
    hidden = model.relu(model.first(image.flatten(1))).detach()
    with torch.no_grad():
        model.second.bias.copy_((SHARES / SHARES.sum()).log() - F.linear(hidden, model.second.weight)[0])
    labels = torch.arange(4).repeat_interleave(SHARES.long())
    batch = Batch(image.expand(len(labels), -1, -1, -1), labels)

    def loss(weight: Tensor) -> Tensor:
        return F.cross_entropy(F.linear(hidden, weight, model.second.bias).expand(len(labels), -1), labels)

    weight = model.second.weight.detach()
    second = torch.autograd.functional.hessian(loss, weight).flatten(2).flatten(0, 1).diagonal().view_as(weight)
    judges = {name: create(name, {}) for name in ("hessian", "taylor")}
    for judge in judges.values():
        judge.observe(model, [group], [batch], objective)
    found = {name: judge.of_member(reader, model) for name, judge in judges.items()}
    torch.testing.assert_close(found["hessian"] / len(labels), (second * weight.square()).sum(0))
    assert float(found["taylor"].max()) < 1e-12


def test_the_size_of_a_batch_does_not_matter() -> None:
    model = network("residual")
    groups = find(model, EXAMPLE).groups
    images = torch.randn(6, *INPUT_SHAPE, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(6) % 4
    found = []
    for size in (2, 6):
        judge = create("hessian", {})
        parts = zip(images.split(size), labels.split(size), strict=True)
        judge.observe(model, groups, [Batch(*part) for part in parts], objective)
        found.append(judge.score(groups[0], model))
    assert torch.equal(*found)
