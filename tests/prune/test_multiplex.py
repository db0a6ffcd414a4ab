from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from edgekd.artifact import ArtifactSet, Format
from edgekd.errors import EdgekdError, UsageError
from edgekd.export.onnx_file import write
from edgekd.export.stage import ExportStage
from edgekd.models.build import build
from edgekd.models.kernels import kernels, macs, parameters
from edgekd.models.multiplexed import MixedHeads, NeighbourNorm
from edgekd.models.sharing import shared
from edgekd.placement.place import place
from edgekd.placement.scheme import scheme_named
from edgekd.prune.multiplex.config import ImitationConfig, MultiplexConfig
from edgekd.prune.multiplex.imitation import Imitation, attention_apart, hidden_apart
from edgekd.prune.multiplex.network import groups, multiplexed
from edgekd.prune.multiplex.stage import MultiplexStage, imitate
from edgekd.quantize.calibration import CalibrationConfig, calibrated
from edgekd.quantize.onnx_network import OnnxNetwork
from edgekd.quantize.prepare import prepare
from edgekd.recipe import ModelSpec
from edgekd.stage import Advance, Context, Progress
from edgekd.train import checkpoint, data
from edgekd.train.batches import Batch
from edgekd.train.stage import TeacherConfig, TeacherStage
from edgekd.train.task import task_called
from tests.distill.tiny_run import context
from tests.models import INPUT_SHAPE
from tests.prune.networks import network

ROOT = Path(__file__).resolve().parent.parent.parent
TEXT = {"vocabulary": 6, "depth": 4, "width": 24, "heads": 4}
OPTIONS: dict[str, dict[str, Any]] = {
    "text-encoder": TEXT,
    "causal-lm": TEXT,
    "vit": {"depth": 4, "width": 24, "heads": 3, "patch": 4},
}
SHAPES: dict[str, tuple[int, ...]] = {"text-encoder": (20,), "causal-lm": (20,), "vit": INPUT_SHAPE}
every_network = pytest.mark.parametrize("name", OPTIONS)
QKV = (72, 24)
BLOCKS = [(f"blocks.{at}", f"blocks.{at}") for at in range(4)]
LAYERS = (24 * 72 + 72) + (24 * 24 + 24) + (24 * 48 + 48) + (48 * 24 + 24)
"""Weights and biases of a block that it can share."""


def spec(name: str, **changes: Any) -> ModelSpec:
    return ModelSpec.model_validate({"name": name, "options": {**OPTIONS[name], **changes}})


def shaken(model: nn.Module) -> nn.Module:
    """Return the network with no number of it left at zero or one."""
    random = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=random))
    return model


def origin(name: str, **changes: Any) -> nn.Module:
    torch.manual_seed(0)
    return shaken(build(spec(name, **changes), SHAPES[name], 4)).eval()


def inputs(name: str, count: int = 5) -> Tensor:
    random = torch.Generator().manual_seed(1)
    shape = (count, *SHAPES[name])
    return torch.rand(shape, generator=random) if name == "vit" else torch.randint(0, 6, shape, generator=random)


def made(name: str, **options: Any) -> nn.Module:
    return multiplexed(origin(name), SHAPES[name], MultiplexConfig.model_validate(options))


@every_network
def test_sharing_with_nobody_changes_no_answer(name: str) -> None:
    model = made(name, share=1)
    kinds = [type(module) for module in model.modules()]
    assert (kinds.count(MixedHeads), kinds.count(NeighbourNorm)) == (4, 4)
    assert not shared(model)
    with torch.no_grad():
        assert torch.equal(model(inputs(name)), origin(name)(inputs(name)))


def test_a_network_without_statistics_in_its_norms_shares_too() -> None:
    operators = {"activation": "relu", "norm": "nonorm"}
    alone = multiplexed(origin("vit", **operators), SHAPES["vit"], MultiplexConfig(share=1))
    with torch.no_grad():
        assert torch.equal(alone(inputs("vit")), origin("vit", **operators)(inputs("vit")))
    together = multiplexed(origin("vit", **operators), SHAPES["vit"], MultiplexConfig(share=2))
    assert parameters(together) < parameters(alone) - LAYERS


