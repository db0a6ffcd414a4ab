"""ViTs: width times depth times expansion of the feed-forward parts, times the operators that devices prefer."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any

from edgekd.models.network import options_of
from edgekd.models.transformer import Activation, Norm
from edgekd.recipe import ModelSpec
from edgekd.schema import Field
from edgekd.search.space import Axis, Point, Space

_Share = Annotated[float, Field(gt=0, le=1)]

_TOKENS = 49
"""Patches of an image, whose size a space does not know: seven by seven, as of MNIST's digits in patches of 4."""


class VitSpace(Space):
    """Shares of the teacher where it is a ViT, else of one of default size; the patch is the teacher's.

    Heads are as wide as the teacher's and fewer in a narrower student, as in the families of ViT and DeiT (Touvron et
    al. 2021, arXiv 2012.12877), so that a head says the same everywhere. That activation and norm are decisions, and
    which they are, is from MobileBERT (Sun et al. 2020, arXiv 2004.02984), where they were swapped by hand. Our choice
    is all else: a head whose width is neither a multiple nor a part of the step is rounded up to the step, the width of
    the network to whole heads and whole steps, the nearest ones, and hidden units up to the step. Of equally large
    networks those with GELU and LayerNorm come last, so that a search swaps operators only where it has to.
    """

    class Config(Space.Config):
        """Which sizes and operators."""

        widths: tuple[_Share, ...] = Field(
            default=(0.34, 0.67, 1.0), min_length=1, max_length=32, description="of the teacher's width"
        )
        depths: tuple[_Share, ...] = Field(
            default=(0.34, 0.67, 1.0), min_length=1, max_length=32, description="of the teacher's blocks"
        )
        expansions: tuple[_Share, ...] = Field(
            default=(0.5, 1.0), min_length=1, max_length=32, description="of the teacher's expansion"
        )
        activations: tuple[Activation, ...] = Field(
            default=("relu", "gelu"), min_length=1, max_length=2, description="of feed-forward parts, cheap ones first"
        )
        norms: tuple[Norm, ...] = Field(
            default=("nonorm", "layernorm"), min_length=1, max_length=2, description="of all norms, cheap ones first"
        )

    config: Config

    def axes(self) -> tuple[Axis, ...]:
        """Return width, depth and expansion, then activation and norm."""
        config = self.config
        sizes = (Axis(len(axis)) for axis in (config.widths, config.depths, config.expansions))
        return (*sizes, *(Axis(len(axis), ordered=False) for axis in (config.activations, config.norms)))

    def at(self, point: Point) -> ModelSpec:
        """Return the network of these choices; narrow ones may be the same when rounded."""
        depth, width, hidden = self._size(point)
        options = {
            "patch": self._of_teacher["patch"],
            "depth": depth,
            "width": width,
            "heads": width // self._head,
            "expansion": hidden / width,
            "activation": self.config.activations[point[3]],
            "norm": self.config.norms[point[4]],
        }
        return ModelSpec(name="vit", options=options)

    def macs(self, point: Point) -> float:
        """Return the multiplications of the blocks per token; operators of elements are not counted."""
        depth, width, hidden = self._size(point)
        return depth * width * (4.0 * width + 2 * hidden + 2 * _TOKENS)

    def rows(self, point: Point) -> tuple[int, ...]:
        """Return the blocks, one row."""
        return (self._size(point)[0],)

    def _size(self, point: Point) -> tuple[int, int, int]:
        """Return blocks, width and hidden units."""
        config, teacher = self.config, self._of_teacher
        whole = max(self._head, config.step)
        width = whole * max(1, round(teacher["width"] * config.widths[point[0]] / whole))
        hidden = self.aligned(round(width * teacher["expansion"] * config.expansions[point[2]], 6))
        return max(1, round(teacher["depth"] * config.depths[point[1]])), width, hidden

    @cached_property
    def _head(self) -> int:
        """Return the width of a head: a multiple of the step, or a part of it."""
        teacher, step = self._of_teacher, self.config.step
        own: int = max(1, teacher["width"] // teacher["heads"])
        return own if step % own == 0 else self.aligned(own)

    @cached_property
    def _of_teacher(self) -> dict[str, Any]:
        return options_of("vit", self.teacher.options if self.teacher.name == "vit" else {})
