from __future__ import annotations

from dataclasses import replace

import torch

from tests.distill.answers import answer, labels, loss_called


def test_every_scale_sees_what_the_others_do_not() -> None:
    """Mirroring the maps leaves their mean as it is, and every window elsewhere."""
    teacher = answer("cnn")
    mirrored = replace(teacher, features=tuple(features.flip(3).detach() for features in teacher.features))
    assert loss_called("msdcrd", scales=(1,))(mirrored, teacher, labels("cnn")).abs() < 1e-9
    assert loss_called("msdcrd", scales=(2,))(mirrored, teacher, labels("cnn")) > 1e-3


def test_the_scale_of_the_features_does_not_matter() -> None:
    teacher = answer("cnn")
    larger = replace(teacher, features=tuple(7 * features.detach() for features in teacher.features))
    assert loss_called("msdcrd")(larger, teacher, labels("cnn")).abs() < 1e-9


def test_parts_of_a_text_are_windows_of_its_tokens() -> None:
    loss = loss_called("msdcrd", "vit", scales=(1, 2))
    assert torch.isfinite(loss(answer("vit"), answer("vit", 1), labels("vit")))
