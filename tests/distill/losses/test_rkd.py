from __future__ import annotations

import torch

from edgekd.distill.losses.rkd import Rkd
from edgekd.train.answer import Answer

RANDOM = torch.Generator().manual_seed(0)
POINTS = torch.randn(10, 6, generator=RANDOM, dtype=torch.float64)
LABELS = torch.zeros(10, dtype=torch.int64)


def of(embedding: torch.Tensor) -> Answer:
    return Answer(torch.zeros(10, 2, dtype=torch.float64), embedding=embedding)


def test_turned_moved_and_rescaled_embeddings_are_equal() -> None:
    turned, _ = torch.linalg.qr(torch.randn(6, 6, generator=RANDOM, dtype=torch.float64))
    assert Rkd(Rkd.Config())(of(2.5 * POINTS @ turned + 3), of(POINTS), LABELS) < 1e-12


def test_a_wider_space_needs_no_projection() -> None:
    wide = torch.cat([POINTS, torch.zeros(10, 4, dtype=torch.float64)], 1)
    loss = Rkd(Rkd.Config())
    assert loss(of(POINTS), of(wide), LABELS) < 1e-12
    assert not list(loss.parameters())


def test_distance_and_angle_are_those_of_the_paper() -> None:
    three = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]], dtype=torch.float64)
    line = torch.tensor([[0.0], [1.0], [2.0]], dtype=torch.float64)
    distance = Rkd(Rkd.Config(distance=1, angle=0))(of(three), of(line), LABELS)
    mine, theirs = torch.tensor([3.0, 4, 5]) / 4, torch.tensor([1.0, 2, 1]) / (4 / 3)
    expected = 2 * (0.5 * (mine - theirs) ** 2).sum() / 9  # Huber below 1, every pair twice, the diagonal 0
    assert torch.isclose(distance, expected.double())
