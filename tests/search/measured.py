"""Probes somebody else has measured: a machine on which a million multiplications take a millisecond."""

from __future__ import annotations

from edgekd.artifact import ArtifactSet
from edgekd.profile import EngineRecord, Profile
from edgekd.recipe import ModelSpec
from edgekd.schema import write_json
from edgekd.search.candidate import candidate
from edgekd.stage import Context


def probes(run: Context) -> ArtifactSet:
    """Return a profile in which a million multiplications take a millisecond."""
    records = []
    for name, widths in (("teacher", [16, 32, 48]), ("a", [16, 16, 16]), ("b", [16, 16, 64]), ("c", [32, 16, 32])):
        spec = ModelSpec(name="resnet", options={"depth": 8, "channels": widths})
        found = candidate(name, spec, (1, 12, 12), 4)
        ms = 0.01 + sum(kernel.macs for kernel in found.kernels) / 1e6
        for scheme, runtime in (("fp32", "openvino"), ("u8w8", "openvino")):
            records.append(
                EngineRecord(
                    network=name,
                    scheme=scheme,
                    runtime=runtime,
                    digest=name,
                    operating_point=run.recipe.budget.operating_point,
                    per_process={f"latency_ms_p{run.recipe.budget.percentile:g}": (ms,) * 3},
                    kernels=found.kernels,
                )
            )
    path = run.run_folder / "probes.json"
    write_json(Profile(target=run.target.name, origin="device", machine={}, records=tuple(records)), path)
    write_json(ModelSpec(name="resnet"), run.run_folder / "choice.json")
    return ArtifactSet(
        artifacts=(
            run.store(path, network="probes", format="profile", made_by="search"),
            run.store(run.run_folder / "choice.json", network="distilled", format="choice", made_by="search"),
        )
    )
