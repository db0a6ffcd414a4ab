from __future__ import annotations

import torch

from edgekd.distill.losses.logits_kl import LogitsKl
from edgekd.train.answer import Answer


def test_is_the_divergence_times_temperature_squared() -> None:
    student = torch.tensor([[1.0, 2.0, 0.0], [0.0, -1.0, 3.0]], dtype=torch.float64)
    teacher = torch.tensor([[3.0, 0.0, 0.5], [1.0, 1.0, 2.0]], dtype=torch.float64)
    p_s, p_t = torch.softmax(student / 3, 1), torch.softmax(teacher / 3, 1)
    expected = 9 * (p_t * (p_t / p_s).log()).sum(1).mean()
    assert torch.isclose(
        LogitsKl(LogitsKl.Config(temperature=3))(Answer(student), Answer(teacher), torch.zeros(2)), expected
    )


def test_gradient_keeps_its_size_at_high_temperature() -> None:
    student = torch.randn(8, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    teacher = torch.randn(8, 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    sizes = []
    for temperature in (20.0, 80.0):
        z = student.clone().requires_grad_()
        LogitsKl(LogitsKl.Config(temperature=temperature))(Answer(z), Answer(teacher), torch.zeros(8)).backward()
        assert z.grad is not None
        sizes.append(z.grad.norm().item())
    assert abs(sizes[0] / sizes[1] - 1) < 0.1
