from __future__ import annotations

from dataclasses import replace

import torch

from tests.distill.answers import answer, labels, loss_called


def test_turned_features_have_the_same_graph_and_the_same_context() -> None:
    teacher = answer("cnn")
    last = teacher.features[-1].detach()
    turn, _ = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    turned = replace(teacher, features=(teacher.features[0], torch.einsum("bchw,dc->bdhw", last, turn)))
    alone = loss_called("trg", across=0.0)(turned, teacher, labels("cnn"))
    assert alone.abs() < 1e-9
    assert loss_called("trg")(turned, teacher, labels("cnn")) > 1e-3  # but nodes across both networks differ


def test_a_long_tailed_batch_of_two_images_has_a_graph() -> None:
    student, teacher = answer("cnn", samples=2), answer("cnn", 1, samples=2)
    assert torch.isfinite(loss_called("trg", neighbours=500)(student, teacher, labels("cnn", 2)))
