from __future__ import annotations

import torch

from edgekd.distill.losses.dkd import Dkd
from edgekd.distill.losses.logits_kl import LogitsKl
from edgekd.train.answer import Answer

RANDOM = torch.Generator().manual_seed(0)
STUDENT, TEACHER = (Answer(torch.randn(9, 5, generator=RANDOM, dtype=torch.float64) * 2) for _ in range(2))
LABELS = torch.arange(9) % 5


def test_the_two_parts_make_up_the_plain_divergence() -> None:
    """KL = TCKD + (1 - p_T(right)) * NCKD, sample by sample: equation 7 of the paper."""
    plain = LogitsKl(LogitsKl.Config(temperature=1))(STUDENT, TEACHER, LABELS)
    parts = []
    for row in range(9):
        one = (Answer(STUDENT.logits[row : row + 1]), Answer(TEACHER.logits[row : row + 1]), LABELS[row : row + 1])
        target = Dkd(Dkd.Config(alpha=1, beta=0, temperature=1))(*one)
        others = Dkd(Dkd.Config(alpha=0, beta=1, temperature=1))(*one)
        parts.append(target + (1 - TEACHER.logits[row].softmax(0)[LABELS[row]]) * others)
    assert torch.isclose(torch.stack(parts).mean(), plain)


def test_the_others_part_does_not_look_at_the_right_class() -> None:
    loss = Dkd(Dkd.Config(alpha=0, beta=1))
    raised = STUDENT.logits + 3 * torch.nn.functional.one_hot(LABELS, 5)
    assert torch.isclose(loss(Answer(raised), TEACHER, LABELS), loss(STUDENT, TEACHER, LABELS))
