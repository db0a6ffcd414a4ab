from __future__ import annotations

import pytest

from edgekd import catalogue
from edgekd.errors import UsageError
from edgekd.placement.scheme import SCHEMES, integer_range, scheme_named
from edgekd.schema import read_yaml


def test_seven_bit_weights_are_those_whose_pair_sums_fit_in_sixteen_bits() -> None:
    assert 2 * 255 * SCHEMES["u8w7"].weight_limit <= 32767
    assert 2 * 255 * (SCHEMES["u8w7"].weight_limit + 2) > 32767
    assert 2 * 255 * SCHEMES["u8w8"].weight_limit > 32767


def test_only_tensors_that_may_be_negative_get_a_zero_point() -> None:
    assert SCHEMES["u8w7"].signedness(never_negative=True) == "unsigned"
    assert SCHEMES["u8w7"].signedness(never_negative=False) == "affine"
    assert {SCHEMES["s8"].signedness(never_negative=sign) for sign in (True, False)} == {"symmetric"}
    assert integer_range("affine") == integer_range("unsigned") == (0, 255)
    assert integer_range("symmetric") == (-128, 127)


def test_an_unknown_scheme_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(UsageError, match=r"u8x7.*did you mean 'u8w7'"):
        scheme_named("u8x7")


def test_every_shipped_target_names_a_scheme_that_exists() -> None:
    named = set()
    for target in catalogue.names("targets"):
        data, _ = read_yaml(catalogue.find("targets", target))
        named |= {entry["scheme"] for entry in data.get("quantization", {}).values()}
    assert named
    assert named <= set(SCHEMES)
