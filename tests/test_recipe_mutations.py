"""2,000 mutated recipes and targets: each one resolves to what it says, or is refused in a sentence or a few."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given

from edgekd import catalogue, target
from edgekd.errors import EdgekdError, ExitCode, UsageError
from edgekd.measure import machine
from edgekd.pipeline import loop, request
from edgekd.pipeline.request import Request
from edgekd.pipeline.stages import configured, refuse_early
from edgekd.stage import Progress
from edgekd.yaml_file import dump_yaml, parse_yaml, read_yaml
from tests import mutations
from tests.mutations import Place, Structure

# Fashion-MNIST is not everywhere: with the embedded digits in its place nothing else of the recipe stays unchecked.
RECIPES = [
    catalogue.find("recipes", name).read_text().replace("name: fashion-mnist", "name: mnist5k")
    for name in catalogue.names("recipes")
]
TARGETS = [catalogue.find("targets", name).read_text() for name in catalogue.names("targets")]
RECIPE_DATA, TARGET_DATA = ([yaml.safe_load(text) for text in texts] for texts in (RECIPES, TARGETS))
ANY_TEXT = {
    "recipe": frozenset({"title", "$schema"}),
    "target": frozenset({"name", "title", "machine", "source", "scheme"}),  # the stages know the schemes
}
"""Last keys of places where a text that names nothing is no fault of the file."""
EXACT = [data for data in TARGET_DATA if "same_as" not in data]
LISTS_OF_ANYTHING = ("isa = ", "lacks = ", "isa.", "lacks.")


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder, on a machine that is asked only once what it is."""
    folder = tmp_path_factory.mktemp("mutations")
    host = machine.host_target()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "host_target", lambda: host)
        patch.setenv("EDGEKD_CACHE", str(folder / "cache"))
        logging.getLogger("edgekd").setLevel(logging.ERROR)
        yield folder
        logging.getLogger("edgekd").setLevel(logging.NOTSET)


def asked(content: bytes, room: Path) -> Request:
    """Do what `edgekd compress --dry-run` does before anything is dear."""
    path = room / "mutated.yaml"
    path.write_bytes(content)
    found = request.resolve(str(path), None, room / "run", ())
    refuse_early(configured(found.recipe, found.source), loop.context_of(found, Progress()), found.source)
    return found


def outcome(content: bytes, room: Path) -> Request | None:
    """Return what a file resolves to, None where it is refused as it should be; anything else fails the test."""
    try:
        found = asked(content, room)
    except EdgekdError as error:
        _is_a_good_refusal(error)
        return None
    finally:
        assert not (room / "run").exists()
    again = request.resolve(str(_written(dump_yaml(found.recipe.plain()), room)), None, room / "run", ())
    assert again.recipe == found.recipe
    return found


def _written(text: str, room: Path) -> Path:
    path = room / "canonical.yaml"
    path.write_text(text)
    return path


def _is_a_good_refusal(error: EdgekdError) -> None:
    said = "\n".join([str(error), *getattr(error, "__notes__", [])])
    assert "mutated.yaml" in said
    assert "Traceback" not in said
    assert 20 < len(said) < 1500, said
    assert all(unicodedata.category(character) != "Cc" or character == "\n" for character in said), said
    assert said.count("\n") < 8, said
    assert error.exit_code in {ExitCode.USAGE, ExitCode.BUDGET_MISSED}, type(error)


def target_outcome(content: bytes, room: Path) -> target.Target | None:
    """Load a target file; None where it is refused as it should be."""
    path = room / "mutated.yaml"
    path.write_bytes(content)
    try:
        found = target.load(str(path), "x86-avx2")
    except EdgekdError as error:
        _is_a_good_refusal(error)
        return None
    again = target.load(str(_written(dump_yaml(found.plain()), room)))
    assert again == found
    return found


def any_recipe(content: bytes | Structure, room: Path) -> None:
    outcome(content.text if isinstance(content, Structure) else content, room)


def wrong_recipe(structure: Structure, room: Path) -> None:
    assert outcome(structure.text, room) is None, f"passed silently: {structure.what}"


def any_target(content: bytes | Structure, room: Path) -> None:
    target_outcome(content.text if isinstance(content, Structure) else content, room)


