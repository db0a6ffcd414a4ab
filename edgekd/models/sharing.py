"""Parameters that several layers of a network share: which they are, and how they become one again."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn


def shared(model: nn.Module) -> dict[str, str]:
    """Return the names of parameters that are another's too, each with the first of their names."""
    first: dict[int, str] = {}
    found = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        origin = first.setdefault(id(parameter), name)
        if origin != name:
            found[name] = origin
    return found


def share(model: nn.Module, names: Mapping[str, str]) -> None:
    """Let the parameter of every name be the one it is mapped to."""
    for name, origin in names.items():
        path, _, own = name.rpartition(".")
        setattr(model.get_submodule(path), own, model.get_parameter(origin))
