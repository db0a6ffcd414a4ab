from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pytest

from edgekd.errors import UsageError
from edgekd.schema import Field, Schema, digest_of, from_mapping, read_json, read_yaml, write_json


class Inner(Schema):
    width: int = Field(default=1, ge=1)


class Outer(Schema):
    inner: Inner = Inner()
    name: str


def test_unknown_key_is_refused_with_line_and_nearest_key(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("name: a\ninner:\n  widht: 3\n")
    data, lines = read_yaml(path)
    with pytest.raises(UsageError, match=r"r.yaml:3: unknown key 'inner.widht'; did you mean 'width'\?"):
        from_mapping(Outer, data, str(path), lines)


def test_every_fault_gets_its_own_sentence() -> None:
    with pytest.raises(UsageError) as caught:
        from_mapping(Outer, {"inner": {"width": 0}}, "r.yaml", {"inner.width": 7})
    assert "r.yaml:7: inner.width = 0" in str(caught.value)
    assert "key 'name' is missing" in str(caught.value)


def test_duplicate_keys_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("name: a\nname: b\n")
    with pytest.raises(UsageError, match="'name' stands twice, first in line 1"):
        read_yaml(path)


@pytest.mark.parametrize("text", ["- a\n", "a: [\n", "", "\x00"])
def test_what_is_not_a_mapping_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"r\.yaml"):
        read_yaml(path)


def test_json_round_trip_is_exact_and_atomic(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "o.json"
    write_json(Outer(name="x", inner=Inner(width=4)), path)
    assert read_json(Outer, path) == Outer(name="x", inner=Inner(width=4))
    assert [p.name for p in path.parent.iterdir()] == ["o.json"]
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json({"x": float("nan")}, path)
    assert json.loads(path.read_text())["name"] == "x"
    assert [p.name for p in path.parent.iterdir()] == ["o.json"]


def test_digest_ignores_key_order_only() -> None:
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": 2})


class Versioned(Schema):
    schema_version: Literal[1] = 1
    name: str


def test_a_part_of_a_file_is_told_by_its_place_in_the_whole() -> None:
    with pytest.raises(UsageError, match=r"r\.yaml:4: unknown key 'stages\.a\.widht'; did you mean 'width'") as caught:
        from_mapping(Inner, {"widht": 1}, "r.yaml", {"stages.a": 3, "stages.a.widht": 4}, "stages.a")
    assert caught.value.word == "widht"
    with pytest.raises(UsageError, match=r"^--set stages\.a\.width: stages\.a\.width = 0"):
        from_mapping(Inner, {"width": 0}, "r.yaml", {"stages.a": 3, "stages.a.width": 0}, "stages.a")
    with pytest.raises(UsageError, match=r"^r\.yaml:3: stages\.a: expected a mapping of keys to values, got 5"):
        from_mapping(Inner, 5, "r.yaml", {"stages.a": 3}, "stages.a")


def test_another_schema_version_is_the_one_fault_told() -> None:
    with pytest.raises(UsageError) as caught:
        from_mapping(Versioned, {"schema_version": 2, "title": "new"}, "r.yaml")
    assert str(caught.value).startswith("r.yaml: schema_version = 2 is not the one this edgekd reads (1);")
    assert "\n" not in str(caught.value)
