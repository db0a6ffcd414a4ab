"""KDL-DARTS on tiny networks: cells are really searched; the probes are a profile somebody else has measured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgekd.artifact import ArtifactSet
from edgekd.distill.stage import DistillStage
from edgekd.errors import UsageError
from edgekd.models.build import build
from edgekd.predict.features import FEATURES, features
from edgekd.profile import EngineRecord, Profile
from edgekd.recipe import ModelSpec
from edgekd.schema import read_json, write_json
from edgekd.search.candidate import candidate
from edgekd.search.cells import Skeleton
from edgekd.search.choice import Judge
from edgekd.search.kdl_darts.architect import Architect
from edgekd.search.kdl_darts.config import KdlDartsConfig
from edgekd.search.kdl_darts.costs import CostTable, cost_table
from edgekd.search.kdl_darts.rounds import Search
from edgekd.search.kdl_darts.stage import KdlDartsStage, Result
from edgekd.search.kdl_darts.supernet import MixedEdge, supernet
from edgekd.search.spaces.mobile_cells import MobileCellsSpace
from edgekd.search.stage import SearchConfig
from edgekd.stage import Advance, Context, Progress
from edgekd.train import checkpoint, data
from tests.distill.tiny_run import context, with_teacher

SHAPE, CLASSES = (1, 12, 12), 4
ROWS = [{"channels": 16, "repeats": 2, "stride": 2}, {"channels": 16, "repeats": 2, "stride": 2}]
SPACE = {"stem": 16, "rows": ROWS, "head": 16, "kernels": [3, 5], "expansions": [1, 3], "widths": [0.5, 1.0]}
SEARCH = {"space": "mobile-cells", "space_options": SPACE, "margin": 1}
OPTIONS = {"epochs": 3, "resting_epochs": 1, "batch": 64, "losses": {}, "round_epochs": 1, "alpha_learning_rate": 0.1}
COSTS = np.array([0.02 * (name == "constant") + 0.005 * (name == "kernels") for name in FEATURES])
COSTS += np.array([1e-6 * (name == "dense_macs") + 4e-6 * (name == "grouped_macs") for name in FEATURES])


def run_in(root: Path, stage: str, limit_ms: float = 10.0, **stages: object) -> Context:
    plain = {"search": SEARCH, "teacher": {}, "kdl-darts": OPTIONS, "distill": {}, **stages}
    return context(root, stage, stages=plain, budget={"latency_ms": limit_ms})


def skeleton(**changes: object) -> Skeleton:
    return MobileCellsSpace(
        MobileCellsSpace.Config.model_validate({**SPACE, "step": 16, **changes}), ModelSpec(name="resnet")
    ).skeleton(1)


def profile(run: Context) -> Profile:
    """Return engines whose latency is a sum of their kernels' work, twice that in fp32."""
    random, records = np.random.default_rng(0), []
    for number in range(12):
        chosen = [int(random.integers(len(edge.operators))) for edge in skeleton().edges]
        found = candidate(f"probe-{number}", skeleton().spec(chosen), SHAPE, CLASSES)
        for scheme, factor in (("fp32", 2.0), ("u8w8", 1.0)):
            record = EngineRecord(
                network=found.name,
                scheme=scheme,
                runtime="openvino",
                digest=found.name,
                operating_point=run.recipe.budget.operating_point,
                per_process={"latency_ms_p90": (factor * float(features(found.kernels, 16) @ COSTS),) * 3},
                kernels=found.kernels,
            )
            records.append(record)
    return Profile(target=run.target.name, origin="device", machine={}, records=tuple(records))


def searched_before(run: Context) -> ArtifactSet:
    write_json(profile(run), run.run_folder / "probes.json")
    write_json(ModelSpec(name="resnet"), run.run_folder / "choice.json")
    probes = run.store(run.run_folder / "probes.json", network="probes", format="profile", made_by="search")
    choice = run.store(run.run_folder / "choice.json", network="distilled", format="choice", made_by="search")
    return ArtifactSet(artifacts=(probes, choice))


def judge_of(run: Context) -> Judge:
    return SearchConfig.of(run.recipe).judge_of(profile(run), run)


def stage_of(**options: object) -> KdlDartsStage:
    return KdlDartsStage(KdlDartsConfig.model_validate({**OPTIONS, **options}))


