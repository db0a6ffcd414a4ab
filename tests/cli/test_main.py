from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Iterator

import pytest

from edgekd.cli import main as command_line
from edgekd.errors import EdgekdError, ExportError


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    """`main` takes over two signals until its process ends; here the process goes on."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def _ends(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> object:
    """Return the exit code of a command that raises an error."""

    def fails(**_: object) -> None:
        raise error

    monkeypatch.setattr(command_line.cli, "main", fails)
    monkeypatch.setattr(sys, "argv", ["/bin/edgekd", "compress", "--run-folder", "my run"])
    with pytest.raises(SystemExit) as leaving:
        command_line.main()
    return leaving.value.code


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (MemoryError(), 8, "edgekd: this command ran out of memory; a smaller batch"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory"),
            8,
            "ran out of memory",
        ),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), 8, "found no space left on the disk of"),
        (
            OSError(errno.EROFS, os.strerror(errno.EROFS), "/there"),
            2,
            "/there: Read-only file system; give another",
        ),
        (
            PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/there"),
            2,
            "/there: Permission denied; give another",
        ),
        (EdgekdError("a fault"), 1, "edgekd: a fault"),
        (ExportError("refused"), 7, "edgekd: refused"),
        (KeyboardInterrupt(), 130, "interrupted; to resume: edgekd compress --run-folder 'my run'"),
        (SystemExit(143), 143, "terminated; to resume: edgekd compress --run-folder 'my run'"),
    ],
)
def test_every_error_has_its_exit_code_and_its_sentence(
    error: BaseException, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _ends(error, monkeypatch) == code
    told = capsys.readouterr().err
    assert said in told
    assert len(told.splitlines()) == 1
    assert "Traceback" not in told


def test_what_nobody_foresaw_is_told_with_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _ends(ZeroDivisionError("oh"), monkeypatch) == 1
    told = capsys.readouterr().err
    assert "Traceback" in told
    assert told.splitlines()[-1] == "edgekd: internal error; please report the lines above"
