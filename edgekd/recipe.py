"""A recipe: one YAML file is one run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from edgekd.budget import Budget
from edgekd.errors import UsageError
from edgekd.schema import Field, Schema, from_mapping, model_validator, read_yaml


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
    seed: int = Field(default=0, ge=0)
    threads: int | None = Field(default=None, ge=1, description="threads of training; all cores when absent")


def load(path: Path, overrides: tuple[str, ...] = ()) -> Recipe:
    """Read a recipe and apply `a.b=c` overrides; raises UsageError with key and line for every fault."""
    data, lines = read_yaml(path)
    data.pop("$schema", None)
    for override in overrides:
        _apply(data, override)
    return from_mapping(Recipe, data, str(path), lines)


def _apply(data: dict[str, Any], override: str) -> None:
    import yaml  # values of --set are YAML scalars, as in the file

    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UsageError(f"--set {override}: expected KEY.KEY=VALUE, for example stages.distill.epochs=3")
    *parents, last = key.split(".")
    place: Any = data
    for parent in parents:
        place = place.setdefault(parent, {})
        if not isinstance(place, dict):
            raise UsageError(f"--set {override}: '{parent}' holds a value, not a mapping of keys")
    try:
        place[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"--set {override}: the value is not valid YAML: {' '.join(str(error).split())}") from None
