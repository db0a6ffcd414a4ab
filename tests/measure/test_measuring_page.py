"""The examples of docs/measuring.md, run as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.measure.tiny_engines import write_inputs, write_onnx

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "docs/measuring.md").read_text(encoding="utf-8"), flags=re.S)


def test_the_examples_run_without_torch_and_tell_the_lighter_engine(tmp_path: Path) -> None:
    write_onnx(tmp_path / "new.onnx", layers=2, channels=16)
    write_onnx(tmp_path / "old.onnx", layers=8, channels=16)
    write_inputs(tmp_path / "inputs.npy")
    needs_none = "\nimport sys\nassert 'torch' not in sys.modules and 'onnx' not in sys.modules\n"
    (tmp_path / "examples.py").write_text("\n".join(EXAMPLES) + needs_none)
    answer = subprocess.run(
        [sys.executable, "examples.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    ratios, doubts, memory, verdict = answer.stdout.splitlines()
    assert float(ratios.split()[0]) < 0.8
    assert doubts.startswith("[")
    assert len(re.findall(r"\d[\d.]* \[", memory)) == 3  # peak, load and steady
    assert verdict.startswith(("met: new/", "not trustworthy: new/"))
