"""MLPerf LoadGen's single-stream scenario: a latency by somebody else's rules (Reddi et al. 2020, MLPerf Inference).

LoadGen (package mlcommons-loadgen) asks for one sample, waits for the answer and asks for the next; its figure is the
90th percentile, with its own early stopping. The samples are the inputs in rotation, in memory, as its rules want.
"""

from __future__ import annotations

import json
import os
import tempfile
from typing import Any, Dict

from .settle import settle
from .stream import Stream

LEAST_QUERIES = 1024
LEAST_MS = 1000
_MARK = ":::MLLOG "


def loadgen(request: Dict[str, Any]) -> Dict[str, Any]:
    """Run LoadGen for at least `least_queries` queries and `least_ms`.

    Returns `p90_ms`, whether LoadGen calls it `valid` and else its `invalid_reason`, `early_stopping_ms` (LoadGen's own
    upper estimate of the percentile, None when it had too few queries for one) and `queries`. Raises ImportError
    with the command when the package is missing.
    """
    try:
        import mlperf_loadgen as lg
    except ModuleNotFoundError as error:
        raise ImportError(
            "LoadGen needs the package 'mlcommons-loadgen', which is missing; run: pip install mlcommons-loadgen"
        ) from error
    stream = Stream(request)
    warm = settle(stream.run, request.get("least_s", 0.1), request.get("most_s", 30.0))

    def answer(queries: Any) -> None:
        stream.run()
        lg.QuerySamplesComplete([lg.QuerySampleResponse(query.id, 0, 0) for query in queries])

    settings = lg.TestSettings()
    settings.scenario = lg.TestScenario.SingleStream
    settings.mode = lg.TestMode.PerformanceOnly
    settings.min_query_count = request.get("least_queries", LEAST_QUERIES)
    settings.min_duration_ms = request.get("least_ms", LEAST_MS)
    # LoadGen draws its queries beforehand; told too long a latency it runs out of them and calls the result invalid.
    settings.single_stream_expected_latency_ns = max(int(warm["run_ms"] * 1e6 / 4), 1)
    system = lg.ConstructSUT(answer, lambda: None)
    library = lg.ConstructQSL(stream.count, stream.count, lambda _: None, lambda _: None)
    try:
        with tempfile.TemporaryDirectory(prefix="edgekd-loadgen-") as folder:
            _start(lg, system, library, settings, folder)
            return _result(os.path.join(folder, "mlperf_log_detail.txt"))
    finally:
        lg.DestroyQSL(library)
        lg.DestroySUT(system)


def _start(lg: Any, system: Any, library: Any, settings: Any, folder: str) -> None:
    output = lg.LogOutputSettings()
    output.outdir = folder
    output.copy_summary_to_stdout = False
    log = lg.LogSettings()
    log.log_output = output
    lg.StartTestWithLogSettings(system, library, settings, log)


def _result(path: str) -> Dict[str, Any]:
    found: Dict[str, Any] = {}
    with open(path, encoding="utf-8") as stream:
        for line in stream:
            if line.startswith(_MARK):
                entry = json.loads(line[len(_MARK) :])
                found[entry["key"]] = entry["value"]
    early = found.get("early_stopping_latency_ss")
    return {
        "p90_ms": found["result_90.00_percentile_latency_ns"] / 1e6,
        "valid": found["result_validity"] == "VALID",
        "invalid_reason": found.get("result_invalid_reason"),
        "early_stopping_ms": early / 1e6 if early else None,
        "queries": found["result_query_count"],
    }
