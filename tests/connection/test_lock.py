from __future__ import annotations

from pathlib import Path

import pytest

from edgekd.connection.lock import measurement_lock
from edgekd.errors import MeasurementError


def test_a_second_measurement_waits_and_then_gives_up(tmp_path: Path) -> None:
    with (
        measurement_lock(folder=tmp_path),
        pytest.raises(MeasurementError, match="another measurement"),
        measurement_lock(timeout_s=0.2, folder=tmp_path),
    ):
        pass


def test_the_lock_is_free_after_a_failure(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), measurement_lock(folder=tmp_path):
        raise RuntimeError
    with measurement_lock(timeout_s=0, folder=tmp_path):
        pass
