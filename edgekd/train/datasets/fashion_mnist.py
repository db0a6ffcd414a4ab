"""Fashion-MNIST: 70,000 images of clothing in ten classes (Xiao et al. 2017), read from IDX files."""

from __future__ import annotations

import gzip
import hashlib
import os
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np

from edgekd.cache import folder as cache_folder
from edgekd.disk import whole_file
from edgekd.errors import UsageError
from edgekd.schema import Field, Schema
from edgekd.train import idx
from edgekd.train.dataset import DataSet, Source, Split, statistics
from edgekd.train.splits import balanced

_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
_CLASSES = ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
_SEED = 60_000
# Of the decompressed contents: distributions compress the same files again.
_SHA256 = {
    "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}


class FashionMnist(Source):
    """28x28 grey images: disjoint class-balanced subsets of the 60,000 for training, the full 10,000 for test."""

    class Config(Schema):
        """Where the files are and how many images are used."""

        path: str | None = Field(
            default=None, description="folder with the four .gz files; else Debian's package location, else the cache"
        )
        download: bool = Field(default=False, description="fetch missing files into the cache, checksums verified")
        train_size: int = Field(default=10_000, ge=10, le=57_500, description="training images")
        validation_size: int = Field(default=2_000, ge=10, le=10_000, description="images every decision rests on")
        calibration_size: int = Field(default=500, ge=10, le=10_000, description="images for quantization ranges")

    config: Config

    def load(self) -> DataSet:
        """Return the images; raises UsageError when the files are nowhere or damaged."""
        folder = self._folder()
        arrays = {name: idx.read(folder / name) for name in _SHA256}
        every = _split(arrays["train-images-idx3-ubyte.gz"], arrays["train-labels-idx1-ubyte.gz"], folder)
        test = _split(arrays["t10k-images-idx3-ubyte.gz"], arrays["t10k-labels-idx1-ubyte.gz"], folder)
        # The largest set comes last, so that validation and calibration stay the same for every `train_size`.
        sizes = (self.config.validation_size, self.config.calibration_size, self.config.train_size)
        validation, calibration, train = (every.take(part) for part in balanced(every.labels, sizes, _SEED))
        mean, std = statistics(train.inputs)
        return DataSet("fashion-mnist", train, validation, calibration, test, _CLASSES, mean, std)

    def _folder(self) -> Path:
        cache = _cache()
        places = [Path(self.config.path)] if self.config.path is not None else [_DEBIAN, cache]
        for place in places:
            if all(os.path.isfile(place / name) for name in _SHA256):
                return place
        if self.config.path is None and self.config.download:
            for name, digest in _SHA256.items():
                _download(name, digest, cache)
            return cache
        raise UsageError(
            f"data set 'fashion-mnist': {', '.join(_SHA256)} are not all in {' or '.join(map(str, places))}; "
            "give their folder as option 'path', or set 'download: true'"
        )


def _cache() -> Path:
    return cache_folder() / "datasets" / "fashion-mnist"


def _split(images: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], labels: np.ndarray, folder: Path) -> Split:
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise UsageError(f"{folder}: {images.shape} images and {labels.shape} labels do not belong together")
    return Split(images[:, None], labels.astype(np.int64))


def _download(name: str, digest: str, folder: Path) -> None:
    if (folder / name).is_file():
        return
    try:
        with urllib.request.urlopen(f"{_URL}/{name}", timeout=60) as answer:  # noqa: S310 - a constant address
            data = answer.read()
        found = hashlib.sha256(gzip.decompress(data)).hexdigest()
    except (urllib.error.URLError, OSError, EOFError) as error:
        raise UsageError(f"data set 'fashion-mnist': {_URL}/{name} cannot be downloaded: {error}") from error
    if found != digest:
        raise UsageError(f"data set 'fashion-mnist': {_URL}/{name} has SHA-256 {found}, expected {digest}")
    with whole_file(folder / name) as unfinished:
        unfinished.write_bytes(data)
