from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgekd.distill.store import Identity, TeacherStore
from edgekd.errors import EdgekdError
from edgekd.recipe import DataSpec
from edgekd.stage import Progress
from edgekd.train.augment import augmentation
from tests.models import INPUT_SHAPE, settled

AFFINE = augmentation(DataSpec(name="mnist5k", augmentation="affine"))
IMAGES = torch.randn(300, *INPUT_SHAPE, generator=torch.Generator().manual_seed(0))


class Counted(nn.Module):
    """Counts the images a teacher is asked about, and may fall over after some."""

    def __init__(self, most: int = 10**9, scale: float = 1.0) -> None:
        super().__init__()
        self.teacher, self.asked, self.most, self.scale = settled("residual"), 0, most, scale

    def forward(self, x: Tensor) -> Tensor:
        self.asked += len(x)
        if self.asked > self.most:
            raise KeyboardInterrupt
        return self.teacher(x) * self.scale


def identity(**changes: object) -> Identity:
    fields = {"teacher": "t", "data": "d", "augmentation": "affine", "seed": 7, "samples": len(IMAGES)}
    return Identity.model_validate({**fields, **changes})


def store_in(root: Path, **changes: object) -> TeacherStore:
    return TeacherStore(root, identity(**changes))


def write(store: TeacherStore, views: int, teacher: nn.Module | None = None) -> None:
    store.write(teacher or Counted(), IMAGES, AFFINE, views, Progress())


def test_replay_gives_what_the_teacher_said_about_the_same_images(tmp_path: Path) -> None:
    write(store_in(tmp_path, precision="float32"), 2)
    seeds, logits = store_in(tmp_path, precision="float32").view(1)
    chosen = np.array([299, 3, 150])
    with torch.no_grad():
        said = settled("residual")(AFFINE(IMAGES[chosen], torch.from_numpy(seeds[chosen])))
    assert np.allclose(logits[chosen], said.numpy(), atol=1e-5)


def test_half_precision_is_close_and_half_the_size(tmp_path: Path) -> None:
    for precision in ("float16", "float32"):
        write(store_in(tmp_path, precision=precision), 1)
    half, full = (store_in(tmp_path, precision=precision).view(0)[1] for precision in ("float16", "float32"))
    assert half.nbytes * 2 == full.nbytes == len(IMAGES) * 4 * 4
    assert np.allclose(half, full, rtol=1e-3, atol=1e-4)


def test_views_differ_and_the_same_seed_gives_the_same(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    write(store, 2)
    assert not np.array_equal(store.view(0)[1], store.view(1)[1])
    write(again := store_in(tmp_path / "other"), 2)
    assert np.array_equal(store.view(1)[0], again.view(1)[0])
    assert np.array_equal(store.view(1)[1], again.view(1)[1])


def test_the_teacher_is_asked_once_per_view(tmp_path: Path) -> None:
    teacher = Counted()
    write(store_in(tmp_path), 2, teacher)
    write(store_in(tmp_path), 2, teacher)
    assert teacher.asked == 2 * len(IMAGES)
    write(store_in(tmp_path), 3, teacher)
    assert teacher.asked == 3 * len(IMAGES)


def test_a_killed_writing_resumes_with_the_next_view(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write(store_in(tmp_path), 3, Counted(most=500))
    assert store_in(tmp_path).missing(3) == [1, 2]
    teacher = Counted()
    write(store_in(tmp_path), 3, teacher)
    assert teacher.asked == 2 * len(IMAGES)
    assert store_in(tmp_path).missing(3) == []


@pytest.mark.parametrize("name", ["logits.npy", "seeds.npy", "view.json"])
def test_a_damaged_view_is_noticed_and_renewed(tmp_path: Path, name: str) -> None:
    store = store_in(tmp_path)
    write(store, 1)
    before = np.array(store.view(0)[1])
    path = store.folder / "view-0000" / name
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(EdgekdError, match="view 0 is missing or damaged"):
        store_in(tmp_path).view(0)
    write(again := store_in(tmp_path), 1)
    assert np.array_equal(again.view(0)[1], before)


def test_another_teacher_or_data_set_has_a_store_of_its_own(tmp_path: Path) -> None:
    changes: list[dict[str, object]] = [{}, {"teacher": "u"}, {"data": "e"}, {"seed": 8}, {"augmentation": "none"}]
    folders = {store_in(tmp_path, **change).folder for change in changes}
    assert len(folders) == 5


@pytest.mark.parametrize("scale", [float("nan"), 1e9])
def test_logits_that_cannot_be_kept_are_refused(tmp_path: Path, scale: float) -> None:
    with pytest.raises(EdgekdError, match="not finite in float16"):
        write(store_in(tmp_path), 1, Counted(scale=scale))
    assert store_in(tmp_path).missing(1) == [0]


def test_nothing_unfinished_is_left_behind(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    write(store, 1)
    shutil.rmtree(store.folder / "view-0000")
    assert [path.name for path in store.folder.iterdir()] == ["store.json"]
