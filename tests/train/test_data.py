"""Loading and checking data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from edgekd.errors import UsageError
from edgekd.recipe import DataSpec
from edgekd.train.data import check, load, normalised
from edgekd.train.dataset import DataSet, Split
from tests.train.synthetic import quadrants

FACTORY = "tests.train.synthetic:quadrants"


def no_data() -> list[int]:
    return []


def test_a_factory_gets_its_options_and_the_result_is_remembered() -> None:
    spec = DataSpec(factory=FACTORY, options={"train": 40})
    assert len(load(spec).train) == 40
    assert load(spec) is load(spec.replace(augmentation="affine"))
    assert load(DataSpec(factory=FACTORY)).digest != load(spec).digest


def test_normalised_uint8_and_float_agree() -> None:
    data = quadrants()
    images = normalised(data.train, data)
    assert images.dtype == np.float32
    assert images.mean() == pytest.approx(0, abs=1e-4)
    assert images.std() == pytest.approx(1, abs=1e-4)
    as_float = Split((data.train.inputs / 255).astype(np.float32), data.train.labels)
    np.testing.assert_allclose(normalised(as_float, data), images, atol=1e-6)
    assert data.train.inputs.dtype == np.uint8  # the original is untouched


def test_normalised_is_per_channel() -> None:
    two = np.stack([np.full((1, 4, 4), 51, np.uint8), np.full((1, 4, 4), 255, np.uint8)], axis=1)
    data = dataclasses.replace(quadrants(), mean=(0.2, 0.5), std=(1.0, 0.25))
    np.testing.assert_allclose(normalised(Split(two, np.zeros(1, np.int64)), data)[0, :, 0, 0], [0, 2], atol=1e-6)


def changed(part: str, change: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]) -> DataSet:
    data = quadrants()
    split = data.splits[part]
    return dataclasses.replace(data, **{part: Split(*change(split.inputs.copy(), split.labels.copy()))})


def with_nan(images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    images = images.astype(np.float32) / 255
    images[2, 0, 1, 1] = np.nan
    return images, labels


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        ("test", lambda x, y: (x[:, :, :6], y), r"test: images have shape \(64, 1, 6, 12\)"),
        ("train", lambda x, y: (x[:, 0], y), "train: images have shape"),
        ("calibration", lambda x, y: (x[:0], y[:0]), "calibration: images have shape"),
        ("train", lambda x, y: (x.astype(np.float64), y), "images are float64"),
        ("validation", with_nan, "validation: 1 image values are NaN"),
        ("train", lambda x, y: (x, y.astype(np.int32)), "labels are int32"),
        ("train", lambda x, y: (x, y[:-1]), r"expected int64 of shape \(96,\)"),
        ("test", lambda x, y: (x, y + 1), "labels run from 1 to 4; expected 0 to 3"),
        ("train", lambda x, y: (x, y - 1), "labels run from -1 to 2"),
        ("train", lambda x, y: (x, np.minimum(y, 2)), r"no sample of class 3 \(se\)"),
    ],
)
def test_faults_of_the_data_are_named(
    part: str, change: Callable[..., tuple[np.ndarray, np.ndarray]], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        check(changed(part, change))


@pytest.mark.parametrize("values", [{"mean": (0.1, 0.2)}, {"std": (0.0,)}])
def test_wrong_statistics_are_refused(values: dict[str, tuple[float, ...]]) -> None:
    with pytest.raises(UsageError, match="one value per channel"):
        check(dataclasses.replace(quadrants(), **values))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"name": "mnist"}, "did you mean 'mnist5k'"),
        ({"name": "mnist5k", "options": {"size": 3}}, "unknown key 'size'"),
        ({"factory": f"{__name__}:no_data"}, "returned list, not an edgekd.train.dataset.DataSet"),
    ],
)
def test_faults_of_a_specification_are_named(spec: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load(DataSpec.model_validate(spec))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"train": iter([(0, 0)])}, "train: got list_iterator instead of an edgekd.train.dataset.Split; collect"),
        ({"test": Split([[0]], [0])}, "test: inputs are list; expected a numpy array"),  # type: ignore[arg-type]
        ({"class_names": "abcd"}, "class_names is str; expected a tuple"),
        ({"mean": np.zeros(1)}, "mean is ndarray; expected a tuple"),
        ({"class_names": ("only",)}, "class_names has 1 entries; a classifier needs at least two"),
        ({"mean": (float("nan"),)}, "one value per channel"),
        ({"std": (float("nan"),)}, "one value per channel"),
    ],
)
def test_what_only_looks_like_a_data_set_is_refused(values: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check(dataclasses.replace(quadrants(), **values))  # type: ignore[arg-type]
