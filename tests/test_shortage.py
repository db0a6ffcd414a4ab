from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from edgekd.errors import EdgekdError, ExportError, MeasurementError, ResourceError, UsageError
from edgekd.shortage import disk_is_full, memory_is_out, shortage
from tests.tmpfs import Tmpfs


def _fill_by_numpy(folder: Path) -> None:
    np.save(folder / "x.npy", np.zeros(1 << 18))


def _fill_by_safetensors(folder: Path) -> None:
    save_file({"x": torch.zeros(1 << 18)}, folder / "x.safetensors")


def _fill_by_onnx(folder: Path) -> None:
    import onnx_ir as ir

    tensor = ir.Value(name="x", const_value=ir.tensor(np.zeros(1 << 18), name="x"))
    graph = ir.Graph([], [], nodes=[], initializers=[tensor], opset_imports={"": 18}, name="x")
    ir.save(ir.Model(graph, ir_version=10), folder / "x.onnx")


def _fill_by_openvino(folder: Path) -> None:
    import openvino
    from openvino import opset13

    weights = opset13.constant(np.zeros((1, 1 << 18), np.float32))
    source = opset13.parameter([1, 1 << 18], np.float32)
    openvino.save_model(openvino.Model([opset13.add(source, weights)], [source]), folder / "x.xml", False)


@pytest.mark.parametrize("fill", [_fill_by_numpy, _fill_by_safetensors, _fill_by_onnx, _fill_by_openvino])
def test_a_full_disk_is_known_by_whatever_a_library_raises(fill: Callable[[Path], None], tmpfs: Tmpfs) -> None:
    folder = tmpfs.mount(128 << 10)
    with pytest.raises((OSError, RuntimeError, SafetensorError)) as caught:
        fill(folder)
    told = shortage(caught.value, {"--run-folder": folder, "EDGEKD_CACHE": Path.cwd()}, "stage 'x'")
    assert isinstance(told, ResourceError)
    assert str(told).startswith(f"stage 'x' found no space left on the disk of {folder}; free some there")


def test_a_lack_of_memory_is_known_by_whatever_a_library_raises() -> None:
    for ask in (lambda: np.zeros(1 << 50, np.uint8), lambda: torch.zeros(1 << 50, dtype=torch.uint8)):
        with pytest.raises((MemoryError, RuntimeError)) as caught:
            ask()
        assert isinstance(shortage(caught.value, {}), ResourceError)
    assert memory_is_out(RuntimeError("std::bad_alloc"))
    assert memory_is_out(OSError(errno.ENOMEM, "Cannot allocate memory"))
    assert memory_is_out(MeasurementError("the measuring process of x refused: Failed to allocate memory for buffer"))


def _wrapped(inner: Exception, outer: Exception) -> Exception:
    outer.__cause__ = inner
    return outer


def test_what_hides_behind_another_error_is_found() -> None:
    assert disk_is_full(_wrapped(OSError(errno.ENOSPC, "x"), ExportError("cannot convert")))
    assert memory_is_out(_wrapped(MemoryError(), UsageError("the factory failed")))
    assert disk_is_full(SafetensorError("I/O error: No space left on device (os error 28)"))


@pytest.mark.parametrize(
    "error",
    [
        UsageError("unknown network 'out of memory'"),  # the user's own words
        ValueError("12 requested"),
        FileNotFoundError(errno.ENOENT, "x"),
        PermissionError(errno.EACCES, "Permission denied", "/somewhere/else"),
        ResourceError("said already"),
    ],
)
def test_all_else_is_left_alone(error: Exception, tmp_path: Path) -> None:
    assert shortage(error, {"--run-folder": tmp_path}) is None


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_folder_that_cannot_be_written_is_a_wrong_place(number: int, tmp_path: Path) -> None:
    error = OSError(number, os.strerror(number), str(tmp_path / "cache" / "teachers" / "x"))
    told = shortage(error, {"--run-folder": tmp_path / "run", "EDGEKD_CACHE": tmp_path / "cache"})
    assert isinstance(told, UsageError)
    assert str(told) == f"{tmp_path / 'cache'} cannot be written: {os.strerror(number)}; give another EDGEKD_CACHE"
    assert shortage(told, {"EDGEKD_CACHE": tmp_path / "cache"}) is None


_LIMITED = """
import resource, sys
import {library}
limit = {now} + (64 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
from edgekd.shortage import shortage
try:
    {ask}
except Exception as error:
    found = shortage(error, {{}})
    print(type(found).__name__, found)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="no disk to fill: no /proc to read sizes from")
@pytest.mark.parametrize(
    ("library", "ask"), [("numpy", "numpy.ones(1 << 28)"), ("torch", "torch.ones(1 << 28)"), ("json", "bytes(1 << 30)")]
)
def test_a_real_limit_of_memory_is_known(library: str, ask: str) -> None:
    now = 'int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()'
    code = _LIMITED.format(library=library, ask=ask, now=now)
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert re.match("ResourceError this command ran out of memory; a smaller batch", answer.stdout), answer.stderr


def test_the_errors_to_tell_end_with_documented_codes() -> None:
    told: list[EdgekdError | None] = [shortage(error, {}) for error in (MemoryError(), OSError(errno.ENOSPC, "x"))]
    assert [error.exit_code for error in told if error] == [8, 8]
