"""The teacher store: what the teacher says about augmented views of the training data, asked once and kept.

    <root>/<digest of the identity>/store.json      the identity
                                    view-0003/      seeds.npy  int64 (N,)    logits.npy  float16 (N, K)    view.json

After TinyViT (Wu et al. 2022, arXiv 2207.10666): the store keeps the seed of each sample's augmentation, not the image.
edgekd's own choice is to keep all logits instead of the largest few probabilities, and whole views, so that a store
grows: who needs more views than there are asks the teacher only for the missing ones.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgekd.artifact import digest_of_path
from edgekd.disk import whole_folder
from edgekd.errors import EdgekdError
from edgekd.schema import Field, Schema, digest_of, read_json, write_json
from edgekd.stage import Progress
from edgekd.train.augment import Augmentation, seeds

log = logging.getLogger("edgekd")

_BATCH = 128


class Identity(Schema):
    """Everything the content of a store depends on."""

    schema_version: Literal[1] = 1
    teacher: str = Field(description="digest of the teacher's artifact")
    data: str = Field(description="digest of the data set")
    augmentation: str
    augmentation_options: dict[str, Any] = Field(default_factory=dict)
    seed: int = Field(ge=0)
    samples: int = Field(ge=1)
    precision: Literal["float16", "float32"] = "float16"


class _View(Schema):
    """What a written view must still be when it is read."""

    seeds: str
    logits: str


class TeacherStore:
    """The views of one identity, written one after another and read as memory maps."""

    def __init__(self, root: Path, identity: Identity) -> None:
        self.identity = identity
        self.folder = root / digest_of(identity.plain())
        self._open: dict[int, tuple[NDArray[np.int64], NDArray[np.floating[Any]]]] = {}

    def seeds(self, view: int) -> NDArray[np.int64]:
        """Return the augmentation seed of every sample in a view, int64 (N,)."""
        return seeds(self.identity.seed, view, np.arange(self.identity.samples)).numpy()

    def missing(self, views: int) -> list[int]:
        """Return which of the first `views` views are not there, or not what was written."""
        return [view for view in range(views) if not self._is_sound(view)]

    def write(
        self, teacher: nn.Module, images: Tensor, augmentation: Augmentation, views: int, progress: Progress
    ) -> None:
        """Ask the teacher about normalised images (N, C, H, W) in each view that is missing; resumes view by view.

        Raises EdgekdError when the teacher's logits are not finite, ResourceError when the disk is full.
        """
        missing = self.missing(views)
        if not missing:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.identity, self.folder / "store.json")
        teacher = teacher.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        with progress.task("ask the teacher", len(missing) * len(images)) as advance:
            for view in missing:
                drawn = self.seeds(view)
                answers = []
                for start in range(0, len(images), _BATCH):
                    part = slice(start, start + _BATCH)
                    answers.append(_ask(teacher, augmentation, images[part], torch.from_numpy(drawn[part])))
                    advance(len(answers[-1]))
                self._keep(view, drawn, torch.cat(answers).to(getattr(torch, self.identity.precision)).numpy())

    def view(self, view: int) -> tuple[NDArray[np.int64], NDArray[np.floating[Any]]]:
        """Return seeds (N,) and logits (N, K) of a view, memory-mapped; raises EdgekdError when it is damaged."""
        if view not in self._open:
            if not self._is_sound(view):
                raise EdgekdError(
                    f"teacher store {self.folder}: view {view} is missing or damaged; run again to renew it"
                )
            folder = self._folder(view)
            self._open[view] = (np.load(folder / "seeds.npy"), np.load(folder / "logits.npy", mmap_mode="r"))
        return self._open[view]

    def _folder(self, view: int) -> Path:
        return self.folder / f"view-{view:04d}"

    def _is_sound(self, view: int) -> bool:
        folder = self._folder(view)
        if view in self._open:
            return True
        if not folder.is_dir():
            return False
        try:
            written = read_json(_View, folder / "view.json")
            found = {name: digest_of_path(folder / f"{name}.npy") for name in ("seeds", "logits")}
        except (EdgekdError, OSError):
            found, written = {}, None
        if written is not None and found == written.plain():
            return True
        log.warning("teacher store %s: view %d is damaged", self.folder, view)
        return False

    def _keep(self, view: int, drawn: NDArray[np.int64], logits: NDArray[Any]) -> None:
        """Put a finished view in its place in one step, so that a killed process leaves no half view."""
        if not np.isfinite(logits).all():
            raise EdgekdError(
                f"the teacher's logits are not finite in {self.identity.precision} (view {view}); "
                "its training has diverged, or they are too large for half precision"
            )
        with whole_folder(self._folder(view)) as unfinished:
            np.save(unfinished / "seeds.npy", drawn)
            np.save(unfinished / "logits.npy", logits)
            digests = {name: digest_of_path(unfinished / f"{name}.npy") for name in ("seeds", "logits")}
            write_json(digests, unfinished / "view.json")


@torch.inference_mode()
def _ask(teacher: nn.Module, augmentation: Augmentation, images: Tensor, seeds: Tensor) -> Tensor:
    seen = augmentation(images, seeds).contiguous(memory_format=torch.channels_last)
    return teacher(seen).float()  # type: ignore[no-any-return]
