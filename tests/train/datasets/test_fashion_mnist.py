"""Fashion-MNIST from IDX files, here small synthetic ones."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
from pathlib import Path

import numpy as np
import pytest

from edgekd.errors import UsageError
from edgekd.train.datasets import fashion_mnist
from edgekd.train.datasets.fashion_mnist import FashionMnist


def packed(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(header + array.tobytes(), 1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    place = tmp_path / "files"
    place.mkdir()
    for prefix, samples in (("train", 400), ("t10k", 100)):
        labels = (np.arange(samples) % 10).astype(np.uint8)
        images = random.integers(0, 256, (samples, 28, 28)).astype(np.uint8)
        (place / f"{prefix}-images-idx3-ubyte.gz").write_bytes(packed(images))
        (place / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(packed(labels))
    return place


def source(**options: object) -> FashionMnist:
    sizes = {"train_size": 200, "validation_size": 50, "calibration_size": 20}
    return FashionMnist(FashionMnist.Config.model_validate({**sizes, **options}))


def test_sizes_are_as_asked_for_and_the_test_files_are_whole(folder: Path) -> None:
    data = source(path=str(folder)).load()
    assert [len(split) for split in data.splits.values()] == [200, 50, 20, 100]


def test_decisions_rest_on_the_same_images_for_every_train_size(folder: Path) -> None:
    small, large = source(path=str(folder), train_size=100).load(), source(path=str(folder)).load()
    assert np.array_equal(small.validation.inputs, large.validation.inputs)
    assert np.array_equal(small.calibration.inputs, large.calibration.inputs)


def test_files_that_are_nowhere_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give their folder as option 'path', or set 'download: true'"):
        source(path=str(tmp_path)).load()


def test_images_and_labels_that_do_not_belong_together_are_refused(folder: Path) -> None:
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes((folder / "train-labels-idx1-ubyte.gz").read_bytes())
    with pytest.raises(UsageError, match="do not belong together"):
        source(path=str(folder)).load()


def downloads(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    asked: list[str] = []

    def answer(url: str, timeout: float) -> io.BytesIO:
        asked.append(url)
        return io.BytesIO((folder / url.rpartition("/")[2]).read_bytes())

    monkeypatch.setenv("EDGEKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fashion_mnist, "_DEBIAN", tmp_path / "absent")
    monkeypatch.setattr(fashion_mnist.urllib.request, "urlopen", answer)
    return asked


def test_nothing_is_downloaded_unasked(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = downloads(folder, tmp_path, monkeypatch)
    with pytest.raises(UsageError, match="download: true"):
        source().load()
    assert not asked


def test_a_download_is_kept(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = downloads(folder, tmp_path, monkeypatch)
    digests = {p.name: hashlib.sha256(gzip.decompress(p.read_bytes())).hexdigest() for p in folder.iterdir()}
    monkeypatch.setattr(fashion_mnist, "_SHA256", digests)
    first, second = source(download=True).load(), source().load()
    assert len(asked) == 4
    assert first.digest == second.digest


def test_a_download_with_another_checksum_is_refused_and_not_kept(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloads(folder, tmp_path, monkeypatch)
    with pytest.raises(UsageError, match="has SHA-256"):
        source(download=True).load()
    assert not list((tmp_path / "cache").rglob("*.gz"))
