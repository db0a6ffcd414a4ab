from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from edgekd.errors import ExportError, UsageError
from edgekd.figure import Figure
from edgekd.measure.evaluate import Answers, evaluate_split, figures, graded, write_raw
from edgekd.stage import Progress
from tests.measure.tiny_engines import SHAPE, engine, write_onnx, write_openvino


@pytest.fixture
def engines(tmp_path: Path) -> list:
    teacher, student = (write_onnx(tmp_path / f"{seed}.onnx", seed=seed) for seed in (0, 1))
    return [
        engine(teacher, "teacher"),
        engine(write_openvino(teacher, tmp_path / "ov"), "teacher", "openvino"),
        engine(student, "student"),
    ]


def _images(count: int = 50) -> np.ndarray:
    return np.random.default_rng(5).standard_normal((count, *SHAPE)).astype(np.float32)


def _labels(engines: list, images: np.ndarray) -> np.ndarray:
    """Return labels the teacher gets right, but for the first five."""
    labels = onnxruntime.InferenceSession(str(engines[0].path)).run(None, {"input": images})[0].argmax(1)
    labels[:5] = (labels[:5] + 1) % 3
    return labels


def _evaluate(engines: list, images: np.ndarray, labels: np.ndarray, folder: Path) -> dict[str, tuple[Figure, ...]]:
    return evaluate_split(
        engines,
        images,
        labels,
        folder,
        baseline="teacher/fp32/onnxruntime",
        origin="device",
        progress=Progress(),
        title="accuracy",
        batch=16,
    )


def test_accuracy_is_that_of_the_engine_and_the_drop_is_paired(engines: list, tmp_path: Path) -> None:
    images = _images()
    found = _evaluate(engines, images, _labels(engines, images), tmp_path / "validation")
    teacher, other, student = (found[e.key] for e in engines)
    assert [figure.value for figure in teacher[:2]] == [90, 0]
    assert [figure.value for figure in other[:2]] == [90, 0]
    assert [figure.name for figure in student] == ["accuracy_percent", "accuracy_drop", "ece", "adaptive_ece", "brier"]
    assert student[1].value == pytest.approx(teacher[0].value - student[0].value)
    assert student[1].lower < student[1].value < student[1].upper
    assert student[1].samples == 50


def test_outputs_stay_on_disk_and_are_taken_again(engines: list, tmp_path: Path) -> None:
    images = _images()
    labels = _labels(engines, images)
    first = _evaluate(engines, images, labels, tmp_path / "validation")
    kept = sorted((tmp_path / "validation").glob("student-*.npy"))
    assert len(kept) == 1
    assert np.load(kept[0]).shape == (50, 3)
    for e in engines:
        (e.path if e.path.is_file() else e.path / "model.bin").unlink()
    assert _evaluate(engines, images, labels, tmp_path / "validation") == first


def test_another_split_is_answered_anew(engines: list, tmp_path: Path) -> None:
    for count in (50, 20):
        images = _images(count)
        found = _evaluate(engines, images, _labels(engines, images), tmp_path / "out")
        assert found[engines[0].key][0].samples == count


def test_faults_are_named(engines: list, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="as many images as labels"):
        _evaluate(engines, _images(3), np.zeros(2, np.int64), tmp_path)
    with pytest.raises(UsageError, match="baseline"):
        _evaluate(engines[2:], _images(3), np.zeros(3, np.int64), tmp_path)


def test_outputs_that_are_no_classes_are_refused() -> None:
    labels = np.array([0, 1, 2])
    with pytest.raises(UsageError, match=r"shape \(3, 2, 2\)"):
        graded(np.zeros((3, 2, 2)), labels, "a/b/c")
    with pytest.raises(UsageError, match="knows 2 classes"):
        graded(np.zeros((3, 2)), labels, "a/b/c")
    broken = np.array([[0, 1, 2], [0, np.nan, 1], [np.inf, 0, 0]])
    with pytest.raises(ExportError, match="2 of 3 inputs"):
        graded(broken, labels, "a/b/c")


def test_the_raw_lines_give_the_figures_again(tmp_path: Path) -> None:
    labels = np.arange(30) % 3
    logits = np.random.default_rng(0).standard_normal((30, 3))
    found = graded(logits, labels, "a/b/c")
    write_raw(tmp_path / "raw" / "answers.jsonl", {"a/b/c": found})
    (line,) = [json.loads(text) for text in (tmp_path / "raw" / "answers.jsonl").read_text().splitlines()]
    assert (line["kind"], line["engine"]) == ("answers", "a/b/c")
    again = Answers(np.array(line["correct"], bool), np.array(line["confidence"]), np.array(line["brier"]))
    assert figures(again, None, "device") == figures(found, None, "device")
