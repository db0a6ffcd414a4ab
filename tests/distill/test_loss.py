from __future__ import annotations

import pytest

from edgekd.distill.loss import create
from edgekd.errors import UsageError


def test_options_reach_the_loss() -> None:
    assert create({"logits-kl": {"temperature": 2, "weight": 0.5}})["logits-kl"].config.weight == 0.5


def test_a_misspelt_loss_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'logits-kl'"):
        create({"logit-kl": {}})


def test_a_misspelt_option_names_the_loss() -> None:
    with pytest.raises(UsageError, match="options of loss 'dist': unknown key 'betta'; did you mean 'beta'"):
        create({"dist": {"betta": 1}})
