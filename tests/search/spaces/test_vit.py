from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from edgekd.budget import OperatingPoint
from edgekd.errors import UsageError
from edgekd.figure import Figure
from edgekd.predict.features import features
from edgekd.predict.predictor import Predictor
from edgekd.profile import EngineRecord, Profile
from edgekd.recipe import ModelSpec
from edgekd.search.candidate import candidate
from edgekd.search.space import Space, create

SHAPE = (1, 28, 28)
SWAPS = list(product(("relu", "gelu"), ("nonorm", "layernorm")))


def space(step: int = 8, options: dict[str, object] | None = None, **teacher: object) -> Space:
    return create(None, options or {}, ModelSpec(name="vit", options=teacher), step)


def size(spec: ModelSpec) -> tuple[int, int, int]:
    return spec.options["depth"], spec.options["width"], round(spec.options["width"] * spec.options["expansion"])


def test_a_vit_teacher_is_one_of_its_own_students_and_the_dearest() -> None:
    teacher = {"patch": 7, "depth": 5, "width": 128, "heads": 4, "expansion": 3.0}
    found = space(16, **teacher).choices()
    assert found[-1].options == {**teacher, "activation": "gelu", "norm": "layernorm"}
    assert {spec.options["patch"] for spec in found} == {7}


def test_another_familys_teacher_gets_students_of_the_default_vit() -> None:
    found = create("vit", {}, ModelSpec(name="resnet"), 8).choices()
    assert size(found[-1]) == (6, 96, 192)
    assert size(found[0]) == (2, 32, 32)
    assert len(found) == 72


@pytest.mark.parametrize(
    ("width", "heads", "head"), [(96, 3, 32), (192, 3, 64), (48, 2, 24), (100, 4, 25), (60, 3, 20)]
)
@pytest.mark.parametrize("step", [1, 8, 16, 64])
def test_heads_keep_their_width_and_all_widths_are_whole_steps(width: int, heads: int, head: int, step: int) -> None:
    found = space(step, width=width, heads=heads).choices()
    wanted = head if head % step == 0 or step % head == 0 else -(-head // step) * step
    for spec in found:
        assert spec.options["width"] == spec.options["heads"] * wanted
        assert all(own % step == 0 for own in size(spec)[1:])
    whole = max(wanted, step)
    assert max(size(spec)[1] for spec in found) in {whole, whole * round(width / whole)}


def test_operators_have_no_order_and_equally_large_networks_swap_them_last() -> None:
    found = space()
    assert [axis.ordered for axis in found.axes()] == [True, True, True, False, False]
    by_size: dict[tuple[int, int, int], list[tuple[str, str]]] = {}
    for spec in found.choices():
        by_size.setdefault(size(spec), []).append((spec.options["activation"], spec.options["norm"]))
    assert all(operators == SWAPS for operators in by_size.values())


def test_options_narrow_the_space_and_what_is_no_operator_is_refused() -> None:
    narrow = space(options={"norms": ["layernorm"], "activations": ["relu"], "expansions": [1.0]})
    assert len(narrow.choices()) == 9
    with pytest.raises(UsageError, match=r"options of search space 'vit'.*norms"):
        space(options={"norms": ["rmsnorm"]})


def test_the_search_predicts_every_swap_to_be_cheaper() -> None:
    made = [candidate(str(at), spec, SHAPE, 10) for at, spec in enumerate(space().choices())]
    cost = np.array([0.02, 0.002, 1e-8, 0, 2e-7])
    records = [
        EngineRecord(
            network=one.name,
            scheme="fp32",
            runtime="onnxruntime",
            digest="0",
            operating_point=OperatingPoint(),
            figures=(Figure(name="latency_ms_p90", value=float(features(one.kernels, 8) @ cost), origin="device"),),
            kernels=one.kernels,
        )
        for one in made[::7]
    ]
    predictor = Predictor.fit(Profile(target="x86-vnni", origin="device", records=tuple(records)))
    predicted = [predictor.latency_ms(one.kernels, "fp32", "onnxruntime").value for one in made]
    for both, relu, no_norm, neither in zip(*[iter(predicted)] * 4, strict=True):
        assert both < min(relu, no_norm) <= max(relu, no_norm) < neither