def wrong_target(structure: Structure, room: Path) -> None:
    if not structure.what.startswith(LISTS_OF_ANYTHING):
        assert target_outcome(structure.text, room) is None, f"passed silently: {structure.what}"


PROPERTIES = {
    "bytes of a recipe": (any_recipe, mutations.texts(RECIPES), 50, 800),
    "structure of a recipe": (any_recipe, mutations.structures(RECIPE_DATA), 30, 600),
    "wrong structure of a recipe": (wrong_recipe, mutations.wrong_structures(RECIPE_DATA, ANY_TEXT["recipe"]), 40, 600),
    "bytes of a target": (any_target, mutations.texts(TARGETS), 15, 200),
    "structure of a target": (any_target, mutations.structures(TARGET_DATA), 5, 100),
    "wrong structure of a target": (wrong_target, mutations.wrong_structures(EXACT, ANY_TEXT["target"]), 10, 100),
}


@pytest.mark.parametrize("text", [*RECIPES, *(dump_yaml(data) for data in RECIPE_DATA)])
def test_what_is_mutated_is_right_to_begin_with(text: str, room: Path) -> None:
    assert outcome(text.encode(), room) is not None


@pytest.mark.parametrize("name", PROPERTIES)
def test_a_mutated_file_is_right_or_refused(name: str, room: Path) -> None:
    holds, drawn, few, _ = PROPERTIES[name]
    mutations.profile(few)(given(drawn)(lambda content: holds(content, room)))()


@pytest.mark.slow
@pytest.mark.parametrize("name", PROPERTIES)
def test_two_thousand_mutated_files_are_right_or_refused(name: str, room: Path) -> None:
    holds, drawn, _, many = PROPERTIES[name]
    mutations.profile(many)(given(drawn)(lambda content: holds(content, room)))()


# Whatever the mutations found once, in its smallest form, with what is said about it now.
FOUND_IN_YAML = [
    ("a: " + "[" * 3000, "nested more than 30"),
    ("".join("  " * depth + "k:\n" for depth in range(400)), "nested more than 30"),
    ("a: &a [*a]", "nested more than 30"),
    (mutations.BOMB, "more than 10,000 values"),
    (mutations.MERGE_BOMB, "more than 10,000 values"),
    ("# " + "x" * 100_000, "larger than 100,000 bytes"),
    ("k" * 5000 + ": 1", "not valid YAML"),
    ("? " + "k" * 5000 + "\n: 1", "at most 400"),
    ("seed: " + "9" * 5000, "at most 400"),
    ("seed: 1" + "0" * 350, "not a finite number"),
    ("seed: !!int x", "'x' is not a finite number"),
    ("seed: !!int ''", "'' is not a finite number"),
    ("seed: !!bool x", "'x' is not a truth value"),
    ("seed: .nan", "'.nan' is not a finite number"),
    ("title: 2026-13-45", "YAML type 'timestamp'; put quotes"),
    ("title: !!binary aGVsbG8=", "YAML type 'binary'"),
    ("title: !!python/object/apply:os.getcwd []", "YAML type 'python/object"),
    ("title: =", "YAML type 'value'"),
    ('title: "\\uD800"', "characters that no text is made of"),
    ('title: "\\x1b[2J"', "characters that no text is made of"),
    ("1: 2", "the key '1' is not a text"),
    ("[a]: 2", "is not a text"),
    ("a: {b: 1, 'b': 2}", "'a.b' stands twice"),
    ("%YAML 9.9\n---\na: 1", "not valid YAML"),
]


@pytest.mark.parametrize(("text", "sentence"), FOUND_IN_YAML)
def test_yaml_that_is_no_plain_data_is_refused(text: str, sentence: str, room: Path) -> None:
    for load in (outcome, target_outcome):
        assert load(text.encode(), room) is None
    with pytest.raises(UsageError) as caught:
        parse_yaml(text, "mutated.yaml") if "#" not in text else read_yaml(room / "mutated.yaml")
    assert sentence in str(caught.value)


