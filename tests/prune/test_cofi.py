from __future__ import annotations

import copy
import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from edgekd.artifact import ArtifactSet
from edgekd.errors import EdgekdError, UsageError
from edgekd.export.onnx_file import write
from edgekd.models.build import build
from edgekd.models.stand_in import Nothing, Skipped
from edgekd.models.stand_in import opened as opened_attention
from edgekd.prune.cofi import hard_concrete
from edgekd.prune.cofi.config import CofiConfig
from edgekd.prune.cofi.layers import LayerDistillation
from edgekd.prune.cofi.masks import Masked, Masks
from edgekd.prune.cofi.plan import LAYERS, Plan, plan
from edgekd.prune.cofi.removal import cut
from edgekd.prune.cofi.rounding import rounded
from edgekd.prune.cofi.sparsity import Lagrangian, Parameters
from edgekd.prune.cofi.stage import CofiStage
from edgekd.prune.cofi.training import MaskTraining
from edgekd.prune.trial import prunable
from edgekd.recipe import ModelSpec
from edgekd.stage import Context, Progress
from edgekd.train import checkpoint, data
from edgekd.train.augmentations.none import Unchanged
from edgekd.train.batches import AugmentedBatches
from edgekd.train.stage import TeacherConfig, TeacherStage
from edgekd.train.task import task_called
from tests.distill.tiny_run import context, texts
from tests.models import INPUT_SHAPE
from tests.prune.networks import network

TEXT: dict[str, Any] = {"name": "text-encoder", "options": {"vocabulary": 6, "depth": 3, "width": 24, "heads": 4}}
IMAGES: dict[str, Any] = {"name": "vit", "options": {"depth": 3, "width": 24, "heads": 3, "patch": 4}}
NO_NORM = {**IMAGES, "options": {**IMAGES["options"], "activation": "relu", "norm": "nonorm"}}
NETWORKS = {"text-encoder": TEXT, "vit": IMAGES, "vit-nonorm": NO_NORM}
SHAPES: dict[str, tuple[int, ...]] = {"text-encoder": (20,), "vit": INPUT_SHAPE, "vit-nonorm": INPUT_SHAPE}
RUNS: dict[str, dict[str, Any]] = {
    "text-encoder": {
        "model": {**TEXT, "options": {**TEXT["options"], "depth": 2}},
        "data": {"factory": "tests.distill.tiny_run:texts"},
        "stages": {"cofi": {}},
    },
    "vit": {"model": {**IMAGES, "options": {**IMAGES["options"], "depth": 2}}, "stages": {"cofi": {}}},
}
SHORT = {"epochs": 4, "mask_learning_rate": 0.2, "multiplier_learning_rate": 0.2, "learning_rate": 2e-3}
FINETUNE = {"epochs": 1, "batch": 32, "learning_rate": 1e-3, "optimizer": "adamw"}


def encoder(name: str) -> nn.Module:
    """Return an encoder in which nothing is zero or one, norms and biases included."""
    torch.manual_seed(0)
    spec = ModelSpec.model_validate(NETWORKS[name])
    model = build(spec, SHAPES[name], 4).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def inputs(name: str, count: int = 5) -> Tensor:
    random = torch.Generator().manual_seed(1)
    shape = (count, *SHAPES[name])
    if name == "text-encoder":
        return torch.randint(0, 6, shape, generator=random)
    return torch.rand(shape, generator=random)


@cache
def planned(name: str) -> tuple[nn.Module, Plan, Parameters]:
    model = encoder(name)
    found = plan(model, prunable(model, SHAPES[name]))
    return model, found, Parameters(model, found)


def drawn(of: Plan, seed: int) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    return {name: 2.5 * torch.randn(size, generator=random) for name, size in of.sizes.items()}


def opened(values: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: (value > 0).float() for name, value in values.items()}


@pytest.mark.parametrize("value", [-4.0, -1.0, 0.0, 1.5])
def test_the_expected_norm_of_a_mask_is_the_papers_and_what_is_drawn(value: float) -> None:
    log_alpha = torch.full((100_000,), value)
    z = hard_concrete.sample(log_alpha, torch.Generator().manual_seed(0))
    expected = 1 / (1 + math.exp(-(value - 2 / 3 * math.log(0.1 / 1.1))))
    assert float(hard_concrete.kept_probability(torch.tensor(value))) == pytest.approx(expected, abs=1e-6)
    slack = 4 * math.sqrt(expected * (1 - expected) / len(z))
    assert float((z > 0).float().mean()) == pytest.approx(expected, abs=slack)
    assert 0 <= float(z.min()) <= float(z.max()) <= 1
    assert float(hard_concrete.deterministic(log_alpha[:1], 0)) == pytest.approx(float(z.mean()), abs=4e-3)


