"""The contract of a pruning criterion, held against every one that is found."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from edgekd.errors import PluginError, UsageError
from edgekd.prune.criterion import CRITERIA, Criterion, create
from edgekd.prune.finding import find
from edgekd.prune.groups import Group, Member
from edgekd.schema import Schema
from edgekd.train.loop import Batch, Terms
from tests.models import INPUT_SHAPE
from tests.prune.networks import EXAMPLE, network

NETWORKS = ("residual", "depthwise", "mlp", "concatenation")
BLIND = {"random"}
"""Controls, which do not look at the network: their scores stay where they are when channels change places."""
every_criterion = pytest.mark.parametrize("criterion", CRITERIA.names())
every_network = pytest.mark.parametrize("name", NETWORKS)


def uneven(name: str) -> nn.Module:
    """Return a network whose BatchNorms are no longer those it began with."""
    model, random = network(name), torch.Generator().manual_seed(2)
    with torch.no_grad():
        for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
            norm.weight.uniform_(-1.5, 1.5, generator=random)
            norm.bias.uniform_(-0.5, 0.5, generator=random)
    return model


def batches() -> Iterator[Batch]:
    random = torch.Generator().manual_seed(3)
    for _ in range(3):
        yield Batch(torch.randn(8, *INPUT_SHAPE, generator=random), torch.randint(0, 4, (8,), generator=random))


def objective(model: nn.Module, batch: Batch) -> Terms:
    return Terms(nn.functional.cross_entropy(model(batch.inputs), batch.labels))


def scores(criterion: str, model: nn.Module, groups: tuple[Group, ...]) -> dict[str, Tensor]:
    judge = create(criterion, {})
    judge.observe(model, groups, batches(), objective)
    return {group.name: judge.score(group, model) for group in groups}


@every_criterion
@every_network
def test_one_score_a_channel_the_same_every_time(criterion: str, name: str) -> None:
    model = uneven(name)
    groups = find(model, EXAMPLE).groups
    first, second = scores(criterion, model, groups), scores(criterion, model, groups)
    for group in groups:
        assert first[group.name].shape == (group.channels,)
        assert torch.isfinite(first[group.name]).all()
        assert (first[group.name] >= 0).all()
        assert first[group.name].unique().numel() > 1
        assert torch.equal(first[group.name], second[group.name])


@every_criterion
@every_network
def test_a_group_weighs_as_much_as_it_has_layers(criterion: str, name: str) -> None:
    model = uneven(name)
    groups = find(model, EXAMPLE).groups
    found = scores(criterion, model, groups)
    for group in groups:
        assert float(found[group.name].sum()) == pytest.approx(len(group.members))


@pytest.mark.parametrize("criterion", sorted({*CRITERIA.names()} - BLIND))
@every_network
def test_permuted_channels_have_permuted_scores(criterion: str, name: str) -> None:
    model = uneven(name)
    groups = find(model, EXAMPLE).groups
    before = scores(criterion, model, groups)
    for group in groups:
        order = torch.randperm(group.channels, generator=torch.Generator().manual_seed(1))
        _permute(model, group, order)
        after = scores(criterion, model, groups)
        torch.testing.assert_close(after[group.name], before[group.name][order], rtol=1e-3, atol=1e-6)
        before = after


def _permute(model: nn.Module, group: Group, order: Tensor) -> None:
    with torch.no_grad():
        for member in group.members:
            layer = model.get_submodule(member.path)
            tensors = [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]
            for tensor in [layer.get_parameter("weight")] if member.side == "in" else tensors:
                if tensor.dim():
                    moved = tensor.movedim(0 if member.side == "out" else 1, 0)
                    moved[member.positions.flatten()] = moved[member.positions[order].flatten()].clone()


@every_criterion
@every_network
def test_a_channel_of_zeros_is_among_the_first_to_go(criterion: str, name: str) -> None:
    model = uneven(name)
    groups = find(model, EXAMPLE).groups
    with torch.no_grad():
        for group in groups:
            for member in group.members:
                layer = model.get_submodule(member.path)
                for key, parameter in layer.named_parameters(recurse=False):
                    if member.side == "out" or key == "weight":
                        parameter.movedim(0 if member.side == "out" else 1, 0)[member.positions[2]] = 0
    for score in scores(criterion, model, groups).values():
        assert score[2] == 0
        assert score.max() > 0


@every_criterion
def test_a_network_of_zeros_is_still_judged(criterion: str) -> None:
    model = uneven("residual")
    groups = find(model, EXAMPLE).groups
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert all((score == 0).all() for score in scores(criterion, model, groups).values())


@every_criterion
def test_judging_leaves_the_model_as_it_was(criterion: str) -> None:
    model = uneven("residual").train()
    model.relu.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    scores(criterion, model, find(model, EXAMPLE).groups)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.training
    assert not model.relu.training


@every_criterion
def test_a_norm_without_weights_has_no_say(criterion: str) -> None:
    model = network("residual")
    model.first_norm = nn.BatchNorm2d(16, affine=False).eval()
    for score in scores(criterion, model, find(model, EXAMPLE).groups).values():
        assert torch.isfinite(score).all()
        assert score.max() > 0


@every_criterion
def test_one_that_has_not_won_says_so_where_it_is_listed(criterion: str) -> None:
    assert CRITERIA.help(criterion).endswith("; experimental.") == CRITERIA.get(criterion).experimental


def test_unknown_names_and_options_are_refused() -> None:
    with pytest.raises(UsageError, match="did you mean 'taylor'"):
        create("tailor", {})
    with pytest.raises(UsageError, match="options of criterion 'magnitude'"):
        create("magnitude", {"norm": 1})


def test_the_author_of_a_broken_criterion_is_told() -> None:
    class Negative(Criterion):
        class Config(Schema):
            pass

        def of_member(self, member: Member, model: nn.Module) -> Tensor:
            return -torch.ones(len(member.positions))

    model = network("mlp")
    with pytest.raises(PluginError, match="plug-in author: Negative"):
        Negative(Negative.Config()).score(find(model, EXAMPLE).groups[0], model)
