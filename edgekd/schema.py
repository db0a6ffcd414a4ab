"""Strict, frozen, versioned data: the only module that touches pydantic and JSON text; YAML text is yaml_file's."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from edgekd.disk import whole_file
from edgekd.errors import UsageError, suggestion
from edgekd.yaml_file import read_yaml

__all__ = [
    "Field",
    "Schema",
    "ValidationInfo",
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

_MOST_SENTENCES = 4


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


def from_mapping(kind: type[S], data: object, where: str, lines: dict[str, int] | None = None, prefix: str = "") -> S:
    """Validate plain data as `kind`.

    `lines` gives the line of a dotted key in the file `where`, 0 for one that came from the command line; `prefix` is
    the dotted key at which the data stands there.
    Raises UsageError with one sentence per fault: the key, its line where `lines` knows it, what was given,
    what is possible.
    """
    if not isinstance(data, dict):
        place = _place(where, prefix, lines or {})
        raise UsageError(f"{place}: {prefix and prefix + ': '}expected a mapping of keys to values, got {_brief(data)}")
    try:
        # By way of JSON: only there does strict mean "no text or truth value for a number" and yet a list for a tuple.
        return kind.model_validate_json(json.dumps(data), strict=True)
    except (TypeError, ValueError, RecursionError) as error:
        if not isinstance(error, ValidationError):
            place = _place(where, prefix, lines or {})
            raise UsageError(f"{place}: holds something that is no plain data: {_brief(str(error))}") from None
        faults = [fault for fault in error.errors() if fault["loc"] == ("schema_version",)] or error.errors()
        sentences = [_sentence(kind, fault, where, lines or {}, prefix) for fault in faults[:_MOST_SENTENCES]]
        if len(faults) > _MOST_SENTENCES:
            sentences.append(f"{where}: and {len(faults) - _MOST_SENTENCES} faults more")
        raise UsageError("\n".join(sentences), str(faults[0]["loc"][-1]) if faults[0]["loc"] else None) from None


def _sentence(kind: type[Schema], fault: Any, where: str, lines: dict[str, int], prefix: str) -> str:
    path = ".".join([*([prefix] if prefix else []), *map(str, fault["loc"])])
    place = _place(where, path, lines)
    if fault["type"] == "extra_forbidden":
        return (
            f"{place}: unknown key '{path}'; {suggestion(str(fault['loc'][-1]), _fields_at(kind, fault['loc'][:-1]))}"
        )
    if fault["type"] == "missing":
        return f"{place}: key '{path}' is missing"
    given = _brief(fault.get("input"))
    if fault["loc"] == ("schema_version",):
        reads = kind.model_fields["schema_version"].default
        return (
            f"{place}: schema_version = {given} is not the one this edgekd reads ({reads}); "
            "use the edgekd it was written for, or write it anew"
        )
    return f"{place}: {path or 'value'} = {given}: {fault['msg'].removeprefix('Value error, ')}"


def _brief(value: object) -> str:
    """Return a value as the user wrote it, short enough for one sentence."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:60]} ..."


def _place(where: str, path: str, lines: dict[str, int]) -> str:
    line = next((lines[key] for key in _prefixes(path) if key in lines), None)
    if line == 0:
        return f"--set {path}"
    return f"{where}:{line}" if line else where


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


def read_json(kind: type[S], path: Path) -> S:
    """Read one JSON file as `kind`; raises UsageError when it is missing, broken or of another shape."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path}: cannot be read as JSON: {error}") from None
    return from_mapping(kind, data, str(path))


def write_json(value: Schema | dict[str, Any] | list[Any], path: Path) -> None:
    """Write JSON atomically, so that a killed process leaves the old file or the new one."""
    plain = value.plain() if isinstance(value, Schema) else value
    write_text(json.dumps(plain, indent=2, allow_nan=False) + "\n", path)


def write_text(text: str, path: Path) -> None:
    """Write text atomically: the old file or the new one, never half of it."""
    with whole_file(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def digest_of(value: object) -> str:
    """Return the SHA-256 of JSON-ready data, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()
