"""`edgekd eval`: accuracy and calibration of the engine itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests import bundles
from tests.cli.test_commands import edgekd
from tests.measure.tiny_engines import CLASSES, SHAPE, write_onnx


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("eval")
    random = np.random.default_rng(0)
    write_onnx(here / "new.onnx", seed=1)
    write_onnx(here / "old.onnx", seed=2)
    bundles.written(here)
    pixels = random.integers(0, 256, (30, *bundles.SHAPE)).astype(np.uint8)
    np.savez(here / "pixels.npz", pixels=pixels, labels=random.integers(0, 5, 30))
    inputs = random.standard_normal((50, *SHAPE)).astype(np.float32)
    np.savez(here / "data.npz", inputs=inputs, labels=random.integers(0, CLASSES, 50))
    np.savez(here / "bare.npz", inputs=inputs)
    np.savez(here / "foreign.npz", inputs=inputs, labels=random.integers(0, 9, 50) + 1)
    return here


def test_a_bundle_is_evaluated_in_each_of_its_runtimes(folder: Path) -> None:
    answer = edgekd("eval", "bundle", "--data", "pixels.npz", cwd=folder)
    assert answer.returncode == 0, answer.stderr
    lines = answer.stdout.splitlines()
    assert [line for line in lines if line.startswith("pruned/")] == [
        "pruned/fp32/openvino (bundle)",
        "pruned/fp32/onnxruntime (bundle)",
    ]
    assert lines[-1].startswith("evaluated: pruned/fp32/openvino: accuracy_percent ")
    assert "ece " in lines[-1]


def test_a_baseline_gives_the_paired_drop(folder: Path) -> None:
    answer = edgekd("eval", "new.onnx", "--baseline", "old.onnx", "--data", "data.npz", "--json", cwd=folder)
    assert answer.returncode == 0, answer.stderr
    new, old = (
        {figure["name"]: figure["value"] for figure in engine["figures"]} for engine in json.loads(answer.stdout)
    )
    assert new["accuracy_drop"] == pytest.approx(old["accuracy_percent"] - new["accuracy_percent"])
    assert "accuracy_drop" not in old
    lines = [json.loads(line) for line in (folder / "edgekd-eval" / "answers.jsonl").read_text().splitlines()]
    assert [100 * np.mean(line["correct"]) for line in lines] == pytest.approx(
        [new["accuracy_percent"], old["accuracy_percent"]]
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["new.onnx"], "eval needs labelled inputs"),
        (["new.onnx", "--data", "bare.npz"], "need labelled inputs"),
        (["new.onnx", "--data", "foreign.npz"], "knows 3 classes, 0 to 2"),
        (["new.onnx", "--data", "pixels.npz"], "is no bundle"),
        (["bundle", "--data", "pixels.npz", "--runtime", "onnx"], "did you mean 'onnxruntime'"),
    ],
)
def test_mistakes_end_with_two(folder: Path, arguments: list[str], sentence: str) -> None:
    answer = edgekd("eval", *arguments, cwd=folder)
    assert answer.returncode == 2, answer.stderr
    assert sentence in answer.stderr
    assert "Traceback" not in answer.stderr


def test_answers_that_are_no_numbers_end_with_seven(folder: Path) -> None:
    with np.load(folder / "data.npz") as data:
        huge, labels = np.full_like(data["inputs"], 3e38), data["labels"]
    np.savez(folder / "huge.npz", inputs=huge, labels=labels)
    answer = edgekd("eval", "new.onnx", "--data", "huge.npz", cwd=folder)
    assert answer.returncode == 7, answer.stderr
    assert "not finite" in answer.stderr
