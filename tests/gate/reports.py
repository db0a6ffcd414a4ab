"""Gate reports made up of what a test wants to see printed."""

from __future__ import annotations

from typing import Any

from edgekd.budget import OperatingPoint
from edgekd.errors import ExitCode
from edgekd.figure import Figure
from edgekd.gate.report import GateReport, Measured
from edgekd.report import Check, Status, Verdict

CODES: dict[str, ExitCode] = {
    "met": ExitCode.MET,
    "missed": ExitCode.BUDGET_MISSED,
    "not trustworthy": ExitCode.NOT_TRUSTWORTHY,
}


def figure(name: str, value: float, **changes: Any) -> Figure:
    """Return a figure of eleven processes on this host with bounds 2 % around it."""
    bounds = {"lower": 0.98 * value, "upper": 1.02 * value, "confidence": 0.994, "samples": 11}
    return Figure(name=name, value=value, **{"origin": "host", **bounds, **changes})


def check(name: str, limit: float, value: float, status: Status = "met", sentence: str = "") -> Check:
    """Return one limit held against `value`."""
    said = sentence or f"{name} is {value:g}, limit {limit:g}"
    return Check(limit_name=name, limit=limit, figure=figure(name, value), status=status, sentence=said)


def report(*checks: Check, status: Status = "met", reasons: tuple[str, ...] = (), **changes: Any) -> GateReport:
    """Return the report of a gate on `model.onnx` against `main.onnx`."""
    found = checks or (check("latency_ratio", 1.05, 0.97),)
    latencies = figure("latency_ms_p90", 1.94), figure("latency_ms_p90", 2.0)
    subject = Measured(key="model/fp32/onnxruntime", path="model.onnx", digest="d" * 64, figures=latencies[:1])
    baseline = Measured(key="main/fp32/onnxruntime", path="main.onnx", digest="e" * 64, figures=latencies[1:])
    values = {
        "subject": subject,
        "baseline": baseline,
        "operating_point": OperatingPoint(),
        "percentile": 90.0,
        "inputs": "random (none were given)",
        "processes": 11,
        "seconds": 12.5,
        "finished_at": "2026-01-02T03:04:05+00:00",
        "machine": {"cpu": "a processor", "cores": 2, "state": {"governor": ["performance"], "affinity": [0, 1, 3]}},
        "versions": {"onnxruntime": "1.2.3", "numpy": "2.0"},
        "raw": ("raw/latency.jsonl",),
        **changes,
    }
    key = values["subject"].key
    verdict = Verdict(status=status, exit_code=CODES[status], engine=key, checks=found, reasons=reasons)
    return GateReport(verdict=verdict, **values)
