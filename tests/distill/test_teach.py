from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from edgekd.artifact import ArtifactSet
from edgekd.distill.lesson import Lesson
from edgekd.distill.loss import LOSSES
from edgekd.distill.teach import TeachConfig, teach
from edgekd.errors import EdgekdError, UsageError
from edgekd.export import onnx_file
from edgekd.models.build import build
from edgekd.recipe import ModelSpec
from edgekd.stage import Context
from edgekd.train import checkpoint
from edgekd.train.stage import TeacherStage
from tests.distill.tiny_run import context, killed_in, with_teacher
from tests.models import ResidualCnn

CONFIG = {"epochs": 3, "batch": 32, "learning_rate": 0.05}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("teach")


@pytest.fixture(scope="module")
def artifacts(root: Path) -> ArtifactSet:
    return with_teacher(root)


def student(seed: int = 0) -> ResidualCnn:
    torch.manual_seed(seed)
    return ResidualCnn(channels=4)


def taught(artifacts: ArtifactSet, run: Context, folder: Path, seed: int = 0, **options: object) -> ResidualCnn:
    model = student(seed)
    config = TeachConfig.model_validate({**CONFIG, **options})
    history = teach(model, artifacts, run, config, folder=folder, title="student")
    assert history.epochs == config.epochs
    return model


def weights(model: ResidualCnn) -> np.ndarray:
    return torch.cat([p.detach().flatten() for p in model.parameters()]).numpy()


@pytest.mark.parametrize("losses", [{"dist": {}}, {"taid": {}}])
def test_what_was_stopped_goes_on_to_the_bit_under_the_teacher(
    artifacts: ArtifactSet, root: Path, tmp_path: Path, losses: dict[str, object]
) -> None:
    run, config = context(root), TeachConfig.model_validate({**CONFIG, "losses": losses})
    whole = taught(artifacts, run, tmp_path / "a", losses=losses)
    early = student()
    assert teach(early, artifacts, run, config, folder=tmp_path / "b", title="student", until=1).epochs == 1
    assert not np.array_equal(weights(early), weights(whole))
    assert np.array_equal(weights(taught(artifacts, run, tmp_path / "b", losses=losses)), weights(whole))


def test_the_student_comes_to_answer_like_the_teacher(artifacts: ArtifactSet, root: Path, tmp_path: Path) -> None:
    run = context(root)
    config = TeachConfig.model_validate({**CONFIG, "label_weight": 0})
    history = teach(student(), artifacts, run, config, folder=tmp_path, title="student")
    assert history.losses[-1] < 0.5 * history.losses[0]


def test_the_store_is_shared_by_everyone_who_teaches(artifacts: ArtifactSet, root: Path, tmp_path: Path) -> None:
    run = context(root)
    taught(artifacts, run, tmp_path / "a")
    stores = root / "cache" / "stores"
    before = {path: path.stat().st_mtime_ns for path in stores.rglob("*.bin")}
    assert len(before) == 2  # without an augmentation every view is the same
    taught(artifacts, run, tmp_path / "b", epochs=2, losses={"logits-kl": {}})
    assert {path: path.stat().st_mtime_ns for path in stores.rglob("*.bin")} == before


def test_the_same_call_again_only_reads_what_it_did(artifacts: ArtifactSet, root: Path, tmp_path: Path) -> None:
    run = context(root)
    first, again = (taught(artifacts, run, tmp_path) for _ in range(2))
    assert np.array_equal(weights(first), weights(again))
    assert len(list(tmp_path.iterdir())) == 1


def test_other_weights_or_another_teacher_do_not_go_on_from_the_same_state(
    artifacts: ArtifactSet, root: Path, tmp_path: Path
) -> None:
    run = context(root)
    first = taught(artifacts, run, tmp_path)
    other = taught(artifacts, run, tmp_path, seed=1)
    assert not np.array_equal(weights(first), weights(other))
    taught(artifacts, run, tmp_path, losses={})
    assert len(list(tmp_path.iterdir())) == 3


