"""What engines are fed: random inputs that fit, a user's arrays as they are, and every way in which they do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd import bundle
from edgekd.errors import UsageError
from edgekd.gate.samples import RANDOM, Samples, prepare
from edgekd.gate.subject import Subject
from tests import bundles
from tests.gate.subjects import port, subject

IMAGES = np.random.default_rng(0).standard_normal((6, 3, 4, 4)).astype(np.float32)
LABELS = np.arange(6) % 3


def _fed(given: Subject, folder: Path, batch: int = 1, **arrays: Any) -> Samples:
    np.savez(folder / "data.npz", **arrays)
    return prepare(given, batch, folder / "data.npz", {}, folder / "fed")


def test_random_inputs_fit_every_type_and_are_the_same_again(tmp_path: Path) -> None:
    given = subject(port("ids", None, None, dtype="int64"), port("pixels", None, 3, dtype="uint8"), port("x", 2, 5))
    found = [prepare(given, 2, None, {"ids": (2, 7)}, tmp_path / name) for name in ("a", "b")]
    assert found[0].origin == RANDOM
    assert not found[0].given
    files = sorted(found[0].path.iterdir())
    assert [file.name for file in files] == ["0-ids.npy", "1-pixels.npy", "2-x.npy"]
    ids, pixels, x = (np.load(file) for file in files)
    assert (ids.shape[1:], pixels.shape[1:], x.shape[1:]) == ((7,), (3,), (5,))
    assert (ids.dtype, pixels.dtype, x.dtype) == (np.int64, np.uint8, np.float32)
    assert set(np.unique(ids)) == {0, 1}
    assert len(ids) % 2 == 0
    for file in files:
        assert file.read_bytes() == (found[1].path / file.name).read_bytes()


def test_inputs_and_labels_are_taken_as_they_are(tmp_path: Path) -> None:
    found = _fed(subject(), tmp_path, inputs=IMAGES, labels=LABELS.astype(np.uint8))
    assert np.array_equal(np.load(found.path), IMAGES)
    assert found.labels is not None
    assert found.labels.tolist() == LABELS.tolist()
    assert found.origin.endswith("data.npz, 6 samples")
    assert _fed(subject(), tmp_path, image=IMAGES).labels is None  # by the name of the input


def test_several_inputs_go_by_name_in_the_order_of_the_engine(tmp_path: Path) -> None:
    given = subject(port("b", None, 2), port("a/x", None, 3))
    arrays = {"a/x": np.ones((4, 3), np.float32), "b": np.zeros((4, 2), np.float32)}
    found = _fed(given, tmp_path, **arrays)
    assert [file.name for file in sorted(found.path.iterdir())] == ["0-b.npy", "1-a_x.npy"]


def test_pixels_go_through_the_preprocessing_of_the_bundle(tmp_path: Path) -> None:
    manifest = bundle.read(bundles.written(tmp_path / "made"))
    given = subject(port("input", None, 3, 8, 8), manifest=manifest)
    pixels = np.full((2, 3, 8, 8), 51, np.uint8)
    found = np.load(_fed(given, tmp_path, pixels=pixels).path)
    steps = manifest.preprocessing
    for channel in range(3):
        assert found[:, channel] == pytest.approx((0.2 - steps.mean[channel]) / steps.std[channel])
    with pytest.raises(UsageError, match="takes pixels as uint8, float32 was given"):
        _fed(given, tmp_path, pixels=pixels.astype(np.float32))
    with pytest.raises(UsageError, match="is no bundle"):
        _fed(subject(), tmp_path, pixels=pixels)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        (
            {"inputs": IMAGES.astype(np.float64)},
            r"is float64, net.onnx wants float32; save it after .astype\('float32'\)",
        ),
        ({"inputs": IMAGES[:, :1]}, "has the shape 6,1,4,4; net.onnx wants"),
        ({"inputs": IMAGES[0]}, "has the shape 3,4,4"),
        ({"inputs": IMAGES[:0]}, "holds 0 samples"),
        ({"inputs": IMAGES * np.nan}, "not finite"),
        ({"inputs": IMAGES, "labels": LABELS[:5]}, "one whole number for each of the 6 inputs"),
        ({"inputs": IMAGES, "labels": LABELS + 0.5}, "labels are float64"),
        ({"inputs": IMAGES, "labels": np.eye(6, dtype=int)}, "of shape 6,6"),
        ({"images": IMAGES}, "holds images beside labels; net.onnx wants one array for each of its inputs"),
        ({"inputs": IMAGES, "image": IMAGES}, "holds image, inputs beside labels"),
        ({"labels": LABELS}, "holds nothing beside labels"),
    ],
)
def test_what_does_not_fit_is_named(arrays: dict, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        _fed(subject(), tmp_path, **arrays)


def test_inputs_of_different_number_are_refused(tmp_path: Path) -> None:
    given = subject(port("a", None, 2), port("b", None, 2))
    with pytest.raises(UsageError, match="hold 3, 4 samples"):
        _fed(given, tmp_path, a=np.ones((3, 2), np.float32), b=np.ones((4, 2), np.float32))


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04broken"])
def test_a_file_that_is_no_npz_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "data.npz").write_bytes(content)
    with pytest.raises(UsageError, match="cannot be read as an"):
        prepare(subject(), 1, tmp_path / "data.npz", {}, tmp_path / "fed")


def test_other_files_of_numpy_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", IMAGES)
    with pytest.raises(UsageError, match="is a single array"):
        prepare(subject(), 1, tmp_path / "one.npy", {}, tmp_path / "fed")
    with pytest.raises(UsageError, match="Python objects"):
        _fed(subject(), tmp_path, inputs=np.array([{}, {}], dtype=object))
    with pytest.raises(UsageError, match="there is no file"):
        prepare(subject(), 1, tmp_path / "none.npz", {}, tmp_path / "fed")
