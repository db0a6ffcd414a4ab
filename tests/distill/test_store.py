"""The teacher store: what is kept, how many bytes it takes, and what kills, damage and distance do to it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import fsspec
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgekd.distill import store as store_module
from edgekd.distill.column import Column
from edgekd.distill.store import Identity, TeacherStore
from edgekd.distill.teacher import ModuleTeacher, Teacher
from edgekd.errors import EdgekdError, UsageError
from edgekd.recipe import DataSpec
from edgekd.stage import Progress
from edgekd.train.augment import augmentation
from tests.models import INPUT_SHAPE, settled

AFFINE = augmentation(DataSpec(name="mnist5k", augmentation="affine"))
IMAGES = torch.randn(300, *INPUT_SHAPE, generator=torch.Generator().manual_seed(0))
FULL, EXACT = Column(), Column(precision="float32")
TAPPED = Column(source="second_norm")
EVERY = (FULL, EXACT, TAPPED, Column(keep="top-k", k=2), Column(keep="nucleus", k=3, p=0.8))


class Counted:
    """Counts the images a teacher is asked about, and may fall over after some."""

    def __init__(self, most: int = 10**9, scale: float = 1.0) -> None:
        self.teacher, self.asked, self.most, self.scale = ModuleTeacher(settled("residual")), 0, most, scale

    def __call__(self, inputs: Tensor, sources: Sequence[str]) -> list[Tensor]:
        self.asked += len(inputs)
        if self.asked > self.most:
            raise KeyboardInterrupt
        return [said * self.scale for said in self.teacher(inputs, sources)]


def identity(**changes: object) -> Identity:
    fields = {"teacher": "t", "data": "d", "augmentation": "affine", "seed": 7, "samples": len(IMAGES)}
    return Identity.model_validate({**fields, **changes})


def store_in(root: Path, url: str | None = None, **changes: object) -> TeacherStore:
    return TeacherStore(root, identity(**changes), url)


def write(store: TeacherStore, views: int, teacher: Teacher | None = None, columns: Sequence[Column] = (FULL,)) -> None:
    store.write(teacher or Counted(), IMAGES, AFFINE, views=views, columns=columns, progress=Progress())


def every(store: TeacherStore, view: int, column: Column = FULL) -> Tensor:
    return store.answers(view, column, np.arange(len(IMAGES)))


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of 100 samples of four classes in half precision."""
    monkeypatch.setattr(store_module, "_SHARD_BYTES", 800)


def test_replay_gives_what_the_teacher_said_about_the_same_images(tmp_path: Path) -> None:
    write(store_in(tmp_path), 2, columns=[EXACT, TAPPED])
    store, chosen = store_in(tmp_path), np.array([299, 3, 150])
    seen = AFFINE(IMAGES[chosen], store.seeds(1)[chosen])
    teacher = settled("residual")
    tapped: list[Tensor] = []
    teacher.second_norm.register_forward_hook(lambda *given: tapped.append(given[2]))
    with torch.no_grad():
        said = teacher(seen)
    assert torch.allclose(store.answers(1, EXACT, chosen), said, atol=1e-5)
    assert torch.allclose(store.answers(1, TAPPED, chosen), tapped[0], rtol=2e-3, atol=1e-2)


@pytest.mark.parametrize("column", EVERY, ids=lambda column: column.name)
def test_bytes_on_the_disk_are_those_of_the_formula(tmp_path: Path, small_shards: None, column: Column) -> None:
    store = store_in(tmp_path)
    write(store, 2, columns=[column])
    shape = (32, 6, 6) if column.source else (4,)
    for view in range(2):
        folder = store.folder / f"view-{view:04d}"
        counts = [np.fromfile(path, np.uint16) for path in folder.rglob("counts.bin")]
        kept = int(np.concatenate(counts).sum()) if counts else None
        found = sum(path.stat().st_size for path in (folder / column.name).rglob("*.bin"))
        assert found == column.bytes(len(IMAGES), shape, kept)
        assert sum(path.stat().st_size for path in (folder / "seeds").rglob("*.bin")) == 8 * len(IMAGES)


