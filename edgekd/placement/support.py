"""What a runtime computes in integers: a table by kind of operator, each line verified from executed graphs."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Literal

from edgekd.errors import UsageError, suggestion
from edgekd.placement.graph import KINDS, Kind
from edgekd.placement.place import QUANTIZED
from edgekd.schema import Field, Schema, field_validator, from_mapping, read_yaml
from edgekd.target import Fact

TABLES = Path(__file__).parent / "supports"

Computed = Literal["always", "between_integers", "moved", "float"]
"""In integers as soon as its inputs are; only if its output is stored as integers, too; handed on as it is; never."""


class Support(Schema):
    """The table of one runtime, or of several with the same kernels; a kind that is not listed is computed in float."""

    runtimes: tuple[str, ...]
    checked: tuple[str, ...] = Field(description="versions of the runtime whose executed graphs were read")
    computed: dict[str, Computed] = Field(description="by kind of operator")
    quantized_by_default: tuple[str, ...] = Field(
        description="kinds whose inputs are stored as integers without a trial"
    )
    fuses: tuple[str, ...] = Field(description="activations a layer computes before it rounds")
    evidence: Fact

    @field_validator("computed")
    @classmethod
    def _known(cls, computed: dict[str, Computed]) -> dict[str, Computed]:
        for kind in computed:
            if kind not in KINDS:
                raise ValueError(f"no operator is of kind '{kind}'; {suggestion(kind, KINDS)}")
        return computed

    def is_integer(self, kind: str) -> bool:
        """Return whether operators of this kind can be computed in integers."""
        return self.computed.get(kind, "float") in {"always", "between_integers"}


@cache
def support(runtime: str) -> Support:
    """Return the table of a runtime; raises UsageError for one without."""
    known = {name: table for table in _tables() for name in table.runtimes}
    if runtime not in known:
        raise UsageError(
            f"nobody has read what '{runtime}' computes in integers; {suggestion(runtime, known)}", runtime
        )
    return known[runtime]


@cache
def _tables() -> tuple[Support, ...]:
    found = []
    for path in sorted(TABLES.glob("*.yaml")):
        data, lines = read_yaml(path)
        found.append(from_mapping(Support, data, str(path), lines))
    return tuple(found)


def quantized_kinds(runtimes: Iterable[str]) -> frozenset[Kind]:
    """Return the kinds that all of these runtimes compute in integers and that are worth it without a trial.

    A runtime without a table, such as a plug-in's own, has no say.
    """
    tables = _known(runtimes)
    if not tables:
        return QUANTIZED
    return frozenset(
        kind for kind in KINDS if all(table.is_integer(kind) and kind in table.quantized_by_default for table in tables)
    )


def optional_kinds(runtimes: Iterable[str]) -> frozenset[Kind]:
    """Return the kinds that all of these runtimes can compute in integers, but that have to be tried."""
    tables = _known(runtimes)
    able = frozenset(kind for kind in KINDS if tables and all(table.is_integer(kind) for table in tables))
    return able - quantized_kinds(table.runtimes[0] for table in tables)


def _known(runtimes: Iterable[str]) -> list[Support]:
    return [table for table in _tables() if set(table.runtimes).intersection(runtimes)]
