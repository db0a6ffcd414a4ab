"""A report given in place of an engine: figures of another moment are not compared, and the differences are named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgekd.budget import OperatingPoint
from edgekd.errors import UsageError
from edgekd.measure import machine

_LARGEST = 100_000_000
_IDENTITY = ("cpu", "cores", "machine", "isa", "kernel")


def refuse_report(path: Path, point: OperatingPoint) -> None:
    """Raise UsageError when a baseline is a report instead of an engine, naming how its moment differs from now."""
    if path.suffix != ".json" or not path.is_file():
        return
    differences = list(_differences(_read(path), point))
    said = f"it differs from this run in: {'; '.join(differences)}" if differences else "even on the same machine"
    raise UsageError(
        f"the baseline {path} is a report, and figures of another moment are not compared ({said}); give the engine it "
        "is about, which is then measured interleaved"
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.stat().st_size <= _LARGEST else None
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UsageError(f"the baseline {path} is no engine and no report; give a bundle or an .onnx file")
    return found


def _differences(report: dict[str, Any], point: OperatingPoint) -> Iterator[str]:
    here = machine.probe()
    there = _mapping(report, "machine")
    for key in _IDENTITY:
        if key in there and there[key] != here.get(key):
            yield f"{key} {_text(there[key])} (here {_text(here.get(key))})"
    for name, value in point.plain().items():
        then = _mapping(report, "operating_point").get(name, value)
        if then != value:
            yield f"{name} {_text(then)} (here {value})"
    versions = _mapping(report, "versions")
    for name, version in here["versions"].items():
        if versions.get(name, version) != version:
            yield f"{name} {_text(versions[name])} (here {version})"


def _mapping(report: dict[str, Any], key: str) -> dict[str, Any]:
    found = report.get(key)
    return found if isinstance(found, dict) else {}


def _text(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 120 else f"{text[:116]} ..."
