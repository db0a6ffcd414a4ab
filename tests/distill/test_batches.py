from __future__ import annotations

from pathlib import Path

import torch

from edgekd.distill.batches import Kept, StoreBatches
from edgekd.distill.column import Column
from edgekd.distill.store import Identity, TeacherStore
from edgekd.distill.teacher import ModuleTeacher
from edgekd.recipe import DataSpec
from edgekd.stage import Progress
from edgekd.train.augment import augmentation
from tests.models import INPUT_SHAPE, settled

SAMPLES = 50
KEPT = Kept(Column())
AFFINE = augmentation(DataSpec(name="mnist5k", augmentation="affine"))


def batches(root: Path, views: int = 2) -> StoreBatches:
    images = torch.randn(SAMPLES, *INPUT_SHAPE, generator=torch.Generator().manual_seed(0))
    store = TeacherStore(root, Identity(teacher="t", data="d", augmentation="affine", seed=0, samples=SAMPLES))
    store.write(
        ModuleTeacher(settled("residual")), images, AFFINE, views=views, columns=KEPT.columns, progress=Progress()
    )
    labels = torch.arange(SAMPLES)  # every sample is its own class, so that a batch can be told apart
    return StoreBatches(store, KEPT, images, labels, batch=16, augmentation=AFFINE, seed=3, views=views)


def test_logits_are_the_teachers_on_exactly_these_images(tmp_path: Path) -> None:
    for batch in batches(tmp_path).epoch(1):
        assert batch.teacher is not None
        with torch.no_grad():
            assert torch.allclose(batch.teacher.logits, settled("residual")(batch.inputs), rtol=1e-2, atol=1e-3)


def test_only_full_batches_without_repetition(tmp_path: Path) -> None:
    made = batches(tmp_path)
    labels = [batch.labels for batch in made.epoch(0)]
    assert [len(part) for part in labels] == [16] * len(made) == [16, 16, 16]
    assert len(torch.cat(labels).unique()) == 48


def test_an_epoch_is_a_function_of_seed_and_number(tmp_path: Path) -> None:
    first, again = (next(batches(tmp_path).epoch(1)) for _ in range(2))
    assert torch.equal(first.inputs, again.inputs)
    assert torch.equal(first.labels, again.labels)


def test_views_take_turns_in_another_order(tmp_path: Path) -> None:
    made = batches(tmp_path)
    image = {number: {} for number in (0, 1, 2)}
    for number, seen in image.items():
        for batch in made.epoch(number):
            seen.update(zip(batch.labels.tolist(), batch.inputs, strict=True))
    assert list(image[0]) != list(image[2])
    shared = set(image[0]) & set(image[1]) & set(image[2])
    assert all(torch.equal(image[0][k], image[2][k]) for k in shared)
    assert not any(torch.equal(image[0][k], image[1][k]) for k in shared)
