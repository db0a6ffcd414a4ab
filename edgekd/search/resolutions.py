"""The resolution as a decision of a space: by which factors its networks may shrink the images they are given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from edgekd.models.shrink import MOST
from edgekd.schema import Field
from edgekd.search.space import Axis

Shrinks = Annotated[
    tuple[Annotated[int, Field(ge=1, le=MOST)], ...],
    Field(min_length=1, max_length=8, description="factors that shrink the image, times the teacher's own"),
]


class Resolutions:
    """Factors, the largest first, so that the axis goes from small images, which are cheap, to large ones.

    A space does not know the images; a factor that does not suit them is refused where its first network is built.
    """

    def __init__(self, shrinks: Sequence[int], of_teacher: int) -> None:
        self.factors = [factor * of_teacher for factor in sorted(set(shrinks), reverse=True)]

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Return the axis; one factor is no decision and has none, so that points are as they are without it."""
        return (Axis(len(self.factors)),) if len(self.factors) > 1 else ()

    def at(self, choice: Sequence[int]) -> int:
        """Return the factor of a point, given what of it belongs to these axes."""
        return self.factors[choice[0] if choice else 0]
