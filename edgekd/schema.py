"""Strict, frozen, versioned data: the only module that touches pydantic, YAML and JSON text."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from edgekd.errors import UsageError, suggestion

__all__ = [
    "Field",
    "Schema",
    "digest_of",
    "field_validator",
    "from_mapping",
    "model_validator",
    "read_json",
    "read_yaml",
    "write_json",
    "write_text",
]

S = TypeVar("S", bound="Schema")


class Schema(BaseModel):
    """Base of everything that is written to or read from a file: frozen, unknown keys refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True, protected_namespaces=()
    )

    def plain(self) -> dict[str, Any]:
        """Return plain JSON-ready data."""
        return self.model_dump(mode="json")

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed, validated again."""
        return type(self).model_validate({**self.model_dump(), **changes})


def from_mapping(kind: type[S], data: object, where: str, lines: dict[str, int] | None = None) -> S:
    """Validate plain data as `kind`.

    Raises UsageError with one sentence per fault: the key, its line where `lines` knows it, what was given,
    what is possible.
    """
    if not isinstance(data, dict):
        raise UsageError(f"{where}: expected a mapping of keys to values, got {type(data).__name__}")
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise UsageError("\n".join(_sentence(kind, fault, where, lines or {}) for fault in error.errors())) from None


def _sentence(kind: type[Schema], fault: Any, where: str, lines: dict[str, int]) -> str:
    path = ".".join(str(part) for part in fault["loc"])
    line = next((lines[key] for key in _prefixes(path) if key in lines), None)
    place = f"{where}:{line}" if line else where
    if fault["type"] == "extra_forbidden":
        return (
            f"{place}: unknown key '{path}'; {suggestion(str(fault['loc'][-1]), _fields_at(kind, fault['loc'][:-1]))}"
        )
    if fault["type"] == "missing":
        return f"{place}: key '{path}' is missing"
    given = fault.get("input")
    return f"{place}: {path or 'value'} = {given!r}: {fault['msg'].removeprefix('Value error, ')}"


def _prefixes(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[:end]) for end in range(len(parts), 0, -1)]


def _fields_at(kind: type[Schema], path: tuple[Any, ...]) -> list[str]:
    """Return the keys that are allowed at a place inside a schema, as far as plain nesting tells."""
    for part in path:
        field = kind.model_fields.get(str(part))
        inner = _schemas_in(field.annotation) if field else []
        if not inner:
            return list(kind.model_fields) if part == path[-1] else []
        kind = inner[0]
    return list(kind.model_fields)


def _schemas_in(annotation: Any) -> list[type[Schema]]:
    if isinstance(annotation, type) and issubclass(annotation, Schema):
        return [annotation]
    return [found for part in getattr(annotation, "__args__", ()) for found in _schemas_in(part)]


def read_yaml(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """Read a YAML mapping and the line of every dotted key in it; duplicate keys are refused."""
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        lines: dict[str, int] = {}
        _index(node, "", lines, str(path))
        data = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise UsageError(f"{path}: expected a mapping of keys to values at the top, got {type(data).__name__}")
    return data, lines


def _index(node: yaml.Node | None, prefix: str, lines: dict[str, int], where: str) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = f"{prefix}{key.value}"
            if name in lines:
                raise UsageError(
                    f"{where}:{key.start_mark.line + 1}: key '{name}' stands twice, first in line {lines[name]}"
                )
            lines[name] = key.start_mark.line + 1
            _index(value, f"{name}.", lines, where)
    elif isinstance(node, yaml.SequenceNode):
        for position, value in enumerate(node.value):
            lines[f"{prefix}{position}"] = value.start_mark.line + 1
            _index(value, f"{prefix}{position}.", lines, where)


def read_json(kind: type[S], path: Path) -> S:
    """Read one JSON file as `kind`; raises UsageError when it is missing, broken or of another shape."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read as JSON: {error}") from None
    return from_mapping(kind, data, str(path))


def write_json(value: Schema | dict[str, Any] | list[Any], path: Path) -> None:
    """Write JSON atomically, so that a killed process leaves the old file or the new one."""
    plain = value.plain() if isinstance(value, Schema) else value
    write_text(json.dumps(plain, indent=2, allow_nan=False) + "\n", path)


def write_text(text: str, path: Path) -> None:
    """Write text atomically: temporary name in the same folder, fsync, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def digest_of(value: object) -> str:
    """Return the SHA-256 of JSON-ready data, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()
