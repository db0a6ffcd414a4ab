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


def test_assistants_are_trained_and_teach_the_student(artifacts: ArtifactSet, root: Path, tmp_path: Path) -> None:
    run = context(tmp_path)
    known = with_teacher(tmp_path)
    middle = {"name": "resnet", "options": {"depth": 8, "channels": [8, 16, 16]}}
    options = {"schedule": "assistant", "schedule_options": {"assistants": [middle], "epochs": 2}}
    distil = stage(**options)
    distil.requires(known, run)
    done = distil.run(known, run)
    assert [artifact.key for artifact in done.artifacts] == ["teacher/fp32/torch", "distilled/fp32/torch"]
    assert checkpoint.describe(run.folder / "assistant").spec.options == middle["options"]
    student = done.newest(network="distilled")
    assert student.notes["schedule"] == "assistant"
    assert student.figure("images_seen").value == (2 + 4) * 256
    stores = list((tmp_path / "cache" / "stores").glob("*/store.json"))
    assert len(stores) == 2  # what the teacher says, and what the assistant says


def test_generations_begin_anew_and_end_the_same_when_run_again(tmp_path: Path) -> None:
    run, known = context(tmp_path), with_teacher(tmp_path)
    distil = stage(schedule="generations", epochs=2)
    first, again = (distil.run(known, run).newest(network="distilled") for _ in range(2))
    assert first.digest == again.digest
    assert first.digest != stage(epochs=2).run(known, context(tmp_path, "single")).newest(network="distilled").digest


def test_rows_go_from_other_data_to_the_task(tmp_path: Path) -> None:
    run, known = context(tmp_path), with_teacher(tmp_path)
    general = {"factory": "tests.distill.tiny_run:unlabelled"}
    rows = [
        {"epochs": 1, "data": general, "losses": {"featalign": {}}, "label_weight": 0},
        {"epochs": 2, "losses": {"logits-kl": {}}},
    ]
    distil = stage(schedule="rows", schedule_options={"rows": rows})
    distil.requires(known, run)
    student = distil.run(known, run).newest(network="distilled")
    assert student.figure("images_seen").value == 128 + 2 * 256
    looking = [{**rows[0], "losses": {"dkd": {}}}, rows[1]]
    with pytest.raises(
        UsageError, match=r"labels of data set 'unlabelled' are not those of 'quadrants'.* leave out dkd"
    ):
        stage(schedule="rows", schedule_options={"rows": looking}).run(known, context(tmp_path, "other"))


def test_a_student_may_begin_with_its_teachers_weights(tmp_path: Path) -> None:
    run, known = context(tmp_path), with_teacher(tmp_path)
    like = {"factory": "tests.models:ResidualCnn"}
    distil = stage(student=like, initialiser="weight-squeezing", epochs=1, learning_rate=1e-6, losses={})
    student = distil.run(known, run).newest(network="distilled")
    teacher = known.newest(network="teacher")
    assert student.figure("accuracy_percent").value == pytest.approx(teacher.figure("accuracy_percent").value, abs=5)
    assert student.notes["initialiser"] == "weight-squeezing"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"teachers": ["techer"]}, "unknown teacher 'techer'; did you mean 'teacher'"),
        ({"teachers": ["gone/teacher.onnx"]}, "there is no such file or folder"),
        ({"schedule": "singel"}, "did you mean 'single'"),
        ({"schedule": "generations", "schedule_options": {"count": 1}}, "options of schedule 'generations'"),
        ({"initialiser": "randm"}, "did you mean 'random'"),
        ({"optimizer": "sdg"}, "did you mean 'sgd'"),
        ({"optimizer_options": {"delta": 1}}, "options of optimizer 'sgd'"),
    ],
)
def test_wrong_options_are_refused_before_any_training(
    artifacts: ArtifactSet, root: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        stage(**options).requires(artifacts, context(root))


def test_calibration_is_told_with_the_accuracy(artifacts: ArtifactSet, root: Path) -> None:
    student = stage(epochs=2).run(artifacts, context(root, "told")).newest(network="distilled")
    for known in (student, artifacts.newest(network="teacher")):
        for name in ("ece", "adaptive_ece", "brier"):
            figure = known.figure(name)
            assert figure is not None
            assert 0 <= figure.value <= 2
            assert figure.samples == 64
