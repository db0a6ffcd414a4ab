from __future__ import annotations

import pytest
import torch

from edgekd.distill.losses.bd_kd import BdKd
from edgekd.distill.losses.logits_kl import LogitsKl
from edgekd.train.answer import Answer

SHARP, FLAT = Answer(torch.tensor([[4.0, 0.0, 1.0]])), Answer(torch.tensor([[1.0, 0.5, 0.0]]))
LABELS = torch.zeros(1, dtype=torch.int64)


@pytest.mark.parametrize(("student", "teacher", "forward"), [(SHARP, FLAT, 3.0), (FLAT, SHARP, 1.0)])
def test_the_direction_a_sample_needs_weighs_more(student: Answer, teacher: Answer, forward: float) -> None:
    """A student surer than its teacher is told by the forward divergence, an unsure one by the reverse."""
    kl = LogitsKl(LogitsKl.Config(temperature=1))
    expected = forward * kl(student, teacher, LABELS) + (4 - forward) * kl(teacher, student, LABELS)
    found = BdKd(BdKd.Config(larger=3, smaller=1, temperature=1))(student, teacher, LABELS)
    assert torch.isclose(found, expected)
