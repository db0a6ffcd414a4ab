from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgekd import target as targets
from edgekd.predict.features import FEATURES, features, step_of
from edgekd.profile import Kernel

TARGET = targets.load("x86-vnni")


def conv(inputs: int, outputs: int, kernel: int = 3, positions: int = 64, groups: int = 1) -> Kernel:
    return Kernel("conv", "c", inputs, outputs, groups, kernel, positions, positions)


def test_widths_between_steps_cost_as_much_as_the_next_step() -> None:
    assert np.array_equal(features([conv(17, 31)], 16), features([conv(32, 32)], 16))
    assert features([conv(33, 32)], 16)[FEATURES.index("dense_macs")] == 48 * 32 * 9 * 64


def test_a_depthwise_layer_is_not_dense_work() -> None:
    row = dict(zip(FEATURES, features([conv(32, 32, groups=32)], 16), strict=True))
    assert row["dense_macs"] == 0
    assert row["grouped_macs"] == 32 * 9 * 64


def test_an_image_is_not_filled_up_to_a_whole_step() -> None:
    assert features([conv(1, 16)], 16)[2] == features([conv(4, 16)], 16)[2] < features([conv(5, 16)], 16)[2]


def test_step_follows_the_arithmetic_of_the_scheme() -> None:
    avx2 = targets.load("x86-avx2")
    assert (step_of(avx2, "fp32"), step_of(avx2, "u8w7")) == (8, 16)


@given(
    inputs=st.integers(1, 80),
    outputs=st.integers(1, 80),
    kernel=st.sampled_from([1, 3, 5]),
    positions=st.integers(1, 200),
    more=st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20)),
)
def test_no_feature_falls_when_a_kernel_grows(
    inputs: int, outputs: int, kernel: int, positions: int, more: tuple[int, int, int]
) -> None:
    small = conv(inputs, outputs, kernel, positions)
    large = conv(inputs + more[0], outputs + more[1], kernel, positions + more[2])
    assert (features([small], 8) <= features([large], 8)).all()
    assert (features([small], 8) < features([small, large], 8))[1]
