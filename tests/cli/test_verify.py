"""`edgekd verify`: a whole bundle is told from a damaged one, and the damaged file is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgekd import bundle
from tests import bundles
from tests.cli.test_commands import edgekd


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles.written(tmp_path_factory.mktemp("bundle"))


def test_a_whole_bundle_says_what_it_holds(folder: Path) -> None:
    answer = edgekd("verify", str(folder))
    assert answer.returncode == 0, answer.stderr
    lines = answer.stdout.splitlines()
    assert lines[0] == "small for here: float32 3 x 8 x 8 in, 5 classes out"
    assert lines[1] == "  openvino, pruned in fp32, chosen: variants/fp32/model.xml"
    assert "    latency_ms_p90 1.5 (n=11)" in lines
    assert lines[-1].startswith("whole: 3 files, ")
    assert json.loads(edgekd("verify", str(folder), "--json").stdout) == bundle.read(folder).plain()


@pytest.mark.parametrize("name", ["manifest.json", "variants/fp32/model.bin"])
@pytest.mark.parametrize("damage", ["flip", "remove"])
def test_damage_ends_with_two_and_names_the_file(folder: Path, name: str, damage: str) -> None:
    whole = (folder / name).read_bytes()
    try:
        if damage == "flip":
            (folder / name).write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
        else:
            (folder / name).unlink()
        answer = edgekd("verify", str(folder))
    finally:
        (folder / name).write_bytes(whole)
    assert answer.returncode == 2
    assert name in answer.stderr
    assert answer.stdout == ""
    assert "Traceback" not in answer.stderr
    assert edgekd("verify", str(folder)).returncode == 0


def test_a_file_nobody_vouches_for_is_named(folder: Path) -> None:
    stranger = folder / "notes.txt"
    stranger.touch()
    try:
        answer = edgekd("verify", str(folder))
    finally:
        stranger.unlink()
    assert answer.returncode == 2
    assert "notes.txt" in answer.stderr


def test_what_is_no_bundle_is_called_so(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nothing"):
        answer = edgekd("verify", str(place))
        assert answer.returncode == 2
        assert "is not a bundle" in answer.stderr
