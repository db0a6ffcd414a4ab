"""Imports OpenVINO without its usage reports: a plain `import openvino` writes to the home folder and calls out."""

from __future__ import annotations

import sys
from typing import Any

_REPORTER = "openvino_telemetry"


def openvino() -> Any:
    """Return the package openvino; its usage reports stay off unless somebody imported it before.

    Raises ImportError when it is not installed.
    """
    untouched = "openvino" not in sys.modules and _REPORTER not in sys.modules
    if untouched:
        sys.modules[_REPORTER] = None  # type: ignore[assignment]  # Python's way to say: cannot be imported
    try:
        import openvino as package
    finally:
        if untouched:
            del sys.modules[_REPORTER]
    return package
