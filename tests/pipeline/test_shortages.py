"""Disks that fill up, folders that cannot be written, memory that ends: one sentence, its exit code, nothing lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.pipeline.test_resume import built
from tests.tmpfs import Tmpfs

Answer = subprocess.CompletedProcess[str]


def compress(folder: Path, *options: str, cache: Path | None = None) -> Answer:
    command = [sys.executable, "-m", "edgekd.cli.main", "compress", "--smoke", "--quiet", "--run-folder", str(folder)]
    environment = {**os.environ, **({"EDGEKD_CACHE": str(cache)} if cache else {})}
    return subprocess.run([*command, *options], capture_output=True, text=True, check=False, env=environment)


def sentence(answer: Answer) -> str:
    """Return the error of a run; the notes after it say which stage it was."""
    assert "Traceback" not in answer.stderr
    said = [line for line in answer.stderr.splitlines() if line.startswith("edgekd: ")]
    assert len(said) == 1, answer.stderr
    return said[0].removeprefix("edgekd: ")


def unfinished(run: Run, folder: Path, *stages: str) -> Path:
    """Copy a finished run as it was before these stages; the raw measurements stay, and are replayed."""
    shutil.copytree(run.folder, folder, ignore=shutil.ignore_patterns("bundle", "run.json", "test"))
    for stage in stages:
        shutil.rmtree(next(folder.glob(f"stages/*-{stage}")))
    return folder


def size(folder: Path) -> int:
    """Return the bytes a folder takes in pages of 4 KiB."""
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in folder.rglob("*") if path.is_file())


@dataclass(frozen=True)
class Story:
    """A run whose disk was full, then read-only, then large enough."""

    folder: Path
    full: Answer
    between: dict[str, tuple[str, list[tuple[str, float]]]]
    read_only: Answer
    resumed: Answer


@pytest.fixture
def story(smoke: Run, tmpfs: Tmpfs) -> Story:
    folder = unfinished(smoke, tmpfs.mount(64 << 20) / "run", "quantize", "export", "measure")
    tmpfs.remount(f"size={size(folder) + (300 << 10)}")
    full = compress(folder)
    between = built(folder)
    tmpfs.remount("ro")
    read_only = compress(folder)
    tmpfs.remount("rw,size=64m")
    return Story(folder, full, between, read_only, compress(folder))


def test_a_full_disk_ends_with_a_sentence_and_the_run_goes_on_when_there_is_space(story: Story, smoke: Run) -> None:
    assert story.full.returncode == 8, story.full.stderr
    assert f"no space left on the disk of {story.folder}" in sentence(story.full)
    assert "free some" in sentence(story.full)
    assert "failed; finished before it: search, teacher, distill, prune" in story.full.stderr
    whole = built(smoke.folder)
    assert story.between
    assert all(whole[key] == found for key, found in story.between.items()), "what was finished is not damaged"
    assert story.read_only.returncode == 2, story.read_only.stderr
    assert sentence(story.read_only) == (
        f"{story.folder} cannot be written: Read-only file system; give another --run-folder"
    )
    assert story.resumed.returncode in {0, 5}, story.resumed.stderr  # a busy machine may spoil the measurement
    assert built(story.folder) == whole
    assert list(story.folder.rglob("*.unfinished")) == []


def test_a_cache_that_cannot_be_written_is_named(smoke: Run, tmp_path: Path, tmpfs: Tmpfs) -> None:
    folder = unfinished(smoke, tmp_path / "run", "teacher", "distill", "prune", "quantize", "export", "measure")
    cache = tmpfs.mount(1 << 20)
    tmpfs.remount("ro")
    answer = compress(folder, cache=cache)
    assert answer.returncode == 2, answer.stderr
    assert sentence(answer) == f"{cache} cannot be written: Read-only file system; give another EDGEKD_CACHE"


_LIMITED = """
import resource, sys
import edgekd.pipeline.loop
from edgekd.cli.main import main
limit = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() + (600 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
main()
"""


def test_a_limit_of_memory_ends_with_a_sentence_and_nothing_is_lost(smoke: Run, tmp_path: Path) -> None:
    folder = unfinished(smoke, tmp_path / "run")
    options = ["--smoke", "--run-folder", str(folder), "--set", "stages.teacher.batch=2500"]
    command = [sys.executable, "-c", _LIMITED, "compress", *options]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 8, answer.stderr
    assert sentence(answer) == "stage 'teacher' ran out of memory; a smaller batch in the recipe needs less"
    mended = compress(folder)
    assert mended.returncode in {0, 5}, mended.stderr
    assert built(folder) == built(smoke.folder)


@pytest.mark.slow
def test_a_disk_that_is_full_at_every_stage_loses_nothing(smoke: Run, tmpfs: Tmpfs) -> None:
    disk, room = tmpfs.mount(300 << 10), 300 << 10
    folder, cache = disk / "run", disk / "cache"
    codes, stages = [8], set()
    while codes[-1] == 8:
        tmpfs.remount(f"size={room}")
        answer = compress(folder, cache=cache)
        codes.append(answer.returncode)
        if answer.returncode == 8:
            assert str(disk) in sentence(answer)
            stages |= {line.split("'")[1] for line in answer.stderr.splitlines() if line.startswith("stage '")}
        room += 700 << 10
    assert codes[-1] in {0, 5}, answer.stderr
    assert len(stages) >= 5, stages
    assert built(folder) == built(smoke.folder)
    assert list(disk.rglob("*.unfinished")) == []