@every_network
def test_parameters_fall_as_computed_by_hand(name: str) -> None:
    before = parameters(origin(name))
    heads, kernel = OPTIONS[name]["heads"], 9 if name == "vit" else 3
    own = 4 * (2 * heads * heads + 24 * kernel)
    assert parameters(made(name)) == before - 2 * LAYERS + own
    assert parameters(made(name, share=3)) == before - 2 * LAYERS + own, "three blocks share, and the last has its own"
    assert parameters(made(name, share=4, heads=False, neighbours=False)) == before - 3 * LAYERS
    assert parameters(made(name, share=1, neighbours=False)) == before + 4 * 2 * heads * heads


def test_the_first_block_gives_the_weights_and_norms_stay_apart() -> None:
    whole, model = origin("vit"), made("vit")
    for path, source in {"blocks.1": "blocks.0", "blocks.3": "blocks.2"}.items():
        for layer in ("attention.qkv.weight", "attention.out.bias", "fc1.weight", "fc2.bias"):
            assert model.get_parameter(f"{path}.{layer}") is model.get_parameter(f"{source}.{layer}")
            assert torch.equal(model.get_parameter(f"{path}.{layer}"), whole.get_parameter(f"{source}.{layer}"))
        assert torch.equal(model.get_parameter(f"{path}.norm1.weight"), whole.get_parameter(f"{path}.norm1.weight"))
        norm = model.get_parameter(f"{path}.norm2.norm.weight")
        assert torch.equal(norm, whole.get_parameter(f"{path}.norm2.weight"))
    assert shared(whole) == {}, "the origin stays as it is"
    assert macs(kernels(model, INPUT_SHAPE)) > macs(kernels(whole, INPUT_SHAPE)), "bytes are saved, not work"


def test_neighbours_are_those_of_the_image_and_never_ahead_of_a_causal_token() -> None:
    norm = shaken(made("vit", heads=False)).get_submodule("blocks.0.norm2")
    assert isinstance(norm, NeighbourNorm)
    with torch.no_grad():
        moved = _moved(norm, torch.randn(1, 9, 24), at=0)
    assert moved == [0, 1, 3, 4], "the places around a corner of three by three"
    text = shaken(made("text-encoder")).get_submodule("blocks.0.norm2")
    with torch.no_grad():
        assert _moved(text, torch.randn(1, 20, 24), at=5) == [4, 5, 6]
    causal = shaken(made("causal-lm"))
    tokens, other = inputs("causal-lm", 1), inputs("causal-lm", 1)
    other[0, 12] = (other[0, 12] + 1) % 6
    with torch.no_grad():
        same = (causal(tokens) - causal(other)).abs().amax((0, 2)) == 0
        assert _moved(causal.get_submodule("blocks.0.norm2"), torch.randn(1, 20, 24), at=5) == [5, 6, 7]
    assert same.tolist() == [True] * 12 + [False] * 8


def _moved(module: nn.Module, tokens: Tensor, at: int) -> list[int]:
    """Return the tokens that change when one does."""
    other = tokens.clone()
    other[:, at] = torch.randn(tokens.shape[-1])
    return (module(tokens) - module(other)).abs().amax((0, 2)).nonzero().flatten().tolist()


RELOAD = """
import sys
from pathlib import Path
import torch
from edgekd.train import checkpoint, data
for folder in sorted(Path(sys.argv[1]).iterdir()):
    model = checkpoint.load(folder)
    for layer in ("attention.qkv", "attention.out", "fc1", "fc2"):
        for part in ("weight", "bias"):
            own, other, next_ = (model.get_parameter(f"blocks.{at}.{layer}.{part}") for at in (0, 1, 2))
            assert own is other and own is not next_, (folder, layer, part)
            assert own.data_ptr() == other.data_ptr(), (folder, layer, part)
    torch.save((sum(p.numel() for p in model.parameters()), model(torch.load(folder / "x.pt"))), folder / "answer.pt")
"""


