from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgekd import catalogue, recipe, target
from edgekd.errors import UsageError
from edgekd.pipeline.stages import STAGES, configured, refuse_early
from edgekd.stage import Context


def load(**stages: object) -> recipe.Recipe:
    return recipe.load(catalogue.find("recipes", "smoke")).replace(stages=stages)


def test_the_order_is_fixed_and_three_stages_always_run() -> None:
    assert [kind.name for kind in STAGES] == [
        *("search", "teacher", "trials", "supernet", "tas", "kdl-darts", "distill"),
        *("prune", "cofi", "multiplex", "sparsify", "quantize", "export", "measure"),
    ]
    assert [stage.name for stage in configured(load(quantize={}, distill={}))] == [
        *("teacher", "distill", "quantize", "export", "measure")
    ]


def test_unknown_stages_and_options_are_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'prune'"):
        configured(load(prun={}))
    with pytest.raises(UsageError, match="did you mean 'epochs'"):
        configured(load(distill={"epoch": 3}))


def test_the_place_in_the_file_is_told() -> None:
    told = recipe.Source(
        "mine.yaml", {"stages": 3, "stages.distill.epoch": 7, "stages.prun": 9}, {"stages": {"prun": {}}}
    )
    with pytest.raises(UsageError, match=r"mine\.yaml:7: unknown key 'stages\.distill\.epoch'"):
        configured(load(distill={"epoch": 3}), told)
    with pytest.raises(UsageError, match=r"mine\.yaml:9: unknown stage 'prun'"):
        configured(load(prun={}), told)


@pytest.mark.parametrize(
    ("stages", "key"),
    [
        ({"teacher": {"batch": 2801}}, "teacher"),
        ({"prune": {"speedup": 1.2, "recovery": {"batch": 5000}}, "search": {}}, r"prune\.recovery"),
        ({"quantize": {"qat": {"batch": 5000}}}, r"quantize\.qat"),
    ],
)
def test_a_batch_that_cannot_be_filled_is_refused_and_one_nobody_chose_is_not(
    stages: dict[str, object], key: str, tmp_path: Path
) -> None:
    loaded = load(**stages)
    context = Context(tmp_path, tmp_path, tmp_path / "cache", loaded, target.load("x86-avx2"), origin_is_device=True)
    with pytest.raises(UsageError, match=rf"stages\.{key}\.batch = \d+, but there are 2800 training images"):
        refuse_early(configured(loaded), context)
    few = loaded.replace(
        data={"factory": "tests.train.synthetic:quadrants", "options": {"train": 20}},
        model={"factory": "tests.models:Mlp"},
        stages={"teacher": {}},
    )
    refuse_early(configured(few), replace(context, recipe=few))


@pytest.mark.parametrize(
    ("stages", "sentence"),
    [
        ({"prune": {"criterion": "tailor"}, "search": {}}, "did you mean 'taylor'"),
        ({"prune": {}}, "does not know how far to go"),
        ({"distill": {}}, "put the stage 'search' before it"),
        ({"quantize": {"observer": "msee"}}, "did you mean 'mse'"),
        ({"distill": {"losses": {"logit-kl": {}}}, "search": {}}, "did you mean 'logits-kl'"),
    ],
)
def test_what_cannot_work_is_refused_before_any_training(
    stages: dict[str, object], sentence: str, tmp_path: Path
) -> None:
    loaded = load(**stages)
    context = Context(tmp_path, tmp_path, tmp_path / "cache", loaded, target.load("x86-avx2"), origin_is_device=True)
    with pytest.raises(UsageError, match=sentence):
        refuse_early(configured(loaded), context)
    assert not list(tmp_path.iterdir())
