"""Whoever teaches gives the same answer: a module, its ONNX file, a bundle with its engine, several of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from edgekd.distill.reference import Named, refuse_absent
from edgekd.distill.teacher import EngineTeacher, Ensemble, ModuleTeacher
from edgekd.errors import UsageError
from edgekd.export.onnx_file import write
from edgekd.recipe import ModelSpec
from edgekd.train import checkpoint
from tests.bundles import SHAPE, written
from tests.models import INPUT_SHAPE, settled

IMAGES = torch.randn(7, *INPUT_SHAPE, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("teacher") / "teacher.onnx"
    write(settled("residual"), path, INPUT_SHAPE)
    return path


def test_an_onnx_file_answers_as_its_network(onnx: Path) -> None:
    (said,) = ModuleTeacher(settled("residual"))(IMAGES, [""])
    for count in (7, 3):
        (read,) = EngineTeacher(onnx)(IMAGES[:count], [""])
        assert torch.allclose(read, said[:count], atol=1e-5)


def test_a_bundle_answers_as_the_file_inside(tmp_path: Path) -> None:
    folder, inputs = written(tmp_path), torch.randn(5, *SHAPE)
    (said,) = EngineTeacher(folder)(inputs, [""])
    (read,) = EngineTeacher(next(folder.rglob("model.onnx")))(inputs, [""])
    assert torch.allclose(said, read, atol=1e-5)


def test_several_teach_with_their_mean_probability(onnx: Path) -> None:
    members = [ModuleTeacher(settled("residual", seed)) for seed in (1, 2)]
    (said,) = Ensemble([*members, EngineTeacher(onnx)])(IMAGES, [""])
    alone = [member(IMAGES, [""])[0].softmax(-1) for member in (*members, EngineTeacher(onnx))]
    assert torch.allclose(said.exp(), torch.stack(alone).mean(0), atol=1e-5)
    assert torch.allclose(said.exp().sum(-1), torch.ones(7), atol=1e-5)


def test_an_engine_shows_nothing_of_its_inside(onnx: Path) -> None:
    with pytest.raises(
        UsageError, match=r"'stem' cannot be tapped in .*teacher\.onnx: an engine shows its output only"
    ):
        EngineTeacher(onnx)(IMAGES, ["", "stem"])
    with pytest.raises(UsageError, match="several teachers have no layers in common"):
        Ensemble([ModuleTeacher(settled("residual"))])(IMAGES, ["stem"])
    with pytest.raises(UsageError, match="layers can be tapped in one torch network"):
        Named("d", (onnx,)).network()


def test_a_saved_network_can_be_tapped(tmp_path: Path) -> None:
    spec = ModelSpec(factory="tests.models:ResidualCnn")
    checkpoint.save(settled("residual"), tmp_path / "saved", spec, INPUT_SHAPE, 4, IMAGES)
    named = Named("d", (tmp_path / "saved",))
    said, tapped = named.teacher()(IMAGES, ["", "second_norm"])
    assert said.shape == (7, 4)
    assert tapped.shape == (7, 32, 6, 6)
    assert isinstance(named.network(), torch.nn.Module)


@pytest.mark.parametrize("content", [None, b"no model"])
def test_a_file_that_is_none_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "teacher.onnx"
    if content is None:
        with pytest.raises(UsageError, match="there is no such file or folder"):
            refuse_absent([str(path)])
        return
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"teacher '.*teacher\.onnx' cannot be opened"):
        EngineTeacher(path)
