"""Vision transformer: square patches as tokens, their mean classified (Dosovitskiy et al. 2021, arXiv 2010.11929)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgekd.errors import UsageError
from edgekd.models.network import Network, image
from edgekd.models.transformer import Activation, Norm, blocks, norm_of
from edgekd.schema import Field, Schema


class _Module(nn.Module):
    def __init__(self, shape: tuple[int, int, int], layers: nn.ModuleList, config: Vit.Config, classes: int) -> None:
        super().__init__()
        patch, width = config.patch, config.width
        self.patches = nn.Conv2d(shape[0], width, patch, patch)
        self.position = nn.Parameter(torch.zeros(1, shape[1] // patch * (shape[2] // patch), width))
        nn.init.normal_(self.position, std=0.02)
        self.blocks = layers
        self.norm = norm_of(config.norm, width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2) + self.position
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.head(self.norm(x).mean(1))
        return out


class Vit(Network):
    """ViT without a class token: the head sees the mean of all patches."""

    class Config(Schema):
        """Size and operators of the network."""

        patch: int = Field(default=4, ge=1, le=256, description="height and width of a patch, in pixels")
        depth: int = Field(default=6, ge=1, le=64, description="blocks")
        width: int = Field(default=96, ge=1, le=4096, description="values of a token")
        heads: int = Field(default=3, ge=1, le=64, description="attention heads; they divide the width")
        expansion: float = Field(default=2.0, gt=0, le=16, description="hidden units of a block, by its width")
        activation: Activation = Field(default="gelu", description="between the layers of a feed-forward part")
        norm: Norm = Field(default="layernorm", description="nonorm: scale and shift alone (MobileBERT), no statistics")

    config: Config

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Return the module; 0.5M parameters at the default size; raises UsageError where no patch fits."""
        shape, config = image(input_shape), self.config
        if min(shape[1:]) < config.patch:
            raise UsageError(f"patches of {config.patch} pixels do not fit into images of {shape[1]}x{shape[2]}")
        layers = blocks(
            config.depth,
            config.width,
            config.heads,
            config.expansion,
            activation=config.activation,
            norm=config.norm,
        )
        return _Module(shape, layers, config, classes)