def test_without_losses_no_teacher_is_needed(root: Path, tmp_path: Path) -> None:
    fresh = context(tmp_path)
    taught(ArtifactSet(), fresh, tmp_path, losses={})
    assert not (tmp_path / "cache" / "stores").exists()
    with pytest.raises(EdgekdError, match="no artifact with network=teacher"):
        taught(ArtifactSet(), fresh, tmp_path)


def test_a_fault_in_the_options_is_found_before_any_work(artifacts: ArtifactSet, root: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown name 'dits' in losses; did you mean 'dist'"):
        taught(artifacts, context(root), tmp_path, losses={"dits": {}})


class Forgetful(ResidualCnn):
    """A student that draws random numbers while it is trained."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.dropout(super().forward(x), 0.2, self.training)


def test_random_numbers_drawn_before_do_not_matter(artifacts: ArtifactSet, root: Path, tmp_path: Path) -> None:
    """A resumed run has skipped what came before, and must draw the same dropout."""
    found = []
    for drawn in (0, 7):
        torch.manual_seed(0)
        model = Forgetful(channels=4)
        torch.rand(drawn)
        config = TeachConfig.model_validate({**CONFIG, "epochs": 1})
        teach(model, artifacts, context(root), config, folder=tmp_path / str(drawn), title="student")
        found.append(weights(model))
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("keep", ["top-k", "nucleus"])
def test_a_store_of_the_likeliest_classes_teaches_almost_the_same(
    artifacts: ArtifactSet, root: Path, tmp_path: Path, keep: str
) -> None:
    run = context(root)
    whole = taught(artifacts, run, tmp_path / "whole", losses={"logits-kl": {"temperature": 1}})
    cut = taught(
        artifacts, run, tmp_path / "cut", losses={"logits-kl": {"temperature": 1}}, store={"keep": keep, "k": 3}
    )
    assert np.allclose(weights(whole), weights(cut), atol=0.05)
    assert not np.array_equal(weights(whole), weights(cut))


def test_an_onnx_file_teaches_as_its_network_does(artifacts: ArtifactSet, root: Path, tmp_path: Path) -> None:
    run = context(root)
    path = tmp_path / "teacher.onnx"
    onnx_file.write(checkpoint.load(run.path(artifacts.newest(network="teacher"))), path, (1, 12, 12))
    own, other = (
        taught(artifacts, run, tmp_path / name, teachers=[reference])
        for name, reference in (("own", "teacher"), ("other", str(path)))
    )
    assert np.allclose(weights(own), weights(other), atol=0.15)  # BatchNorm makes much of the last bit


def test_several_teachers_are_asked_together(artifacts: ArtifactSet, root: Path, tmp_path: Path) -> None:
    run = context(root)
    twice = taught(artifacts, run, tmp_path / "twice", teachers=["teacher", "teacher"], losses={"logits-kl": {}})
    once = taught(artifacts, run, tmp_path / "once", losses={"logits-kl": {}})
    assert np.allclose(weights(twice), weights(once), atol=0.05)  # the mean of two that agree, as log-probabilities


def test_every_loss_teaches_from_the_store(artifacts: ArtifactSet, root: Path, tmp_path: Path) -> None:
    run = context(root)
    for name in LOSSES.names():
        taught(artifacts, run, tmp_path / name, epochs=1, losses={name: {"weight": 0.1}})


def test_early_stopping_judges_by_validation(artifacts: ArtifactSet, root: Path, tmp_path: Path) -> None:
    model = student()
    config = TeachConfig.model_validate({**CONFIG, "epochs": 30, "patience": 2})
    history = teach(model, artifacts, context(root), config, folder=tmp_path, title="student")
    assert 3 <= history.epochs < 30
    assert len(history.scores) == history.epochs


def test_a_text_encoder_is_taught_with_attention_and_features(tmp_path: Path) -> None:
    small = {"name": "text-encoder", "options": {"depth": 2, "width": 16, "heads": 2}}
    run = context(tmp_path, model=small, data={"factory": "tests.distill.tiny_run:texts"})
    stage = TeacherStage(TeacherStage.Config(epochs=2, batch=32, learning_rate=0.01, optimizer="adamw"))
    artifacts = stage.run(ArtifactSet(), run)
    torch.manual_seed(0)
    model = build(ModelSpec(name="text-encoder", options={"depth": 1, "width": 8, "heads": 2}), (20,), 2)
    config = TeachConfig.model_validate(
        {**CONFIG, "optimizer": "adamw", "learning_rate": 0.01, "losses": {"featalign": {"attention": 1}, "rkd": {}}}
    )
    history = teach(model, artifacts, run, config, folder=tmp_path / "t", title="student")
    assert history.losses[-1] < history.losses[0]


def test_a_language_model_is_taught_token_by_token(tmp_path: Path) -> None:
    small = {"name": "causal-lm", "options": {"depth": 1, "width": 16, "heads": 2}}
    run = context(tmp_path, model=small, data={"factory": "tests.distill.tiny_run:next_tokens"})
    stage = TeacherStage(TeacherStage.Config(epochs=4, batch=16, learning_rate=0.02, optimizer="adamw"))
    artifacts = stage.run(ArtifactSet(), run)
    teacher = artifacts.newest(network="teacher")
    assert teacher.figure("bits_per_token").value < 2.5
    assert teacher.figure("ece").samples == 64 * 20
    torch.manual_seed(0)
    model = build(ModelSpec(name="causal-lm", options={"depth": 1, "width": 8, "heads": 2}), (20,), 6)
    losses = {"taid": {}, "first": {"k": 3}}
    config = TeachConfig.model_validate(
        {**CONFIG, "optimizer": "adamw", "learning_rate": 0.02, "losses": losses, "store": {"keep": "top-k", "k": 4}}
    )
    history = teach(model, artifacts, run, config, folder=tmp_path / "t", title="student")
    assert history.losses[-1] < 0.9 * history.losses[0]


def test_a_killed_lesson_ends_as_an_undisturbed_one(artifacts: ArtifactSet, root: Path, tmp_path: Path) -> None:
    """What a loss remembers (TAID's t) and what is trained beside (featalign's projections) goes on as well."""
    run = context(root)
    losses = {"taid": {}, "featalign": {"weight": 0.2}}
    undisturbed = taught(artifacts, run, tmp_path / "a", losses=losses)
    with killed_in(13):
        taught(artifacts, run, tmp_path / "b", losses=losses)
    resumed = taught(artifacts, run, tmp_path / "b", losses=losses)
    assert np.array_equal(weights(undisturbed), weights(resumed))


def test_networks_that_begin_with_the_same_weights_are_told_apart(artifacts: ArtifactSet, root: Path) -> None:
    run = context(root)
    lesson = Lesson(artifacts, run, TeachConfig.model_validate(CONFIG), run.recipe.data)

    def key(name: str, **options: object) -> str:
        torch.manual_seed(0)
        return lesson.key(build(ModelSpec(name=name, options=options), (1, 12, 12), 4))

    networks = [("resnet", {}), ("resnet", {"shrink": 2})]
    networks += [("vit", {"patch": 4, **own}) for own in ({}, {"activation": "relu"}, {"norm": "nonorm"}, {"heads": 2})]
    assert len({key(name, **options) for name, options in networks}) == len(networks)
    assert key("resnet", shrink=2) == key("resnet", shrink=2)


@pytest.mark.parametrize("loss", ["featalign", "msdcrd", "trg"])
def test_a_student_that_shrinks_its_images_learns_the_teachers_maps(
    artifacts: ArtifactSet, root: Path, tmp_path: Path, loss: str
) -> None:
    torch.manual_seed(0)
    spec = ModelSpec(name="resnet", options={"depth": 8, "channels": [16, 16, 16], "shrink": 2})
    model = build(spec, (1, 12, 12), 4)
    config = TeachConfig.model_validate({**CONFIG, "losses": {loss: {}}, "label_weight": 0})
    history = teach(model, artifacts, context(root), config, folder=tmp_path, title="student")
    assert history.losses[-1] < history.losses[0]
