from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgekd.artifact import Artifact, ArtifactSet
from edgekd.errors import EdgekdError, UsageError
from edgekd.models.kernels import kernels, macs
from edgekd.prune.config import PruneConfig
from edgekd.prune.cut import Cut
from edgekd.prune.measured import MeasuredShare
from edgekd.prune.stage import PruneStage
from edgekd.quantize.drafts import Drafts
from edgekd.schema import read_json
from edgekd.stage import Context
from edgekd.train import checkpoint
from tests.distill.tiny_run import context, with_teacher
from tests.models import INPUT_SHAPE
from tests.prune.networks import network
from tests.prune.probes import add_probes, milliseconds

ROOT = Path(__file__).resolve().parents[2]
SHORT = {"epochs": 2, "batch": 32, "learning_rate": 0.02}


def stage(**options: Any) -> PruneStage:
    plain = {"channel_step": 4, "samples": 64, "recovery": SHORT, "between_epochs": 1}
    return PruneStage(PruneStage.Config.model_validate({**plain, **options}))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("prune")


@pytest.fixture(scope="module")
def artifacts(root: Path) -> ArtifactSet:
    return with_teacher(root)


@pytest.fixture(scope="module")
def probes(root: Path) -> Artifact:
    return add_probes(context(root, "search"))


def run(pruning: PruneStage, artifacts: ArtifactSet, where: Context) -> Artifact:
    pruning.requires(artifacts, where)
    done = pruning.run(artifacts, where)
    pruning.ensures(done, where)
    return done.newest(network="pruned", scheme="fp32", written_as="torch")


def value(artifact: Artifact, name: str) -> float:
    figure = artifact.figure(name)
    assert figure is not None, name
    return figure.value


def test_prunes_the_teacher_itself_and_recovers(artifacts: ArtifactSet, root: Path) -> None:
    where = context(root, "teacher-itself")
    pruned = run(stage(speedup=2, recovery={**SHORT, "epochs": 10}), artifacts, where)
    teacher = artifacts.newest(network="teacher")
    assert pruned.parents == (teacher.key,)
    assert value(pruned, "parameters") < 0.75 * value(teacher, "parameters")
    assert value(pruned, "macs") < 0.6 * value(teacher, "macs")
    assert value(pruned, "accuracy_percent") > value(pruned, "accuracy_percent_cut")
    assert value(pruned, "accuracy_percent") >= value(teacher, "accuracy_percent") - 10
    assert pruned.figure("latency_ms_p90") is None, "nothing was measured, so nothing is predicted"
    assert "head" in pruned.notes["fixed"]
    assert "->" in pruned.notes["widths"]
    kept = read_json(Cut, where.folder / "cut-01" / "cut.json").widths
    assert all(width % 4 == 0 for width in kept.values())


