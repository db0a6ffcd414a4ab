"""Cut and recover in turns until the limit is met, as far as that is possible."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import numpy as np
from torch import nn

from edgekd.errors import UsageError
from edgekd.models.stand_in import opened
from edgekd.prune import allocator, criterion
from edgekd.prune.config import PruneConfig
from edgekd.prune.cost import Cost
from edgekd.prune.cut import Cutter
from edgekd.prune.depth import influence, without
from edgekd.prune.landing import Landing
from edgekd.prune.samples import Samples, renew_statistics
from edgekd.prune.selection import refuse_unfitting, selected
from edgekd.prune.sensitivity import sensitivities
from edgekd.prune.trial import Prunable, prunable
from edgekd.schema import Field, Schema, read_json, write_json
from edgekd.train import data
from edgekd.train.dataset import DataSet
from edgekd.train.evaluate import accuracy, logits

log = logging.getLogger("edgekd")

Recover = Callable[[nn.Module, Path, int], None]
"""Trains the network in place, in a folder, after the cut of that number (from 1)."""


@dataclass(frozen=True)
class Outcome:
    """The pruned network and what the report says about it."""

    model: nn.Module
    accuracy_percent_cut: float
    """On validation after the last cut, before any training."""
    notes: dict[str, str]


class TakenOut(Schema):
    """The blocks a network lost before its first cut."""

    schema_version: Literal[1] = 1
    blocks: tuple[str, ...] = Field(description="paths of modules, the least important first")


class NothingToPruneError(UsageError):
    """The network is as narrow as it may become."""


@dataclass(frozen=True)
class Schedule:
    """Several cuts, each by the same factor of cost."""

    config: PruneConfig
    dataset: DataSet
    cost: Cost
    step: int
    seed: int
    landing: Landing | None = None
    """Of the last cut; None: its cost is predicted."""

    def run(self, model: nn.Module, whole: float, limit: float, folder: Path, recover: Recover | None) -> Outcome:
        """Prune a network that costs `whole` until it costs at most `limit`.

        Raises NothingToPruneError when nothing can go, UsageError when an explicit speedup is out of reach, and when
        the network guesses and no recovery follows.
        """
        model = opened(model)
        everything = prunable(model, self.dataset.input_shape)
        refuse_unfitting(everything, self.config.include, self.config.exclude)
        model, taken = self._shallow(model, everything, folder / "blocks.json")
        found = self._found(model) if taken else self._selected(everything)
        start = found.widths
        units = {group.name: group.unit for group in found.groups}
        floors = allocator.floors(start, self.config.max_ratio, self.step, units)
        notes = self._reach(found, floors, whole, limit)
        cutter = self._cutter()
        if self.config.sensitivity:
            rows = sensitivities(model, found, cutter, partial(percent, dataset=self.dataset))
            notes["sensitivity"] = "; ".join(row.text() for row in rows)
        before, widths = 0.0, start
        for number in range(1, self.config.steps + 1):
            place = folder / f"cut-{number:02d}"
            goal = whole * (limit / whole) ** (number / self.config.steps)
            found = found if number == 1 else self._found(model)
            landing = self.landing if number == self.config.steps else None
            model, cut = cutter(model, found, floors, goal, record=place / "cut.json", landing=landing)
            before, widths = percent(model, self.dataset), cut.widths
            log.info("prune: cut %d of %d leaves %.2f %%", number, self.config.steps, before)
            if recover is None:
                _refuse_guessing(before, self.dataset)
            else:
                recover(model, place / "recovery", number)
        notes["widths"] = ", ".join(f"{n} {start[n]} -> {w}" for n, w in widths.items() if w != start[n]) or "unchanged"
        notes["blocks"] = ", ".join(taken) or "none taken out"
        if self.landing is not None and self.landing.told:
            notes["landing"] = self.landing.told
        return Outcome(model, before, notes)

    def _found(self, model: nn.Module) -> Prunable:
        return self._selected(prunable(model, self.dataset.input_shape))

    def _selected(self, found: Prunable) -> Prunable:
        return selected(found, self.config.include, self.config.exclude)

    def _shallow(self, model: nn.Module, found: Prunable, record: Path) -> tuple[nn.Module, tuple[str, ...]]:
        """Return the network without the blocks that change least what they get, and their names.

        What `record` already says is repeated. Raises UsageError when there are fewer blocks than have to go.
        """
        if not self.config.blocks:
            return model, ()
        log.warning("blocks is experimental: taking whole blocks out has not been compared with narrower ones")
        if record.is_file():
            taken = read_json(TakenOut, record).blocks
        else:
            blocks = self._selected(found).blocks
            if len(blocks) < self.config.blocks:
                raise UsageError(
                    f"stages.prune.blocks: {self.config.blocks} residual blocks cannot be taken out, the network has "
                    f"{len(blocks)} that may go: {', '.join(block.name for block in blocks) or 'none'}"
                )
            change = influence(model, blocks, self._samples)
            taken = tuple(sorted(change, key=change.__getitem__)[: self.config.blocks])
            write_json(TakenOut(blocks=taken), record)
        shallow = without(model, taken)
        renew_statistics(shallow, self._samples)
        return shallow, taken

    @cached_property
    def _samples(self) -> Samples:
        return Samples(self.dataset, self.config.samples, self.config.sample_batch, self.seed)

    def _cutter(self) -> Cutter:
        name = self.config.criterion
        judge = criterion.create(name, self.config.criterion_options)
        if judge.experimental:
            log.warning("criterion '%s' is experimental: it has not beaten magnitude; see docs/pruning.md", name)
        return Cutter(
            judge,
            allocator.create(self.config.allocator, self.config.allocator_options),
            self._samples,
            self.cost,
            self.step,
        )

    def _reach(self, found: Prunable, floors: dict[str, int], whole: float, limit: float) -> dict[str, str]:
        """Say what cannot be pruned, and whether the narrowest allowed network is within the limit at all."""
        notes = {"fixed": "; ".join(f"{name}: {reason}" for name, reason in found.fixed.items())}
        lowest = self.cost.of(found.kernels.at(floors))
        allowed = f"channel_step {self.step} and max_ratio {self.config.max_ratio:g}"
        if lowest >= whole:
            raise NothingToPruneError(
                f"pruning cannot help: with {allowed} no width saves anything; fixed are {notes['fixed']}"
            )
        if lowest > limit:
            sentence = (
                f"the limit of {limit:.4g} {self.cost.unit} is out of reach of pruning: with {allowed} in every group "
                f"{lowest:.4g} is predicted, unpruned {whole:.4g}"
            )
            if self.config.speedup is not None:
                raise UsageError(f"{sentence}; ask for a speedup of at most {whole / lowest:.3g} or raise max_ratio")
            log.warning("prune: %s; going as far as allowed, the measurement decides", sentence)
            notes["limit"] = sentence
        return notes


def percent(model: nn.Module, dataset: DataSet) -> float:
    """Return the accuracy on validation in percent."""
    found = logits(model, data.normalised(dataset.validation, dataset))
    return accuracy(found, dataset.validation.labels)


def _refuse_guessing(before: float, dataset: DataSet) -> None:
    labels = dataset.validation.labels
    guess = float(np.bincount(labels).max()) / len(labels)
    chance = 100 * (guess + 3 * math.sqrt(guess * (1 - guess) / len(labels)))
    if before <= chance:
        raise UsageError(
            f"pruning left {before:.2f} % right on validation, no better than guessing, and no recovery follows; "
            "give stages.prune.recovery or prune less"
        )
