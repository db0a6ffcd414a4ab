from __future__ import annotations

from pathlib import Path

import pytest

from edgekd import catalogue, recipe
from edgekd.errors import UsageError


def test_overrides_are_yaml_values_at_dotted_places() -> None:
    loaded = recipe.load(
        catalogue.find("recipes", "mnist5k"), ("seed=7", "stages.distill.epochs=3", "budget.size_mb=0.5")
    )
    assert loaded.seed == 7
    assert loaded.stages["distill"]["epochs"] == 3
    assert loaded.budget.size_mb == 0.5


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("budget.latency_rato=1", "did you mean 'latency_ratio'"),
        ("seed.x=1", "'seed' holds a value"),
        ("seed=[", "not valid YAML"),
        ("seed=-1", "seed = -1"),
        ("model={}", "either 'name'"),
        ("schema_version=2", "schema_version = 2"),
    ],
)
def test_wrong_overrides_are_one_sentence(override: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        recipe.load(catalogue.find("recipes", "mnist5k"), (override,))


def test_schema_reference_is_allowed_and_nothing_else(tmp_path: Path) -> None:
    text = catalogue.find("recipes", "mnist5k").read_text()
    path = tmp_path / "mine.yaml"
    path.write_text('$schema: "https://edgekd.org/recipe-1.json"\n' + text)
    assert recipe.load(path).model.name == "resnet"
    path.write_text(text + "colour: red\n")
    with pytest.raises(UsageError, match=r"mine\.yaml:\d+: unknown key 'colour'"):
        recipe.load(path)
