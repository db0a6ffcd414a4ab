"""What a run would do: stages, an upper estimate of the time training takes here, and the resolved recipe."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import torch
import yaml

from edgekd.models import build
from edgekd.models.kernels import kernels
from edgekd.pipeline.request import Request
from edgekd.pipeline.stages import configured
from edgekd.schema import Schema
from edgekd.train import data
from edgekd.train.loop import LoopConfig

_PASSES = 3  # a training step costs about three forward passes: forward, gradient of inputs, gradient of weights


def text(asked: Request) -> str:
    """Return the plan of a run for a person: what will happen, how long training takes at most, the whole recipe."""
    recipe = asked.recipe
    loaded = data.load(recipe.data)
    with torch.device("meta"):
        teacher = build.build(recipe.model.replace(weights=None), loaded.input_shape, loaded.classes)
    macs = sum(kernel.macs for kernel in kernels(teacher, loaded.input_shape))
    speed = _macs_per_second()
    lines = [
        f"run folder: {asked.run_folder}",
        f"target: {asked.target.name} ({asked.target.title}), asked for: {asked.asked_target}",
        f"data: {loaded.name}, {len(loaded.train.labels)} train, {len(loaded.validation.labels)} validation, "
        f"{len(loaded.test.labels)} test; teacher: {macs / 1e6:.1f} MMACs",
        "stages:",
    ]
    for stage in configured(recipe):
        images = sum(loop.epochs for loop in _loops(stage.config)) * len(loaded.train.labels)
        seconds = images * macs * _PASSES / speed
        training = (
            f"at most {seconds:.0f} s of training ({images:,} images at the teacher's cost)"
            if images
            else "no training"
        )
        lines.append(f"  {stage.name}: {training}")
    return "\n".join(
        [*lines, "", "# the recipe as it would run", yaml.safe_dump(recipe.plain(), sort_keys=False).rstrip()]
    )


def _loops(config: Schema) -> Iterator[LoopConfig]:
    if isinstance(config, LoopConfig):
        yield config
    for name in type(config).model_fields:
        value: Any = getattr(config, name)
        if isinstance(value, Schema):
            yield from _loops(value)


def _macs_per_second() -> float:
    """Time the convolution most networks spend their time in; a rough figure for a rough estimate."""
    convolution = torch.nn.Conv2d(32, 32, 3, padding=1).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.randn(64, 32, 14, 14).to(memory_format=torch.channels_last)
    macs = 64 * 32 * 32 * 9 * 14 * 14
    with torch.inference_mode():
        convolution(images)
        begin, calls = time.perf_counter(), 0
        while time.perf_counter() - begin < 0.3:
            convolution(images)
            calls += 1
    return calls * macs / (time.perf_counter() - begin)
