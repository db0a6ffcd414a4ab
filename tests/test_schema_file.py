"""The published schema of the recipe is what edgekd reads, and every shipped recipe fulfils it and names it."""

from __future__ import annotations

import copy
import json
from typing import Any

import jsonschema
import pytest

from edgekd import catalogue, recipe
from edgekd.errors import UsageError
from edgekd.pipeline.stages import STAGES, configured
from edgekd.schema import from_mapping, read_yaml
from tools import write_recipe_schema

SCHEMA = json.loads(write_recipe_schema.FILE.read_text())
CHECK = jsonschema.Draft202012Validator(SCHEMA)


def plain(name: str) -> dict[str, Any]:
    return read_yaml(catalogue.find("recipes", name))[0]


def test_the_file_is_up_to_date() -> None:
    assert write_recipe_schema.FILE.read_text() == write_recipe_schema.text(), (
        "the models of a recipe have changed; run: python -m tools.write_recipe_schema"
    )


def test_it_is_a_schema_and_knows_every_option_of_every_stage() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    stages = SCHEMA["$defs"]["Recipe"]["properties"]["stages"]["properties"]
    assert stages.keys() == {kind.name for kind in STAGES}
    for kind in STAGES:
        options = SCHEMA["$defs"][stages[kind.name]["$ref"].rpartition("/")[2]]
        assert options["properties"].keys() == kind.Config.model_fields.keys()
        assert options["additionalProperties"] is False


@pytest.mark.parametrize("name", catalogue.names("recipes"))
def test_shipped_recipes_name_it_and_fulfil_it(name: str) -> None:
    data = plain(name)
    place = catalogue.find("recipes", name).parent / data["$schema"]
    assert place.samefile(catalogue.file("docs/recipe-1.schema.json"))
    assert not list(CHECK.iter_errors(data))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("colour", "red"),
        ("budget.latency", 3),
        ("budget.latency_ratio", 11),
        ("stages.prun", {}),
        ("stages.distill.epoch", 3),
        ("stages.prune.recovery.epochs", "many"),
        ("stages.quantize.qat_when", "sometimes"),
        ("model.factory", "a:b"),
        ("model.name", None),
        ("feedback_rounds", 0),
        ("seed", -1),
        ("schema_version", 2),
    ],
)
def test_schema_and_edgekd_refuse_the_same(place: str, value: object) -> None:
    data = copy.deepcopy(plain("mnist5k"))
    *parents, last = place.split(".")
    inner = data
    for parent in parents:
        inner = inner[parent]
    inner[last] = value
    assert list(CHECK.iter_errors(data)), place
    del data["$schema"]
    with pytest.raises(UsageError):
        configured(from_mapping(recipe.Recipe, data, "recipe"))


def test_what_edgekd_resolves_fulfils_it_again() -> None:
    for name in catalogue.names("recipes"):
        resolved = recipe.load(catalogue.find("recipes", name)).plain()
        resolved["stages"] = {stage.name: stage.config.plain() for stage in configured(recipe.Recipe(**resolved))}
        assert not list(CHECK.iter_errors(resolved))
