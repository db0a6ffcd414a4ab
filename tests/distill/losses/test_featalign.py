from __future__ import annotations

import pytest
import torch

from edgekd.distill.losses.featalign import Featalign
from tests.distill.answers import answer, labels, loss_called


@pytest.mark.parametrize("kind", ["cnn", "vit"])
def test_the_total_is_the_weighted_sum_of_its_terms(kind: str) -> None:
    weights = {"features": 2.0, "attention": 0.0 if kind == "cnn" else 3.0, "output": 0.5}
    student, teacher, right = answer(kind), answer(kind, 1), labels(kind)
    alone = []
    for name, weight in weights.items():
        only = {other: (weight if other == name else 0.0) for other in weights}
        alone.append(loss_called("featalign", kind, **only)(student, teacher, right))
    assert torch.isclose(loss_called("featalign", kind, **weights)(student, teacher, right), sum(alone))


def test_features_twice_the_teachers_are_one_apart_whatever_their_scale() -> None:
    for scale in (1e-3, 1.0, 1e3):
        teacher = answer("cnn").each(lambda tensor, scale=scale: tensor.detach() * scale)
        student = teacher.each(lambda tensor: 2 * tensor)
        value = loss_called("featalign", output=0.0)(student, teacher, labels("cnn"))
        assert value.item() == pytest.approx(1.0)


def test_only_what_has_a_weight_is_needed() -> None:
    assert Featalign(Featalign.Config()).needs == {"features"}
    assert Featalign(Featalign.Config(features=0, attention=1)).needs == {"attention"}


def test_heads_are_averaged_where_their_numbers_differ() -> None:
    student, teacher = answer("vit"), answer("vit")
    half = teacher.attention[0].mean(1, keepdim=True).detach()
    alike = type(student)(student.logits, student.features, (half, half), student.embedding)
    loss = loss_called("featalign", "vit", features=0.0, output=0.0)
    assert loss(alike, teacher, labels("vit")).item() == pytest.approx(0, abs=1e-9)
