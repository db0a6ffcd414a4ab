from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from edgekd.runtime.session import RUNTIMES, Session, open_session
from tests.measure.tiny_engines import SHAPE, write_onnx, write_openvino


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("engines")
    source = write_onnx(folder / "tiny.onnx")
    return {"onnxruntime": source, "openvino": write_openvino(source, folder / "tiny")}


def _images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, *SHAPE)).astype(np.float32)


def _truth(paths: dict[str, Path], images: np.ndarray) -> np.ndarray:
    return onnxruntime.InferenceSession(str(paths["onnxruntime"])).run(None, {"input": images})[0]


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("batch", [1, 4, None])
def test_answers_are_the_networks_at_any_batch(paths: dict[str, Path], runtime: str, batch: int | None) -> None:
    session = open_session(runtime, str(paths[runtime]), batch=batch)
    for count in (1, 4, 3, 1):
        images = _images(count, seed=count)
        np.testing.assert_allclose(session.run([images])[0], _truth(paths, images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_ports_are_told(paths: dict[str, Path], runtime: str) -> None:
    session = open_session(runtime, str(paths[runtime]))
    assert session.inputs == (("input", "float32", (None, *SHAPE)),)
    assert session.outputs == (("logits", "float32", (None, 3)),)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_buffers_are_bound_once_and_overwritten(paths: dict[str, Path], runtime: str) -> None:
    session = open_session(runtime, str(paths[runtime]))
    first = session.run([_images(1, seed=1)])[0]
    kept = first.copy()
    second = session.run([_images(1, seed=2)])[0]
    assert second is first
    assert not np.array_equal(kept, second)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("shapes", [[(1, 1, 8, 9)], [(1, 8, 8)], [(1, *SHAPE), (1, *SHAPE)], []])
def test_wrong_shapes_are_refused_and_the_session_lives_on(
    paths: dict[str, Path], runtime: str, shapes: list[tuple[int, ...]]
) -> None:
    session = open_session(runtime, str(paths[runtime]))
    with pytest.raises(ValueError, match="given"):
        session.run([np.zeros(shape, np.float32) for shape in shapes])
    assert np.isfinite(session.run([_images(1)])[0]).all()


def test_float_layers_stay_float_where_the_processor_has_bfloat16(paths: dict[str, Path]) -> None:
    session = open_session("openvino", str(paths["openvino"] / "model.xml"))
    compiled = session._request.get_compiled_model()  # type: ignore[attr-defined]
    assert compiled.get_property("INFERENCE_PRECISION_HINT").to_string() == "f32"
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 1
    assert compiled.get_property("NUM_STREAMS") == 1


@pytest.mark.parametrize(
    ("runtime", "file", "threads", "error"),
    [
        ("tensorflow", "tiny.onnx", 1, ValueError),
        ("onnxruntime", "absent.onnx", 1, FileNotFoundError),
        ("openvino", "absent", 1, FileNotFoundError),
        ("onnxruntime", "tiny.onnx", 0, ValueError),
    ],
)
def test_faults_are_named(
    paths: dict[str, Path], runtime: str, file: str, threads: int, error: type[Exception]
) -> None:
    with pytest.raises(error):
        open_session(runtime, str(paths["onnxruntime"].parent / file), threads=threads)


def test_a_free_batch_is_bound_by_the_first_run(paths: dict[str, Path]) -> None:
    session: Session = open_session("onnxruntime", str(paths["onnxruntime"]), batch=None)
    assert session.run([_images(5)])[0].shape == (5, 3)
