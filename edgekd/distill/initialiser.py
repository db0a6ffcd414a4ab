"""What gives a student its first weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import nn

from edgekd.plugins import PluginFolder
from edgekd.schema import Schema, from_mapping


class Initialiser(ABC):
    """Contract of an initialiser: `begin` before the training, `finish` after it."""

    Config: ClassVar[type[Schema]] = Schema
    needs_teacher: ClassVar[bool] = True

    def __init__(self, config: Schema) -> None:
        self.config = config

    @abstractmethod
    def begin(self, student: nn.Module, teacher: nn.Module | None) -> None:
        """Give the student its first weights, in place; the teacher stays as it is."""

    def finish(self, student: nn.Module) -> None:
        """Leave the student as a plain network, with what was trained as its weights."""
        del student


INITIALISERS: PluginFolder[Initialiser] = PluginFolder("edgekd.distill.initialisers", Initialiser)  # type: ignore[type-abstract]


def create(name: str, options: dict[str, Any]) -> Initialiser:
    """Return an initialiser with its options; raises UsageError for an unknown name or option."""
    kind = INITIALISERS.get(name)
    return kind(from_mapping(kind.Config, options, f"options of initialiser '{name}'"))
