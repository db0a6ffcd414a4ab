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
    assert "$schema: " in text
    path.write_text(text)
    assert recipe.load(path).model.name == "resnet"
    path.write_text(text + "colour: red\n")
    with pytest.raises(UsageError, match=r"mine\.yaml:\d+: unknown key 'colour'"):
        recipe.load(path)


TEXT = """\
model: {name: resnt}
data:
  name: mnist5k
  augmentation: afine
budget: {}
stages:
  prune:
    criterion: taylor
  quantize:
    observer: taylor
"""


def source(tmp_path: Path, *overrides: str) -> recipe.Source:
    path = tmp_path / "mine.yaml"
    path.write_text(TEXT)
    return recipe.read(path, overrides)[1]


@pytest.mark.parametrize(
    ("word", "under", "place"),
    [
        ("resnt", "", "mine.yaml:1: "),
        ("afine", "stages.teacher", "mine.yaml:4: "),
        ("taylor", "stages.prune", "mine.yaml:8: "),
        ("taylor", "stages.quantize", "mine.yaml:10: "),
        ("observer", "", "mine.yaml:10: "),
        ("stages.prune.criterion", "", "mine.yaml:8: "),
        ("minmax", "", "mine.yaml: "),
        (None, "", "mine.yaml: "),
    ],
)
def test_a_wrong_word_is_told_with_its_line(word: str | None, under: str, place: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught, source(tmp_path).located(under):
        raise UsageError("no such thing", word)
    assert str(caught.value).removeprefix(f"{tmp_path}/") == f"{place}no such thing"


def test_a_word_of_the_command_line_and_a_place_that_is_known_already(tmp_path: Path) -> None:
    told = source(tmp_path, "stages.prune={criterion: tailor}", "data.name=mnist")
    for word, place in (
        ("mnist", "--set data.name: "),
        ("tailor", "--set stages.prune: "),
        ("resnt", f"{told.file}:1: "),
    ):
        with pytest.raises(UsageError) as caught, told.located():
            raise UsageError("no such thing", word)
        assert str(caught.value) == f"{place}no such thing"
    with pytest.raises(UsageError, match=f"^{told.file}:9: twice$"), told.located():
        raise UsageError(f"{told.file}:9: twice", "resnt")
