from __future__ import annotations

from pathlib import Path

import pytest

from edgekd import catalogue, recipe, target
from edgekd.errors import UsageError
from edgekd.pipeline.stages import STAGES, configured, refuse_early
from edgekd.stage import Context


def load(**stages: object) -> recipe.Recipe:
    return recipe.load(catalogue.find("recipes", "smoke")).replace(stages=stages)


def test_the_order_is_fixed_and_three_stages_always_run() -> None:
    assert [kind.name for kind in STAGES] == ["teacher", "search", "distill", "prune", "quantize", "export", "measure"]
    assert [stage.name for stage in configured(load(quantize={}, distill={}))] == [
        *("teacher", "distill", "quantize", "export", "measure")
    ]


def test_unknown_stages_and_options_are_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'prune'"):
        configured(load(prun={}))
    with pytest.raises(UsageError, match="did you mean 'epochs'"):
        configured(load(distill={"epoch": 3}))


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