def test_shared_weights_are_one_after_loading_in_a_fresh_process(tmp_path: Path) -> None:
    models = {name: shaken(made(name)) for name in OPTIONS}
    for name, model in models.items():
        checkpoint.save(model, tmp_path / name, spec(name), SHAPES[name], 4, inputs(name))
        with safe_open(tmp_path / name / "weights.safetensors", "pt") as held:
            stored = sum(held.get_tensor(key).numel() for key in held.keys())  # noqa: SIM118 - no mapping
        assert stored == parameters(model), "on disk they stand once"
        torch.save(inputs(name), tmp_path / name / "x.pt")
    subprocess.run([sys.executable, "-c", RELOAD, str(tmp_path)], check=True, cwd=ROOT)
    for name, model in models.items():
        count, answer = torch.load(tmp_path / name / "answer.pt")
        assert count == parameters(model)
        with torch.no_grad():
            torch.testing.assert_close(answer, model(inputs(name)))


@every_network
def test_the_onnx_file_holds_them_once_and_answers_alike(name: str, tmp_path: Path) -> None:
    model = shaken(made(name))
    files = {"whole": origin(name), "shared": model}
    for file, each in files.items():
        write(each, tmp_path / file, SHAPES[name], inputs(name).dtype)
    held = {file: [tuple(w.dims) for w in onnx.load(tmp_path / file).graph.initializer] for file in files}
    counted = {file: sum(sorted(dims) == sorted(QKV) for dims in dims_of) for file, dims_of in held.items()}
    assert counted == {"whole": 4, "shared": 2}
    sizes = {file: (tmp_path / file).stat().st_size for file in files}
    saved = 4 * (parameters(files["whole"]) - parameters(model))
    assert sizes["whole"] - sizes["shared"] > 0.8 * saved, "the graph's own nodes take the rest"
    seen = inputs(name, 7)
    found = onnxruntime.InferenceSession(tmp_path / "shared").run(None, {"input": seen.numpy()})[0]
    with torch.no_grad():
        np.testing.assert_allclose(found, model(seen).numpy(), atol=1e-5)


def test_relations_are_the_papers_to_a_constant() -> None:
    student, teacher = torch.randn(2, 5, 18), torch.randn(2, 5, 18)

    def relations(made: Tensor) -> list[Tensor]:
        parts = made.split(6, -1)
        return [torch.softmax(a @ b.mT / 6**0.5, -1) for a in parts for b in parts]

    pairs = list(zip(relations(student), relations(teacher), strict=True))
    cross = sum(-(t * s.log()).sum(-1).mean() for s, t in pairs) / 9
    entropy = sum(-(t * t.log()).sum(-1).mean() for _, t in pairs) / 9
    torch.testing.assert_close(attention_apart(student, teacher), cross - entropy)
    assert float(attention_apart(teacher, teacher)) == pytest.approx(0, abs=1e-6)
    assert float(hidden_apart(teacher, 3 * teacher + 1)) == pytest.approx(0, abs=1e-5), "a stream has no scale"
    assert float(hidden_apart(student, teacher)) > 0.01


@every_network
def test_the_teacher_gets_no_gradient_and_every_weight_of_the_student_does(name: str) -> None:
    whole = origin(name)
    task = task_called("language-model" if name == "causal-lm" else "classification")
    labels = inputs(name) % 4 if name == "causal-lm" else torch.arange(5) % 4
    batch = Batch(inputs(name), labels)
    objective = Imitation(whole, BLOCKS, task, ImitationConfig())
    twin = objective(made(name, share=1), batch)
    assert twin.teacher is not None
    assert float(twin.teacher.detach()) == pytest.approx(0, abs=1e-5)
    model = made(name)
    terms = objective(model, batch)
    assert terms.teacher is not None
    assert float(terms.teacher.detach()) > 0.01
    torch.testing.assert_close(terms.labels, 0.5 * task.loss(model(batch.inputs), labels))
    terms.teacher.backward()
    assert all(parameter.grad is None for parameter in whole.parameters())
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Context, ArtifactSet]:
    """Return the context of the stage and the artifacts of a run with its teacher."""
    root = tmp_path_factory.mktemp("multiplex")
    changes = {"model": {"name": "vit", "options": OPTIONS["vit"]}, "stages": {"multiplex": {}}}
    teacher = TeacherStage(TeacherConfig(epochs=8, batch=32, optimizer="adamw", learning_rate=5e-3))
    return context(root, "multiplex", **changes), teacher.run(ArtifactSet(), context(root, "teacher", **changes))


