"""Random crop of the padded image and horizontal flip, for natural images (He et al. 2015, section 4.2)."""

from __future__ import annotations

import torch
from torch import Tensor

from edgekd.schema import Field, Schema
from edgekd.train.augment import Augmentation, background, uniform


class CropFlip(Augmentation):
    """Each image moved by whole pixels, and mirrored or not."""

    class Config(Schema):
        """How far and whether."""

        padding: int = Field(default=4, ge=0, le=64, description="pixels an image moves at most, in each direction")
        flip: bool = Field(default=True, description="mirror every second image; not for digits or letters")

    config: Config

    def __call__(self, images: Tensor, seeds: Tensor) -> Tensor:
        """Return the images moved and mirrored as drawn from the seeds."""
        height, width = images.shape[2:]
        draw = uniform(seeds, 3)
        move = (draw[:, :2] * (2 * self.config.padding + 1)).long() - self.config.padding
        rows = torch.arange(height) + move[:, :1]
        columns = torch.arange(width).expand(len(seeds), -1)
        if self.config.flip:
            columns = torch.where(draw[:, 2:] < 0.5, columns.flip(1), columns)
        columns = columns + move[:, 1:]
        sample = torch.arange(len(seeds))[:, None, None]
        seen = images[sample, :, rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None]]
        inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None]
        return torch.where(inside[:, None], seen.permute(0, 3, 1, 2), background(images))
