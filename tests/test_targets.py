"""Every shipped target loads, names things that exist and cites its numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekd import catalogue, target
from edgekd.errors import UsageError
from edgekd.export.backend import BACKENDS
from edgekd.quantize.scheme import SCHEMES

EXACT = [n for n in catalogue.names("targets") if "same_as" not in catalogue.find("targets", n).read_text()]


@pytest.mark.parametrize("name", EXACT)
def test_target_file_is_sound(name: str) -> None:
    loaded = target.load(name)
    assert loaded.name == name
    assert set(loaded.runtimes) <= set(BACKENDS.names())
    assert set(loaded.schemes()) <= set(SCHEMES)
    assert set(loaded.channel_step) <= set(loaded.precisions)
    assert all(1 <= step.value <= 64 for step in loaded.channel_step.values())


def test_family_names_resolve_to_the_probed_machine() -> None:
    assert target.load("cpu", host="x86-avx2").name == "x86-avx2"
    assert target.load("host", host="x86-vnni").name == "x86-vnni"
    with pytest.raises(UsageError, match="did you mean 'x86-avx2'"):
        target.load("x86-avx")


def test_a_machine_matches_the_target_with_its_instruction_sets() -> None:
    assert target.matching("x86_64", frozenset({"avx2", "fma"})) == "x86-avx2"
    assert target.matching("x86_64", frozenset({"avx2", "fma", "vnni", "avx512_vnni"})) == "x86-vnni"
    assert target.matching("x86_64", frozenset({"sse2"})) is None
    assert target.matching("riscv64", frozenset({"avx2", "fma"})) is None


def test_a_number_without_a_source_is_refused(tmp_path: Path) -> None:
    own = tmp_path / "mine.yaml"
    text = catalogue.find("targets", "x86-avx2").read_text()
    own.write_text(text.replace("value: 8, source", "value: 8, sauce"))
    with pytest.raises(UsageError, match="sauce"):
        target.load(str(own))


def test_circles_of_aliases_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"same_as: {tmp_path / 'b.yaml'}\n")
    (tmp_path / "b.yaml").write_text(f"same_as: {tmp_path / 'a.yaml'}\n")
    with pytest.raises(UsageError, match="circle"):
        target.load(str(tmp_path / "a.yaml"))
