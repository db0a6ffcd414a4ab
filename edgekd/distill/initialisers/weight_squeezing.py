"""The teacher's weights between two learned matrices (Weight Squeezing; Chumachenko et al. 2020, arXiv 2010.06993)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from edgekd.distill.inheritance import counterparts, inherit
from edgekd.distill.initialiser import Initialiser
from edgekd.models.transformer import stacked
from edgekd.schema import Field, Schema


class WeightSqueezing(Initialiser):
    """While the student is trained, a layer's weight is L @ W_teacher @ R; afterwards the product is its weight.

    L and R are learned, the teacher's weights are not; the gated form, which mixes that product with the layer's own
    weight, is the paper's as well. edgekd's own choices: both matrices begin as the first rows of the identity, so that
    the student begins as `layer-selection` would have it; a convolution's kernel is squeezed over its channels; layers
    whose kernels differ in size, and all biases and norms, are the student's own.
    """

    class Config(Schema):
        """Options of the initialiser."""

        gated: bool = Field(default=False, description="whether a layer's own weight has a part, by a learned gate")

    config: Config

    def begin(self, student: nn.Module, teacher: nn.Module | None) -> None:
        """Put the product in the place of every weight that has a counterpart."""
        if teacher is None:
            return
        inherit(student, teacher, sliced=True)
        ours, theirs, several = dict(student.named_modules()), dict(teacher.named_modules()), stacked(student)
        for path, other in counterparts(student, teacher).items():
            layer, behind = ours[path], theirs[other]
            if not (isinstance(layer, nn.Linear | nn.Conv2d) and isinstance(behind, type(layer))):
                continue
            if layer.weight.shape[2:] == behind.weight.shape[2:]:
                outputs, inputs = layer.weight.shape[:2]
                count = several.get(path, 1)
                squeezed = _Squeezed(behind.weight.detach(), outputs, inputs, count, gated=self.config.gated)
                layer.weight.requires_grad_(self.config.gated)
                parametrize.register_parametrization(layer, "weight", squeezed)

    def finish(self, student: nn.Module) -> None:
        """Multiply out."""
        for module in student.modules():
            if parametrize.is_parametrized(module, "weight"):
                parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
                module.weight.requires_grad_()


class _Squeezed(nn.Module):
    """Of a layer that consists of `count` the first rows of each are where it begins."""

    def __init__(self, source: Tensor, outputs: int, inputs: int, count: int, *, gated: bool) -> None:
        super().__init__()
        self.register_buffer("source", source.clone())
        self.source: Tensor
        self.left = nn.Parameter(torch.kron(torch.eye(count), torch.eye(outputs // count, len(source) // count)))
        self.right = nn.Parameter(torch.eye(source.shape[1], inputs))
        self.gate = nn.Parameter(torch.zeros(())) if gated else None

    def forward(self, own: Tensor) -> Tensor:
        product = torch.einsum("po,oi...,iq->pq...", self.left, self.source, self.right)
        if self.gate is None:
            return product
        open_ = torch.sigmoid(self.gate)
        return open_ * product + (1 - open_) * own
