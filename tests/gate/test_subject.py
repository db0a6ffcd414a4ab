"""A path becomes an engine; whatever is no engine is told apart, with its exit code and one sentence."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from onnx import TensorProto

from edgekd.connection.connection import Connection, local
from edgekd.errors import EdgekdError, ExportError, MeasurementError, TargetError, UsageError
from edgekd.gate.subject import refusal, resolve
from tests import bundles
from tests.gate import broken_engines
from tests.measure.tiny_engines import write_onnx, write_openvino


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    with local() as found:
        yield found


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles.written(tmp_path_factory.mktemp("bundle"))


def _refused(path: Path, connection: Connection, runtime: str | None = None) -> EdgekdError:
    with pytest.raises(EdgekdError) as told:
        resolve(str(path), runtime, connection)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 600
    return told.value


def test_a_bundle_gives_its_chosen_engine_or_the_one_asked_for(bundle: Path, connection: Connection) -> None:
    chosen = resolve(str(bundle), None, connection)
    assert chosen.engine.key == "pruned/fp32/openvino"
    assert chosen.engine.path == bundle / "variants/fp32/model.xml"
    assert chosen.manifest is not None
    assert chosen.inputs[0].shape == (None, 3, 8, 8)
    other = resolve(str(bundle), "onnxruntime", connection)
    assert other.engine.path == bundle / "variants/fp32/model.onnx"
    assert other.engine.digest != chosen.engine.digest


def test_a_file_is_opened_by_the_first_runtime_or_the_one_asked_for(tmp_path: Path, connection: Connection) -> None:
    file = write_onnx(tmp_path / "net.onnx")
    assert resolve(str(file), None, connection).engine.key == "net/given/onnxruntime"
    first, second = (resolve(str(file), "openvino", connection) for _ in range(2))
    assert first.engine == second.engine
    third = resolve(str(file), "openvino", connection, beside=[first])
    assert third.engine.key == "net-b/given/openvino"
    assert third.engine.digest == first.engine.digest


def test_a_folder_of_openvino_is_an_engine(tmp_path: Path, connection: Connection) -> None:
    folder = write_openvino(write_onnx(tmp_path / "net.onnx"), tmp_path / "ov")
    for path in (folder, folder / "model.xml"):
        found = resolve(str(path), None, connection)
        assert found.engine.runtime == "openvino"
        assert {file.name for file in found.engine.files} == {"model.xml", "model.bin"}
    assert isinstance(_refused(folder, connection, "onnxruntime"), UsageError)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("name", ["truncated", "foreign", "empty"])
def test_a_damaged_file_is_wrong_usage(name: str, runtime: str, tmp_path: Path, connection: Connection) -> None:
    path = getattr(broken_engines, f"write_{name}")(tmp_path / "bad.onnx")
    error = _refused(path, connection, runtime)
    assert isinstance(error, UsageError)
    assert "bad.onnx is damaged or no engine" in str(error)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_an_operator_the_runtime_lacks_is_an_export_error(runtime: str, tmp_path: Path, connection: Connection) -> None:
    path = broken_engines.write_node(tmp_path / "odd.onnx", "Foo", "com.mine")
    error = _refused(path, connection, runtime)
    assert isinstance(error, ExportError)
    assert "Foo" in str(error)
    assert ".cpp:" not in str(error)


def test_text_cannot_be_measured(tmp_path: Path, connection: Connection) -> None:
    path = broken_engines.write_node(tmp_path / "text.onnx", "Identity", kind=TensorProto.STRING)
    for runtime in ("onnxruntime", "openvino"):
        assert isinstance(_refused(path, connection, runtime), ExportError)


def test_weights_that_are_missing_are_damage(tmp_path: Path, connection: Connection) -> None:
    folder = broken_engines.write_without_weights(tmp_path / "ov")
    assert isinstance(_refused(folder, connection), UsageError)


def test_what_is_not_there_or_something_else_is_named(tmp_path: Path, connection: Connection) -> None:
    assert "there is no file" in str(_refused(tmp_path / "no.onnx", connection))
    (tmp_path / "model.pt").touch()
    assert "is no engine" in str(_refused(tmp_path / "model.pt", connection))
    assert "neither a bundle" in str(_refused(tmp_path, connection))
    file = write_onnx(tmp_path / "net.onnx")
    assert "did you mean 'openvino'" in str(_refused(file, connection, "openvin"))


def test_a_bundle_is_verified_before_anything_else(bundle: Path, tmp_path: Path, connection: Connection) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(bundle, copy)
    weights = copy / "variants/fp32/model.bin"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    error = _refused(copy, connection)
    assert isinstance(error, UsageError)
    assert "model.bin is damaged" in str(error)


def test_a_runtime_that_is_not_installed_comes_with_the_command(
    bundle: Path, tmp_path: Path, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "has", lambda _, name: name != "openvino")
    error = _refused(bundle, connection)
    assert isinstance(error, TargetError)
    assert "pip install 'edgekd[openvino]' or give --runtime onnxruntime" in str(error)
    monkeypatch.setattr(Connection, "has", lambda _, name: False)
    assert isinstance(_refused(write_onnx(tmp_path / "net.onnx"), connection), TargetError)


def test_a_crash_stays_a_crash() -> None:
    crash = MeasurementError("the measuring process of a/b/c ended (exit status -11); its last words: none")
    assert refusal(crash, "a.onnx", "onnxruntime") is crash
