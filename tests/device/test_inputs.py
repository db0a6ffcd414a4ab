from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekd.device.inputs import refuse_misfit, rotation, samples
from edgekd.runtime.session import Port

IDS, MASK = Port("ids", "int64", (None, 4)), Port("mask", "float32", (None, 4))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Inputs of two ports, 5 samples each; their names sort as the engine's inputs do."""
    np.save(tmp_path / "1-mask.npy", np.ones((5, 4), np.float32))
    np.save(tmp_path / "0-ids.npy", np.arange(20).reshape(5, 4))
    (tmp_path / "README").touch()
    return tmp_path


def test_a_folder_gives_an_array_per_input_with_its_own_type(folder: Path) -> None:
    batches = rotation(str(folder), 2)
    assert [[(a.dtype.name, a.shape) for a in batch] for batch in batches] == [
        [("int64", (2, 4)), ("float32", (2, 4))]
    ] * 2
    assert batches[1][0][0, 0] == 8
    refuse_misfit(batches[0], [IDS, MASK])


def test_one_file_is_one_input(folder: Path) -> None:
    assert [[a.shape for a in batch] for batch in rotation(str(folder / "0-ids.npy"), 5)] == [[(5, 4)]]
    assert len(rotation(str(folder / "0-ids.npy"), 1, limit=3)) == 3


def test_what_cannot_be_eaten_is_refused_with_its_name(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"input 'ids' was given as float32, the engine wants int64"):
        refuse_misfit([np.ones((1, 4), np.float32)] * 2, [IDS, MASK])
    with pytest.raises(ValueError, match=r"takes 2 inputs \('ids', 'mask'\), 1 were given"):
        refuse_misfit([np.ones((1, 4), np.int64)], [IDS, MASK])
    with pytest.raises(ValueError, match="holds 5 samples, one batch of 6"):
        rotation(str(folder), 6)
    np.save(folder / "2-more.npy", np.ones((3, 4)))
    with pytest.raises(ValueError, match=r"2-more.npy has 3 samples"):
        samples(str(folder))
    (folder / "empty").mkdir()
    with pytest.raises(ValueError, match=r"holds no .npy file"):
        samples(str(folder / "empty"))
