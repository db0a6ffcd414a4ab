"""Shared weights on tiny networks: they are really trained; the probes are a profile somebody else has measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from edgekd import cache
from edgekd.artifact import ArtifactSet
from edgekd.distill.stage import DistillStage
from edgekd.errors import UsageError
from edgekd.models.build import build
from edgekd.recipe import ModelSpec
from edgekd.schema import read_json
from edgekd.search.space import SPACES, Space, create
from edgekd.search.supernet.sandwich import Sandwich
from edgekd.search.supernet.stage import SupernetStage
from edgekd.search.supernet.weights import SharedWeights
from edgekd.search.tried import Trials
from edgekd.stage import Context
from edgekd.train import checkpoint, data
from edgekd.train.evaluate import accuracy, logits
from edgekd.train.loop import Batch, Terms
from tests.distill.tiny_run import context, with_teacher
from tests.search.measured import probes

TEACHER = {"name": "resnet", "options": {"depth": 14, "channels": [16, 32, 48]}}
SEARCH = {"space": "resnet-stages", "space_options": {"widths": [0.34, 0.67, 1.0]}, "margin": 1}
OPTIONS: dict[str, Any] = {"epochs": 3, "batch": 32, "learning_rate": 0.1, "losses": {}, "count": 12, "calibration": 64}
SHAPE = (1, 16, 16)


def run_in(root: Path, stage: str, limit: float = 1.3, **stages: object) -> Context:
    plain = {"search": SEARCH, "teacher": {}, "supernet": OPTIONS, "distill": {}, **stages}
    return context(root, stage, model=TEACHER, stages=plain, budget={"latency_ratio": limit})


def chosen(run: Context, artifacts: ArtifactSet, **options: object) -> tuple[Trials, ModelSpec, ArtifactSet]:
    stage = SupernetStage(SupernetStage.Config.model_validate({**OPTIONS, **options}))
    stage.requires(artifacts, run)
    done = stage.run(artifacts, run)
    choice = read_json(ModelSpec, run.path(done.newest(written_as="choice")))
    return read_json(Trials, run.folder / "trials.json"), choice, done


def shared_by(space: Space) -> SharedWeights:
    torch.manual_seed(0)
    return SharedWeights(space, space.distinct(), SHAPE, 4)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("supernet")


@pytest.fixture(scope="module")
def first(root: Path) -> tuple[Trials, ModelSpec, ArtifactSet]:
    run = run_in(root, "supernet-1")
    return chosen(run, probes(run))


def refuse(*_: object, **__: object) -> None:
    raise AssertionError


@pytest.mark.parametrize("name", SPACES.names())
def test_every_network_is_a_view_of_the_shared_weights(name: str) -> None:
    space = create(name, {}, ModelSpec.model_validate(TEACHER), 8)
    shared = shared_by(space)
    x = torch.randn(4, *SHAPE)
    for point in (shared.points[0], *shared.points[1:-1:97], shared.points[-1]):
        own = shared.network(point)
        assert [p.shape for p in own.parameters()] == [p.shape for p in build(space.at(point), SHAPE, 4).parameters()]
        assert torch.allclose(shared.through(point, x), own.train()(x), atol=1e-4)


def test_a_network_trains_its_own_part_and_nothing_else() -> None:
    space = create("resnet-stages", {}, ModelSpec.model_validate(TEACHER), 8)
    shared = shared_by(space)
    cheapest = shared.points[0]
    shared.through(cheapest, torch.randn(4, *SHAPE)).square().sum().backward()
    sizes = {tuple(p.shape) for p in shared.network(cheapest).parameters()}
    moved = 0
    for name, tensor in shared.tensors.items():
        if tensor.grad is None:
            assert "-1/" in name  # the second block of a row
            continue
        rows = tensor.grad.flatten(1).abs().sum(1) if tensor.dim() > 1 else tensor.grad.abs()
        narrow = int((rows > 0).sum())
        assert (rows[narrow:] == 0).all()
        assert any(size[0] == narrow or "bias" in name or narrow < size[0] for size in sizes)
        moved += narrow < len(rows)
    assert moved > 5


def test_a_narrower_transformer_has_the_first_queries_keys_and_values() -> None:
    space = create("vit", {}, ModelSpec.model_validate(TEACHER), 8)
    shared = shared_by(space)
    narrow, wide = (next(p for p in shared.points if p[:3] == (width, 0, 0)) for width in (0, 2))
    own, whole = (shared.network(point).get_submodule("blocks.0.attention.qkv").weight for point in (narrow, wide))
    assert (len(own), len(whole)) == (3 * 32, 3 * 96)
    for part, behind in zip(own.chunk(3), whole.chunk(3), strict=True):
        assert torch.equal(part, behind[:32, :32])
    positions = [shared.network(point).get_parameter("position") for point in (narrow, wide)]
    assert torch.equal(positions[0], positions[1][..., :32])


def test_a_smaller_kernel_is_the_middle_of_a_larger_one() -> None:
    space = create("mobile-cells", {"kernels": [3, 5]}, ModelSpec.model_validate(TEACHER), 8)
    shared = shared_by(space)
    small, large = (next(p for p in shared.points if p[2] == kernel and p[3] == 1) for kernel in (0, 1))
    kernels = [
        next(m.weight for m in shared.network(point).modules() if isinstance(m, torch.nn.Conv2d) and m.groups > 1)
        for point in (small, large)
    ]
    count = min(map(len, kernels))
    assert torch.equal(kernels[0][:count], kernels[1][:count, :, 1:4, 1:4])


def test_networks_with_and_without_excitation_share_all_other_layers() -> None:
    options = {"squeezes": [False, True], "kernels": [3], "expansions": [3]}
    shared = shared_by(create("mobile-cells", options, ModelSpec.model_validate(TEACHER), 8))
    plain, excited = (shared.network((2, 0, 0, 0, squeezes)).state_dict() for squeezes in (0, 1))
    assert all(torch.equal(own, excited[name]) for name, own in plain.items())
    added = {name.rpartition(".layers.")[2] for name in excited.keys() - plain.keys()}
    assert added == {f"5.1.{layer}.{own}" for layer in ("squeeze", "excite") for own in ("weight", "bias")}


def test_the_most_accurate_network_within_the_limit_is_chosen(first: tuple[Trials, ModelSpec, ArtifactSet]) -> None:
    table, choice, done = first
    errors = [one.score.error_percent for one in table.trials]
    assert len({one.score.spec.model_dump_json() for one in table.trials}) == len(errors) == min(12, table.within)
    assert errors[table.chosen] == min(errors)
    assert choice.replace(weights=None) == table.trials[table.chosen].score.spec
    assert all(one.row.fits and one.score.images == 3 * 256 for one in table.trials)
    assert table.trials[0].row.macs == max(one.row.macs for one in table.trials)
    artifact = done.newest(written_as="choice")
    assert artifact.made_by == "supernet"
    assert "with shared weights" in artifact.notes["choice"]


def test_the_student_begins_with_what_it_was_chosen_for(
    first: tuple[Trials, ModelSpec, ArtifactSet], root: Path
) -> None:
    table, choice, done = first
    run, at = run_in(root, "distill-1"), root / "run" / "stages" / "supernet-1" / str(choice.weights)
    dataset = data.load(run.recipe.data)
    network = build(choice.replace(weights=str(at)), dataset.input_shape, dataset.classes).eval()
    seen = logits(network, data.normalised(dataset.validation, dataset))
    assert 100 - accuracy(seen, dataset.validation.labels) == pytest.approx(
        min(o.score.error_percent for o in table.trials)
    )
    stage = DistillStage(DistillStage.Config(epochs=1, batch=32, learning_rate=1e-9, losses={}))
    begun = checkpoint.load(run.path(stage.run(done, run).newest(network="distilled", written_as="torch")))
    for trained, inherited in zip(begun.parameters(), network.parameters(), strict=True):
        assert torch.allclose(trained, inherited, atol=1e-5)
    without = chosen(run_in(root, "supernet-2"), probes(run_in(root, "supernet-2")), inherit=False)
    assert without[1].weights is None


def test_another_limit_and_a_correction_train_nothing(
    first: tuple[Trials, ModelSpec, ArtifactSet], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sandwich, "forward", refuse)
    again = run_in(root, "supernet-3")
    assert chosen(again, probes(again))[0] == first[0]
    tighter = run_in(root, "supernet-4", limit=1.0)
    slower = replace(run_in(root, "supernet-7"), correction=1.3)
    for run in (tighter, slower):
        table, _, _ = chosen(run, probes(run))
        assert table.within < first[0].within
        assert table.trials[0].row.macs < first[0].trials[0].row.macs
    with pytest.raises(AssertionError):
        chosen(again, probes(again), epochs=4)


def test_a_killed_training_goes_on_and_ends_the_same(
    first: tuple[Trials, ModelSpec, ArtifactSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, steps = Sandwich.forward, 0

    def killed(self: Sandwich, model: torch.nn.Module, batch: Batch) -> Terms:
        nonlocal steps
        steps += 1
        if steps == 13:  # in the second epoch
            raise KeyboardInterrupt
        return whole(self, model, batch)

    run = run_in(tmp_path, "supernet-1")
    monkeypatch.setattr(Sandwich, "forward", killed)
    with pytest.raises(KeyboardInterrupt):
        chosen(run, probes(run))
    table, choice, _ = chosen(run, probes(run))
    assert steps == 12 + 1 + 2 * 8
    assert (table, choice) == first[:2]


def test_shared_weights_are_made_here_and_may_be_pruned_from_the_cache(
    first: tuple[Trials, ModelSpec, ArtifactSet], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKD_CACHE", str(root / "cache"))
    found = [entry for entry in cache.entries() if entry.kind == "supernets"]
    assert len(found) == 1
    assert found[0].made_here


def test_what_cannot_be_shared_is_refused(root: Path) -> None:
    run = run_in(root, "supernet-5")
    with pytest.raises(UsageError, match=r"stages\.supernet\.ema keeps the weights of one network"):
        chosen(run, probes(run), ema=0.9)
    with pytest.raises(UsageError, match="loss 'taid' looks inside networks or counts its steps"):
        chosen(run, with_teacher(root).add(*probes(run).artifacts), losses={"taid": {}})
    rival = run_in(root, "supernet-6", trials={})
    with pytest.raises(UsageError, match="leave one of them out"):
        chosen(rival, probes(rival))
    with pytest.raises(UsageError, match="did you mean 'evolution'"):
        chosen(run, probes(run), sampler="evolutio")


class Mixed(Space):
    """Two networks with other things at the same place."""

    def axes(self) -> Any:
        return ()

    def macs(self, point: tuple[int, ...]) -> float:
        return point[0]

    def at(self, point: tuple[int, ...]) -> ModelSpec:
        if point[0] == 0:
            return ModelSpec(factory="tests.models:ResidualCnn")
        return ModelSpec(name="resnet", options={"depth": 8})


def test_a_factory_is_refused() -> None:
    with pytest.raises(UsageError, match="only built-in networks have an outline"):
        SharedWeights(Mixed(Space.Config(), ModelSpec(name="resnet")), [(0,), (1,)], SHAPE, 4)
