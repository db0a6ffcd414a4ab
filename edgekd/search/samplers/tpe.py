"""TPE by Optuna: what good networks have more often than others (Bergstra et al. 2011; Ozaki et al. 2022)."""

from __future__ import annotations

from optuna.samplers import BaseSampler, TPESampler

from edgekd.schema import Field, Schema
from edgekd.search.optuna_sampler import OptunaSampler


class Tpe(OptunaSampler):
    """Its first networks are random."""

    class Config(Schema):
        """Options."""

        startup: int = Field(default=10, ge=1, le=10_000, description="random networks before it models anything")

    config: Config

    def inner(self, seed: int) -> BaseSampler:
        """Return Optuna's sampler."""
        return TPESampler(seed=seed, n_startup_trials=self.config.startup)
