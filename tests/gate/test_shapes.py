"""Sizes and batch: what the engine says, what the user says, and where they contradict each other."""

from __future__ import annotations

import pytest

from edgekd.errors import UsageError
from edgekd.gate.shapes import batch_of, parse, refuse_unknown, sample_of
from tests.gate.subjects import port, subject


def test_shapes_are_read_as_they_are_written() -> None:
    assert parse(["input:0=1, 3,224,224", "a=b=7"]) == {"input:0": (1, 3, 224, 224), "a=b": (7,)}


@pytest.mark.parametrize("text", ["input", "=1,2", "input=", "input=1,x", "input=0,3", "input=-1", "input=1,,2", "x=²"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected NAME=SIZE"):
        parse([text])


def test_a_shape_given_twice_or_for_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="given a shape before"):
        parse(["a=1", "a=2"])
    with pytest.raises(UsageError, match="did you mean 'image'"):
        refuse_unknown({"imag": (1,)}, [subject()])


def test_the_batch_is_what_is_asked_what_is_fixed_or_one() -> None:
    free, fixed = subject(), subject(port("x", 8, 3))
    assert batch_of(free, None, {}) == 1
    assert batch_of(free, 4, {}) == 4
    assert batch_of(free, None, {"image": (2, 3, 4, 4)}) == 2
    assert batch_of(fixed, None, {}) == batch_of(fixed, 8, {}) == 8


@pytest.mark.parametrize(
    ("inputs", "batch", "shapes", "said"),
    [
        ([port("x", 8, 3)], 1, {}, "has 8 as its first dimension, but the batch is 1; give --batch 8"),
        ([port("x", None, 3)], 1, {"x": (2, 3)}, "the batch is 1"),
        ([port("x", None, 3)], None, {"x": (2, 4)}, "--shape x=2,4 does not fit net.onnx, which has \\?,3"),
        ([port("x", None, 3)], None, {"x": (2,)}, "does not fit"),
        ([port("x", 4, 3), port("y", 2, 3)], None, {}, "input 'y' of net.onnx has 2"),
        ([port("x")], None, {}, "is a single number"),
    ],
)
def test_contradictions_are_named(inputs: list, batch: int | None, shapes: dict, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        batch_of(subject(*inputs), batch, shapes)


def test_free_dimensions_need_a_size() -> None:
    ids = port("ids", None, None, dtype="int64")
    assert sample_of(ids, {"ids": (1, 128)}, "net.onnx") == (128,)
    with pytest.raises(UsageError, match=r"input 'ids' of net.onnx has free dimensions .* --shape ids=1,1"):
        sample_of(ids, {}, "net.onnx")
