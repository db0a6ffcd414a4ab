"""Layers that bring a student's features to the teacher's width, trained beside the student and left behind after."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


def projection(student: Tensor, teacher: Tensor) -> nn.Module:
    """Return what maps features like the student's to the teacher's width; nothing where they agree.

    Maps (B, C, H, W) get a 1x1 convolution, tokens (B, T, D) and embeddings (B, D) a linear layer (FitNets; Romero et
    al. 2015, arXiv 1412.6550).
    """
    axis = 1 if student.dim() == 4 else -1
    ours, theirs = student.shape[axis], teacher.shape[axis]
    if ours == theirs:
        return nn.Identity()
    return nn.Conv2d(ours, theirs, 1, bias=False) if student.dim() == 4 else nn.Linear(ours, theirs, bias=False)


def at_one_resolution(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Return both maps (B, C, H, W) averaged to the smaller height and width; other features as they are."""
    if student.dim() != 4 or student.shape[2:] == teacher.shape[2:]:
        return student, teacher
    size = (min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3]))
    return F.adaptive_avg_pool2d(student, size), F.adaptive_avg_pool2d(teacher, size)
