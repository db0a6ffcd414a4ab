"""The gate beside other work: how often it decides, and how often wrongly, while a load comes and goes at random.

    python -m tools.study_load [--gates 40] [--seed 0]

Three networks of equal layers: the baseline has 40, the good one 38, the bad one 42, so that the two stand 5 % below
and 5 % above the limit (`latency_ratio` 1.0) by construction. Each gate holds one of the two, drawn at random, against
the baseline, while one or two processes that do nothing but compute are started and stopped, each after a random time.
At the end both are gated once more without load, to see that they are what they are meant to be. Exit code 1 when a
verdict was wrong or fewer than 70 % were conclusive.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekd.budget import Budget
from edgekd.gate.report import GateReport
from edgekd.gate.session import gate
from tests.measure.tiny_engines import write_onnx

LAYERS = {"baseline": 40, "good": 38, "bad": 42}
CHANNELS = 48
RIGHT = {"good": "met", "bad": "missed"}
MEAN_SECONDS_OF_A_PHASE = 4.0
_COMPUTE = "x = 1.0\nwhile True: x = x * 1.0000001 % 3"


@contextmanager
def load_at_random(chance: random.Random) -> Iterator[None]:
    """Let one or two processes compute and stop again, at random times, until the end."""
    over = threading.Event()

    def drive() -> None:
        while not over.is_set():
            over.wait(chance.expovariate(1 / MEAN_SECONDS_OF_A_PHASE))
            busy = [subprocess.Popen([sys.executable, "-c", _COMPUTE]) for _ in range(chance.randint(1, 2))]
            over.wait(chance.expovariate(1 / MEAN_SECONDS_OF_A_PHASE))
            for process in busy:
                process.kill()
                process.wait()

    thread = threading.Thread(target=drive)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def held(folder: Path, name: str) -> GateReport:
    """Gate one of the networks against the baseline."""
    return gate(
        str(folder / f"{name}.onnx"),
        Budget(latency_ratio=1.0),
        baseline=str(folder / "baseline.onnx"),
        runtime="onnxruntime",
        raw=folder / "raw",
    )


def main() -> int:
    """Run the study and print one line a gate, then the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gates", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    chance = random.Random(asked.seed)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name, layers in LAYERS.items():
            write_onnx(folder / f"{name}.onnx", layers=layers, channels=CHANNELS, shape=(1, 16, 16))
        found: list[tuple[str, str]] = []
        with load_at_random(random.Random(asked.seed + 1)):
            for number in range(asked.gates):
                name = chance.choice(("good", "bad"))
                begin = time.monotonic()
                report = held(folder, name)
                found.append((name, report.verdict.status))
                print(f"{number + 1:3} {name:4} {time.monotonic() - begin:5.1f} s  {report.verdict.line()}", flush=True)
        quiet = {name: held(folder, name) for name in RIGHT}
    conclusive = [(name, status) for name, status in found if status != "not trustworthy"]
    wrong = sum(status != RIGHT[name] for name, status in conclusive)
    share = len(conclusive) / len(found)
    for name, report in quiet.items():
        print(f"without load: {name}: {report.verdict.line()}")
    print(f"{len(found)} gates: {wrong} wrong, {len(conclusive)} conclusive ({share:.0%})")
    return int(wrong > 0 or share < 0.7)


if __name__ == "__main__":
    sys.exit(main())
