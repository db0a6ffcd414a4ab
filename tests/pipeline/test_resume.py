"""Runs that are stopped at any moment, and started again by the same command, end as if nothing had happened."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edgekd import bundle, catalogue, recipe
from edgekd import target as targets
from edgekd.artifact import Artifact
from edgekd.pipeline.sharing import Finished
from edgekd.pipeline.stages import STAGES
from edgekd.predict.features import step_of
from edgekd.predict.limit import limit_ms
from edgekd.predict.predictor import Predictor
from edgekd.profile import Profile
from edgekd.prune.cost import PredictedLatency
from edgekd.recipe import ModelSpec
from edgekd.report import Row, RunReport
from edgekd.schema import read_json
from edgekd.search.candidate import candidate
from edgekd.search.choice import Judge
from tests.conftest import Run
from tests.pipeline.halting import CLOSING, RAW, Halt, complete_rounds

PLACES = (
    *(stage.name for stage in STAGES if stage.name in recipe.load(catalogue.find("recipes", "smoke")).stages),
    CLOSING,
)
ROOT = Path(__file__).resolve().parent.parent.parent
SMOKE_SAMPLES = 700
"""Tested by the smoke recipe; two runtimes may round a handful of them to different sides."""
FEW = "stages.measure.processes=7"
"""Enough for two stops after another complete round each; what is trained does not depend on it."""
FILE_EVENTS = {
    "search": 90,
    "teacher": 55,
    "distill": 55,
    "prune": 35,
    "quantize": 27,
    "export": 54,
    "measure": 4,  # after another complete round
    CLOSING: 40,  # before run.json, with which a run has ended
}
"""How often each place of the smoke run makes, writes, renames or removes a file or folder, at least."""


@dataclass(frozen=True)
class Stop:
    """A run that was stopped, and what it left behind."""

    place: str
    signal: int
    code: int
    last_words: list[str]
    orphans: list[int]
    measured: bytes
    """The complete rounds of the raw log at that moment."""


@dataclass(frozen=True)
class Survivor:
    """A run that was stopped again and again, and what it was in the end."""

    folder: Path
    cache: Path
    code: int
    errors: str
    stops: list[Stop] = field(default_factory=list)
    second: subprocess.CompletedProcess[str] | None = None
    """What another run in the same folder said meanwhile."""


class Attempt:
    """One start of the smoke recipe, in a process group of its own; where a halt is given, it stops itself there."""

    def __init__(self, folder: Path, cache: Path, halt: Halt | None = None) -> None:
        self.folder, self.cache, self.halt = folder, cache, halt
        asked = ("compress", "--smoke", "--run-folder", str(folder), "--set", FEW)
        self.command = [sys.executable, "-m", "edgekd.cli.main", *asked]
        self.environment = {**os.environ, "EDGEKD_CACHE": str(cache)}
        self.errors = folder.parent / "errors.txt"
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                halt.command(*asked) if halt else self.command,
                cwd=ROOT,
                env=self.environment,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )

    def beside(self) -> subprocess.CompletedProcess[str]:
        """Start the same command in the same folder while this one works, and return what it said."""
        return subprocess.run(self.command, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False)

    def wait_for_halt(self, timeout_s: float = 300.0) -> None:
        """Return once the run has halted; one that ends without having halted would test nothing."""
        deadline = time.monotonic() + timeout_s
        while True:
            states = os.WSTOPPED | os.WEXITED | os.WNOWAIT | os.WNOHANG
            found = os.waitid(os.P_PID, self.process.pid, states)
            if found is not None and found.si_code == os.CLD_STOPPED:
                return
            if found is not None or time.monotonic() > deadline:
                how = f"it ended with {found.si_status}" if found else f"nothing happened in {timeout_s:g} s"
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
                pytest.fail(f"no halt at {self.halt}, {how}; see FILE_EVENTS. It said: {self.errors.read_text()}")
            time.sleep(0.02)

    def stop(self, place: str, how: int) -> Stop:
        """Send a signal to the whole process group of a run that has halted, and let it do its work."""
        os.killpg(self.process.pid, how)
        os.killpg(self.process.pid, signal.SIGCONT)
        code = self.process.wait(timeout=60)
        orphans = self._left_over()
        return Stop(place, how, code, self.errors.read_text().splitlines(), orphans, complete_rounds(self.folder))

    def _left_over(self) -> list[int]:
        """Return the processes that still belong to this run; the kernel has a moment to end those it was told to."""
        for _ in range(50):
            found = [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and self._is_ours(p)]
            if not found:
                break
            time.sleep(0.1)
        return found

    def _is_ours(self, process: Path) -> bool:
        try:
            return f"EDGEKD_CACHE={self.cache}".encode() in (process / "environ").read_bytes().split(b"\0")
        except OSError:
            return False


def survive(place: Path, undisturbed: Run, stops: Sequence[tuple[str, int]], seed: int) -> Survivor:
    """Stop a run at random moments of these stages, in this order, then let it end.

    Each stop of a stage has an equal share of its file events and comes right before one of them; a kill may come some
    time later, also between two of them, but within its share. So none can come too late, however busy the machine is.
    """
    chance = random.Random(seed)
    folder, cache = place / "run", place / "cache"
    lasted = dict.fromkeys(PLACES, 1.0) | {
        record.parent.name.partition("-")[2]: read_json(Finished, record).seconds
        for record in undisturbed.folder.glob("stages/*/stage.json")
    }
    times = Counter(at for at, _ in stops)
    told, second = [], None
    for at, how in stops:
        share = FILE_EVENTS[at] // times[at]
        pause_s = chance.uniform(0, lasted[at] / times[at]) if how == signal.SIGKILL else 0.0
        attempt = Attempt(folder, cache, Halt(at, chance.randint(1, share), share, pause_s))
        attempt.wait_for_halt()
        if how == signal.SIGTERM:
            second = attempt.beside()
        told.append(attempt.stop(at, how))
    last = Attempt(folder, cache)
    return Survivor(folder, cache, last.process.wait(timeout=600), last.errors.read_text(), told, second)


def built(folder: Path) -> dict[str, tuple[str, list[tuple[str, float]]]]:
    """Return, by key, the digest of every network a run has made and the accuracies its stages noted."""
    found: dict[str, tuple[str, list[tuple[str, float]]]] = {}
    for record in sorted(folder.glob("stages/*/stage.json")):
        for artifact in read_json(Finished, record).artifacts.artifacts:
            if artifact.format in {"torch", "onnx", "openvino", "choice"}:
                found[artifact.key] = (artifact.digest, _accuracies(artifact))
    return found


def _accuracies(of: Artifact | Row) -> list[tuple[str, float]]:
    return [(figure.name, figure.value) for figure in of.figures if "accuracy" in figure.name]


def assert_same_accuracies(folder: Path, undisturbed: Path) -> None:
    """Compare the accuracies of two reports; what is fastest and ships is the machine's, and so are its ties.

    Only what ships is tried on the test split.
    """
    rows, expected = (read_json(RunReport, place / "run.json").rows for place in (folder, undisturbed))
    assert [row.what.split(" (")[0] for row in rows] == [row.what.split(" (")[0] for row in expected]
    for row, other in zip(rows, expected, strict=True):
        apart = 1e-9 if row.engine == other.engine else 5 * 100 / SMOKE_SAMPLES
        found, wanted = dict(_accuracies(row)), dict(_accuracies(other))
        both = found.keys() & wanted.keys()
        assert "accuracy_percent" in both
        assert {name: found[name] for name in both} == {name: pytest.approx(wanted[name], abs=apart) for name in both}


def assert_undisturbed(survivor: Survivor, undisturbed: Run) -> None:
    """Compare with a run nobody has stopped: every network, its accuracies, and nothing left lying about."""
    assert survivor.code in {0, 5}, survivor.errors  # a busy machine may spoil the measurement, nothing else
    found = built(survivor.folder)
    assert {key.rpartition("/")[2] for key in found} == {"torch", "onnx", "openvino", "choice"}
    assert found == built(undisturbed.folder)
    assert_same_accuracies(survivor.folder, undisturbed.folder)
    bundle.verify(survivor.folder / "bundle")
    assert [*survivor.folder.rglob("*.unfinished"), *survivor.cache.rglob("*.unfinished")] == []


@pytest.fixture(scope="module")
def survivor(smoke: Run, tmp_path_factory: pytest.TempPathFactory) -> Survivor:
    """Six kills, one Ctrl-C and one SIGTERM in one run folder."""
    kill = signal.SIGKILL
    stops = [
        *((PLACES[0], kill), ("teacher", kill), ("distill", signal.SIGTERM), ("distill", kill), ("quantize", kill)),
        *(("measure", kill), ("measure", signal.SIGINT), (CLOSING, kill)),
    ]
    return survive(tmp_path_factory.mktemp("killed"), smoke, stops, seed=1)


def test_a_run_killed_again_and_again_ends_like_an_undisturbed_one(survivor: Survivor, smoke: Run) -> None:
    killed = [stop for stop in survivor.stops if stop.signal == signal.SIGKILL]
    assert [stop.code for stop in killed] == [-signal.SIGKILL] * 6
    assert_undisturbed(survivor, smoke)


def test_no_process_survives_the_run_it_belongs_to(survivor: Survivor) -> None:
    assert [stop.orphans for stop in survivor.stops] == [[]] * len(survivor.stops)


def test_complete_rounds_are_replayed_and_never_measured_again(survivor: Survivor) -> None:
    before = [stop.measured for stop in survivor.stops if stop.place == "measure"]
    assert len(before) == 2
    assert before[0]
    assert before[1].startswith(before[0])
    assert (survivor.folder / RAW).read_bytes().startswith(before[1])


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_ends_with_the_command_that_resumes(survivor: Survivor, how: int, code: int) -> None:
    stop = next(stop for stop in survivor.stops if stop.signal == how)
    assert stop.code == code
    again = f"edgekd compress --smoke --run-folder {survivor.folder} --set {FEW}"
    assert stop.last_words[-1].endswith(f"to resume: {again}")
    assert not any("Traceback" in line for line in stop.last_words)


def test_a_second_run_in_the_same_folder_is_refused_and_disturbs_nothing(survivor: Survivor, smoke: Run) -> None:
    assert survivor.second is not None
    assert survivor.second.returncode == 2
    assert survivor.second.stderr.strip() == (
        f"edgekd: another run works in {survivor.folder}; wait for it or give another --run-folder"
    )
    assert_undisturbed(survivor, smoke)


def _disturbed(profile: Profile, chance: random.Random) -> Profile:
    """Return a profile as another hour of this machine may have measured it: each engine up to 15 % off."""
    records = []
    for record in profile.records:
        factor = chance.uniform(0.85, 1.15)
        changes = {"value": factor, "lower": None, "upper": None}
        figures = [
            f.replace(**{k: None if by is None else f.value * by for k, by in changes.items()})
            if f.name.startswith("latency")
            else f
            for f in record.figures
        ]
        records.append(record.replace(figures=tuple(figures)))
    return profile.replace(records=tuple(records))


def test_no_choice_of_the_smoke_recipe_hinges_on_noise(smoke: Run) -> None:
    """Otherwise two runs could differ although nobody has stopped one: one probe, so predictions are proportional."""
    asked = recipe.load(catalogue.find("recipes", "smoke"))
    profile = read_json(Profile, next(smoke.folder.glob("stages/*/probes.json")))
    target = targets.load(profile.target)
    schemes = ["fp32", *target.schemes()]
    step = max(step_of(target, scheme) for scheme in schemes)
    shapes = [(16, 16, 16), (16, 16, 32), (16, 32, 16), (16, 32, 32)]
    specs = [ModelSpec(name="resnet", options={"depth": 8, "channels": list(shape)}) for shape in shapes]
    networks = [candidate(str(number), spec, (1, 28, 28), 10) for number, spec in enumerate(specs)]
    chance = random.Random(0)
    found = set()
    for _ in range(200):
        seen = _disturbed(profile, chance)
        predictor = Predictor.fit(seen, target, asked.budget.percentile)
        judge = Judge(predictor, schemes, step, limit_ms(asked.budget, seen), 1.0, 1.5, 0.95)
        chosen = judge.choose([networks[0], networks[-1]])  # what the search chooses from
        cost = PredictedLatency(predictor, tuple(schemes))
        shares = tuple(round(cost.of(n.kernels) / cost.of(networks[-1].kernels), 9) for n in networks)
        found.add((tuple(chosen.spec.options["channels"]), shares))  # pruning goes by shares, not by milliseconds
    assert len(found) == 1, found


@pytest.mark.slow
def test_twenty_kills_over_all_stages(smoke: Run, tmp_path: Path) -> None:
    places = sorted((PLACES * 3)[:20], key=PLACES.index)
    survivor = survive(tmp_path, smoke, [(place, signal.SIGKILL) for place in places], seed=0)
    assert {stop.place for stop in survivor.stops} == set(PLACES)
    assert [stop.code for stop in survivor.stops] == [-signal.SIGKILL] * 20
    assert [stop.orphans for stop in survivor.stops] == [[]] * 20
    assert_undisturbed(survivor, smoke)
