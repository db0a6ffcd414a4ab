from __future__ import annotations

import torch

from edgekd.quantize.straight_through import fake_quantize


def test_values_are_the_nearest_multiples_in_range_ties_to_even() -> None:
    x = torch.tensor([-1.0, -0.26, 0.25, 0.75, 0.3, 9.0])
    expected = torch.tensor([-0.5, -0.5, 0.0, 1.0, 0.5, 1.5])
    step = torch.tensor([0.5])
    torch.testing.assert_close(fake_quantize(x, step, -1, 3), expected)
    with torch.no_grad():
        torch.testing.assert_close(fake_quantize(x, step, -1, 3), expected)


def test_gradients_are_those_of_pytorchs_kernel() -> None:
    x = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    upstream = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    found = []
    for ours in (True, False):
        values, step = x.clone().requires_grad_(), torch.tensor([0.0625]).requires_grad_()
        if ours:
            result = fake_quantize(values, step, -10, 12)
        else:
            zero = torch.zeros(1)
            result = torch._fake_quantize_learnable_per_tensor_affine(values, step, zero, -10, 12, 1.0)
        result.backward(upstream)
        found.append((result, values.grad, step.grad))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_a_step_per_channel_gets_the_gradient_of_its_channel() -> None:
    weight = torch.randn(3, 2, 2, 2)
    step = torch.tensor([0.1, 0.2, 0.4]).reshape(3, 1, 1, 1).requires_grad_()
    fake_quantize(weight, step, -4, 4)[1].sum().backward()
    assert step.grad is not None
    assert step.grad.shape == step.shape
    assert step.grad[1] != 0
    assert step.grad[0] == step.grad[2] == 0
