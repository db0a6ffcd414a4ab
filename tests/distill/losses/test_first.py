from __future__ import annotations

import pytest
import torch

from edgekd.distill.losses.first import First
from edgekd.train.answer import Answer

RANDOM = torch.Generator().manual_seed(0)


def test_an_overconfident_teacher_is_cooled_down() -> None:
    """Labels drawn from softmax(z); a teacher that says 3 z has to be divided by 3."""
    z = torch.randn(20_000, 6, generator=RANDOM) * 1.5
    labels = torch.multinomial(z.softmax(1), 1, generator=RANDOM)[:, 0]
    loss = First(First.Config())
    loss.calibrate(3 * z, labels)
    assert loss.temperature.item() == pytest.approx(3, rel=0.1)
    kept = First(First.Config(calibrated=False))
    kept.calibrate(3 * z, labels)
    assert kept.temperature.item() == 1


def test_only_the_likeliest_classes_and_the_rest_together_count() -> None:
    teacher = torch.tensor([[5.0, 4.0, 0.0, 0.0, 0.0]])
    student = torch.tensor([[5.0, 4.0, 1.0, -1.0, 0.0]])
    shifted = torch.tensor([[5.0, 4.0, 0.0, 1.0, -1.0]])
    loss, labels = First(First.Config(k=2)), torch.zeros(1, dtype=torch.int64)
    assert torch.isclose(loss(Answer(student), Answer(teacher), labels), loss(Answer(shifted), Answer(teacher), labels))
    outside = torch.tensor([[5.0, 4.0, 3.0, 3.0, 3.0]])
    assert loss(Answer(outside), Answer(teacher), labels) > loss(Answer(student), Answer(teacher), labels)
