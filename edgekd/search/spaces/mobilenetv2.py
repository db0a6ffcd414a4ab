"""MobileNetV2s: width times depth times expansion of the bottlenecks, none larger than the teacher in any of them."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Annotated, Any

from edgekd.models.bottlenecks import STAGES
from edgekd.models.network import NETWORKS
from edgekd.recipe import ModelSpec
from edgekd.schema import Field, from_mapping
from edgekd.search.space import Axis, Point, Space

_Share = Annotated[float, Field(gt=0, le=1)]


class MobileNetV2Space(Space):
    """Shares of the teacher where it is a MobileNetV2, else of one of default size."""

    class Config(Space.Config):
        """Which widths, depths and expansions."""

        widths: tuple[_Share, ...] = Field(
            default=(0.25, 0.35, 0.5, 0.75, 1.0), min_length=1, max_length=32, description="of the teacher's width"
        )
        depths: tuple[_Share, ...] = Field(
            default=(0.5, 1.0), min_length=1, max_length=32, description="of the teacher's repeats"
        )
        expansions: tuple[_Share, ...] = Field(
            default=(0.34, 0.67, 1.0), min_length=1, max_length=32, description="of the teacher's expansion"
        )

    config: Config

    def axes(self) -> tuple[Axis, ...]:
        """Return width, depth and expansion."""
        return tuple(Axis(len(axis)) for axis in (self.config.widths, self.config.depths, self.config.expansions))

    def at(self, point: Point) -> ModelSpec:
        """Return the network of these choices; the head shrinks with the width."""
        shares, teacher = self._shares(point), self._of_teacher
        options = {
            "width": teacher["width"] * shares[0],
            "depth": teacher["depth"] * shares[1],
            "expansion": max(1, round(teacher["expansion"] * shares[2])),
            "head": teacher["head"],
            "channel_step": self.config.step,
        }
        return ModelSpec(name="mobilenetv2", options=options)

    def macs(self, point: Point) -> float:
        """Return the multiplications of the bottlenecks per pixel of the input."""
        width, depth, expansion = self._shares(point)
        teacher = self._of_teacher
        wide: float = teacher["width"] * width
        times = max(1, round(teacher["expansion"] * expansion))
        step = self.config.step

        def rounded(channels: int) -> int:
            return max(step, round(channels * wide / step) * step)

        total, inputs, pixels = 0.0, rounded(32), 1.0
        for stage, (channels, repeats, stride) in enumerate(STAGES):
            outputs = rounded(channels)
            for number in range(max(1, math.ceil(repeats * teacher["depth"] * depth))):
                hidden = inputs * (times if stage else 1)
                expanding = inputs * hidden * pixels if hidden > inputs else 0
                pixels /= (stride if number == 0 else 1) ** 2
                total += expanding + (9 + outputs) * hidden * pixels
                inputs = outputs
        return total + inputs * rounded(teacher["head"]) * pixels

    def _shares(self, point: Point) -> tuple[float, float, float]:
        config = self.config
        return config.widths[point[0]], config.depths[point[1]], config.expansions[point[2]]

    @cached_property
    def _of_teacher(self) -> dict[str, Any]:
        options = self.teacher.options if self.teacher.name == "mobilenetv2" else {}
        return from_mapping(NETWORKS.get("mobilenetv2").Config, options, "options of model 'mobilenetv2'").plain()
