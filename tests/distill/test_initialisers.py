"""Contract suite: every initialiser leaves a plain student that can be trained, and the teacher as it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgekd.distill.inheritance import counterparts
from edgekd.distill.initialiser import INITIALISERS, Initialiser, create
from edgekd.models.build import build
from edgekd.recipe import ModelSpec

IMAGES = torch.randn(8, 1, 12, 12, generator=torch.Generator().manual_seed(0))


def network(depth: int, width: int, seed: int) -> nn.Module:
    """Return a ResNet; narrower than 16 its strided shortcut is what oneDNN issue 6035 is about."""
    torch.manual_seed(seed)
    channels = [width, 2 * width, 4 * width]
    return build(ModelSpec(name="resnet", options={"depth": depth, "channels": channels}), (1, 12, 12), 4)


def begun(name: str, student: nn.Module, teacher: nn.Module, **options: object) -> Initialiser:
    made = create(name, dict(options))
    made.begin(student, teacher)
    return made


def answer(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(IMAGES)


@pytest.mark.parametrize("name", INITIALISERS.names())
def test_the_student_trains_and_ends_as_a_plain_network(name: str) -> None:
    student, teacher = network(8, 16, 0), network(14, 32, 1)
    names, before = set(student.state_dict()), answer(teacher)
    made = begun(name, student, teacher)
    optimizer = torch.optim.SGD([p for p in student.parameters() if p.requires_grad], lr=0.05)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(student.train()(IMAGES), torch.arange(8) % 4)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    trained = answer(student)
    made.finish(student)
    assert torch.allclose(answer(student), trained, atol=1e-6)
    assert set(student.state_dict()) == names
    assert all(p.requires_grad for p in student.parameters())
    assert torch.equal(answer(teacher), before)


SHIPPED = [name for name in INITIALISERS.names() if name != "one-more"]
"""A contributor's own, which joins in test_contributing, may begin anywhere."""


@pytest.mark.parametrize("name", [name for name in SHIPPED if create(name, {}).needs_teacher])
def test_a_student_of_the_teachers_shape_begins_as_the_teacher(name: str) -> None:
    student, teacher = network(8, 16, 0), network(8, 16, 1)
    begun(name, student, teacher)
    assert torch.allclose(answer(student), answer(teacher), atol=1e-6)


def test_a_student_that_shrinks_its_images_begins_with_the_same_layers() -> None:
    teacher = network(14, 16, 1)
    plain, shrunk = (
        build(ModelSpec(name="resnet", options={"depth": 8, "channels": [16, 16, 32], **own}), (1, 12, 12), 4)
        for own in ({}, {"shrink": 2})
    )
    begun("layer-selection", plain, teacher)
    begun("layer-selection", shrunk, teacher)
    assert shrunk.state_dict().keys() == plain.state_dict().keys()
    inherited = ("conv.weight", "blocks.0.conv1.weight", "blocks.2.shortcut.0.weight")
    assert all(torch.equal(shrunk.state_dict()[key], plain.state_dict()[key]) for key in inherited)


def test_layers_stand_at_the_same_relative_depth() -> None:
    student, teacher = (build(ModelSpec(name="vit", options={"depth": depth}), (1, 28, 28), 4) for depth in (2, 6))
    found = counterparts(student, teacher)
    assert found["blocks.0.fc1"] == "blocks.2.fc1"
    assert found["blocks.1.attention.qkv"] == "blocks.5.attention.qkv"
    assert found["head"] == "head"


def test_a_wider_layer_gives_its_first_channels_or_nothing() -> None:
    student, teacher = network(8, 16, 0), network(8, 32, 1)
    own = student.conv.weight.detach().clone()
    begun("layer-selection", student, teacher, sliced=False)
    assert torch.equal(student.conv.weight, own)
    begun("layer-selection", student, teacher)
    assert torch.equal(student.conv.weight, teacher.conv.weight[:16])


@pytest.mark.parametrize("name", ["layer-selection", "weight-squeezing"])
def test_fewer_heads_are_the_first_of_queries_keys_and_values(name: str) -> None:
    wide, narrow = {"width": 48, "heads": 6, "depth": 2}, {"width": 24, "heads": 3, "depth": 2}
    student, teacher = (build(ModelSpec(name="vit", options=own), (1, 28, 28), 4) for own in (narrow, wide))
    made = begun(name, student, teacher)
    made.finish(student)
    theirs, ours = (model.blocks[0].attention.qkv for model in (teacher, student))
    expected = theirs.weight.reshape(3, 48, 48)[:, :24, :24].reshape(72, 24)
    assert torch.equal(ours.weight, expected)
    if name == "layer-selection":
        assert torch.equal(ours.bias, theirs.bias.reshape(3, 48)[:, :24].flatten())


@pytest.mark.parametrize("gated", [False, True])
def test_the_squeezed_weight_is_the_product(gated: bool) -> None:
    student, teacher = network(8, 16, 0), network(8, 32, 1)
    own = student.head.weight.detach().clone()
    made = begun("weight-squeezing", student, teacher, gated=gated)
    squeezed = student.head.parametrizations["weight"][0]
    with torch.no_grad():
        squeezed.left.add_(torch.randn_like(squeezed.left))
        squeezed.right.add_(torch.randn_like(squeezed.right))
    expected = squeezed.left @ teacher.head.weight @ squeezed.right
    if gated:
        first = teacher.head.weight[:, : own.shape[1]]  # what its own weight began as
        expected = 0.5 * expected + 0.5 * first
    made.finish(student)
    assert torch.allclose(student.head.weight, expected, atol=1e-5)
