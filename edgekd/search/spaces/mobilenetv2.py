"""MobileNetV2s: width, depth, expansion of the bottlenecks and resolution, none larger than the teacher in any."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any

from edgekd.models.bottlenecks import Stage, rounded, stages
from edgekd.models.network import options_of
from edgekd.recipe import ModelSpec
from edgekd.schema import Field
from edgekd.search.resolutions import Resolutions, Shrinks
from edgekd.search.space import Axis, Point, Space

_Share = Annotated[float, Field(gt=0, le=1)]


class MobileNetV2Space(Space):
    """Shares of the teacher where it is a MobileNetV2, else of one of default size."""

    class Config(Space.Config):
        """Which widths, depths, expansions and resolutions."""

        widths: tuple[_Share, ...] = Field(
            default=(0.25, 0.35, 0.5, 0.75, 1.0), min_length=1, max_length=32, description="of the teacher's width"
        )
        depths: tuple[_Share, ...] = Field(
            default=(0.5, 1.0), min_length=1, max_length=32, description="of the teacher's repeats"
        )
        expansions: tuple[_Share, ...] = Field(
            default=(0.34, 0.67, 1.0), min_length=1, max_length=32, description="of the teacher's expansion"
        )
        shrinks: Shrinks = (1,)

    config: Config

    def axes(self) -> tuple[Axis, ...]:
        """Return width, depth, expansion, and where there are several the resolution."""
        sizes = (self.config.widths, self.config.depths, self.config.expansions)
        return (*(Axis(len(axis)) for axis in sizes), *self._resolutions.axes)

    def at(self, point: Point) -> ModelSpec:
        """Return the network of these choices; the head shrinks with the width."""
        return ModelSpec(name="mobilenetv2", options=self._options(point))

    def macs(self, point: Point) -> float:
        """Return the multiplications of the bottlenecks per pixel of the input."""
        options = self._options(point)
        total, inputs = 0.0, rounded(32 * options["width"], options["channel_step"])
        pixels = 1 / self._resolutions.at(point[3:]) ** 2
        for channels, repeats, stride, expansion in self._stages(point):
            for number in range(repeats):
                hidden = inputs * expansion
                expanding = inputs * hidden * pixels if expansion > 1 else 0
                pixels /= (stride if number == 0 else 1) ** 2
                total += expanding + (9 + channels) * hidden * pixels
                inputs = channels
        return total + inputs * rounded(options["head"] * options["width"], options["channel_step"]) * pixels

    def rows(self, point: Point) -> tuple[int, ...]:
        """Return the bottlenecks of each stage."""
        return tuple(stage.repeats for stage in self._stages(point))

    def _stages(self, point: Point) -> list[Stage]:
        options = self._options(point)
        return stages(options["width"], options["depth"], options["expansion"], options["channel_step"])

    def _options(self, point: Point) -> dict[str, Any]:
        config, teacher, shrink = self.config, self._of_teacher, self._resolutions.at(point[3:])
        return {
            "width": teacher["width"] * config.widths[point[0]],
            "depth": teacher["depth"] * config.depths[point[1]],
            "expansion": max(1, round(teacher["expansion"] * config.expansions[point[2]])),
            "head": teacher["head"],
            "channel_step": config.step,
            **({} if shrink == 1 else {"shrink": shrink}),
        }

    @cached_property
    def _resolutions(self) -> Resolutions:
        return Resolutions(self.config.shrinks, self._of_teacher["shrink"])

    @cached_property
    def _of_teacher(self) -> dict[str, Any]:
        return options_of("mobilenetv2", self.teacher.options if self.teacher.name == "mobilenetv2" else {})
