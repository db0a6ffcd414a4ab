"""One operator of an ONNX graph, as the rules of the runtimes see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Node:
    """One operator; tensors are named as in the file, an input left out is "" as in ONNX."""

    op: str
    """The ONNX operator; operators of other domains carry it, such as `com.microsoft.FusedConv`."""
    name: str
    """As in the file; the name of its first output where the file gives none."""
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """Numbers, text, tuples of them, or arrays; only what the file states, without ONNX's defaults."""
