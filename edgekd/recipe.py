"""A recipe: one YAML file is one run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgekd.budget import Budget
from edgekd.errors import UsageError
from edgekd.schema import Field, Schema, from_mapping, model_validator, read_yaml
from edgekd.yaml_file import parse_yaml


class ModelSpec(Schema):
    """A network as data: a built-in name or a user's factory `package.module:function`, its options and its weights."""

    name: str | None = None
    factory: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    weights: str | None = Field(default=None, description="a .safetensors file with the state dict")

    @model_validator(mode="after")
    def _one_origin(self) -> ModelSpec:
        if (self.name is None) == (self.factory is None):
            raise ValueError("give either 'name' (a built-in network) or 'factory' (package.module:function)")
        return self


class DataSpec(Schema):
    """A data set as data: a built-in name or a user's factory, and its options."""

    name: str | None = None
    factory: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    augmentation: str = Field(default="none", description="name of an augmentation")
    augmentation_options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_origin(self) -> DataSpec:
        if (self.name is None) == (self.factory is None):
            raise ValueError("give either 'name' (a built-in data set) or 'factory' (package.module:function)")
        return self


class Recipe(Schema):
    """Everything a run depends on, apart from the machine."""

    schema_version: Literal[1] = 1
    title: str = ""
    model: ModelSpec
    data: DataSpec
    target: str = "host"
    budget: Budget
    stages: dict[str, dict[str, Any]] = Field(description="options by stage; a stage that is absent is not run")
    feedback_rounds: int = Field(
        default=2, ge=1, le=10, description="how often the measured result may correct the choice"
    )
    seed: int = Field(default=0, ge=0, lt=2**63)
    threads: int | None = Field(default=None, ge=1, le=1024, description="threads of training; all cores when absent")


@dataclass(frozen=True)
class Source:
    """Where the keys and values of a recipe stand, for sentences about what is wrong with them."""

    file: str = "the recipe"
    lines: dict[str, int] = field(default_factory=dict)
    """By dotted key; 0 for what `--set` gave."""
    data: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def located(self, under: str = "") -> Iterator[None]:
        """Put the place of the wrong word before a UsageError that names one; those at `under` are looked at first."""
        try:
            yield
        except UsageError as error:
            place = self._place(error.word, under) if error.word else None
            if str(error).startswith((self.file, "--set")) or not (place or self.lines):
                raise
            raise UsageError(f"{place or self.file}: {error}") from error

    def _place(self, word: str, under: str) -> str | None:
        found = [key for key, value in _flat(self.data) if word in {key, key.rpartition(".")[2], value}]
        if not found:
            return None
        key = next((key for key in found if under and key.startswith(f"{under}.")), found[0])
        while key not in self.lines:  # a part of what --set gave as a whole
            if "." not in key:
                return None
            key = key.rpartition(".")[0]
        return f"{self.file}:{self.lines[key]}" if self.lines[key] else f"--set {key}"


def _flat(data: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield every dotted key with its value; a mapping's value is None, because no single word stands for it."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        inner = isinstance(value, dict | list)
        yield f"{prefix}{key}", None if inner else str(value)
        if inner:
            yield from _flat(value, f"{prefix}{key}.")


def load(path: Path, overrides: tuple[str, ...] = ()) -> Recipe:
    """Read a recipe and apply `a.b=c` overrides; raises UsageError with key and line for every fault."""
    return read(path, overrides)[0]


def read(path: Path, overrides: tuple[str, ...] = ()) -> tuple[Recipe, Source]:
    """Read a recipe as `load` does, and where its keys stand."""
    data, lines = read_yaml(path)
    reference = data.pop("$schema", "")
    if not isinstance(reference, str):
        raise UsageError(f"{path}:{lines.get('$schema', 1)}: $schema is the address of a JSON schema, a text")
    for override in overrides:
        _apply(data, override)
        key = override.partition("=")[0]
        for stale in [known for known in lines if known.startswith(f"{key}.")]:
            del lines[stale]
        lines[key] = 0
    return from_mapping(Recipe, data, str(path), lines), Source(str(path), lines, data)


def _apply(data: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UsageError(f"--set {override}: expected KEY.KEY=VALUE, for example stages.distill.epochs=3")
    *parents, last = key.split(".")
    place: Any = data
    for parent in parents:
        place = place.setdefault(parent, {})
        if not isinstance(place, dict):
            raise UsageError(f"--set {override}: '{parent}' holds a value, not a mapping of keys")
    place[last] = parse_yaml(text, f"--set {override}")[0]  # what YAML would say, as in the file
