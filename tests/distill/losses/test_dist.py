from __future__ import annotations

import numpy as np
import torch

from edgekd.distill.losses.dist import Dist
from edgekd.train.answer import Answer


def test_is_one_minus_pearson_along_both_axes() -> None:
    generator = torch.Generator().manual_seed(3)
    student = torch.randn(7, 4, generator=generator, dtype=torch.float64)
    teacher = torch.randn(7, 4, generator=generator, dtype=torch.float64)
    p_s, p_t = (torch.softmax(z / 2, 1).numpy() for z in (student, teacher))
    inter = np.mean([1 - np.corrcoef(p_s[i], p_t[i])[0, 1] for i in range(7)])
    intra = np.mean([1 - np.corrcoef(p_s[:, k], p_t[:, k])[0, 1] for k in range(4)])
    loss = Dist(Dist.Config(beta=1.5, gamma=0.5, tau=2))
    assert np.isclose(loss(Answer(student), Answer(teacher), torch.zeros(7)).item(), (1.5 * inter + 0.5 * intra) * 4)


def test_a_rescaled_teacher_costs_less_than_under_exact_matching() -> None:
    """Scale and shift of a sample's probabilities are free: the looseness the paper is about."""
    p = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3]], dtype=torch.float64)
    flatter = 0.4 * p + 0.2
    loss = Dist(Dist.Config(beta=1, gamma=0, tau=1))
    assert loss(Answer(p.log()), Answer(flatter.log()), torch.zeros(2)).item() < 1e-12
