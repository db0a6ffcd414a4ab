"""What happens to the files of a bundle between two machines: one function a damage."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from hypothesis import strategies as st

FILES = ("manifest.json", "manifest.sha256", *(f"variants/fp32/model.{end}" for end in ("onnx", "xml", "bin")))


def _flip(draw: st.DrawFn, folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[draw(st.integers(0, len(content) - 1))] ^= 1 << draw(st.integers(0, 7))
    (folder / name).write_bytes(content)


def _truncate(draw: st.DrawFn, folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: draw(st.integers(0, len(content) - 1))])


def _extend(draw: st.DrawFn, folder: Path, name: str) -> None:
    more = draw(st.binary(min_size=1, max_size=100) | st.just(b"[" * 100_000))
    (folder / name).write_bytes((folder / name).read_bytes() + more)


def _swap(draw: st.DrawFn, folder: Path, name: str) -> None:
    other = draw(st.sampled_from([file for file in FILES if file != name]))
    mine, theirs = (folder / name).read_bytes(), (folder / other).read_bytes()
    (folder / name).write_bytes(theirs)
    (folder / other).write_bytes(mine)


def _delete(draw: st.DrawFn, folder: Path, name: str) -> None:
    (folder / name).unlink()


def _rename(draw: st.DrawFn, folder: Path, name: str) -> None:
    file = folder / name
    file.rename(file.with_name(draw(st.sampled_from(["x", ".hidden", f"{file.name}~", file.name.upper()]))))


def _folder_instead(draw: st.DrawFn, folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).mkdir()


def _link_instead(draw: st.DrawFn, folder: Path, name: str) -> None:
    """The same content, but it lies outside; or a link to nowhere, or to itself."""
    outside = folder.parent / "moved"
    shutil.copyfile(folder / name, outside)
    (folder / name).unlink()
    (folder / name).symlink_to(draw(st.sampled_from([outside, Path("/no/such/file"), folder / name])))


def _link_above(draw: st.DrawFn, folder: Path, name: str) -> None:
    """The folders with the files in them lie outside."""
    outside = folder.parent / "variants"
    shutil.rmtree(outside, ignore_errors=True)
    shutil.move(folder / "variants", outside)
    (folder / "variants").symlink_to(outside)


def _pipe_instead(draw: st.DrawFn, folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)


def _replace(draw: st.DrawFn, folder: Path, name: str) -> None:
    other = draw(
        st.sampled_from([b"{}", b"null", b"[]", b"0", b"\xff\xfe", b"{" * 50_000, b"[" * 50_000 + b"]" * 50_000])
    )
    (folder / name).write_bytes(other)


DAMAGES: tuple[Callable[[st.DrawFn, Path, str], None], ...] = (
    *(_flip, _flip, _flip, _truncate, _extend, _swap, _delete, _rename, _replace),
    *(_folder_instead, _link_instead, _link_above, _pipe_instead),
)