def test_masks_without_chance_have_the_promised_zeros() -> None:
    log_alpha = torch.tensor([3.0, -5.0, 0.5, -0.5, -6.0, 2.0])
    zeros = hard_concrete.promised_zeros(log_alpha)
    assert zeros == 2  # 1 - P(z > 0) adds up to 2.30
    found = hard_concrete.deterministic(log_alpha, zeros)
    assert (found == 0).tolist() == [False, True, False, False, True, False]
    assert int((hard_concrete.deterministic(torch.zeros(5), 3) == 0).sum()) == 3, "of equals too"
    assert int((hard_concrete.deterministic(torch.full((5,), -300.0), 2) == 0).sum()) == 2, "however small the others"


@pytest.mark.parametrize("name", SHAPES)
def test_what_is_masked_in_an_encoder(name: str) -> None:
    _, found, counted = planned(name)
    assert [layer.kind for layer in found.layers] == ["attention", "feed-forward"] * 3
    assert found.layers[1].paths == ("blocks.0.fc1", "blocks.0.fc2")
    heads = TEXT["options"]["heads"] if name == "text-encoder" else 3
    assert list(found.sizes.values()) == [6, *(heads, 48) * 3, 24]
    assert counted.total == 3 * (4 * (24 * 24 + 24) + (24 * 48 + 48) + (48 * 24 + 24))


def test_the_expected_sparsity_is_the_mean_of_those_drawn() -> None:
    _, found, counted = planned("vit")
    masks, random = Masks(found), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, own in masks.log_alpha.items():
            own.copy_(drawn(found, 3)[name])
        shares = [float(counted.sparsity(opened(dict(masks.sampled(random))))) for _ in range(400)]
        expected = float(counted.sparsity(masks.probabilities()))
    assert expected == pytest.approx(np.mean(shares), abs=4 * float(np.std(shares)) / 20)


@pytest.mark.parametrize("name", SHAPES)
def test_the_cut_file_is_the_masked_network_at_the_asked_sparsity(name: str, tmp_path: Path) -> None:
    model, found, counted = planned(name)
    log_alpha = {**drawn(found, 1), LAYERS: torch.tensor([-9.0, -9.0, 2.0, 0.5, 1.0, -9.0])}
    values = rounded(found, counted, log_alpha, 0.75)
    assert (values[LAYERS] > 0).tolist() == [False, False, True, True, True, False]
    heads = values["blocks.1.attention.qkv:heads"]
    assert 0 < int((heads > 0).sum()) < len(heads), "each kind of mask has closed something"
    assert int((values[found.hidden[0]] > 0).sum()) < 24
    assert int((values["blocks.1.fc1"] > 0).sum()) < 48
    pruned = cut(model, found, values, inputs(name))
    assert counted.sparsity_of(pruned) == pytest.approx(0.75, abs=0.01)
    assert counted.sparsity_of(pruned) == pytest.approx(float(counted.sparsity(opened(values))), abs=1e-6)
    write(pruned, tmp_path / "cut.onnx", SHAPES[name], inputs(name).dtype)
    session = onnxruntime.InferenceSession(tmp_path / "cut.onnx")
    seen = inputs(name, 7)
    with torch.no_grad():
        wanted, whole = Masked(model, found, values)(seen).numpy(), model(seen).numpy()
    np.testing.assert_allclose(session.run(None, {"input": seen.numpy()})[0], wanted, atol=1e-5)
    assert np.abs(whole - wanted).max() > 0.05


