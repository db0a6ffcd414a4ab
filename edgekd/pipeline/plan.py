"""What a run would do: stages, an upper estimate of the time training takes here, and the resolved recipe."""

from __future__ import annotations

import time

import torch

from edgekd.models import build
from edgekd.models.kernels import kernels
from edgekd.pipeline.request import Request
from edgekd.pipeline.stages import configured, loops
from edgekd.train import data
from edgekd.yaml_file import dump_yaml

_PASSES = 3  # a training step costs about three forward passes: forward, gradient of inputs, gradient of weights


def text(asked: Request) -> str:
    """Return the plan of a run for a person: what will happen, how long training takes at most, the whole recipe."""
    with asked.source.located():
        return _text(asked)


def _text(asked: Request) -> str:
    recipe = asked.recipe
    loaded = data.load(recipe.data)
    with torch.device("meta"):
        teacher = build.build(recipe.model.replace(weights=None), loaded.input_shape, loaded.classes)
    macs = sum(kernel.macs for kernel in kernels(teacher, loaded.input_shape))
    speed = _macs_per_second()
    lines = [
        f"run folder: {asked.run_folder}",
        f"target: {asked.target.name} ({asked.target.title}), asked for: {asked.asked_target}"
        + (f"; measured on the device {asked.device.address}" if asked.device else ""),
        f"data: {loaded.name}, {len(loaded.train.labels)} train, {len(loaded.validation.labels)} validation, "
        f"{len(loaded.test.labels)} test; teacher: {macs / 1e6:.1f} MMACs",
        "stages:",
    ]
    for stage in configured(recipe, asked.source, elsewhere=asked.elsewhere):
        images = sum(loop.all_epochs for _, loop in loops(stage.config, stage.name)) * len(loaded.train.labels)
        seconds = images * macs * _PASSES / speed
        training = (
            f"at most {seconds:.0f} s of training ({images:,} images at the teacher's cost)"
            if images
            else "no training"
        )
        lines.append(f"  {stage.name}: {training}")
    return "\n".join([*lines, "", "# the recipe as it would run", dump_yaml(recipe.plain()).rstrip()])


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
