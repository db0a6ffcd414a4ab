"""Builds the engines of an untrained network, so that one that cannot be exported is refused before any training."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from edgekd.export import onnx_file
from edgekd.export.on_target import backends
from edgekd.models.build import build
from edgekd.recipe import ModelSpec, Recipe
from edgekd.schema import from_mapping
from edgekd.stage import Context
from edgekd.train import data


def refuse_unexportable(context: Context) -> None:
    """Build what the recipe names, untrained, for every runtime of the target; costs about what one export costs.

    Raises ExportError with the operator and the module path where torch.export, ONNX or a runtime refuses.
    """
    dataset = data.load(context.recipe.data)
    for spec in _named(context.recipe):
        with torch.random.fork_rng(devices=[]):
            network = build(spec.replace(weights=None), dataset.input_shape, dataset.classes).eval()
        with tempfile.TemporaryDirectory(prefix="edgekd-") as folder:
            path = Path(folder) / "model.onnx"
            onnx_file.write(network, path, dataset.input_shape)
            for backend in backends(context):
                backend.build(path, Path(folder))


def _named(recipe: Recipe) -> Iterator[ModelSpec]:
    """Yield the networks the recipe names; the search stage, which runs first, builds the teacher's engines itself."""
    if "search" not in recipe.stages:
        yield recipe.model
    student = recipe.stages.get("distill", {}).get("student", "auto")
    if student != "auto":
        yield from_mapping(ModelSpec, student, "stages.distill.student")