def test_a_dot_in_a_key_is_no_duplicate_and_numbers_are_what_people_write() -> None:
    text = "a.b: 1\na: {b: 1e-3}\nc: '1e-3'\n"
    data, lines = parse_yaml(text, "here")
    assert data == {"a.b": 1, "a": {"b": 0.001}, "c": "1e-3"}
    assert lines["a"] == 2
    assert parse_yaml(dump_yaml(data), "here")[0] == data


FOUND_IN_RECIPES: list[tuple[Place, Any, str | None]] = [
    (("stages", "teacher", "epochs"), True, "epochs = True"),
    (("stages", "teacher", "epochs"), "3", "epochs = '3'"),
    (("budget", "latency_ratio"), True, "latency_ratio = True"),
    (("budget", "operating_point", "threads"), 10**9, "threads = 1000000000"),
    (("title",), "1", None),
    (("seed",), 2**64, "seed = "),
    (("target",), "x" * 300, "unknown target"),
    (("target",), "../" + "x" * 300, "no such target file"),
    (("$schema",), 5, "$schema is the address"),
    (("model", "options", "channels"), [10**9] * 3, "channels.0 = 1000000000"),
    (("model", "options"), {"blocks": [64] * 3, "channels": [8192] * 3}, "million parameters"),
    (("model", "weights"), "x" * 300 + ".safetensors", "no such file"),
    (("model", "weights"), "", "are not a .safetensors file"),
    (("data",), {"name": "fashion-mnist", "options": {"path": "x" * 300}}, "are not all in"),
    (("data",), {"factory": "json:loads", "options": {"x": ["y" * 300] * 9}}, "TypeError"),
    (("data",), {"factory": ".relative:load"}, "factory '.relative:load'"),
    (("model",), {"factory": "sys:exit", "options": {}}, "SystemExit"),
    (("stages", "search", "space"), "", "unknown name ''"),
    (("stages", "search", "space_options"), {"depths": [9]}, "9 is no depth"),
    (("stages", "search", "space_options"), {"multipliers": [-0.5]}, "multipliers.0 = -0.5"),
    (("stages", "distill"), {"losses": {}, "label_weight": 0}, "nothing to learn from"),
    (("stages", "distill"), {"student": {"name": "resnett"}}, "did you mean 'resnet'"),
    (("stages", "prune", "recovery", "views"), 10**9, "views = 1000000000"),
]


@pytest.mark.parametrize(("place", "value", "sentence"), FOUND_IN_RECIPES)
def test_a_recipe_that_would_fail_late_is_refused(place: Place, value: Any, sentence: str | None, room: Path) -> None:
    smoke = next(data for data in RECIPE_DATA if "smoke" in data["title"])
    content = mutations.replaced(smoke, place, value).text
    if sentence is None:
        assert outcome(content, room) is not None
        return
    with pytest.raises(UsageError) as caught:
        asked(content, room)
    assert sentence in str(caught.value)
    _is_a_good_refusal(caught.value)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("name",), "../../elsewhere"),
        (("channel_step", "fp32", "value"), 0),
        (("channel_step", "int8", "value"), 0.5),
        (("threads",), 10**9),
    ],
)
def test_a_target_that_would_fail_late_is_refused(place: Place, value: Any, room: Path) -> None:
    whole = next(data for data in EXACT if data["name"] == "x86-vnni")
    assert target_outcome(mutations.replaced(whole, place, value).text, room) is None


@pytest.mark.parametrize("value", ["[" * 3000, "&a [*a]", "2026-13-45", "!!int x", "9" * 5000, '"\\uD800"'])
def test_values_of_the_command_line_are_read_as_carefully(value: str, room: Path) -> None:
    with pytest.raises(UsageError, match=r"^--set seed="):
        request.resolve("smoke", None, room / "run", (f"seed={value}",))


def test_merged_keys_have_no_line_and_no_traceback(room: Path) -> None:
    for text in ("<<: {same_as: x86-avx}", "<<: {$schema: 5}"):
        assert outcome(text.encode(), room) is None
        assert target_outcome(text.encode(), room) is None


def test_an_alias_to_nothing_is_named(room: Path) -> None:
    path = room / "mutated.yaml"
    path.write_text("# mine\nsame_as: x86-avx\n")
    with pytest.raises(UsageError, match=r"mutated\.yaml:2: unknown target 'x86-avx'; did you mean 'x86-avx2'"):
        target.load(str(path))
