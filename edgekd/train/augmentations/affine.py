"""Random rotation, scale, shear and shift, for digits and characters (Simard et al. 2003)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from edgekd.schema import Field, Schema
from edgekd.train.augment import Augmentation, background, uniform


class Affine(Augmentation):
    """Each image under its own affine map, bilinear; uniform strengths."""

    class Config(Schema):
        """Largest strengths; zero switches a part off."""

        degrees: float = Field(default=12, ge=0, le=180, description="rotation to either side")
        scale: float = Field(default=0.12, ge=0, lt=1, description="relative change of size, either way")
        shear: float = Field(default=0.2, ge=0, lt=1, description="slant to either side, width per height")
        shift: float = Field(default=0.08, ge=0, lt=1, description="share of the image's side, every direction")

    config: Config

    def __call__(self, images: Tensor, seeds: Tensor) -> Tensor:
        """Return the images seen through maps drawn from the seeds."""
        fill = background(images)
        grid = self._grid(seeds, images.shape[2], images.shape[3]).to(images)
        return F.grid_sample(images - fill, grid, mode="bilinear", padding_mode="zeros", align_corners=False) + fill

    def _grid(self, seeds: Tensor, height: int, width: int) -> Tensor:
        # Elementwise rather than by a matrix product, whose rounding may depend on the batch size.
        draw = (uniform(seeds, 6) * 2 - 1).T[:, :, None, None]
        angle = draw[0] * (self.config.degrees * torch.pi / 180)
        wide, tall = (1 / (1 + draw[k] * self.config.scale) for k in (1, 2))
        y, x = torch.meshgrid(_centres(height), _centres(width), indexing="ij")
        ratio = height / width
        rotated_x = angle.cos() * x - angle.sin() * (y * ratio)
        rotated_y = angle.sin() * (x / ratio) + angle.cos() * y
        seen_x = wide * (rotated_x + draw[3] * self.config.shear * rotated_y) + 2 * self.config.shift * draw[4]
        seen_y = tall * rotated_y + 2 * self.config.shift * draw[5]
        return torch.stack([seen_x, seen_y], dim=-1)


def _centres(size: int) -> Tensor:
    """Return where pixel centres lie when the image spans -1..1."""
    return (torch.arange(size) * 2 + 1) / size - 1
