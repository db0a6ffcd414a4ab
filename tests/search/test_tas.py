"""TAS on tiny networks: logits are really trained; the probes are a profile somebody else has measured."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgekd.artifact import ArtifactSet
from edgekd.distill.stage import DistillStage
from edgekd.errors import TrainingError, UsageError
from edgekd.models.build import build
from edgekd.models.kernels import kernels
from edgekd.models.residual import ResNetShape
from edgekd.pipeline.stages import configured, refuse_early
from edgekd.profile import Kernel, Profile
from edgekd.recipe import ModelSpec
from edgekd.schema import read_json
from edgekd.search.candidate import candidate
from edgekd.search.choice import Judge
from edgekd.search.stage import SearchConfig
from edgekd.search.tas import stage as tas
from edgekd.search.tas.config import TasConfig
from edgekd.search.tas.cost import Tables, cost_loss
from edgekd.search.tas.decisions import Decisions
from edgekd.search.tas.interpolation import to_width
from edgekd.search.tas.landing import by_probability, landed
from edgekd.search.tas.shapes import Family, Shapes
from edgekd.search.tas.stage import Found, TasStage
from edgekd.search.tas.supernet import Supernet
from edgekd.search.tas.training import Turns, temperature
from edgekd.stage import Context
from edgekd.train.batches import AugmentedBatches, Batch
from edgekd.train.task import task_called
from tests.distill.tiny_run import context, quadrants
from tests.search.test_trials import probes

TEACHER = {"name": "resnet", "options": {"depth": 14, "channels": [16, 32, 48]}}
SHAPE, CLASSES = (1, 12, 12), 4
SPACE = {"depths": [8, 14], "multipliers": [0.5, 1.0], "growths": [1.0, 2.0]}
TAS = {
    "epochs": 2,
    "batch": 32,
    "learning_rate": 0.05,
    "tolerance": 0.15,
    "candidates": 3,
    "logits_learning_rate": 0.1,
    "logits_share": 0.25,
}
TINY = Shapes(((8,), (8, 16), (8, 16, 24)), ((1,), (1, 2), (1, 2)))


def run_in(root: Path, stage: str, limit: float = 1.6, **stages: object) -> Context:
    plain = {"search": {"space_options": SPACE, "margin": 1}, "teacher": {}, "tas": TAS, "distill": {}, **stages}
    return context(root, stage, model=TEACHER, stages=plain, budget={"latency_ratio": limit})


def stage_of(**options: object) -> TasStage:
    return TasStage(TasConfig.model_validate({**TAS, **options}))


def searched(run: Context, artifacts: ArtifactSet, **options: object) -> tuple[Found, ArtifactSet]:
    stage = stage_of(**options)
    stage.requires(artifacts, run)
    done = stage.run(artifacts, run)
    return read_json(Found, run.folder / "tas.json"), done


def judge_of(run: Context, artifacts: ArtifactSet) -> Judge:
    profile = read_json(Profile, run.path(artifacts.newest(network="probes", written_as="profile")))
    return SearchConfig.of(run.recipe).judge_of(profile, run)


def per_mac(found: Sequence[Kernel]) -> np.ndarray:
    """Return the milliseconds in two engines: one has a dear call, the other dear multiplications."""
    done = sum(kernel.macs for kernel in found) / 1e5
    return np.array([5.0 + done, 1.0 + 2 * done])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tas")


@pytest.fixture(scope="module")
def first(root: Path) -> tuple[Found, ArtifactSet]:
    run = run_in(root, "tas-1")
    return searched(run, probes(run))


@pytest.mark.parametrize(("inputs", "outputs"), [(8, 16), (16, 40), (40, 24), (3, 7), (7, 3), (5, 1)])
def test_channels_are_interpolated_as_adaptive_average_pooling_does(inputs: int, outputs: int) -> None:
    x = torch.randn(2, inputs, 5, 3, generator=torch.Generator().manual_seed(0))
    pooled = nn.functional.adaptive_avg_pool1d(x.permute(0, 2, 3, 1).reshape(-1, 1, inputs), outputs)
    expected = pooled.view(2, 5, 3, outputs).permute(0, 3, 1, 2)
    torch.testing.assert_close(to_width(x, outputs), expected, rtol=1e-6, atol=1e-6)


def test_as_many_channels_as_are_wanted_stay_as_they_are() -> None:
    x = torch.randn(1, 6, 2, 2)
    assert to_width(x, 6) is x


@pytest.mark.parametrize("blocks", [(1, 1, 1), (2, 1, 3), (3, 3, 3)])
def test_the_family_knows_the_kernels_of_every_network(blocks: tuple[int, ...]) -> None:
    widths = (8, 24, 40)
    built = kernels(build(ResNetShape(widths, blocks).spec, SHAPE, CLASSES), SHAPE)
    assert Counter(Family.of(SHAPE, CLASSES).kernels(widths, blocks)) == Counter(k._replace(name="") for k in built)


@pytest.mark.parametrize(("channels", "classes"), [(3, 4), (2, 5), (4, 3)])
def test_channels_of_images_and_classes_are_no_widths(channels: int, classes: int) -> None:
    family = Family.of((channels, 8, 8), classes)
    built = kernels(build(ResNetShape((16, 32, 48), (1, 1, 1)).spec, (channels, 8, 8), classes), (channels, 8, 8))
    assert Counter(family.kernels((16, 32, 48), (1, 1, 1))) == Counter(k._replace(name="") for k in built)


def test_the_expected_cost_of_a_certain_network_is_its_predicted_cost(root: Path) -> None:
    run = run_in(root, "tas-cost", quantize={})
    judge = judge_of(replace(run, correction=1.25), probes(run))
    shapes = Shapes(((16, 32), (16, 48), (32, 64, 96)), ((1, 2), (1, 2, 3), (1,)))
    tables = Tables(judge.each_ms, Family.of(SHAPE, CLASSES), shapes)
    seen = set()
    for positions in [(0, 0, 0, 0, 0, 0), (1, 1, 2, 1, 2, 0), (0, 1, 0, 1, 1, 0), (1, 0, 1, 0, 2, 0)]:
        spec = shapes.of(positions).spec
        predicted = judge.row("found", candidate("found", spec, SHAPE, CLASSES)).latency.value
        assert tables.of(positions) == pytest.approx(predicted, rel=1e-12)
        seen.add(predicted)
    assert len(seen) == 4


def test_the_expected_cost_is_the_mean_over_all_networks() -> None:
    family = Family.of(SHAPE, CLASSES)
    tables = Tables(per_mac, family, TINY)
    random = torch.Generator().manual_seed(1)
    probabilities = [torch.rand(len(own), generator=random).double() for own in TINY.decisions]
    probabilities = [own / own.sum() for own in probabilities]
    every = list(product(*(range(len(own)) for own in TINY.decisions)))
    weights = [prod(float(p[at]) for p, at in zip(probabilities, positions, strict=True)) for positions in every]
    costs = np.array([per_mac(family.kernels(*TINY.of(positions)[:2])) for positions in every])
    assert float(tables.expected(probabilities)) == pytest.approx((np.array(weights) @ costs).min(), rel=1e-9)
    assert sum(weights) == pytest.approx(1)
    assert len(every) == TINY.count == 24


@pytest.mark.parametrize(("now", "sign"), [(1.01, 1), (1.0, 0), (0.91, 0), (0.9, 0), (0.89, -1)])
def test_the_cost_pulls_towards_the_limit_and_not_within_the_tolerance(now: float, sign: int) -> None:
    expected = torch.tensor(3.0, requires_grad=True)
    loss = cost_loss(expected, now, 1.0, 0.1)
    loss.backward()
    assert loss.item() == pytest.approx(sign * math.log(3))
    assert expected.grad is not None
    assert expected.grad.item() == pytest.approx(sign / 3)


@pytest.mark.parametrize(("limit", "cheaper"), [(1e-3, True), (1e6, False)])
def test_a_step_by_the_cost_alone_makes_networks_cheaper_or_dearer(limit: float, cheaper: bool) -> None:
    tables = Tables(per_mac, Family.of(SHAPE, CLASSES), TINY)
    decisions = Decisions([len(own) for own in TINY.decisions], 1.0, 1)
    costs = []
    for _ in range(2):
        logits = decisions.logits.clone().requires_grad_()
        expected = tables.expected(decisions.probabilities(logits))
        costs.append(expected.item())
        loss = cost_loss(expected, tables.of(decisions.likeliest()), limit, 0.1)
        decisions.move(torch.autograd.grad(loss, logits)[0], 0.1)
    assert (costs[1] < costs[0]) == cheaper
    assert costs[1] != costs[0]


def test_logits_move_as_adam_moves_them() -> None:
    decisions = Decisions((3, 2), 1.0, 1)
    same = nn.Parameter(torch.zeros(5))
    adam = torch.optim.Adam([same], lr=0.03)
    for gradient in torch.randn(7, 5, generator=torch.Generator().manual_seed(0)):
        decisions.move(gradient, 0.03)
        same.grad = gradient.clone()
        adam.step()
    torch.testing.assert_close(decisions.logits, same.detach())


def test_two_different_widths_are_drawn_by_their_probability_and_their_weights_carry_a_gradient() -> None:
    torch.manual_seed(0)
    decisions = Decisions((4,), 1.0, 1)
    logits = torch.tensor([4.0, 0.0, 4.0, 0.0], requires_grad=True)
    drawn: Counter[tuple[int, ...]] = Counter()
    for _ in range(200):
        mixture = decisions.pair(logits)
        assert float(mixture.weights.detach().sum()) == pytest.approx(1)
        drawn[tuple(sorted(mixture.positions))] += 1
    assert all(len(set(pair)) == 2 for pair in drawn)
    assert drawn[0, 2] > 100
    assert torch.autograd.grad(mixture.weights[0], logits)[0].abs().max() > 0
    decisions.eval()
    assert sorted(decisions.pair(logits).positions) == [0, 2]


def test_a_temperature_falls_from_the_first_to_the_last() -> None:
    config = TasConfig(first_temperature=8, last_temperature=0.5)
    told = [temperature(config, step, 10) for step in range(11)]
    assert told[0] == 8
    assert told[9] == told[10] == 0.5
    assert told[:10] == sorted(told[:10], reverse=True)


def test_with_one_candidate_each_the_shared_network_is_the_network_itself() -> None:
    shapes = Shapes(((8,), (16,), (24,)), ((2,), (1,), (2,)))
    net = Supernet(shapes, 1, CLASSES, Decisions([1] * 6, 1.0, 1))
    own = build(ResNetShape((8, 16, 24), (2, 1, 2)).spec, SHAPE, CLASSES).train()
    layers = [module for module in net.modules() if hasattr(module, "norms")]
    convolutions = [module for module in own.modules() if isinstance(module, nn.Conv2d)]
    with torch.no_grad():
        for layer, convolution in zip(layers, convolutions, strict=True):
            layer.weight.copy_(convolution.weight)
        net.head.load_state_dict(own.get_submodule("head").state_dict())
    x = torch.randn(4, *SHAPE)
    torch.testing.assert_close(net(x), own(x), rtol=1e-4, atol=1e-5)


def test_networks_come_by_falling_probability_each_once() -> None:
    random = np.random.default_rng(0)
    logs = [np.log(random.dirichlet(np.ones(size))).tolist() for size in (3, 1, 4)]
    found = list(by_probability(logs))
    told = [sum(own[at] for own, at in zip(logs, positions, strict=True)) for positions in found]
    assert sorted(found) == list(product(range(3), range(1), range(4)))
    assert told == sorted(told, reverse=True)


@pytest.mark.parametrize(
    ("limit", "wrong", "positions", "rank", "on_limit"),
    [
        (30, None, (2,), 0, True),  # the likeliest costs 30
        (20, None, (1,), 2, True),
        (30, (2,), (1,), 2, False),  # nothing else is at the limit: the dearest below it
        (29, None, (1,), 2, False),
        (5, None, (0,), 1, False),  # all are above: the cheapest
    ],
)
def test_the_likeliest_network_at_the_limit_is_taken(
    limit: float, wrong: tuple[int] | None, positions: tuple[int], rank: int, on_limit: bool
) -> None:
    found = landed([[-2.0, -3.0, -1.0]], lambda at: 10.0 * (at[0] + 1), lambda at: at != wrong, limit, 0.05)
    assert found == (positions, rank, on_limit)


def test_candidates_that_can_never_fit_are_left_out_and_the_rest_is_spread() -> None:
    every = Shapes(((8, 16), (8, 16, 24, 32, 40), (8, 16)), ((1, 2, 3),) * 3)
    found = every.within(lambda widths, blocks: max(widths) <= 32 and sum(blocks) <= 4, 3)
    assert found == Shapes(((8, 16), (8, 24, 32), (8, 16)), ((1, 2),) * 3)
    assert every.within(lambda *_: False, 3).count == 1


def test_the_candidates_are_all_between_the_ends_of_a_space() -> None:
    specs = [ResNetShape((8, 16, 24), (1, 1, 1)).spec, ResNetShape((16, 16, 40), (3, 3, 3)).spec]
    assert Shapes.around(specs, 8) == Shapes(((8, 16), (16,), (24, 32, 40)), ((1, 2, 3),) * 3)


def test_more_weight_on_the_cost_never_ends_dearer() -> None:
    data = quadrants()
    scaled = (data.train.inputs / 128 - 1).astype(np.float32)
    tables = Tables(per_mac, Family.of(SHAPE, CLASSES), TINY)
    ends = []
    for weight in (0.0, 0.3, 30.0):
        config = TasConfig(epochs=1, batch=32, cost_weight=weight, logits_learning_rate=0.2)
        torch.manual_seed(0)
        net = Supernet(TINY, 1, CLASSES, Decisions([len(own) for own in TINY.decisions], 5.0, 1))
        batches = AugmentedBatches(scaled, data.train.labels, batch=32, augmentation=lambda x, _: x, seed=0)
        turns = Turns(net, config, tables, 1e-3, task_called("classification"), batches, 12)
        for step in range(12):
            turns(step, net)
        ends.append(float(net.decisions.costs[0]))
    assert ends == sorted(ends, reverse=True)
    assert ends[2] < 0.8 * ends[0]


def test_what_is_found_costs_what_it_may_and_is_told_with_all_that_is_known(
    first: tuple[Found, ArtifactSet], root: Path
) -> None:
    found, done = first
    assert found.on_limit
    assert 0.85 * found.limit_ms <= found.chosen.latency.value <= found.limit_ms
    assert found.chosen.fits
    for decided in (*found.widths, *found.blocks):
        assert sum(decided.probabilities) == pytest.approx(1, abs=1e-5)
    moved = [decided for decided in (*found.widths, *found.blocks) if len(decided.candidates) > 1]
    assert len(moved) >= 3
    assert all(len(set(decided.probabilities)) > 1 for decided in moved), "one without a gradient would stay even"
    assert len(found.expected_ms) == 2
    assert found.images == 2 * 192
    assert all(width % 16 == 0 for decided in found.widths for width in decided.candidates)
    artifact = done.newest(written_as="choice")
    assert artifact.made_by == "tas"
    assert artifact.figures == (found.chosen.latency,)
    assert read_json(ModelSpec, run_in(root, "tas-1").path(artifact)) == found.chosen.spec


def test_distill_takes_what_was_found(first: tuple[Found, ArtifactSet], root: Path) -> None:
    run = run_in(root, "distill-1")
    stage = DistillStage(DistillStage.Config(epochs=1, batch=32, losses={}))
    student = stage.run(first[1], run).newest(network="distilled", written_as="torch")
    parameters = student.figure("parameters")
    assert parameters is not None
    assert parameters.value == first[0].chosen.parameters


class Killed(Exception):
    pass


@pytest.mark.parametrize("at", [3, 7])
def test_a_search_that_was_killed_ends_like_one_that_was_not(
    at: int, first: tuple[Found, ArtifactSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_in(tmp_path, "tas-1")
    artifacts = probes(run)

    class Stopping(Turns):
        def __call__(self, step: int, model: nn.Module) -> None:
            if step == at:
                raise Killed
            super().__call__(step, model)

    with monkeypatch.context() as patch:
        patch.setattr(tas, "Turns", Stopping)
        with pytest.raises(Killed):
            searched(run, artifacts)
    torch.manual_seed(99)
    assert searched(run, artifacts)[0] == first[0]


def test_another_limit_does_not_go_on_from_an_old_search(root: Path, tmp_path: Path) -> None:
    wide = run_in(tmp_path, "tas")
    searched(wide, probes(wide), epochs=1)
    tight = replace(wide, recipe=run_in(tmp_path, "tas", limit=1.1).recipe)
    found, _ = searched(tight, probes(tight), epochs=1)
    assert found.images == 192
    assert found.chosen.latency.value <= found.limit_ms
    assert len(list(tight.folder.glob("search-*"))) == 2


def test_where_nothing_fits_the_cheapest_is_taken_without_a_search(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(tas, "train", refuse)
    run = run_in(root, "tas-2", limit=1e-6)
    found, _ = searched(run, probes(run))
    assert not found.on_limit
    assert not found.chosen.fits
    assert found.chosen.spec == ResNetShape((16, 16, 32), (1, 1, 1)).spec
    assert (found.images, found.expected_ms) == (0, ())


def test_a_loss_that_is_no_number_stops_the_search() -> None:
    tables = Tables(per_mac, Family.of(SHAPE, CLASSES), TINY)
    net = Supernet(TINY, 1, CLASSES, Decisions([len(own) for own in TINY.decisions], 5.0, 1))

    class Broken:
        def __len__(self) -> int:
            return 1

        def epoch(self, number: int) -> object:
            yield Batch(torch.full((4, *SHAPE), math.nan), torch.arange(4))

    turns = Turns(net, TasConfig(epochs=1), tables, 1.0, task_called("classification"), Broken(), 1)
    with pytest.raises(TrainingError, match=r"loss became nan in step 1; lower learning_rate \(0\.1\)"):
        turns(0, net)


def test_what_is_missing_or_wrong_is_told_early(root: Path) -> None:
    run = run_in(root, "tas-3")
    with pytest.raises(UsageError, match="chooses again what the stage 'search' has chosen"):
        stage_of().requires(ArtifactSet(), run)
    known = probes(run)
    with pytest.raises(UsageError, match="finds a student for the stage 'distill'"):
        stage_of().requires(known, run_in(root, "tas-3", distill={"student": TEACHER}))
    with pytest.raises(UsageError, match="'tas' and 'trials' each choose the student"):
        stage_of().requires(known, run_in(root, "tas-3", trials={}))
    with pytest.raises(UsageError, match=r"ResNets only, and the search space holds 'mobilenetv2'"):
        stage_of().requires(known, run_in(root, "tas-3", search={"space": "mobilenetv2"}))
    shrinking = {"space": "resnet", "space_options": {**SPACE, "shrinks": [1, 2]}}
    with pytest.raises(UsageError, match=r"images as they are, and the search space holds one that shrinks them by 2"):
        stage_of().requires(known, run_in(root, "tas-3", search=shrinking))
    for options in ({"ema": 0.9}, {"patience": 2}, {"compile": "auto"}):
        with pytest.raises(UsageError, match=rf"stages\.tas\.{next(iter(options))} keeps the weights of one network"):
            stage_of(**options).requires(known, run)
    with pytest.raises(UsageError, match="leaves 26 on one side, fewer than a batch of 32"):
        stage_of(logits_share=0.1).requires(known, run)
    with pytest.raises(UsageError, match="did you mean 'sgd'"):
        stage_of(optimizer="sdg").requires(known, run)


def test_a_recipe_with_the_stage_is_refused_or_not_before_any_training(root: Path) -> None:
    run = run_in(root, "tas-4")
    refuse_early(configured(run.recipe), run)
    with pytest.raises(UsageError, match="put that before it, student: auto"):
        refuse_early(configured(run.recipe.replace(stages={"tas": TAS, "distill": {"student": TEACHER}})), run)
