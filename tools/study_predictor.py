"""Judges a kernel profile on networks it has not seen: `python -m tools.study_predictor FOLDER [--measured FILE]`.

Writes real topologies (tools/topologies) into FOLDER, measures each in fp32 and int8 on every profiled runtime in three
passes, as ratio to an anchor measured before and after it, and compares their median with what the profile predicts.
How far a single pass is from that median stands beside it: nothing could do better. With --measured the figures of an
earlier run are judged again, with no measuring. Exits with 1 when a goal is missed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
from scipy import stats

from edgekd import target as targets
from edgekd.connection.connection import local
from edgekd.connection.lock import measurement_lock
from edgekd.export.backend import BACKENDS
from edgekd.fuse.fusion import rules
from edgekd.kernel import KernelProfile
from edgekd.kernels.bench import Bench
from edgekd.measure import machine
from edgekd.onnx_graph.graph import read
from edgekd.predict import known
from edgekd.predict.latency import LatencyModel
from tools.topologies import topologies
from tools.topologies.__main__ import write

SCHEMES = {"fp32": "onnx", "int8": "int8.onnx"}
WITHIN = 0.10
SERIES_S = 0.1
GOALS = {"within": 0.90, "spearman": 0.98, "covered": 0.90}


@dataclass(frozen=True)
class Row:
    """One engine: milliseconds at the anchor's pace of the profile."""

    name: str
    scheme: str
    runtime: str
    measured_ms: float
    passes_ms: tuple[float, ...]
    predicted_ms: float
    lower_ms: float
    upper_ms: float

    @property
    def error(self) -> float:
        """Return predicted / measured - 1."""
        return self.predicted_ms / self.measured_ms - 1


def measured(folder: Path, names: list[str], runtimes: list[str], passes: int) -> dict[str, list[float]]:
    """Return by name/scheme/runtime the latency over that of the anchor before and after it, of every pass."""
    found: dict[str, list[float]] = {}
    with measurement_lock(), local() as connection, Bench(connection) as bench:
        for number in range(passes):
            with click.progressbar(names[:: -1 if number % 2 else 1], label="measuring", show_pos=True) as bar:
                for name, runtime in product(bar, runtimes):
                    bench.pace(runtime)
                    files = {scheme: folder / f"{name}.{suffix}" for scheme, suffix in SCHEMES.items()}
                    ms = {s: bench.time(runtime, built(file, runtime), SERIES_S).ms for s, file in files.items()}
                    bench.pace(runtime)
                    around = median(bench.anchors[runtime][-2:])
                    for scheme in SCHEMES:
                        found.setdefault(f"{name}/{scheme}/{runtime}", []).append(ms[scheme] / around)
    return found


def built(file: Path, runtime: str) -> Path:
    """Return the engine of a network, built once."""
    place = file.with_suffix(".engines")
    if runtime == "onnxruntime":
        return file
    if not (place / runtime).is_dir():
        place.mkdir(exist_ok=True)
        BACKENDS.get(runtime)().build(file, place)
    return place / runtime


def rows(profile: KernelProfile, folder: Path, ratios: dict[str, list[float]]) -> list[Row]:
    """Return what was measured beside what the profile predicts."""
    models = {runtime: LatencyModel(profile, runtime) for runtime in profile.fits}
    fusions = rules(profile.fits, profile.isa)
    graphs: dict[Path, Any] = {}
    found = []
    for key, passes in ratios.items():
        name, scheme, runtime = key.split("/")
        file = folder / f"{name}.{SCHEMES[scheme]}"
        if file not in graphs:
            graphs[file] = read(file)
        usual = profile.anchor_ms[runtime]
        latency = models[runtime].predicted(fusions[runtime].kernels(graphs[file])).latency
        figures = (latency.value, latency.lower or 0.0, latency.upper or np.inf)
        ms = tuple(ratio * usual for ratio in passes)
        found.append(Row(name, scheme, runtime, median(ms), ms, *figures))
    return found


def judged(found: list[Row]) -> dict[str, float]:
    """Return the shares within ten per cent and within the interval, the rank correlation and the noise."""
    errors = np.array([row.error for row in found])
    truth = np.array([row.measured_ms for row in found])
    passes = np.array([row.passes_ms for row in found])
    noise = passes / truth[:, None] - 1
    return {
        "within": float(np.mean(np.abs(errors) <= WITHIN)),
        "median_error": float(np.median(np.abs(errors))),
        "bias": float(np.median(errors)),
        "spearman": float(stats.spearmanr([row.predicted_ms for row in found], truth)[0]),
        "covered": float(np.mean([row.lower_ms <= row.measured_ms <= row.upper_ms for row in found])),
        "width": float(np.median([row.upper_ms / row.predicted_ms - 1 for row in found])),
        "noise_within": float(np.mean(np.abs(noise) <= WITHIN)),
        "noise": float(np.median(np.abs(noise))),
        "noise_spearman": float(np.mean([stats.spearmanr(one, truth)[0] for one in passes.T])),
    }


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--profile", "profile_file", type=click.Path(path_type=Path), default=None)
@click.option("--measured", "measured_file", type=click.Path(path_type=Path), default=None)
@click.option("--passes", default=3, show_default=True, help="How often everything is measured.")
@click.option("--names", default="", help="Some of the topologies, with commas. Default: all.")
@click.option("--worst", default=12, show_default=True, help="How many of the worst predictions to list.")
def main(
    folder: Path, profile_file: Path | None, measured_file: Path | None, *, passes: int, names: str, worst: int
) -> None:
    """Print the study."""
    device = targets.load("host", machine.host_target())
    profile = known.load(profile_file or known.required(device))
    chosen = names.split(",") if names else list(topologies())
    write(folder, chosen)
    if measured_file is not None and measured_file.is_file():
        ratios = json.loads(measured_file.read_text(encoding="utf-8"))
    else:
        ratios = measured(folder, chosen, sorted(profile.fits), passes)
        if measured_file is not None:
            measured_file.write_text(json.dumps(ratios, indent=1), encoding="utf-8")
    found = rows(profile, folder, {key: value for key, value in ratios.items() if key.split("/")[0] in chosen})
    keys = sorted({(row.scheme, row.runtime) for row in found})
    reports = {f"{s}/{r}": judged([row for row in found if (row.scheme, row.runtime) == (s, r)]) for s, r in keys}
    reports["all"] = judged(found)
    print(f"{len(chosen)} networks, profile of {profile.machine['seconds']:.0f} s, {len(profile.probes)} probes")
    print(f"{'':18} within 10 %  median error (bias)  Spearman  covered (reach)  | one pass against all: the same")
    for name, it in reports.items():
        print(
            f"{name:18} {it['within']:10.1%}  {it['median_error']:10.1%} ({it['bias']:+.1%})  {it['spearman']:8.3f}"
            f"  {it['covered']:7.1%} (+{it['width']:.0%})  | {it['noise_within']:.1%}, {it['noise']:.1%}, "
            f"{it['noise_spearman']:.4f}"
        )
    for row in sorted(found, key=lambda row: -abs(np.log(row.predicted_ms / row.measured_ms)))[:worst]:
        print(
            f"  {row.name}/{row.scheme}/{row.runtime}: measured {row.measured_ms:.3g}, "
            f"predicted {row.predicted_ms:.3g} ({row.error:+.0%})"
        )
    if any(reports["all"][goal] < limit for goal, limit in GOALS.items()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
