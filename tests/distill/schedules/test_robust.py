from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn

from edgekd.artifact import ArtifactSet
from edgekd.distill.schedules.robust import LatentNoise, Robust, noisy
from edgekd.distill.stage import DistillStage
from edgekd.distill.teach import TeachConfig, teach
from edgekd.errors import EdgekdError, UsageError
from edgekd.export import onnx_file
from edgekd.models.build import build
from edgekd.recipe import ModelSpec
from edgekd.schema import from_mapping, write_json
from edgekd.train import checkpoint
from tests.distill.tiny_run import context, killed_in, with_teacher
from tests.models import Mlp, ResidualCnn

STUDENT = {"name": "resnet", "options": {"depth": 8, "channels": [8, 8, 8]}}
CONFIG = {"epochs": 3, "batch": 32, "learning_rate": 0.05}
ONE = torch.zeros(1, 1, 12, 12)


class ConvolvedHead(nn.Module):
    """A classifier whose logits come from a convolution, with a linear layer on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(1, 4)
        self.stem = nn.Conv2d(1, 4, 3)
        self.classifier = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.gate(x.mean((2, 3)))
        return self.classifier(self.stem(x) * gate[..., None, None]).mean((2, 3))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("robust")


@pytest.fixture(scope="module")
def artifacts(root: Path) -> ArtifactSet:
    return with_teacher(root)


def stage(options: dict[str, Any], name: str = "robust", **more: Any) -> DistillStage:
    plain = {**CONFIG, "epochs": 2, "student": STUDENT, "schedule": name, "schedule_options": options}
    return DistillStage(DistillStage.Config.model_validate({**plain, **more}))


def weights(model: nn.Module) -> Tensor:
    return torch.cat([tensor.detach().flatten().double() for tensor in model.state_dict().values()])


def snr_db(clean: Tensor, disturbed: Tensor) -> Tensor:
    """Return the signal-to-noise ratio of each sample."""
    return 10 * (clean.square().mean(1) / (disturbed - clean).square().mean(1)).log10()


@pytest.mark.parametrize("asked", [-5.0, 0.0, 10.0, 20.0])
def test_every_sample_has_the_asked_ratio_whatever_its_size(asked: float) -> None:
    torch.manual_seed(0)
    latent = torch.randn(16, 20_000) * torch.logspace(-3, 3, 16)[:, None] + 1
    found = snr_db(latent, noisy(latent, asked))
    assert (found - asked).abs().max() < 0.2  # ten times the standard deviation that 20,000 values leave
    one = noisy(latent.reshape(4, 4, 20_000), asked)  # the power of all positions together
    assert snr_db(latent.reshape(4, -1), one.reshape(4, -1)).sub(asked).abs().max() < 0.2


def test_noise_is_white_and_new_every_time() -> None:
    torch.manual_seed(0)
    latent = torch.ones(2000, 8)
    first, second = (noisy(latent, 0.0) - latent for _ in range(2))
    assert torch.allclose(first.T @ first / 2000, torch.eye(8), atol=0.15)
    assert (first * second).mean().abs() < 0.05


def test_a_larger_latent_is_no_way_out_and_an_empty_one_has_a_gradient() -> None:
    latent = torch.ones(2, 4)
    latent[1] = 0
    latent.requires_grad_()
    torch.manual_seed(0)
    found = noisy(latent, 0.0)
    found.square().sum().backward()
    torch.manual_seed(0)
    noise = torch.randn(2, 4)
    assert torch.allclose(found[0], 1 + noise[0])
    # d/dc of |c (1 + n)|^2 along the latent itself: the noise scales with it.
    assert latent.grad is not None
    assert torch.allclose(latent.grad[0].sum(), 2 * (1 + noise[0]).square().sum(), atol=1e-5)
    assert latent.grad.isfinite().all()
    assert noisy(torch.ones(2, 4, dtype=torch.bfloat16), 0.0).dtype == torch.bfloat16


def test_the_noise_is_there_in_train_mode_alone_and_leaves_no_trace() -> None:
    model, images = Mlp(), torch.rand(2000, 1, 12, 12)
    before, state = model(images), weights(model)
    seen: list[Tensor] = []
    with LatentNoise(snr_db=10).applied(model, ONE):
        look = model.second.register_forward_hook(lambda _, given, __: seen.append(given[0]))
        disturbed = model.train()(images)
        assert torch.equal(model.eval()(images), before)
        look.remove()
    clean = seen[1]
    assert snr_db(clean.flatten()[None], seen[0].flatten()[None]).item() == pytest.approx(10, abs=0.2)
    assert not torch.equal(disturbed, before)
    assert torch.equal(model.train()(images), before)
    assert torch.equal(weights(model), state)
    with pytest.raises(KeyboardInterrupt), LatentNoise(snr_db=10).applied(model, ONE):
        raise KeyboardInterrupt
    assert type(model) is Mlp
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("name", ["resnet", "mobilenetv2", "vit", "text-encoder", "causal-lm"])
def test_the_latent_of_every_family_is_found(name: str) -> None:
    is_text = name in {"text-encoder", "causal-lm"}
    model = build(ModelSpec(name=name), (20,) if is_text else (1, 16, 16), 4)
    inputs = torch.zeros(2, 20, dtype=torch.int64) if is_text else torch.rand(2, 1, 16, 16)
    head, seen = model.eval().get_submodule("head"), list[Tensor]()
    with LatentNoise(snr_db=0).applied(model, inputs[:1]):
        head.register_forward_hook(lambda _, given, __: seen.append(given[0]))
        for training in (False, True):
            head.train(training)
            model(inputs)
    assert not torch.equal(*seen)


def test_a_named_layer_is_disturbed_in_what_it_gives_or_is_given() -> None:
    model = ConvolvedHead()
    clean = model(images := torch.rand(4, 1, 12, 12))
    for layer, module in (("stem", model.stem), ("classifier:input", model.classifier)):
        with LatentNoise(snr_db=0, layer=layer).applied(model, ONE):
            module.train()
            assert not torch.equal(model(images), clean)
        assert torch.equal(model(images), clean)


def test_without_noise_it_is_rows_that_go_on_to_the_bit(artifacts: ArtifactSet, root: Path) -> None:
    def trained(distil: DistillStage, folder: str) -> Tensor:
        run = context(root, folder)
        return weights(checkpoint.load(run.path(distil.run(artifacts, run).newest(network="distilled"))))

    rows = stage({"rows": [{"epochs": 2}, {"epochs": 1, "learning_rate": 0.01}]}, "rows")
    none = stage({"snr_db": None, "epochs": 1, "learning_rate": 0.01})
    assert torch.equal(trained(none, "none"), trained(rows, "rows"))
    noise = stage({"snr_db": 0, "epochs": 1, "learning_rate": 0.01})
    found = trained(noise, "none")  # the same folder: its state is not gone on from
    assert not torch.equal(found, trained(rows, "rows"))
    assert torch.equal(found, trained(noise, "none"))
    assert torch.equal(found, trained(noise, "noise"))


@pytest.mark.parametrize("more", [{}, {"losses": {"taid": {}}, "ema": 0.9, "patience": 2}])
def test_what_was_stopped_or_killed_goes_on_to_the_bit(
    artifacts: ArtifactSet, root: Path, tmp_path: Path, more: dict[str, object]
) -> None:
    run, config = context(root), TeachConfig.model_validate({**CONFIG, **more})

    def taught(folder: str, noise: LatentNoise | None, until: int | None = None) -> Tensor:
        torch.manual_seed(0)
        model = ResidualCnn(channels=4)
        teach(model, artifacts, run, config, folder=tmp_path / folder, title="student", until=until, perturbation=noise)
        assert not model.head._forward_pre_hooks
        return weights(model)

    noise = LatentNoise(snr_db=5)
    whole = taught("a", noise)
    taught("b", noise, until=1)
    assert torch.equal(taught("b", noise), whole)
    with killed_in(13):
        taught("c", noise)
    assert torch.equal(taught("c", noise), whole)
    for other in (LatentNoise(snr_db=6), None):
        assert not torch.equal(taught("c", other), whole)


def test_the_exported_graph_has_no_noise(
    artifacts: ArtifactSet, root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    operators, run = [], context(root, "exported")
    for distil in (stage({"epochs": 1}), stage({}, "single")):
        student = distil.run(artifacts, run).newest(network="distilled")
        assert student.notes.get("schedule", "single") == distil.config.schedule
        onnx_file.write(checkpoint.load(run.path(student)), tmp_path / "student.onnx", (1, 12, 12))
        operators.append([node.op_type for node in onnx.load(tmp_path / "student.onnx").graph.node])
    assert [record.message for record in caplog.records if "experimental" in record.message] == [
        "schedule 'robust' is experimental; see docs/distillation.md"
    ]
    assert operators[0] == operators[1]
    assert not any(name.startswith("Random") for name in operators[0])


def test_a_network_without_a_linear_head_is_refused_before_any_training(artifacts: ArtifactSet, root: Path) -> None:
    convolved = {"factory": "tests.distill.schedules.test_robust:ConvolvedHead"}
    said = (
        "the latent of ConvolvedHead cannot be found, because no linear layer gives its logits (its last one is "
        "'gate'); name the latent in schedule_options: layer: PATH for what a module gives, or PATH:input for what it "
        "is given"
    )
    run = context(root, "refused")
    with pytest.raises(UsageError) as caught:
        stage({}, student=convolved).requires(artifacts, run)
    assert str(caught.value) == said
    stage({"snr_db": None}, student=convolved).requires(artifacts, run)
    stage({"layer": "classifier:input"}, student=convolved).requires(artifacts, run)
    chosen = run.folder / "choice.json"  # what the search chooses is known when the stage runs
    write_json(ModelSpec.model_validate(convolved), chosen)
    choice = run.store(chosen, network="distilled", format="choice", made_by="search")
    with pytest.raises(UsageError, match="the latent of ConvolvedHead cannot be found"):
        stage({}, student="auto").run(artifacts.add(choice), run)
    assert not list(run.folder.glob("training*"))


@pytest.mark.parametrize(
    ("model", "layer", "said"),
    [
        (Mlp(), "secnd:input", "the network has no module 'secnd'; did you mean 'second'"),
        (nn.Sequential(nn.Flatten(), nn.ReLU()), None, r"cannot be found, .* \(it has none\)"),
        (nn.Sequential(nn.Flatten(), nn.Linear(144, 4), nn.LogSoftmax(1)), None, "its last one is '1'"),
        (nn.Sequential(nn.Flatten(), nn.LSTM(144, 8)), "1", "gives tuple, not a tensor"),
    ],
    ids=["unknown", "none", "softmax", "tuple"],
)
def test_a_latent_that_is_not_there_is_refused(model: nn.Module, layer: str | None, said: str) -> None:
    with pytest.raises(EdgekdError, match=said), LatentNoise(snr_db=10, layer=layer).applied(model, ONE):
        pass


def test_tokens_take_no_noise() -> None:
    model = nn.Sequential(nn.Identity(), nn.Embedding(5, 4))
    tokens = torch.zeros(1, 3, dtype=torch.int64)
    with pytest.raises(UsageError, match=r"gives torch.int64.*name a later one"):
        LatentNoise(snr_db=10, layer="0").applied(model, tokens).__enter__()


@pytest.mark.parametrize("options", [{"layer": "head:1"}, {"snr_db": 1000}, {"epochs": 0}, {"snr": 3}])
def test_wrong_options_are_told(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        from_mapping(Robust.Config, options, "options of schedule 'robust'")