def test_who_comes_while_another_writes_waits_and_asks_nobody(tmp_path: Path) -> None:
    teachers, together = [Counted(), Counted()], Barrier(2)

    def begin(teacher: Counted) -> Tensor:
        store = store_in(tmp_path)
        missing = store.missing(2, [FULL])
        together.wait()
        assert missing == [0, 1]
        write(store, 2, teacher)
        return every(store, 1)

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(begin, teachers)
    assert torch.equal(one, other)
    assert sorted(teacher.asked for teacher in teachers) == [0, 2 * len(IMAGES) + 2]


@pytest.mark.parametrize("classes", [10, 70_000])
def test_an_index_has_the_bytes_the_classes_need(classes: int) -> None:
    column = Column(keep="top-k", k=4)
    arrays = column.encoded(torch.randn(3, classes, generator=torch.Generator().manual_seed(0)))
    size = 2 if classes == 10 else 4
    assert arrays["indices"].itemsize == size
    assert sum(array.nbytes for array in arrays.values()) == column.bytes(3, (classes,)) == 3 * 4 * (2 + size)


@pytest.mark.parametrize("shape", [(9,), (5, 9)])
def test_the_likeliest_classes_come_back_and_the_rest_is_shared_evenly(shape: tuple[int, ...]) -> None:
    given = torch.randn(6, *shape, generator=torch.Generator().manual_seed(1)) * 2
    column = Column(keep="top-k", k=3, precision="float32")
    p, back = given.softmax(-1), column.decoded(column.encoded(given), shape).exp()
    largest = p.topk(3, -1).indices
    assert torch.allclose(back.gather(-1, largest), p.gather(-1, largest), atol=1e-6)
    assert torch.allclose(back.sum(-1), torch.ones(p.shape[:-1]), atol=1e-5)
    others = back.scatter(-1, largest, torch.nan)
    share = (1 - p.gather(-1, largest).sum(-1)) / 6
    assert torch.allclose(others.nanmean(-1), share, atol=1e-6)


def test_a_nucleus_holds_its_mass_with_as_few_classes_as_it_takes() -> None:
    p = torch.tensor([[0.85, 0.1, 0.03, 0.02], [0.4, 0.3, 0.2, 0.1], [0.3, 0.3, 0.2, 0.2]])
    column = Column(keep="nucleus", k=3, p=0.8, precision="float32")
    arrays = column.encoded(p.log())
    assert arrays["counts"].tolist() == [1, 3, 3]
    assert arrays["indices"][0] == 0
    back = column.decoded(arrays, (4,)).exp()
    assert torch.allclose(back[0], torch.tensor([0.85, 0.05, 0.05, 0.05]), atol=1e-6)
    assert torch.allclose(back[1], p[1], atol=1e-6)


def test_samples_of_several_shards_come_in_the_order_asked_for(tmp_path: Path, small_shards: None) -> None:
    write(store := store_in(tmp_path), 1)
    write(store, 1, columns=EVERY)
    assert len(list((store.folder / "view-0000" / FULL.name).iterdir())) == 3
    mixed = np.random.default_rng(0).permutation(300)[:64]
    for column in EVERY:
        assert torch.equal(store.answers(0, column, mixed), every(store, 0, column)[torch.from_numpy(mixed)])


def test_views_differ_and_the_same_seed_gives_the_same(tmp_path: Path) -> None:
    write(store := store_in(tmp_path), 2)
    assert not torch.equal(every(store, 0), every(store, 1))
    write(again := store_in(tmp_path / "other"), 2)
    assert torch.equal(store.seeds(1), again.seeds(1))
    assert torch.equal(every(store, 1), every(again, 1))


def test_the_teacher_is_asked_once_for_each_view_and_column(tmp_path: Path) -> None:
    teacher = Counted()
    write(store_in(tmp_path), 2, teacher)
    first_look = teacher.asked - 2 * len(IMAGES)  # at two images, to learn what it gives
    write(store_in(tmp_path), 2, teacher)
    write(store_in(tmp_path), 3, teacher)
    assert teacher.asked == 3 * len(IMAGES) + first_look
    before = every(store_in(tmp_path), 0)
    write(store_in(tmp_path), 3, teacher, [FULL, TAPPED])
    assert teacher.asked == 6 * len(IMAGES) + first_look
    assert torch.equal(every(store_in(tmp_path), 0), before)


