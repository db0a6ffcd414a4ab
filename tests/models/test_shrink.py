"""A network that shrinks its images is the plain one behind an average, and says which factors are possible."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgekd.errors import UsageError
from edgekd.models.build import build
from edgekd.models.kernels import kernels
from edgekd.models.shrink import shrunk_by
from edgekd.recipe import ModelSpec

SHAPE = (3, 28, 28)
each_family = pytest.mark.parametrize("name", ["resnet", "mobilenetv2"])


def made(name: str, shape: tuple[int, ...] = SHAPE, **options: object) -> nn.Module:
    torch.manual_seed(0)
    return build(ModelSpec(name=name, options=options), shape, 5).eval()


@each_family
def test_it_answers_to_an_image_what_the_plain_network_answers_to_its_averages(name: str) -> None:
    plain, shrunk = made(name), made(name, shrink=2)
    assert list(shrunk.state_dict()) == list(plain.state_dict())
    images = torch.rand((2, *SHAPE), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(shrunk(images), plain(F.avg_pool2d(images, 2)))


@each_family
def test_a_factor_of_one_is_the_network_without(name: str) -> None:
    plain, named = made(name), made(name, shrink=1)
    assert [path for path, _ in named.named_modules()] == [path for path, _ in plain.named_modules()]
    assert (shrunk_by(named), shrunk_by(made(name, shrink=4))) == (1, 4)


@each_family
def test_its_kernels_have_the_sizes_that_they_run_at(name: str) -> None:
    first, second, *_ = kernels(made(name, shrink=2), SHAPE)
    assert (first.op, first.kernel, first.in_positions, first.out_positions) == ("pool", 2, 784, 196)
    assert (second.op, second.in_positions, second.out_positions) == ("conv", 196, 196)


@pytest.mark.parametrize(
    ("name", "shape", "factor", "possible"),
    [
        ("resnet", SHAPE, 3, "1, 2, 4, 7"),
        ("resnet", SHAPE, 14, "1, 2, 4, 7"),
        ("mobilenetv2", SHAPE, 7, "1, 2, 4"),
        ("resnet", (1, 12, 18), 4, "1, 2, 3"),
        ("resnet", (1, 13, 13), 2, "1"),
    ],
)
def test_a_factor_that_leaves_a_rim_or_no_image_is_refused(
    name: str, shape: tuple[int, ...], factor: int, possible: str
) -> None:
    with pytest.raises(UsageError, match=rf"{shape[1]} x {shape[2]} .* shrunk by {factor}: .* possible: {possible}$"):
        made(name, shape, shrink=factor)
