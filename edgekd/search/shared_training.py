"""What a training in which many networks share weights cannot have."""

from __future__ import annotations

from edgekd.distill.loss import create
from edgekd.distill.teach import TeachConfig
from edgekd.errors import UsageError
from edgekd.train.optimizer import LoopConfig
from edgekd.train.parallel import peers


def refuse_one_networks_options(stage: str, config: LoopConfig) -> None:
    """Raise UsageError for options that keep or compile one network, and for a training over several processes."""
    told = {"ema": config.ema, "patience": config.patience, "compile": config.compile == "auto" or None}
    wrong = [name for name, value in told.items() if value is not None]
    if wrong:
        raise UsageError(
            f"stages.{stage}.{wrong[0]} keeps the weights of one network, and here many share them; leave it out",
            wrong[0],
        )
    if peers().size > 1:
        raise UsageError(f"stage {stage} searches in one process; start it without torchrun")


def refuse_inner_losses(stage: str, config: TeachConfig) -> None:
    """Raise UsageError for a loss that looks inside a network, or learns or counts something beside it."""
    for name, loss in create(config.losses).items():
        if loss.needs or loss.state_dict():
            raise UsageError(
                f"stage {stage}: loss '{name}' looks inside networks or counts its steps, and where many share weights "
                "one is needed that only compares logits, such as logits-kl or dist",
                name,
            )
