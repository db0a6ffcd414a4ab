from __future__ import annotations

from pathlib import Path

import pytest
import torch

from edgekd.artifact import ArtifactSet
from edgekd.distill.stage import DistillStage
from edgekd.errors import UsageError
from edgekd.recipe import ModelSpec
from edgekd.schema import write_json
from edgekd.train import checkpoint
from tests.distill.tiny_run import context, with_teacher

STUDENT = {"name": "resnet", "options": {"depth": 8, "channels": [8, 8, 8]}}


def stage(**options: object) -> DistillStage:
    plain = {"epochs": 4, "batch": 32, "learning_rate": 0.05, "student": STUDENT}
    return DistillStage(DistillStage.Config.model_validate({**plain, **options}))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("distil")


@pytest.fixture(scope="module")
def artifacts(root: Path) -> ArtifactSet:
    return with_teacher(root)


def test_hands_over_a_student_that_reloads_and_knows_something(artifacts: ArtifactSet, root: Path) -> None:
    run, distil = context(root), stage(epochs=12)
    distil.requires(artifacts, run)
    done = distil.run(artifacts, run)
    distil.ensures(done, run)
    student = done.newest(network="distilled", scheme="fp32", written_as="torch")
    assert student.parents == ("teacher/fp32/torch",)
    accuracy = student.figure("accuracy_percent")
    assert accuracy is not None
    assert accuracy.value > 60
    assert accuracy.samples == 64
    model = checkpoint.load(run.path(student))
    assert model(torch.zeros(1, 1, 12, 12)).shape == (1, 4)


def test_auto_takes_the_choice_of_the_search(artifacts: ArtifactSet, root: Path, tmp_path: Path) -> None:
    run = context(root, "distill-auto")
    write_json(ModelSpec.model_validate(STUDENT), tmp_path / "choice.json")
    chosen = run.store(tmp_path / "choice.json", network="distilled", format="choice", made_by="search")
    done = stage(student="auto", epochs=1).run(artifacts.add(chosen), run)
    student = done.newest(network="distilled", written_as="torch")
    assert checkpoint.describe(run.path(student)).spec == ModelSpec.model_validate(STUDENT)
    assert chosen.key in student.parents


def test_missing_stages_are_named_before_any_training(artifacts: ArtifactSet, root: Path) -> None:
    with pytest.raises(UsageError, match="put the stage 'search' before it"):
        stage(student="auto").requires(artifacts, context(root))
    with pytest.raises(UsageError, match="needs a teacher"):
        stage().requires(ArtifactSet(), context(root))
    stage(losses={}).requires(ArtifactSet(), context(root))


def test_a_student_that_guesses_is_refused(artifacts: ArtifactSet, root: Path) -> None:
    run, distil = context(root, "distill-weak"), stage(epochs=1, learning_rate=1e-9)
    with pytest.raises(UsageError, match="the student learned nothing"):
        distil.ensures(distil.run(artifacts, run), run)
