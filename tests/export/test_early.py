"""What cannot become an engine is told before anybody trains it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgekd.artifact import Artifact, ArtifactSet
from edgekd.errors import ExportError, UsageError
from edgekd.export import early
from edgekd.export.early import refuse_unexportable
from edgekd.export.stage import ExportStage
from tests.distill.tiny_run import context
from tests.models import Mlp


class Undecided(nn.Module):
    """Its way depends on what it is given."""

    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class Determinant(nn.Module):
    """ONNX knows the operator, OpenVINO does not."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.linalg.det(x)[:, 0, None, None, None]


def undecided() -> nn.Module:
    return nn.Sequential(Undecided(), Mlp())


def determinant() -> nn.Module:
    return nn.Sequential(Determinant(), Mlp())


HERE = {name: {"factory": f"{__name__}:{name}"} for name in ("undecided", "determinant")}
NAMED = {"distill": {"student": HERE["undecided"]}}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model": HERE["undecided"]}, r"refuses the operator .*__bool__ in module '0' \(Undecided\)"),
        ({"model": HERE["determinant"]}, "OpenVINO .* No conversion rule found for operations: Det"),
        ({"stages": NAMED}, "in module '0'"),
        ({"stages": {**NAMED, "search": {}}}, "in module '0'"),
    ],
    ids=["torch.export", "runtime", "student", "student beside a search"],
)
def test_the_operator_is_named(changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    stage = ExportStage(ExportStage.Config())
    with pytest.raises(ExportError, match=sentence):
        stage.requires(ArtifactSet(), context(tmp_path, **changes))


def test_a_student_that_cannot_be_built_is_named_too(tmp_path: Path) -> None:
    student = {"factory": "tests.models:ResidualCnn", "options": {"classes": 7}}
    with pytest.raises(UsageError, match="the data has 4 classes"):
        refuse_unexportable(context(tmp_path, stages={"distill": {"student": student}}))


def test_nothing_is_left_behind_and_random_numbers_stay(tmp_path: Path) -> None:
    run, before = context(tmp_path, stages={}), torch.get_rng_state()
    refuse_unexportable(run)
    assert torch.equal(torch.get_rng_state(), before)
    assert not list(run.folder.iterdir())


def test_what_the_search_builds_or_is_trained_already_is_not_built_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(early.onnx_file, "write", refuse)
    refuse_unexportable(context(tmp_path, model=HERE["undecided"], stages={"search": {}}))
    trained = Artifact(network="teacher", format="torch", path="teacher", digest="0" * 64, made_by="teacher")
    promised = trained.replace(digest="")
    stage = ExportStage(ExportStage.Config())
    stage.requires(ArtifactSet().add(trained), context(tmp_path, stages={}))
    with pytest.raises(AssertionError):
        stage.requires(ArtifactSet().add(promised), context(tmp_path, stages={}))