def test_layers_and_blocks_go_whole(tmp_path: Path) -> None:
    model, found, counted = planned("text-encoder")
    values = {name: torch.ones(size) for name, size in found.sizes.items()}
    values[LAYERS] = torch.tensor([0.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    pruned = cut(model, found, values, inputs("text-encoder"))
    kinds = {path: type(module) for path, module in pruned.named_modules() if isinstance(module, Nothing | Skipped)}
    assert kinds == {
        "blocks.0.attention": Nothing,
        "blocks.0.norm1": Skipped,
        "blocks.1.fc2": Nothing,
        "blocks.1.fc1": Skipped,
        "blocks.1.norm2": Skipped,
        "blocks.2": Skipped,
    }
    assert counted.sparsity_of(pruned) == pytest.approx(1 - (1176 + 1200 + 2400) / counted.total)
    with torch.no_grad():
        wanted = Masked(model, found, values)(inputs("text-encoder"))
    checkpoint.save(pruned, tmp_path / "saved", ModelSpec.model_validate(TEXT), (20,), 4, inputs("text-encoder"))
    loaded = checkpoint.load(tmp_path / "saved")
    with torch.no_grad():
        torch.testing.assert_close(loaded(inputs("text-encoder")), wanted)


class TorchEncoder(nn.Module):
    """Torch's own encoder, whose norms come after each layer."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Embedding(6, 24)
        layer = nn.TransformerEncoderLayer(24, 4, 48, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(24, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.head(self.encoder(self.token(tokens)).mean(1))
        return out


def test_torchs_own_encoder_is_pruned_too() -> None:
    torch.manual_seed(0)
    model = opened_attention(TorchEncoder().eval())
    found = plan(model, prunable(model, (20,)))
    counted = Parameters(model, found)
    values = {name: torch.ones(size) for name, size in found.sizes.items()}
    values[LAYERS] = torch.tensor([0.0, 1.0, 0.7, 0.0])
    values[found.layers[2].group][1] = 0
    values[found.layers[1].group][5:9] = torch.tensor([0.4, 0.0, 0.0, 0.9])
    values[found.hidden[0]][3:6] = 0
    pruned = cut(model, found, values, inputs("text-encoder"))
    assert counted.sparsity_of(pruned) == pytest.approx(float(counted.sparsity(opened(values))), abs=1e-6)
    assert type(pruned.get_submodule("encoder.layers.0.self_attn")) is Nothing
    with torch.no_grad():
        wanted = Masked(model, found, values)(inputs("text-encoder"))
        torch.testing.assert_close(pruned(inputs("text-encoder")), wanted, atol=1e-5, rtol=0)


def test_open_masks_change_nothing() -> None:
    model, found, _ = planned("vit")
    values = {name: torch.ones(size) for name, size in found.sizes.items()}
    with torch.no_grad():
        torch.testing.assert_close(Masked(model, found, values)(inputs("vit")), model(inputs("vit")))


def test_a_sparsity_that_layers_have_passed_brings_some_back() -> None:
    _, found, counted = planned("vit")
    log_alpha = {name: torch.full((size,), 5.0) for name, size in found.sizes.items()}
    log_alpha[LAYERS] = torch.tensor([5.0, -9.0, -8.0, -7.0, -6.0, -9.0])
    values = rounded(found, counted, log_alpha, 0.3)
    assert values[LAYERS].count_nonzero() > 1
    assert float(counted.sparsity(opened(values))) == pytest.approx(0.3, abs=0.01)


def test_multipliers_ascend_until_the_target_pulls() -> None:
    lagrangian = Lagrangian(0.8, warmup=10)
    assert [lagrangian.target(step) for step in (0, 4, 9, 50)] == pytest.approx([0.08, 0.4, 0.8, 0.8])
    ascent = torch.optim.Adam(lagrangian.parameters(), lr=0.1, maximize=True)
    sparsity = torch.tensor(0.5, requires_grad=True)
    pulls = []
    for _ in range(5):
        ascent.zero_grad()
        term = lagrangian(sparsity, 20)
        pulls.append(float(torch.autograd.grad(term, sparsity, retain_graph=True)[0]))
        term.backward()
        ascent.step()
    assert pulls[0] == 0
    assert pulls == sorted(pulls, reverse=True), "descent makes the network sparser, ever more strongly"
    assert pulls[-1] < -0.3


def test_the_layer_map_follows_the_layers_that_are_alive() -> None:
    _, found, _ = planned("text-encoder")
    distillation = LayerDistillation(found, 24).requires_grad_(False)
    values = {name: torch.ones(size) for name, size in found.sizes.items()}
    states = [torch.randn(2, 20, 24) for _ in range(3)]
    assert distillation.map(states, states, values) == [0, 1, 2]
    assert float(distillation(states, states, values)) == pytest.approx(0, abs=1e-9)
    near = [states[0], states[1] + 0.5 * states[2], states[2]]
    closed = {**values, LAYERS: torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0, 0.0])}
    assert distillation.alive(closed) == [0, 1]
    assert distillation.map(near, states, closed) == [0, 1, 1]
    assert distillation.map(near[::-1], [states[0]], {**values, LAYERS: torch.eye(6)[4]}) == [2]
    assert distillation.map(near, states, {**values, LAYERS: torch.zeros(6)}) == []
    assert float(distillation(near, states, {**values, LAYERS: torch.zeros(6)})) == 0
    assert float(distillation(near, states, closed)) == pytest.approx(
        float(
            sum(
                (own - told).square().mean() / told.square().mean()
                for own, told in zip((near[0], near[1], near[1]), states, strict=True)
            )
        )
        / 3,
        rel=1e-5,
    )


def test_the_lagrangian_alone_lands_on_the_target() -> None:
    _, found, counted = planned("vit")
    masks, lagrangian, config = Masks(found), Lagrangian(0.6, warmup=100), CofiConfig()
    descent = torch.optim.Adam(masks.parameters(), lr=config.mask_learning_rate)
    ascent = torch.optim.Adam(lagrangian.parameters(), lr=config.multiplier_learning_rate, maximize=True)
    for step in range(250):
        descent.zero_grad()
        ascent.zero_grad()
        lagrangian(counted.sparsity(masks.probabilities()), step).backward()
        descent.step()
        ascent.step()
    assert float(counted.sparsity(masks.probabilities()).detach()) == pytest.approx(0.6, abs=0.03)


def test_masks_and_weights_are_trained_together() -> None:
    whole, found, _ = planned("text-encoder")
    dataset, before, model = texts(), whole.state_dict(), copy.deepcopy(whole)
    config = CofiConfig.model_validate({**SHORT, "sparsity": 0.6, "epochs": 4})
    training = MaskTraining(model, found, config, task_called("classification"), seed=0)
    train, labels = data.normalised(dataset.train, dataset), dataset.train.labels
    batches = AugmentedBatches(train, labels, batch=32, augmentation=Unchanged(Unchanged.Config()), seed=0)
    at_first = float(training.counted.sparsity(training.masks.probabilities()).detach())
    training.run(batches, Progress())
    assert float(training.counted.sparsity(training.masks.probabilities()).detach()) > at_first + 0.2
    assert all(not torch.equal(own, before[name]) for name, own in model.named_parameters())
    spread = [float(own.detach().std()) for own in training.masks.log_alphas]
    assert min(spread) > 0.03, "masks learn apart from each other"


@pytest.fixture(scope="module", params=list(RUNS))
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Context, ArtifactSet]:
    """Return the context of the stage and the artifacts of a run with its teacher."""
    root = tmp_path_factory.mktemp("cofi")
    changes = RUNS[request.param]
    teacher = TeacherStage(TeacherConfig(epochs=8, batch=32, optimizer="adamw", learning_rate=5e-3))
    return context(root, "cofi", **changes), teacher.run(ArtifactSet(), context(root, "teacher", **changes))


class Untrained(Progress):
    """Refuses to train masks."""

    def task(self, title: str, total: int) -> Any:
        assert title != "masks", "they are trained already"
        return super().task(title, total)


def test_the_stage_reaches_the_sparsity_and_resumes(run: tuple[Context, ArtifactSet]) -> None:
    where, artifacts = run
    stage = CofiStage(CofiConfig.model_validate({**SHORT, "sparsity": 0.6, "finetune": FINETUNE}))
    stage.requires(artifacts, where)
    done = stage.run(artifacts, where)
    stage.ensures(done, where)
    pruned, teacher = done.newest(network="pruned", scheme="fp32", written_as="torch"), artifacts.newest()
    model, whole = checkpoint.load(where.path(pruned)), checkpoint.load(where.path(teacher))
    counted = Parameters(whole, plan(whole, prunable(whole, data.load(where.recipe.data).input_shape)))
    reached = pruned.figure("sparsity")
    assert reached is not None
    assert reached.value == pytest.approx(counted.sparsity_of(model)) == pytest.approx(0.6, abs=0.01)
    assert pruned.parents == (teacher.key,)
    assert "->" in pruned.notes["widths"]
    again = stage.run(artifacts, replace(where, progress=Untrained()))
    assert again.newest(network="pruned").digest == pruned.digest
    with pytest.raises(EdgekdError, match=r"0\.3 was asked for, and the nearest .* is 0\.[56]"):
        CofiStage(CofiConfig(sparsity=0.3)).ensures(done, where)


def test_networks_without_attention_are_refused() -> None:
    model = network("residual")
    with pytest.raises(UsageError, match=r"no attention whose heads can go.*the stage 'prune' cuts other networks"):
        plan(model, prunable(model, INPUT_SHAPE))


@pytest.mark.parametrize(
    ("options", "stages", "sentence"),
    [
        ({}, {"cofi": {}, "prune": {}}, "'cofi' and 'prune' each make the pruned network"),
        ({"batch": 257}, {"cofi": {}}, "there are 256 training samples; ask for 256 at most"),
        ({"label_weight": 0, "logits_weight": 0, "layer_weight": 0}, {"cofi": {}}, "nothing to learn from"),
        ({"finetune": {"losses": {"dits": {}}}}, {"cofi": {}}, "did you mean 'dist'"),
    ],
)
def test_faults_are_named_before_any_work(
    options: dict[str, Any], stages: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    where = context(tmp_path, "cofi", stages=stages)
    with pytest.raises(UsageError, match=sentence):
        CofiStage(CofiConfig.model_validate(options)).requires(ArtifactSet(), where)


def test_every_option_is_described() -> None:
    assert all(field.description for field in CofiConfig.model_fields.values())
