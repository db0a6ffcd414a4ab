from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from edgekd import target
from edgekd.errors import UsageError
from edgekd.pipeline.folder import RECIPE, refuse_foreign
from edgekd.pipeline.request import Request
from edgekd.recipe import Recipe

PLAIN = {
    "model": {"name": "resnet", "options": {"depth": 8}},
    "data": {"name": "mnist5k"},
    "budget": {},
    "stages": {},
}


def asked(folder: Path, **changes: object) -> Request:
    return Request(Recipe.model_validate({**PLAIN, **changes}), target.load("x86-avx2"), "host", False, folder)


def hold(request: Request, ended: bool = True) -> Request:
    (request.run_folder / RECIPE).write_text(yaml.safe_dump(request.recipe.plain()))
    if ended:
        (request.run_folder / "run.json").write_text("{}")
    return request


def test_an_empty_folder_and_the_same_run_go_on(tmp_path: Path) -> None:
    refuse_foreign(asked(tmp_path))
    refuse_foreign(hold(asked(tmp_path)))


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 3},
        {"budget": {"size_mb": 1}},
        {"stages": {"quantize": {}}},
        {"model": {**PLAIN["model"], "weights": "w.safetensors"}},
        {"data": {**PLAIN["data"], "augmentation": "affine"}},
    ],
)
def test_other_options_of_the_same_recipe_go_on(changes: dict[str, object], tmp_path: Path) -> None:
    hold(asked(tmp_path))
    refuse_foreign(asked(tmp_path, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"name": "resnet", "options": {"depth": 14}}},
        {"model": {"factory": "mine:network"}},
        {"data": {"name": "fashion-mnist"}},
    ],
)
def test_another_model_or_other_data_are_another_recipe(changes: dict[str, object], tmp_path: Path) -> None:
    hold(asked(tmp_path))
    with pytest.raises(UsageError, match=r"another recipe \(resnet \(depth 8\) on mnist5k\), not of .*--run-folder"):
        refuse_foreign(asked(tmp_path, **changes))
    (tmp_path / "run.json").unlink()  # a run that has not ended may be mended in any way
    refuse_foreign(asked(tmp_path, **changes))


def test_what_another_edgekd_wrote_is_refused(tmp_path: Path) -> None:
    request = hold(asked(tmp_path), ended=False)
    (tmp_path / RECIPE).write_text((tmp_path / RECIPE).read_text().replace("schema_version: 1", "schema_version: 9"))
    with pytest.raises(UsageError, match=r"schema_version = 9 is not the one .* another --run-folder"):
        refuse_foreign(replace(request))