def test_a_killed_writing_resumes_with_the_next_shard(tmp_path: Path, small_shards: None) -> None:
    with pytest.raises(KeyboardInterrupt):
        write(store_in(tmp_path), 3, Counted(most=550))
    assert store_in(tmp_path).missing(3, [FULL]) == [1, 2]
    teacher = Counted()
    write(store_in(tmp_path), 3, teacher)
    assert teacher.asked == 400  # of 900, five shards of 100 were kept
    assert store_in(tmp_path).missing(3, [FULL]) == []
    write(undisturbed := store_in(tmp_path / "other"), 3)
    for view in range(3):
        assert torch.equal(every(store_in(tmp_path), view), every(undisturbed, view))


@pytest.mark.parametrize("name", ["values.bin", "shard.json"])
def test_a_damaged_shard_is_noticed_and_renewed(tmp_path: Path, small_shards: None, name: str) -> None:
    write(store := store_in(tmp_path), 1)
    before = every(store, 0)
    path = store.folder / "view-0000" / FULL.name / "00000100" / name
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(EdgekdError, match="view 0 is missing or damaged"):
        every(store_in(tmp_path), 0)
    teacher = Counted()
    write(again := store_in(tmp_path), 1, teacher)
    assert teacher.asked == 100
    assert torch.equal(every(again, 0), before)


def test_another_teacher_or_data_set_has_a_store_of_its_own(tmp_path: Path) -> None:
    changes: list[dict[str, object]] = [{}, {"teacher": "u"}, {"data": "e"}, {"seed": 8}, {"augmentation": "none"}]
    folders = {store_in(tmp_path, **change).folder for change in changes}
    assert len(folders) == 5


@pytest.mark.parametrize("scale", [float("nan"), 1e9])
def test_logits_that_cannot_be_kept_are_refused(tmp_path: Path, scale: float) -> None:
    with pytest.raises(EdgekdError, match="not finite in float16"):
        write(store_in(tmp_path), 1, Counted(scale=scale))
    assert store_in(tmp_path).missing(1, [FULL]) == [0]


@pytest.mark.parametrize("scheme", ["file", "memory"])
def test_a_store_elsewhere_is_written_once_and_read_from_any_machine(
    tmp_path: Path, small_shards: None, scheme: str
) -> None:
    url = f"file://{tmp_path}/far" if scheme == "file" else "memory://far/stores"
    here = store_in(tmp_path / "here", url)
    write(here, 1)
    other = store_in(tmp_path / "there", url)
    assert other.missing(2, [FULL]) == [1]
    assert torch.equal(every(other, 0), every(here, 0))
    teacher = Counted()
    write(other, 2, teacher)
    assert teacher.asked == len(IMAGES)
    fsspec.filesystem("memory").rm("/far", recursive=True) if scheme == "memory" else None


def test_a_shard_that_was_damaged_on_the_way_is_asked_for_again(tmp_path: Path, small_shards: None) -> None:
    url = f"file://{tmp_path}/far"
    write(here := store_in(tmp_path / "here", url), 1)
    path = next((tmp_path / "far").rglob("00000200/values.bin"))
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    other, teacher = store_in(tmp_path / "there", url), Counted()
    write(other, 1, teacher)
    assert teacher.asked == 100
    assert torch.equal(every(other, 0), every(here, 0))


def test_a_url_nobody_knows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"teacher store 'nowhere://x' cannot be reached"):
        store_in(tmp_path, "nowhere://x")


def test_only_logits_can_be_cut() -> None:
    with pytest.raises(ValueError, match="only logits can be cut"):
        Column(source="stem", keep="top-k")


def test_a_teacher_keeps_its_paths(tmp_path: Path) -> None:
    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = settled("residual")

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x)

    store = store_in(tmp_path, teacher="inner")
    column = Column(source="body.first_norm")
    write(store, 1, ModuleTeacher(Inner()), [column])
    assert every(store, 0, column).shape == (300, 16, 12, 12)