def test_engines_land_on_a_measured_speedup(
    artifacts: ArtifactSet, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares: list[float] = []

    def measured(share: MeasuredShare, network: nn.Module) -> float:
        """Measure on a machine on which a fifth of the latency is an overhead that no width changes."""
        work = [macs(kernels(model, INPUT_SHAPE)) for model in (network, share.whole)]
        shares.append(0.2 + 0.8 * work[0] / work[1])
        return shares[-1]

    monkeypatch.setattr(MeasuredShare, "__call__", measured)
    where = context(root, "landed")
    landing = stage(speedup=2, engines=3, recovery=None, channel_step=1, max_ratio=0.9)
    pruned = run(landing, artifacts, where)
    found = 0.2 + 0.8 * value(pruned, "macs") / value(artifacts.newest(network="teacher"), "macs")
    assert 2 <= len(shares) <= 3
    assert found in [pytest.approx(share) for share in shares]
    assert found == pytest.approx(0.5, rel=0.1)  # its channels are few
    assert f"measured {found:.3f}" in pruned.notes["landing"].partition(";")[0]
    run(landing, artifacts, where)
    assert len(shares) <= 3, "what is recorded is not measured again"


def test_a_share_is_measured_in_turns_with_the_whole_network(root: Path) -> None:
    where = context(root, "share")
    images = np.random.default_rng(0).normal(size=(4, *INPUT_SHAPE)).astype(np.float32)
    model = network("residual")
    share = MeasuredShare(Drafts(where, ("fp32",), images), model, processes=1)
    assert 0.2 < share(model) < 5
    assert sorted(path.name for path in (where.folder / "engines").iterdir()) == ["cut-1", "whole"]
    assert (where.folder / "cut-1.jsonl").is_file()


def test_engines_without_a_speedup_are_refused(artifacts: ArtifactSet, root: Path) -> None:
    with pytest.raises(UsageError, match="give a speedup, or leave engines out"):
        stage(engines=3).requires(artifacts, context(root, "no-speedup"))


def test_the_weights_that_stay_are_the_teachers(artifacts: ArtifactSet, root: Path) -> None:
    where = context(root, "weights")
    pruned = run(stage(speedup=1.3, recovery=None), artifacts, where)
    old = checkpoint.load(where.path(artifacts.newest(network="teacher")))
    new = checkpoint.load(where.path(pruned))
    kept = read_json(Cut, where.folder / "cut-01" / "cut.json").kept
    torch.testing.assert_close(new.head.weight, old.head.weight[:, list(kept["second"])])
    assert value(pruned, "accuracy_percent") == value(pruned, "accuracy_percent_cut") > 40


def test_a_fresh_process_loads_it_from_data_only(artifacts: ArtifactSet, root: Path, tmp_path: Path) -> None:
    where = context(root, "fresh")
    folder = where.path(run(stage(speedup=2, criterion="magnitude", allocator="uniform"), artifacts, where))
    assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors"}
    inputs = np.random.default_rng(0).normal(size=(3, *INPUT_SHAPE)).astype(np.float32)
    np.save(tmp_path / "inputs.npy", inputs)
    code = (
        "import sys, numpy as np, torch; from pathlib import Path; from edgekd.train import checkpoint; "
        "model = checkpoint.load(Path(sys.argv[1])); "
        "np.save(sys.argv[3], model(torch.from_numpy(np.load(sys.argv[2]))).detach().numpy())"
    )
    paths = [str(folder), str(tmp_path / "inputs.npy"), str(tmp_path / "outputs.npy")]
    subprocess.run([sys.executable, "-c", code, *paths], check=True, cwd=ROOT)
    with torch.no_grad():
        expected = checkpoint.load(folder)(torch.from_numpy(inputs)).numpy()
    assert np.array_equal(np.load(tmp_path / "outputs.npy"), expected)


def test_several_cuts_resume_to_the_same_weights(artifacts: ArtifactSet, root: Path) -> None:
    pruning = stage(speedup=2.5, steps=2)
    undisturbed = run(pruning, artifacts, context(root, "whole"))
    where = context(root, "killed")

    class Killed(RuntimeError):
        pass

    class Dying(type(where.progress)):  # type: ignore[misc]
        def task(self, title: str, total: int) -> Any:
            if title == "recover after pruning":
                raise Killed
            return super().task(title, total)

    with pytest.raises(Killed):
        pruning.run(artifacts, replace(where, progress=Dying()))
    first = read_json(Cut, where.folder / "cut-01" / "cut.json")
    resumed = run(pruning, artifacts, where)
    assert resumed.digest == undisturbed.digest
    second = read_json(Cut, where.folder / "cut-02" / "cut.json")
    assert sum(second.widths.values()) < sum(first.widths.values()) < 48


def test_the_budget_and_the_probes_say_how_far(artifacts: ArtifactSet, root: Path, probes: Artifact) -> None:
    limit = 0.95 * milliseconds(16)
    where = context(root, "budget", budget={"latency_ms": limit}, stages={"search": {}, "prune": {}})
    pruned = run(stage(channel_step=None, max_ratio=0.5, recovery=None), artifacts.add(probes), where)
    assert value(pruned, "latency_ms_p90") <= PruneConfig().margin * limit
    assert value(pruned, "speedup") >= 1.1
    assert "limit" not in pruned.notes


def test_what_the_last_round_measured_corrects_the_prediction(
    artifacts: ArtifactSet, root: Path, probes: Artifact
) -> None:
    limit = 1.1 * milliseconds(16)
    where = context(root, "corrected", budget={"latency_ms": limit}, stages={"search": {}, "prune": {}})
    pruning = stage(channel_step=16, max_ratio=0.5, recovery=None)
    together = artifacts.add(probes)
    assert pruning.run(together, where) == together, "fast enough by the prediction alone"
    slower = replace(where, folder=where.folder.with_name("slower"), correction=1.2)
    pruned = run(pruning, together, slower)
    assert 1.05 * milliseconds(8) < value(pruned, "latency_ms_p90") <= limit


def test_a_budget_out_of_reach_is_said_and_a_speedup_out_of_reach_is_refused(
    artifacts: ArtifactSet, root: Path, probes: Artifact
) -> None:
    where = context(root, "reach", budget={"latency_ms": 1e-3}, stages={"search": {}, "prune": {}})
    pruned = run(stage(max_ratio=0.5, recovery=None, criterion="magnitude"), artifacts.add(probes), where)
    assert "out of reach" in pruned.notes["limit"]
    with pytest.raises(UsageError, match="ask for a speedup of at most"):
        run(stage(speedup=50, max_ratio=0.5), artifacts, context(root, "far"))


def test_a_network_that_is_fast_enough_stays(artifacts: ArtifactSet, root: Path, probes: Artifact) -> None:
    where = context(root, "fast", budget={"latency_ms": 100.0}, stages={"search": {}, "prune": {}})
    together = artifacts.add(probes)
    assert stage().run(together, where) == together


def test_a_pruned_network_is_not_pruned_again(artifacts: ArtifactSet, root: Path) -> None:
    where = context(root, "again")
    once = stage(speedup=1.3, recovery=None, criterion="magnitude").run(artifacts, where)
    again = stage(speedup=1.3, recovery=None, criterion="magnitude").run(once, where)
    assert again == once


def test_a_guessing_network_does_not_go_on_without_recovery(artifacts: ArtifactSet, root: Path, tmp_path: Path) -> None:
    where = context(root, "guessing")
    teacher = artifacts.newest(network="teacher")
    model = checkpoint.load(where.path(teacher))
    with torch.no_grad():
        model.head.weight.zero_()
    spec = checkpoint.describe(where.path(teacher)).spec
    checkpoint.save(model, tmp_path / "silly", spec, INPUT_SHAPE, 4, torch.zeros(1, *INPUT_SHAPE))
    silly = where.store(tmp_path / "silly", network="distilled", format="torch", made_by="test")
    with pytest.raises(UsageError, match="no better than guessing, and no recovery follows"):
        stage(speedup=1.3, recovery=None, criterion="magnitude").run(artifacts.add(silly), where)


def test_too_coarse_a_step_is_named(artifacts: ArtifactSet, root: Path) -> None:
    with pytest.raises(UsageError, match="no width saves anything"):
        stage(speedup=1.3, channel_step=64).run(artifacts, context(root, "coarse"))


def test_a_network_as_narrow_as_allowed_goes_on_to_be_measured(
    artifacts: ArtifactSet, root: Path, probes: Artifact, caplog: pytest.LogCaptureFixture
) -> None:
    where = context(root, "narrow", budget={"latency_ms": 1e-3}, stages={"search": {}, "prune": {}})
    together = artifacts.add(probes)
    assert stage(channel_step=64).run(together, where) == together
    assert "no width saves anything" in caplog.text
    assert "the measurement decides" in caplog.text


def test_faults_are_named_before_any_work(artifacts: ArtifactSet, root: Path) -> None:
    where = context(root, "faults")
    with pytest.raises(UsageError, match="give it a speedup"):
        stage().requires(artifacts, where)
    with pytest.raises(UsageError, match="unknown name 'tailor'"):
        stage(speedup=2, criterion="tailor").requires(artifacts, where)
    with pytest.raises(UsageError, match="recovery after the last cut must be the longest"):
        stage(speedup=2, steps=2, between_epochs=9).requires(artifacts, where)


def test_pruning_that_changed_nothing_is_an_error(artifacts: ArtifactSet, root: Path) -> None:
    where = context(root, "nothing")
    teacher = artifacts.newest(network="teacher")
    fake = teacher.replace(network="pruned", parents=(teacher.key,))
    with pytest.raises(EdgekdError, match="changed nothing"):
        stage().ensures(artifacts.add(fake), where)


def test_every_option_is_described() -> None:
    assert all(field.description for field in PruneStage.Config.model_fields.values())