RECOVERY = {"epochs": 3, "batch": 32, "optimizer": "adamw", "learning_rate": 3e-3}


class Untrained(Progress):
    """Refuses to train anything."""

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[Advance]:
        def advance(steps: int = 1, note: str = "") -> None:
            assert steps == total, f"{title}: it is trained already"

        yield advance


def engine_files(artifacts: ArtifactSet, where: Context, name: str, written_as: Format) -> list[Path]:
    """Return the files of an exported network that hold its weights."""
    path = where.path(artifacts.newest(network=name, written_as=written_as))
    found = [path] if path.is_file() else sorted(path.rglob("*.bin"))
    assert found
    return found


def test_the_stage_makes_a_smaller_network_that_export_takes(run: tuple[Context, ArtifactSet]) -> None:
    where, artifacts = run
    stage = MultiplexStage(MultiplexConfig.model_validate({"recovery": RECOVERY}))
    stage.requires(artifacts, where)
    done = stage.run(artifacts, where)
    stage.ensures(done, where)
    pruned, teacher = done.newest(network="pruned", scheme="fp32", written_as="torch"), artifacts.newest()
    assert pruned.parents == (teacher.key,)
    assert pruned.notes["shared"] == "blocks.0 = blocks.1; blocks.2 = blocks.3"
    model, whole = checkpoint.load(where.path(pruned)), checkpoint.load(where.path(teacher))
    assert len(shared(model)) == 16
    assert pruned.figure("parameters").value == parameters(model) < parameters(whole)  # type: ignore[union-attr]
    cut, now = pruned.figure("accuracy_percent_cut"), pruned.figure("accuracy_percent")
    assert cut is not None
    assert now is not None
    assert now.value > cut.value, "it learns what sharing cost"
    again = stage.run(artifacts, replace(where, progress=Untrained()))
    assert again.newest(network="pruned").digest == pruned.digest
    exported = ExportStage(ExportStage.Config()).run(
        done, replace(where, folder=where.run_folder / "stages" / "export")
    )
    saved = 4 * (parameters(whole) - parameters(model))
    kinds: tuple[Format, ...] = ("onnx", "openvino")
    for written_as in kinds:
        before, after = (
            sum(file.stat().st_size for file in engine_files(exported, where, name, written_as))
            for name in ("teacher", "pruned")
        )
        assert before - after > 0.75 * saved, f"{written_as} holds shared weights once"
    same = done.add(pruned.replace(parents=(pruned.key,)))
    with pytest.raises(EdgekdError, match=r"saved nothing: \d+ parameters before"):
        stage.ensures(same, where)


def test_training_goes_to_the_student_alone(run: tuple[Context, ArtifactSet], tmp_path: Path) -> None:
    where, artifacts = run
    whole = checkpoint.load(where.path(artifacts.newest()))
    before, model = copy.deepcopy(whole.state_dict()), multiplexed(whole, INPUT_SHAPE, MultiplexConfig())
    started = copy.deepcopy(model.state_dict())
    config = ImitationConfig.model_validate({**RECOVERY, "patience": 3})
    dataset = data.load(where.recipe.data)
    seen = torch.from_numpy(data.normalised(dataset.validation, dataset))
    batch = Batch(seen, torch.from_numpy(dataset.validation.labels))
    objective = Imitation(whole, BLOCKS, task_called(dataset.task), config)
    apart = _apart(objective, model, batch)
    imitate(model, whole, BLOCKS, where, config, folder=tmp_path)
    assert _apart(objective, model, batch) < apart, "it came nearer to its origin"
    assert all(torch.equal(own, before[name]) for name, own in whole.state_dict().items())
    assert all(not torch.equal(own, started[name]) for name, own in model.state_dict().items())
    assert len(shared(model)) == 16, "a training leaves them one"


