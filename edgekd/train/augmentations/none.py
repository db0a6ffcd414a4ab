"""No augmentation: the images as they are."""

from __future__ import annotations

from torch import Tensor

from edgekd.schema import Schema
from edgekd.train.augment import Augmentation


class Unchanged(Augmentation):
    """Hands on the images."""

    class Config(Schema):
        """No options."""

    def __call__(self, images: Tensor, seeds: Tensor) -> Tensor:
        """Return the images."""
        del seeds
        return images
