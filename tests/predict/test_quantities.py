from __future__ import annotations

import numpy as np
import pytest

from edgekd.kernel import FusedKernel
from edgekd.predict.quantities import DESCRIBED, WORK, description, footprint, handed_over, law, work

CONVOLUTION = FusedKernel("conv", "y", ((1, 30, 28, 28),), (1, 40, 28, 28), (40, 30, 3, 3), window=9)


def test_work_counts_what_is_computed_and_what_is_moved() -> None:
    found = dict(zip(WORK, work([CONVOLUTION])[0], strict=True))
    assert found["macs"] == 40 * 30 * 9 * 28 * 28
    assert found["filled_macs"] == 48 * 32 * 9 * 28 * 28
    assert found["bytes_read"] == 4 * 30 * 28 * 28
    assert found["bytes_of_weights"] == 4 * 40 * 30 * 9
    assert found["positions"] == 28 * 28


def test_a_footprint_is_the_weights_and_the_largest_traffic() -> None:
    small = CONVOLUTION._replace(output=(1, 40, 1, 1))
    traffic = CONVOLUTION.bytes_read + CONVOLUTION.bytes_written
    assert footprint([CONVOLUTION, small]) == 2 * CONVOLUTION.bytes_of_weights + traffic


def test_a_description_tells_aligned_from_odd_widths() -> None:
    odd = CONVOLUTION._replace(output=(1, 41, 28, 28), weights=(41, 30, 3, 3))
    found = description([CONVOLUTION, odd], [1e6, 1e6])
    assert found.shape == (2, DESCRIBED)
    assert np.isfinite(found).all()
    assert np.abs(found[0] - found[1]).max() >= 3  # 40 can be halved three times, 41 never


def test_channels_that_are_no_whole_vectors_are_told_from_those_that_are() -> None:
    def window(channels: int) -> FusedKernel:
        size = (1, channels, 14, 14)
        return FusedKernel("qconv.depthwise", "y", (size,), size, (channels, 1, 3, 3), channels, window=9)

    found = [dict(zip(WORK, row, strict=True)) for row in work([window(480), window(488)])]
    assert found[0]["ragged_macs"] == 0
    assert found[1]["ragged_macs"] == found[1]["macs"]
    whole, ragged = description([window(480), window(488)], [1e6, 1e6])
    assert ((whole == 1) & (ragged == 0)).sum() == 1  # 488 are whole halves of vectors


@pytest.mark.parametrize(
    ("before", "after", "general"),
    [
        ((1, 32, 28, 20), (1, 28, 20, 32), False),
        ((1, 65, 4, 32), (1, 4, 65, 32), False),
        ((1, 32, 15, 3, 4), (1, 4, 3, 32, 15), True),
        ((1, 6, 6), (1, 6, 6), False),
    ],
)
def test_moving_one_axis_is_told_from_any_other_change(
    before: tuple[int, ...], after: tuple[int, ...], general: bool
) -> None:
    kernel = FusedKernel("transpose", "y", (before,), after)
    assert law(kernel).endswith(".general") == general


def test_windows_without_weights_count_what_they_look_at() -> None:
    pool = FusedKernel("pool.max", "y", ((1, 8, 16, 16),), (1, 8, 8, 8), window=9, strides=4)
    found = dict(zip(WORK, work([pool])[0], strict=True))
    assert found["macs"] == 8 * 8 * 8 * 9
    assert work([pool._replace(window=1)])[0][WORK.index("macs")] == 0


@pytest.mark.parametrize(
    ("code", "before", "after", "read", "expected"),
    [
        ("pool.max", (1, 8, 16, 16), (1, 8, 8, 8), "u8", "pool.max.bytes"),
        ("pool.max", (1, 8, 16, 16), (1, 8, 8, 8), "f32", "pool.max"),
        ("qpool.max", (1, 8, 16, 16), (1, 8, 8, 8), "u8", "qpool.max"),
        ("resize.linear", (1, 8, 6, 6), (1, 8, 12, 12), "f32", "resize.linear"),
        ("resize.linear", (1, 6, 6, 8), (1, 12, 12, 8), "f32", "resize.linear.channels_last"),
    ],
)
def test_kernels_of_one_code_that_are_several_have_several_laws(
    code: str, before: tuple[int, ...], after: tuple[int, ...], read: str, expected: str
) -> None:
    assert law(FusedKernel(code, "y", (before,), after, types=(read, read, read))) == expected


@pytest.mark.parametrize(
    ("shape", "aliased"),
    [
        ((1, 48, 32, 32), True),  # a page apart: twelve channels find room
        ((1, 48, 31, 32), False),
        ((1, 15, 32, 32), False),
        ((1, 64, 32, 32), True),
        ((1, 67, 32, 32), False),  # in another order
        ((1, 24, 32, 16), False),  # half a page apart: twice as many find room
        ((1, 32, 32, 16), True),
        ((1, 48, 16, 16), False),
        ((1, 64, 16, 16), True),
    ],
)
def test_channels_written_in_turns_that_fall_on_one_another_are_a_case_of_their_own(
    shape: tuple[int, ...], aliased: bool
) -> None:
    kernel = FusedKernel("reorder.planar", "y", (shape,), shape)
    assert law(kernel) == ("reorder.planar.aliased" if aliased else "reorder.planar")


def test_channels_whole_pages_apart_are_a_case_of_their_own() -> None:
    page = FusedKernel("reorder.out", "y", ((1, 48, 32, 32),), (1, 48, 32, 32))
    assert law(page) == "reorder.out.aliased"
    assert law(page._replace(output=(1, 96, 32, 32))) == "reorder.out.aliased"
    assert law(page._replace(output=(1, 48, 31, 32))) == "reorder.out"
    assert law(page._replace(output=(1, 8, 32, 32))) == "reorder.out"
    assert law(page._replace(code="conv")) == "conv"


def test_what_a_caller_hands_over_is_counted_in_floats() -> None:
    first = FusedKernel("quantize", "a", ((1, 3, 8, 8),), (1, 3, 8, 8), types=("f32", "u8", "u8"))
    last = FusedKernel("qgemm", "b", ((1, 192),), (1, 10), types=("u8", "s8", "u8"))
    assert handed_over([first, last]) == (4 * 3 * 64, 4 * 10)
    assert handed_over([]) == (0, 0)


@pytest.mark.parametrize(
    ("operand", "run"),
    [
        ((1, 12, 16, 16), 12 * 256),  # read along
        ((1, 12, 1, 1), 256),
        ((1, 1, 1, 16), 16),
        ((), 12 * 256),
    ],
)
def test_how_an_operand_is_spread_over_the_other(operand: tuple[int, ...], run: int) -> None:
    kernel = FusedKernel("mul", "y", ((1, 12, 16, 16), operand), (1, 12, 16, 16))
    plain = FusedKernel("mul", "y", ((1, 12, 16, 16), (1, 12, 16, 16)), (1, 12, 16, 16))
    ends = np.log([run, 12 * 256])
    found = description([kernel, plain], [0.0, 0.0])
    differing = [tuple(column) for column in found.T if column[0] != column[1]]
    if run == 12 * 256:
        assert not any(np.isclose(column[1], ends[1]) and np.isclose(column[0], np.log(16)) for column in differing)
    else:
        assert any(np.allclose(column, ends) for column in differing)