def _apart(objective: Imitation, model: nn.Module, batch: Batch) -> float:
    with torch.no_grad():
        return float(objective(model, batch).total)


def test_shared_weights_are_not_rounded_by_several_layers() -> None:
    with pytest.raises(UsageError, match=r"attention\.qkv\.weight' is the weight of 2 layers, and each would round"):
        prepare(made("vit"), inputs("vit", 2), scheme_named("u8w8"))
    prepare(made("vit", share=1), inputs("vit", 2), scheme_named("u8w8"))


def test_a_file_of_shared_weights_is_quantized_layer_by_layer(tmp_path: Path) -> None:
    write(shaken(made("vit")), tmp_path / "model.onnx", INPUT_SHAPE)
    seen, scheme = inputs("vit", 64).numpy(), scheme_named("u8w8")
    file = OnnxNetwork.read(tmp_path / "model.onnx", seen[:1])
    plan = place(file.operators, scheme)
    integers = calibrated(file, seen, plan, scheme, CalibrationConfig())
    assert sum(weight.integers.shape == QKV for weight in integers.weights.values()) == 4, "of its own each"
    whole, rounded = file.answers(plan, None, seen), file.answers(plan, integers, seen)
    assert 0 < np.linalg.norm(rounded - whole) < 0.2 * np.linalg.norm(whole - whole.mean(0))


def test_networks_that_cannot_share_are_refused() -> None:
    with pytest.raises(UsageError, match=r"has 0 transformer blocks of edgekd's own.*choose vit, text-encoder"):
        groups(network("residual"), 2)
    with pytest.raises(UsageError, match=r"has 1 transformer blocks"):
        groups(origin("vit", depth=1), 2)
    with pytest.raises(UsageError, match=r"share = 5, but there are 4 blocks after each other; ask for 4 at most"):
        groups(origin("vit"), 5)
    unlike = origin("vit")
    unlike.set_submodule("blocks.3", origin("vit", width=12).get_submodule("blocks.3"))
    with pytest.raises(UsageError, match=r"'blocks\.2' and 'blocks\.3' are of different sizes"):
        groups(unlike, 2)
    assert groups(origin("vit"), 3) == [["blocks.0", "blocks.1", "blocks.2"], ["blocks.3"]]


@pytest.mark.parametrize(
    ("options", "stages", "sentence"),
    [
        ({}, {"multiplex": {}, "prune": {}}, "'multiplex' and 'prune' each make the pruned network"),
        ({}, {"multiplex": {}, "cofi": {}}, "'multiplex' and 'cofi' each make the pruned network"),
        ({}, {"multiplex": {}, "quantize": {}}, "'multiplex' lets layers share would be theirs no longer"),
        ({}, {"multiplex": {}}, "has 0 transformer blocks"),
        ({"recovery": {"optimizer": "adamv"}}, {"multiplex": {}}, "did you mean 'adamw'"),
    ],
)
def test_faults_are_named_before_any_work(
    options: dict[str, Any], stages: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    where = context(tmp_path, "multiplex", stages=stages)
    with pytest.raises(UsageError, match=sentence):
        MultiplexStage(MultiplexConfig.model_validate(options)).requires(ArtifactSet(), where)


def test_a_training_that_learns_nothing_is_refused() -> None:
    weights = {f"{name}_weight": 0 for name in ("label", "logits", "attention", "hidden")}
    with pytest.raises(ValueError, match="nothing to learn from"):
        ImitationConfig.model_validate(weights)


def test_every_option_is_described() -> None:
    fields = {**MultiplexConfig.model_fields, **ImitationConfig.model_fields}
    assert all(field.description for field in fields.values())
