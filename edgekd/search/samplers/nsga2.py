"""NSGA-II by Optuna: crossover and mutation, survivors by rank and crowding (Deb et al. 2002)."""

from __future__ import annotations

from optuna.samplers import BaseSampler, NSGAIISampler

from edgekd.schema import Field, Schema
from edgekd.search.optuna_sampler import OptunaSampler


class Nsga2(OptunaSampler):
    """Its first generation is random."""

    class Config(Schema):
        """Options."""

        population: int = Field(default=16, ge=2, le=10_000, description="networks of a generation")

    config: Config

    def inner(self, seed: int) -> BaseSampler:
        """Return Optuna's sampler."""
        return NSGAIISampler(seed=seed, population_size=self.config.population)