def chosen_in(run: Context, **options: object) -> tuple[Result, ArtifactSet]:
    stage, artifacts = stage_of(**options), searched_before(run)
    stage.requires(artifacts, run)
    done = stage.run(artifacts, run)
    return read_json(Result, run.folder / "kdl-darts.json"), done


def one_hot(chosen: list[int], most: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(chosen), most).float()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kdl-darts")


@pytest.fixture(scope="module")
def table(root: Path) -> CostTable:
    return cost_table(skeleton(), judge_of(run_in(root, "costs", quantize={})), SHAPE, CLASSES)


@pytest.fixture(scope="module")
def first(root: Path) -> tuple[Result, ArtifactSet]:
    return chosen_in(run_in(root, "first"))


def test_a_mixed_edge_is_the_weighted_sum_of_its_operators() -> None:
    torch.manual_seed(0)
    edge = MixedEdge(skeleton().edges[1]).eval()
    x, shares = torch.randn(2, 16, 6, 6), torch.tensor([0.1, 0.2, 0.3, 0.15, 0.25])
    expected = sum(float(share) * operator(x) for share, operator in zip(shares, edge.operators, strict=True))
    torch.testing.assert_close(edge(x, shares), expected)
    torch.testing.assert_close(edge(x, torch.tensor([0.0, 0, 0, 0, 1])), x)


@pytest.mark.parametrize("chosen", [[0, 4, 3, 2], [3, 1, 0, 4]], ids=str)
def test_with_one_hot_shares_it_is_the_derived_network(chosen: list[int]) -> None:
    torch.manual_seed(0)
    network, cells = supernet(skeleton(), 1, 1, CLASSES)
    network.train()(torch.randn(32, *SHAPE))  # BatchNorm statistics that are not the trivial ones
    cells.alpha.copy_(2000 * one_hot(chosen, 5) - 1000)
    assert cells.chosen() == tuple(chosen)
    derived = build(skeleton().spec(chosen), SHAPE, CLASSES)
    kept = [f"blocks.edges.{edge}.operators.{one}." for edge, one in enumerate(chosen) if one < 4]
    new = {start: f"blocks.{number}." for number, start in enumerate(kept)}
    state = {}
    for name, tensor in network.state_dict().items():
        start = next((start for start in kept if name.startswith(start)), "")
        if start or not name.startswith("blocks."):
            state[name.replace(start, new[start]) if start else name] = tensor
    derived.load_state_dict(state)
    x = torch.randn(4, *SHAPE)
    torch.testing.assert_close(network.eval()(x), derived.eval()(x))


def test_the_expected_cost_of_one_hot_shares_is_the_derived_networks_prediction(root: Path, table: CostTable) -> None:
    judge = judge_of(run_in(root, "costs", quantize={}))
    for chosen in ([0, 0, 0, 0], [1, 4, 3, 2], [3, 3, 3, 3]):
        found = candidate("derived", skeleton().spec(chosen), SHAPE, CLASSES)
        latency = judge.row("derived", found).latency
        assert float(table.expected(one_hot(chosen, 5))) == pytest.approx(latency.value, rel=1e-5)
    assert table.engines[table.engine(chosen)] == ("u8w8", "openvino")
    cheapest = candidate("cheapest", skeleton().spec(table.cheapest()), SHAPE, CLASSES)
    assert judge.row("cheapest", cheapest).latency.value < latency.value / 2
    assert table.cheapest() == (0, 4, 0, 4)


def test_every_cost_is_told_with_its_bounds(table: CostTable) -> None:
    edge = table.figures[table.engine([0, 0, 0, 0])][1]
    assert [one.operator for one in edge][::3] == ["kernel 3, expansion 1", "kernel 5, expansion 3"]
    assert edge[-1].operator == "none"
    assert edge[-1].added_ms.value == 0
    for one in edge[:-1]:
        figure = one.added_ms
        assert figure.origin == "predicted"
        assert figure.lower is not None
        assert figure.upper is not None
        assert figure.lower <= figure.value <= figure.upper


