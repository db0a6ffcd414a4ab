from __future__ import annotations

import torch

from edgekd.distill.losses.logits_kl import LogitsKl
from edgekd.distill.losses.taid import Taid
from edgekd.train.answer import Answer

RANDOM = torch.Generator().manual_seed(0)
STUDENT, TEACHER = (torch.randn(8, 5, generator=RANDOM) for _ in range(2))
LABELS = torch.zeros(8, dtype=torch.int64)


def prepared(steps: int = 50, **options: float) -> Taid:
    loss = Taid(Taid.Config(**options))
    loss.prepare(Answer(STUDENT), Answer(TEACHER), steps)
    return loss


def test_t_rises_from_start_to_end_and_never_falls() -> None:
    loss, seen = prepared(), []
    for step in range(60):
        student = (STUDENT * (1 + 0.2 * (step % 3))).requires_grad_()
        loss(Answer(student), Answer(TEACHER), LABELS)
        seen.append(loss.t.item())
    assert seen == sorted(seen)
    assert seen[0] >= 0.4
    assert seen[49] == seen[-1] == 1.0


def test_a_falling_loss_makes_t_rise_faster() -> None:
    ends = []
    for shrink in (0.9, 1.1):
        loss = prepared(steps=10**6, rate=0.05)
        apart = 1.0
        for _ in range(40):
            apart *= shrink
            loss(Answer((TEACHER + apart * STUDENT).requires_grad_()), Answer(TEACHER), LABELS)
        ends.append(loss.t.item())
    assert ends[0] > ends[1]


def test_at_zero_there_is_nothing_to_learn_and_at_one_everything() -> None:
    student = STUDENT.clone().requires_grad_()
    nothing = prepared(start=0.0)
    nothing.eval()
    assert nothing(Answer(student), Answer(TEACHER), LABELS).item() == 0
    whole = prepared(start=1.0)
    plain = LogitsKl(LogitsKl.Config())(Answer(student), Answer(TEACHER), LABELS)
    assert torch.isclose(whole(Answer(student), Answer(TEACHER), LABELS), plain)


def test_looking_does_not_move_t() -> None:
    loss = prepared()
    with torch.no_grad():
        loss(Answer(STUDENT), Answer(TEACHER), LABELS)
    assert loss.t.item() == 0.4
    assert loss.step == 0
