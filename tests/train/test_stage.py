"""The teacher stage: trained once, resumed, or taken from weights."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from edgekd import target as targets
from edgekd.artifact import Artifact, ArtifactSet, digest_of_path
from edgekd.errors import UsageError
from edgekd.recipe import Recipe
from edgekd.stage import Context
from edgekd.train import checkpoint, stage
from edgekd.train.stage import TeacherConfig, TeacherStage
from tests.models import INPUT_SHAPE, settled

CONFIG = TeacherConfig(epochs=4, batch=16, learning_rate=0.1)


def context(root: Path, run: str = "run", **changes: Any) -> Context:
    plain: dict[str, Any] = {
        "model": {"factory": "tests.models:ResidualCnn"},
        "data": {"factory": "tests.train.synthetic:quadrants"},
        "budget": {},
        "stages": {},
    }
    folder = root / run / "stages" / "01-teacher"
    folder.mkdir(parents=True, exist_ok=True)
    return Context(
        run_folder=root / run,
        folder=folder,
        cache=root / "cache",
        recipe=Recipe.model_validate({**plain, **changes}),
        target=targets.load("x86-avx2"),
        origin_is_device=False,
    )


def taught(where: Context, config: TeacherConfig = CONFIG) -> Artifact:
    made = TeacherStage(config)
    made.requires(ArtifactSet(), where)
    artifacts = made.run(ArtifactSet(), where)
    made.ensures(artifacts, where)
    return artifacts.newest(network="teacher", scheme="fp32", written_as="torch")


def trainings(root: Path) -> int:
    return len(list((root / "cache" / "teachers").glob("*/checkpoint")))


def test_the_artifact_is_a_loadable_network_with_its_figures(tmp_path: Path) -> None:
    where = context(tmp_path)
    artifact = taught(where)
    assert artifact.key == "teacher/fp32/torch"
    assert artifact.made_by == "teacher"
    assert artifact.digest == digest_of_path(where.path(artifact))
    assert not Path(artifact.path).is_absolute()
    model = checkpoint.load(where.path(artifact))
    accuracy, size, cost = (artifact.figure(name) for name in ("accuracy_percent", "parameters", "macs"))
    assert accuracy is not None
    assert accuracy.value > 50
    assert (accuracy.origin, accuracy.samples) == ("host", 64)
    assert size is not None
    assert size.value == sum(p.numel() for p in model.parameters())
    assert cost is not None
    assert cost.value > size.value


def test_it_is_trained_once_for_all_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = taught(context(tmp_path))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(stage, "train", refuse)
    assert taught(context(tmp_path, "other")).digest == first.digest
    assert taught(context(tmp_path, "third"), CONFIG.replace(min_accuracy=30)).digest == first.digest


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"data": {"factory": "tests.train.synthetic:quadrants", "augmentation": "affine"}},
        {"data": {"factory": "tests.train.synthetic:quadrants", "options": {"train": 80}}},
        {"model": {"factory": "tests.models:ResidualCnn", "options": {"channels": 8}}},
    ],
    ids=["seed", "augmentation", "data", "model"],
)
def test_another_training_is_another_teacher(tmp_path: Path, change: dict[str, Any]) -> None:
    first = taught(context(tmp_path))
    assert taught(context(tmp_path, "other", **change)).digest != first.digest
    assert trainings(tmp_path) == 2


def test_another_config_is_another_teacher(tmp_path: Path) -> None:
    first = taught(context(tmp_path))
    assert taught(context(tmp_path, "b"), CONFIG.replace(label_smoothing=0.1)).digest != first.digest


def test_a_killed_training_ends_with_the_same_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = taught(context(tmp_path / "a"))
    original, steps = TeacherStage._objective, iter(range(100))

    def killed(self: TeacherStage, *given: Any) -> Any:
        if next(steps) == 15:
            raise KeyboardInterrupt
        return original(self, *given)

    monkeypatch.setattr(TeacherStage, "_objective", killed)
    where = context(tmp_path / "b")
    with pytest.raises(KeyboardInterrupt):
        taught(where)
    monkeypatch.setattr(TeacherStage, "_objective", original)
    assert taught(where).digest == expected.digest


def test_weights_are_taken_as_they_are(tmp_path: Path) -> None:
    source = context(tmp_path)
    trained = checkpoint.load(source.path(taught(source)))
    save_file(trained.state_dict(), tmp_path / "own.safetensors")
    model = {"factory": "tests.models:ResidualCnn", "weights": str(tmp_path / "own.safetensors")}
    where = context(tmp_path, "own", model=model)
    again = checkpoint.load(where.path(taught(where)))
    assert trainings(tmp_path) == 1
    x = torch.randn(2, *INPUT_SHAPE)
    assert torch.equal(again(x), trained(x))


def test_a_teacher_at_chance_is_refused(tmp_path: Path) -> None:
    save_file(settled("residual").state_dict(), tmp_path / "own.safetensors")
    model = {"factory": "tests.models:ResidualCnn", "weights": str(tmp_path / "own.safetensors")}
    with pytest.raises(UsageError, match="no better than guessing"):
        taught(context(tmp_path, model=model))


def test_a_teacher_below_the_accuracy_asked_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"below min_accuracy \(100 %\)"):
        taught(context(tmp_path), CONFIG.replace(epochs=2, min_accuracy=100))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": {"name": "resnt"}}, "did you mean 'resnet'"),
        ({"data": {"name": "mnist"}}, "did you mean 'mnist5k'"),
        ({"data": {"factory": "tests.train.synthetic:quadrants", "augmentation": "afine"}}, "did you mean 'affine'"),
        ({"model": {"factory": "tests.models:ResidualCnn", "options": {"classes": 3}}}, "the data has 4 classes"),
    ],
)
def test_faults_are_found_before_any_training(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    where = context(tmp_path, **change)
    with pytest.raises(UsageError, match=said):
        TeacherStage(CONFIG).requires(ArtifactSet(), where)


def mendable(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    (folder / "mendable_network.py").write_text(f"from tests.models import *\n{text}")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delitem(sys.modules, "mendable_network", raising=False)
    return {"model": {"factory": "mendable_network:Network"}}


OLD = "class Network(ResidualCnn):\n    pass\n"
WIDER = "class Network(ResidualCnn):\n    def __init__(self):\n        super().__init__(24)\n"
SCALED = "class Network(ResidualCnn):\n    def forward(self, x):\n        return 0.5 * super().forward(x)\n"


@pytest.mark.parametrize(("mended", "width", "told"), [(WIDER, 24, False), (SCALED, 16, True)])
def test_a_teacher_of_code_that_was_mended_since_is_trained_anew(
    mended: str,
    width: int,
    told: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", logger="edgekd")
    old = taught(context(tmp_path, **mendable(tmp_path, OLD, monkeypatch)))
    again = context(tmp_path, "again", **mendable(tmp_path, mended, monkeypatch))
    artifact = taught(again)
    assert checkpoint.load(again.path(artifact)).stem.out_channels == width
    assert artifact.digest != old.digest
    assert ("trained anew" in caplog.text) == told
