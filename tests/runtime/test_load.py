from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import edgekd.runtime
from edgekd.runtime import BundleError
from tests import bundles
from tools import bench_runtime

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles.written(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def folder(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "bundle"))


def _images(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, *bundles.SHAPE), np.uint8)


def _bare(folder: Path, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(folder / "variants/fp32/model.onnx", providers=["CPUExecutionProvider"])
    return session.run(None, {"input": x})[0]


@pytest.mark.parametrize("runtime", [None, "onnxruntime", "openvino"])
def test_predict_returns_the_network_s_logits_at_any_batch(folder: Path, runtime: str | None) -> None:
    engine = edgekd.runtime.load(folder, runtime)
    assert engine.runtime == (runtime or "openvino")
    assert engine.labels == ("a", "b", "c", "d", "e")
    for count in (1, 4, 1):
        x = engine.preprocess(_images(count))
        np.testing.assert_allclose(engine.predict(x), _bare(folder, x), atol=1e-4)


def test_results_belong_to_the_caller(folder: Path) -> None:
    engine = edgekd.runtime.load(folder)
    first = engine.predict(engine.preprocess(_images(1)))
    kept = first.copy()
    engine.predict(np.zeros((1, *bundles.SHAPE), np.float32))
    np.testing.assert_array_equal(first, kept)


def test_preprocessing_is_the_manifest_s(folder: Path) -> None:
    engine = edgekd.runtime.load(folder)
    images = _images(2)
    mean, std = (np.array(v).reshape(1, 3, 1, 1) for v in ((0.1, 0.2, 0.3), (0.5, 0.6, 0.7)))
    expected = (images / 255 - mean) / std
    result = engine.preprocess(images)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(engine.preprocess(images[1]), result[1:])


def test_wrong_inputs_are_refused_before_they_give_nonsense(folder: Path) -> None:
    engine = edgekd.runtime.load(folder)
    with pytest.raises(TypeError, match="preprocess"):
        engine.predict(_images(1))
    with pytest.raises(TypeError, match="uint8"):
        engine.preprocess(_images(1) / 255)
    with pytest.raises(ValueError, match="shape"):
        engine.preprocess(np.zeros((1, 8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match="shape"):
        engine.predict(np.zeros((1, 3, 9, 8), np.float32))


@pytest.mark.parametrize(
    ("runtime", "name"),
    [
        ("openvino", "variants/fp32/model.xml"),
        ("openvino", "variants/fp32/model.bin"),
        ("onnxruntime", "variants/fp32/model.onnx"),
        ("openvino", "manifest.json"),
    ],
)
@pytest.mark.parametrize("damage", ["flip", "remove"])
def test_a_damaged_file_is_named_and_never_loaded(folder: Path, runtime: str, name: str, damage: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).unlink()
    if damage == "flip":
        (folder / name).write_bytes(content)
    with pytest.raises(BundleError, match=name):
        edgekd.runtime.load(folder, runtime)


def test_a_seal_that_is_no_text_is_named(folder: Path) -> None:
    seal = folder / "manifest.sha256"
    seal.write_bytes(b"\xff" + seal.read_bytes()[1:])
    with pytest.raises(BundleError, match=r"manifest\.\w+ is damaged"):
        edgekd.runtime.load(folder)


def test_what_the_bundle_does_not_hold_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="'tensorrt'; it has: onnxruntime, openvino"):
        edgekd.runtime.load(folder, "tensorrt")
    with pytest.raises(BundleError, match="not a bundle"):
        edgekd.runtime.load(tmp_path)


def test_an_app_imports_numpy_and_nothing_heavy() -> None:
    code = "import sys, json, edgekd.runtime; print(json.dumps(sorted({m.partition('.')[0] for m in sys.modules})))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    heavy = {"torch", "onnx", "pydantic", "yaml", "scipy", "click", "rich", "openvino", "onnxruntime"}
    assert "numpy" in found
    assert not heavy.intersection(json.loads(found))


@pytest.mark.parametrize("path", sorted((ROOT / "edgekd" / "runtime").glob("*.py")), ids=lambda path: path.name)
def test_python_3_8_can_read_it(path: Path) -> None:
    ast.parse(path.read_text(), feature_version=(3, 8))


@pytest.mark.measured
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_predict_adds_little_to_the_bare_runtime(runtime: str, tmp_path: Path) -> None:
    # The goal is 5 % of a 1 ms network, as tools.bench_runtime.py measures it; a busy machine needs a wide margin.
    ratios = [bench_runtime.ratio(tmp_path, runtime, rounds=10) for _ in range(3)]
    assert min(ratios) < 1.25
