from __future__ import annotations

from pathlib import Path

from edgekd.budget import OperatingPoint
from edgekd.connection.connection import Connection
from edgekd.measure.engine import Engine


def _engine(path: Path, **more: object) -> Engine:
    return Engine("net", "fp32", "openvino", path, "d", **more)


def test_weights_beside_the_graph_belong_to_the_engine(tmp_path: Path) -> None:
    for name in ("model.xml", "model.bin", "other.bin"):
        (tmp_path / name).touch()
    assert {file.name for file in _engine(tmp_path / "model.xml").files} == {"model.bin", "model.xml"}
    assert len(_engine(tmp_path).files) == 3


def test_an_onnx_file_names_its_external_weights(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"..location..weights.data..")
    for name in ("weights.data", "other.data"):
        (tmp_path / name).touch()
    assert [file.name for file in _engine(tmp_path / "model.onnx").files] == ["model.onnx", "weights.data"]


def test_own_inputs_and_batch_come_before_the_common_ones(tmp_path: Path) -> None:
    point, common = OperatingPoint(batch=4, threads=2), tmp_path / "common.npy"
    assert _engine(tmp_path).called(point, common, Connection(()))["inputs"] == str(common)
    own = _engine(tmp_path, inputs=tmp_path / "own.npy", batch=1).called(point, common, Connection(()))
    assert (own["inputs"], own["batch"], own["threads"]) == (str(tmp_path / "own.npy"), 1, 2)
