"""The anchor: the same network for ever, in the wheel, at work in every runtime."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from edgekd.measure import anchor
from edgekd.runtime.session import RUNTIMES, open_session
from tools import write_anchor

DIGEST = "6c4a84e6103a91da03762fedd398e00ad82beec60b6b2e05170a461fb2df8817"


def test_the_shipped_network_is_the_one_its_tool_writes() -> None:
    assert hashlib.sha256(anchor.FILE.read_bytes()).hexdigest() == DIGEST, "another network needs another NAME"
    assert write_anchor.content() == anchor.FILE.read_bytes()
    assert anchor.FILE.stat().st_size < 300_000


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_it_runs_and_keeps_the_size_of_what_flows_through(runtime: str, tmp_path: Path) -> None:
    engine = anchor.engine(runtime, tmp_path)
    assert engine.batch == 1
    inputs = np.load(engine.inputs)
    (found,) = open_session(runtime, str(engine.path)).run([inputs[:1]])
    assert found.shape == (1, write_anchor.WIDTH)
    assert 0.01 < np.abs(found).max() < 10
    assert anchor.engine(runtime, tmp_path).inputs == engine.inputs
