"""The teacher store: what the teacher says about augmented views of the training data, asked once and kept.

    <root>/<digest of the identity>/store.json                             the identity, and samples a shard
                                    view-0003/seeds/00000000/              the seed of every sample's augmentation
                                    view-0003/logits-top-k-8-float16/00000000/
                                    view-0003/tap-5f0c3a11-full-float16/00000000/

After TinyViT (Wu et al. 2022, arXiv 2207.10666): the store keeps the seed of each sample's augmentation, not the image,
and the largest few probabilities where that is asked for. edgekd's own choice is that it grows: who needs more views,
or another column of them, asks the teacher only for what is missing. `edgekd.distill.column` tells its size in bytes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgekd.disk import one_at_a_time
from edgekd.distill import shard as shards
from edgekd.distill.column import SEEDS, Arrays, Column, rows_of
from edgekd.distill.mirror import Mirror
from edgekd.distill.teacher import Teacher
from edgekd.errors import EdgekdError
from edgekd.schema import Field, Schema, digest_of, read_json, write_json
from edgekd.stage import Progress
from edgekd.train.augment import Augmentation, seeds

log = logging.getLogger("edgekd")

_BATCH = 128
_SHARD_BYTES = 2**26
"""Of the largest column, about: what a kill can cost, and what is read at once from elsewhere."""


class Identity(Schema):
    """Everything the content of a store depends on."""

    schema_version: Literal[2] = 2
    teacher: str = Field(description="digest of the teacher")
    data: str = Field(description="digest of the data set")
    augmentation: str
    augmentation_options: dict[str, Any] = Field(default_factory=dict)
    seed: int = Field(ge=0)
    samples: int = Field(ge=1)


class _Layout(Schema):
    identity: Identity
    shard_samples: int = Field(ge=1)


@dataclass(frozen=True)
class _Open:
    """A shard that was checked, with where the samples of a nucleus begin."""

    shape: tuple[int, ...]
    arrays: Arrays
    ends: NDArray[np.int64]


class TeacherStore:
    """The views of one identity, written shard after shard and read as memory maps.

    With `url` it lies there, and its folder under `root` is a copy of what was needed.
    """

    def __init__(self, root: Path, identity: Identity, url: str | None = None) -> None:
        self.identity = identity
        place = root / digest_of(identity.plain())
        self.folder = place if url is None else place.parent / digest_of([identity.plain(), url])
        self._mirror = None if url is None else Mirror(f"{url.rstrip('/')}/{place.name}", self.folder)
        self._opened: dict[tuple[int, str, int], _Open] = {}
        self._size: int | None = None

    def missing(self, views: int, columns: Sequence[Column]) -> list[int]:
        """Return which of the first `views` views lack something, or hold something else than what was written."""
        return [view for view in range(views) if self._missing(view, [SEEDS, *(column.name for column in columns)])]

    def write(
        self,
        teacher: Teacher,
        inputs: Tensor,
        augmentation: Augmentation,
        *,
        views: int,
        columns: Sequence[Column],
        progress: Progress,
    ) -> None:
        """Ask the teacher about what a network eats (N, ...) in each view for what is missing; resumes shard by shard.

        One process at a time writes a store; who waited for that finds there what it wrote.
        Raises EdgekdError when what the teacher says is not finite, ResourceError when the disk is full.
        """
        if not self.missing(views, columns):
            return
        with one_at_a_time(self.folder.with_suffix(".lock")):
            missing = self.missing(views, columns)
            self._lay_out(teacher, inputs, columns)
            with progress.task("ask the teacher", len(missing) * len(inputs)) as advance:
                for view in missing:
                    drawn = seeds(self.identity.seed, view, np.arange(self.identity.samples))
                    for first in range(0, len(inputs), self._shard_samples):
                        part = slice(first, first + self._shard_samples)
                        self._complete(teacher, augmentation, inputs[part], drawn[part], view, first, columns)
                        advance(len(inputs[part]))

    def seeds(self, view: int) -> Tensor:
        """Return the augmentation seed of every sample in a view, int64 (N,), as it was kept."""
        parts = [self._sound(view, SEEDS, first).arrays["seeds"] for first in self._firsts]
        return torch.from_numpy(np.concatenate(parts))

    def answers(self, view: int, column: Column, samples: NDArray[np.int64]) -> Tensor:
        """Return what was kept of the samples (B,) in a view, float32 (B, ...).

        Raises EdgekdError when the view is missing or damaged.
        """
        at, within = np.divmod(samples, self._shard_samples)
        found: Tensor | None = None
        for number in np.unique(at):
            here = np.flatnonzero(at == number)
            opened = self._sound(view, column.name, int(number) * self._shard_samples)
            part = column.decoded(rows_of(column, opened.arrays, opened.ends, within[here]), opened.shape)
            if len(here) == len(samples):
                return part
            found = torch.empty(len(samples), *part.shape[1:]) if found is None else found
            found[torch.from_numpy(here)] = part
        if found is None:
            raise EdgekdError("no sample was asked for")
        return found

    @property
    def _shard_samples(self) -> int:
        if self._size is None:
            if self._mirror is not None:
                self._mirror.fetch(self.folder / "store.json")
            self._size = read_json(_Layout, self.folder / "store.json").shard_samples
        return self._size

    @property
    def _firsts(self) -> range:
        return range(0, self.identity.samples, self._shard_samples)

    def _lay_out(self, teacher: Teacher, inputs: Tensor, columns: Sequence[Column]) -> None:
        """Settle how many samples a shard has, where nobody has."""
        path = self.folder / "store.json"
        if self._mirror is not None and not path.is_file():
            self._mirror.fetch(path)
        if path.is_file():
            return
        given = teacher(inputs[:2], [column.source for column in columns])
        largest = max(column.bytes(1, tuple(tensor.shape[1:])) for column, tensor in zip(columns, given, strict=True))
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(_Layout(identity=self.identity, shard_samples=max(1, _SHARD_BYTES // max(1, largest))), path)
        if self._mirror is not None:
            self._mirror.send(self.folder)

    def _complete(  # noqa: PLR0917 - a shard, and who is asked about it
        self,
        teacher: Teacher,
        augmentation: Augmentation,
        inputs: Tensor,
        drawn: Tensor,
        view: int,
        first: int,
        columns: Sequence[Column],
    ) -> None:
        """Write what a shard lacks."""
        lacking = [column for column in columns if self._read(view, column.name, first) is None]
        if self._read(view, SEEDS, first) is None:
            self._keep(view, SEEDS, first, (), {"seeds": drawn.numpy()})
        if lacking:
            self._ask(teacher, augmentation, inputs, drawn, view=view, first=first, columns=lacking)

    def _ask(
        self,
        teacher: Teacher,
        augmentation: Augmentation,
        inputs: Tensor,
        drawn: Tensor,
        *,
        view: int,
        first: int,
        columns: Sequence[Column],
    ) -> None:
        sources = [column.source for column in columns]
        parts: list[list[Tensor]] = [[] for _ in columns]
        for start in range(0, len(inputs), _BATCH):
            part = slice(start, start + _BATCH)
            for said, given in zip(parts, teacher(augmentation(inputs[part], drawn[part]), sources), strict=True):
                said.append(given)
        for column, answers in zip(columns, parts, strict=True):
            whole = torch.cat(answers)
            arrays = column.encoded(whole)
            if not np.isfinite(arrays["values"]).all():
                raise EdgekdError(
                    f"what the teacher says is not finite in {column.precision} (view {view}); "
                    "its training has diverged, or it is too large for half precision"
                )
            self._keep(view, column.name, first, tuple(whole.shape[1:]), arrays)

    def _keep(self, view: int, name: str, first: int, shape: tuple[int, ...], arrays: Arrays) -> None:
        folder = self._place(view, name, first)
        samples = min(self._shard_samples, self.identity.samples - first)
        shards.write(folder, first, samples, shape, arrays)
        if self._mirror is not None:
            self._mirror.send(folder)

    def _missing(self, view: int, names: Sequence[str]) -> bool:
        if self._mirror is not None:
            for name in names:
                self._mirror.fetch(self.folder / f"view-{view:04d}" / name)
        try:
            firsts = self._firsts
        except EdgekdError:
            return True
        return any(self._read(view, name, first) is None for name in names for first in firsts)

    def _sound(self, view: int, name: str, first: int) -> _Open:
        found = self._read(view, name, first)
        if found is None:
            raise EdgekdError(f"teacher store {self.folder}: view {view} is missing or damaged; run again to renew it")
        return found

    def _read(self, view: int, name: str, first: int) -> _Open | None:
        """Return a shard, None when it is missing or damaged; it is checked the first time."""
        key = (view, name, first)
        if key in self._opened:
            return self._opened[key]
        folder = self._place(view, name, first)
        if not folder.is_dir():
            return None
        found = shards.read(folder)
        if found is None:
            log.warning("teacher store %s: view %d is damaged", self.folder, view)
            return None
        described, arrays = found
        counts = arrays.get("counts")
        lengths = np.zeros(0, np.int64) if counts is None else counts.reshape(len(counts), -1).sum(1, dtype=np.int64)
        self._opened[key] = _Open(described.shape, arrays, np.concatenate([[0], lengths.cumsum()]))
        return self._opened[key]

    def _place(self, view: int, name: str, first: int) -> Path:
        return self.folder / f"view-{view:04d}" / name / f"{first:08d}"