def test_excitation_is_chosen_by_place_and_costs_what_it_adds(root: Path) -> None:
    judge, whole = judge_of(run_in(root, "costs", quantize={})), skeleton(squeezes=[False, True], kernels=[3])
    found = cost_table(whole, judge, SHAPE, CLASSES)
    for chosen in ([0, 0, 0, 0], [1, 4, 3, 2], [3, 1, 1, 3]):
        latency = judge.row("derived", candidate("derived", whole.spec(chosen), SHAPE, CLASSES)).latency
        assert float(found.expected(one_hot(chosen, 5))) == pytest.approx(latency.value, rel=1e-5)
    assert (found.added[:, :, [1, 3]] > found.added[:, :, [0, 2]]).all()
    _, cells = supernet(whole, 1, 1, CLASSES)
    cells(torch.randn(2, 16, 12, 12)).sum().backward()
    assert all(p.grad is not None for name, p in cells.named_parameters() if "excite" in name)
    assert sum("excite.weight" in name for name, _ in cells.named_parameters()) == 2 * len(whole.edges)


def test_cost_pulls_alphas_towards_what_is_cheap(table: CostTable) -> None:
    _, cells = supernet(skeleton(), 1, 1, CLASSES)
    cells.alpha.normal_(generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    (found,) = torch.autograd.grad(table.expected(cells.shares()), [cells.alpha])
    costs, shares = table.added[table.engine([0, 0, 0, 0])], cells.shares().detach()
    torch.testing.assert_close(found, shares * (costs - (shares * costs).sum(1, keepdim=True)))
    assert (found[range(4), costs.argmax(1)] > 0).all()
    assert (found[range(4), table.cheapest()] < 0).all()
    assert found[0, 4] == 0, "the first edge cannot stay empty"


def test_alphas_learn_from_validation_only_and_weights_never_do(root: Path, table: CostTable) -> None:
    run = run_in(root, "separate")
    config = KdlDartsConfig.model_validate({**OPTIONS, "losses": {"logits-kl": {}}})
    artifacts = with_teacher(root)
    search = Search(skeleton(), table, 1.0, config, artifacts, run)
    network, cells = search.network.train(), search.cells
    search._objective(network, next(iter(search._batches.epoch(0)))).total.backward()
    assert cells.alpha.grad is None
    assert all(p.grad is not None for p in network.parameters() if p is not cells.alpha)
    network.zero_grad(set_to_none=True)
    seen = search._held_out.at(0)  # validation is as large as a batch
    dataset = data.load(run.recipe.data)
    validation = torch.from_numpy(data.normalised(dataset.validation, dataset))
    assert torch.equal(seen.inputs.flatten(1).sum(1).sort()[0], validation.flatten(1).sum(1).sort()[0])
    assert seen.teacher is not None
    teacher = checkpoint.load(run.path(artifacts.newest(network="teacher")))
    torch.testing.assert_close(seen.teacher.logits, teacher(seen.inputs), rtol=1e-4, atol=1e-4)
    before = {name: p.clone() for name, p in network.named_parameters()}
    adam = cells.optimizer(0.1, 0.0)
    Architect(cells, search._held_out, search._objective, table, 1.0, 0.3, adam, 4, 0)(0, network)
    moved = {name for name, p in network.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"blocks.alpha"}
    assert all(p.grad is None for p in network.parameters())


def test_the_more_latency_weighs_the_cheaper_is_what_comes_out(root: Path, table: CostTable) -> None:
    run = run_in(root, "weights")
    config, found = KdlDartsConfig.model_validate(OPTIONS), []
    for weight in (1e-4, 1.0, 1000.0):
        search = Search(skeleton(), table, 0.1, config, searched_before(run), run)
        search.round(0, weight)
        found.append(float(table.expected(one_hot(list(search.cells.chosen()), 5))))
    assert found == sorted(found, reverse=True)
    assert found[0] > found[-1]
    assert found[-1] == pytest.approx(float(table.expected(one_hot([0, 4, 0, 4], 5))))


def test_the_result_tells_how_the_alphas_went(first: tuple[Result, ArtifactSet]) -> None:
    result, done = first
    assert [epoch.round for epoch in result.epochs] == [0, 0, 0]
    assert [len(row) for row in result.epochs[0].shares] == [4, 5, 4, 5]
    resting, last = result.epochs[0], result.epochs[-1]
    assert resting.shares[0] == pytest.approx((0.25,) * 4), "the alphas rest in the first epoch"
    assert max(last.shares[0]) > 0.27
    choice = done.newest(written_as="choice")
    assert (choice.made_by, choice.figures[0].origin) == ("kdl-darts", "predicted")
    row = result.rounds[-1].row
    assert row.fits
    assert result.engine == "fp32 on openvino", "nothing is quantized in this recipe"
    assert len(row.spec.options["cells"]) == 4 - sum(int(np.argmax(edge)) == 4 for edge in last.shares)


def test_a_killed_search_goes_on_to_the_same_result(first: tuple[Result, ArtifactSet], tmp_path: Path) -> None:
    class Killed(Progress):
        @contextmanager
        def task(self, title: str, total: int) -> Iterator[Advance]:
            seen = 0

            def advance(steps: int = 1, note: str = "") -> None:
                nonlocal seen
                seen += steps
                if title.startswith("search cells") and seen > 9:
                    raise KeyboardInterrupt

            yield advance

    run = run_in(tmp_path, "first")
    with pytest.raises(KeyboardInterrupt):
        chosen_in(replace(run, progress=Killed()))
    assert list((run.folder / "training").rglob("*.safetensors")), "two epochs of four steps were finished"
    assert chosen_in(run)[0] == first[0]


def test_a_limit_is_kept_by_raising_lambda2(root: Path, first: tuple[Result, ArtifactSet]) -> None:
    tight = 1.05 * first[0].cheapest.latency.value
    options = {"cost_weight": 1e-3, "raised_by": 1000.0}
    result, done = chosen_in(run_in(root, "tight", tight), **options)
    assert len(result.rounds) > 1
    assert [one.row.fits for one in result.rounds] == [False] * (len(result.rounds) - 1) + [True]
    assert done.newest(written_as="choice").figures[0].value <= tight
    with pytest.raises(
        UsageError, match=r"after 0 rounds, lambda2 0\.001, the derived network .* cheapest of the space"
    ):
        chosen_in(run_in(root, "tight", tight), **options, rounds=0)


def test_where_nothing_fits_the_cheapest_is_chosen_and_told(root: Path, first: tuple[Result, ArtifactSet]) -> None:
    result, done = chosen_in(run_in(root, "hopeless", 0.5 * first[0].cheapest.latency.value))
    assert not result.epochs
    assert "out of reach: the cheapest network" in done.newest(written_as="choice").notes["choice"]
    assert read_json(ModelSpec, root / "run/stages/hopeless/choice.json") == first[0].cheapest.spec


def test_distill_takes_the_choice(root: Path, first: tuple[Result, ArtifactSet]) -> None:
    stage = DistillStage(DistillStage.Config.model_validate({"epochs": 1, "batch": 64, "losses": {}}))
    run = run_in(root, "distil")
    done = stage.run(first[1], run)
    described = checkpoint.describe(run.path(done.newest(network="distilled", written_as="torch")))
    assert described.spec == first[0].rounds[-1].row.spec


def test_what_cannot_work_is_told_early(root: Path) -> None:
    run = run_in(root, "refused")
    known = searched_before(run)
    with pytest.raises(UsageError, match="stage kdl-darts chooses again what the stage 'search' has chosen"):
        stage_of().requires(ArtifactSet(), run)
    with pytest.raises(UsageError, match="stage kdl-darts needs a teacher"):
        stage_of(losses={"dist": {}}).requires(known, run)
    with pytest.raises(UsageError, match=r"set stages\.search\.space: mobile-cells"):
        stage_of().requires(known, run_in(root, "refused", search={"space": "resnet"}))
    with pytest.raises(UsageError, match="leave one of them out"):
        stage_of().requires(known, run_in(root, "refused", trials={}))
    with pytest.raises(UsageError, match="loss 'taid' looks inside networks or counts its steps"):
        stage_of(losses={"taid": {}}).requires(known, run)
    with pytest.raises(UsageError, match=r"stages\.kdl-darts\.ema keeps the weights of one network"):
        stage_of(ema=0.9).requires(known, run)
    with pytest.raises(ValueError, match="the alphas rest in all of 3 epochs"):
        stage_of(resting_epochs=3)
