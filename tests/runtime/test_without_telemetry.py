from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_openvino_neither_reports_nor_writes_to_the_home_folder(tmp_path: Path) -> None:
    code = (
        "import sys; from edgekd.runtime.without_telemetry import openvino; package = openvino();"
        "assert package.Core().available_devices and callable(package.convert_model);"
        "assert 'openvino_telemetry' not in sys.modules and openvino() is package"
    )
    root = Path(__file__).resolve().parents[2]
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=root, env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    )
    assert list(tmp_path.iterdir()) == []
