from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgekd.disk import clear, scratch, whole_file, whole_folder
from edgekd.errors import ResourceError
from tests.tmpfs import Tmpfs


def test_a_file_appears_whole_and_an_error_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    with whole_file(path) as unfinished:
        unfinished.write_text("old")
        assert not path.exists()
    with pytest.raises(ValueError, match="half"), whole_file(path) as unfinished:
        raise ValueError(f"half {unfinished.write_text('ne')}")
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_a_folder_replaces_the_old_one_with_all_that_was_in_it(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    for name in ("first", "second"):
        with whole_folder(path) as unfinished:
            (unfinished / "inner").mkdir()
            (unfinished / "inner" / name).write_text(name)
    assert [p.name for p in path.rglob("*")] == ["inner", "second"]
    with pytest.raises(ValueError, match="half"), whole_folder(path) as unfinished:
        raise ValueError("half")
    assert (path / "inner" / "second").read_text() == "second"
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_a_file_in_the_way_of_a_folder_goes(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("a file")
    with whole_folder(tmp_path / "x") as unfinished:
        (unfinished / "y").write_text("y")
    assert (tmp_path / "x" / "y").read_text() == "y"


def test_what_is_written_has_the_permissions_the_user_asks_for(tmp_path: Path) -> None:
    with whole_file(tmp_path / "file") as unfinished:
        unfinished.write_text("shared")
    (tmp_path / "plain").write_text("shared")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


_WRITER = """
import sys, time
from pathlib import Path
from edgekd.disk import whole_folder
with whole_folder(Path(sys.argv[1])) as unfinished:
    (unfinished / "half").write_text("half")
    print("writing", flush=True)
    sys.stdin.readline()
"""


def _writer(path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _WRITER, str(path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


def test_what_a_killed_process_left_goes_and_what_a_living_one_writes_stays(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "folder"
    dead, living = _writer(path), _writer(path)
    dead.send_signal(signal.SIGKILL)
    dead.communicate()
    assert len(list(path.parent.iterdir())) == 2
    clear(tmp_path)
    assert len(list(path.parent.iterdir())) == 1
    with whole_folder(path) as unfinished:
        (unfinished / "mine").write_text("mine")
    assert len(list(path.parent.iterdir())) == 2, "the living process still writes"
    living.communicate("go on\n")
    assert living.returncode == 0
    assert [p.relative_to(path.parent).as_posix() for p in path.parent.rglob("*")] == ["folder", "folder/half"]


def test_the_next_writer_clears_what_a_killed_one_left(tmp_path: Path) -> None:
    dead = _writer(tmp_path / "folder")
    dead.kill()
    dead.communicate()
    with whole_folder(tmp_path / "folder"):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_scratch_is_gone_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with scratch("engine") as folder:
        (folder / "part").write_text("part")
        assert folder.parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_file_and_no_rubbish(tmpfs: Tmpfs) -> None:
    path = tmpfs.mount(256 << 10) / "file"
    with whole_file(path) as unfinished:
        unfinished.write_text("old")
    sentence = f"no space left on the disk of {path.parent} to write file; free some"
    with pytest.raises(ResourceError, match=sentence), whole_file(path) as unfinished:
        unfinished.write_bytes(b"x" * (1 << 20))
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["file"]
