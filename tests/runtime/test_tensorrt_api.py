"""Every call of TensorRT's API is one that TensorRT 10 and TensorRT 11 have."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import check_tensorrt


@pytest.mark.parametrize("major", check_tensorrt.BINDINGS)
def test_every_call_exists_and_one_that_does_not_is_found(major: str, tmp_path: Path) -> None:
    version = check_tensorrt.stubs(major, tmp_path)
    assert version.startswith(f"{major}.")
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "import tensorrt as trt\n\n\n"
        "def built(builder: trt.Builder, network: trt.INetworkDefinition, config: trt.IBuilderConfig) -> None:\n"
        "    builder.build_cuda_engine(network)\n"
        "    config.max_workspace_size = 1\n"
    )
    modules = [check_tensorrt.ROOT / module for module in check_tensorrt.MODULES]
    said = check_tensorrt.checked([*modules, wrong], tmp_path).splitlines()
    errors = [line for line in said if ": error: " in line]
    assert [line.partition("has no attribute ")[2].split()[0].strip('";') for line in errors] == [
        "build_cuda_engine",
        "max_workspace_size",
    ]
