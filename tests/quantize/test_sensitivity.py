"""Layers that go back to float: those that have to, no other, the cheap ones first."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Collection
from itertools import chain, combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import numpy_helper, parser

from edgekd import target as targets
from edgekd.cli.commands import quantize as subject
from edgekd.errors import BudgetError, UsageError
from edgekd.measure import machine
from edgekd.onnx_graph.graph import read
from edgekd.onnx_graph.neutral import operators
from edgekd.placement.graph import WEIGHTED
from edgekd.placement.place import Placement, place
from edgekd.placement.scheme import SCHEMES
from edgekd.quantize import layer_costs
from edgekd.quantize.calibration import CalibrationConfig, Integers, calibrated
from edgekd.quantize.layer_costs import Clock, Costs
from edgekd.quantize.onnx_network import OnnxNetwork
from edgekd.quantize.placements import by_the_rules
from edgekd.quantize.sensitivity import Mixed, Sources, mixed, order
from edgekd.quantize.tolerance import Judge, Tolerance
from edgekd.stage import Progress
from tools.topologies import topologies

AVX2, S = targets.load("x86-avx2"), SCHEMES["u8w7"]
CHAIN = """<ir_version: 8, opset_import: ["": 17]>
g (float[N,4,10,10] x) => (float[N,6] y) {
  a = Conv<pads=[1,1,1,1]>(x, wa)
  ra = Relu(a)
  b = Conv<pads=[1,1,1,1], group=12>(ra, wb)
  rb = Relu(b)
  c = Conv(rb, wc)
  rc = Relu(c)
  d = Conv<pads=[1,1,1,1]>(rc, wd)
  rd = Relu(d)
  p = GlobalAveragePool(rd)
  f = Flatten(p)
  y = MatMul(f, wy)
}"""
SHAPES = {"wa": (12, 4, 3, 3), "wb": (12, 1, 3, 3), "wc": (12, 12, 1, 1), "wd": (12, 12, 3, 3), "wy": (12, 6)}


class Case(NamedTuple):
    """A calibrated network."""

    network: OnnxNetwork
    integers: Integers
    samples: np.ndarray

    def planned(self, floating: Collection[str]) -> Placement:
        return by_the_rules(self.network, AVX2, S, floating)

    def mixed(self, **limits: Any) -> tuple[Placement, Mixed]:
        tolerance = Tolerance(self.samples, **limits)
        return mixed(self.network, self.planned, self.integers, tolerance=tolerance, clock=None, progress=Progress())

    def error(self, *floating: str) -> float:
        judge = Judge(self.network, self.integers, Tolerance(self.samples, max_error=0))
        return judge.distance(self.planned(floating)).error


def calibrated_case(path: Path, samples: np.ndarray) -> Case:
    network = OnnxNetwork.read(path, samples[:1])
    plan = by_the_rules(network, AVX2, S, ())
    return Case(network, calibrated(network, samples, plan, S, CalibrationConfig(rounding="nearest")), samples)


def chained(folder: Path, change: Callable[[dict[str, np.ndarray]], None]) -> Case:
    random = np.random.default_rng(0)
    weights = {
        name: random.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / np.prod(shape[1:])))
        for name, shape in SHAPES.items()
    }
    change(weights)
    model = parser.parse_model(CHAIN)
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in weights.items())
    onnx.save(model, folder / "chain.onnx")
    samples = random.standard_normal((32, 4, 1, 1), np.float32) + 0.5 * random.standard_normal(
        (32, 4, 10, 10), np.float32
    )
    return calibrated_case(folder / "chain.onnx", samples)


def nothing(weights: dict[str, np.ndarray]) -> None:
    del weights


def coarse_weight(weights: dict[str, np.ndarray]) -> None:
    """Let one input of layer c be tiny and its weights huge: in c's few integers the other weights vanish."""
    weights["wb"][0] *= 1e-4
    weights["wc"][:, 0] *= 100


def outlier(weights: dict[str, np.ndarray]) -> None:
    """Let one channel between a and the depthwise layer be huge: what both of them round is too coarse for the rest."""
    weights["wa"][0] *= 100
    weights["wb"][0] /= 100


@pytest.mark.parametrize(("change", "sensitive"), [(coarse_weight, {"c"}), (outlier, {"a", "b"})])
def test_exactly_what_is_sensitive_goes_back_and_no_fewer_layers_would_do(
    change: Callable[[dict[str, np.ndarray]], None], sensitive: set[str], tmp_path: Path
) -> None:
    case = chained(tmp_path, change)
    limit = 1.5 * case.error(*sensitive)
    assert case.error() > 2 * limit
    plan, found = case.mixed(max_error=limit)
    assert set(case.network.layers) - set(plan.weights) == sensitive
    assert found.found.error <= limit < found.integers.error
    assert found.unit == "MMACs"
    assert all(layer.sensitivity > limit for layer in found.floating)
    layers = list(case.network.layers)
    for floating in chain.from_iterable(combinations(layers, count) for count in range(3)):
        if case.error(*floating) <= limit:  # brute force finds nothing smaller
            assert len(floating) >= len(sensitive)


def test_nothing_goes_back_where_integers_are_good_enough(tmp_path: Path) -> None:
    case = chained(tmp_path, nothing)
    plan, found = case.mixed(max_error=1.01 * case.error())
    assert (found.floating, found.unit) == ((), None)
    assert plan == case.planned(())
    assert found.found == found.integers


def test_where_every_layer_would_have_to_go_back_integers_do_not_pay(tmp_path: Path) -> None:
    case = chained(tmp_path, nothing)
    with pytest.raises(BudgetError, match=r"integers do not pay: no layer can .* mean error 0\.\d+ of"):
        case.mixed(max_error=1e-7)


def test_accuracy_is_a_limit_where_there_are_labels(tmp_path: Path) -> None:
    case = chained(tmp_path, outlier)
    right = case.network.answers(Placement((), ()), None, case.samples).argmax(1)
    _, found = case.mixed(labels=right, accuracy_drop=0)
    assert found.integers.accuracy_drop is not None
    assert found.integers.accuracy_drop > 0
    assert found.found.accuracy_drop == 0
    with pytest.raises(UsageError, match="needs labelled samples, and the data holds no 'labels'"):
        Tolerance(case.samples, accuracy_drop=1)


def test_of_two_layers_that_buy_back_the_same_the_cheaper_goes_first(tmp_path: Path) -> None:
    case = chained(tmp_path, nothing)
    layers = list(case.planned(()).weights)
    sources = Sources({tensor.operator: 0.0 for tensor in case.planned(()).tensors}, dict.fromkeys(layers, 1.0))
    dear = {name: float(number) for number, name in enumerate(layers)}
    assert order(case.network, case.planned, sources, Costs(dear, "ms")) == [(name,) for name in layers]
    sources.weights[layers[-1]] = 10.0
    assert order(case.network, case.planned, sources, Costs(dict.fromkeys(layers, 1.0), "ms"))[0] == (layers[-1],)


@pytest.mark.parametrize(
    "name", ["mobilenet_v2_035_96", "mobilenet_v3_small_075_128", "efficientnet_b0_160", "resnet18_32"]
)
def test_more_float_layers_never_round_what_nobody_calibrated(name: str) -> None:
    graph, random = operators(read(topologies()[name]())), np.random.default_rng(0)
    calibrated_tensors, layers = set(place(graph, S).tensors), [one.name for one in graph if one.kind in WEIGHTED]
    for share in random.random(30):
        floating = [layer for layer in layers if random.random() < share]
        assert set(place(graph, S, floating=floating).tensors) <= calibrated_tensors


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_on_the_target_itself_costs_are_measured(runtime: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(runtime)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # a measurement lock of its own
    monkeypatch.setattr(layer_costs, "ROUNDS", 1)
    case = chained(tmp_path, nothing)
    np.savez(tmp_path / "data.npz", inputs=case.samples)
    here = targets.load(machine.host_target()).model_copy(update={"runtimes": (runtime,)})
    clock = Clock(here, tmp_path / "data.npz", tmp_path / "raw", Progress())
    found = clock.costs(case.network, case.planned(()), case.integers)
    assert found.unit == "ms"
    assert set(found.lost) == set(case.network.layers)
    assert any(found.lost.values())
    assert len(list((tmp_path / "raw").rglob("layers-*.jsonl"))) == 2


def command(folder: Path, *arguments: str) -> Result:
    given = [
        str(folder / "chain.onnx"),
        "--data",
        str(folder / "data.npz"),
        "--target",
        "x86-avx2",
        "--time-limit",
        "0",
    ]
    options = ["--output", str(folder / "mixed.onnx"), "--rounding", "nearest", "--quiet"]
    return CliRunner().invoke(
        subject.command, [*given, *options, *arguments], catch_exceptions=False, standalone_mode=False
    )


def test_the_command_tells_which_layers_went_back_and_why(tmp_path: Path) -> None:
    case = chained(tmp_path, coarse_weight)
    np.savez(tmp_path / "data.npz", inputs=case.samples)
    limit = 1.5 * case.error("c")
    found = json.loads(command(tmp_path, "--max-error", str(limit), "--json").stdout)
    (layer,) = found["mixed"]["floating"]
    assert (layer["layer"], layer["lost"], found["mixed"]["unit"]) == ("Conv_4", pytest.approx(0.0144), "MMACs")
    assert found["mixed"]["found"]["error"] <= limit < found["mixed"]["integers"]["error"]
    assert found["layers"] == 4
    assert all((one["integer"], len(one["floating"])) == (4, 1) for one in found["executed"])
    lines = command(tmp_path, "--max-error", str(limit)).stdout.splitlines()
    assert lines[2].startswith("within the limit with 1 layers back in float: mean error 0.00")
    assert re.fullmatch(r"  Conv_4: error 0\.03\d* when it alone is in integers, 0\.0144 MMACs of work, .*", lines[3])
    assert (tmp_path / "mixed.onnx").is_file()


def test_the_command_refuses_limits_that_cannot_be_judged(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", inputs=chained(tmp_path, nothing).samples)
    with pytest.raises(UsageError, match="needs labelled samples, and the data holds no 'labels'"):
        command(tmp_path, "--accuracy-drop", "1")
    with pytest.raises(BudgetError, match="integers do not pay"):
        command(tmp_path, "--max-error", "0")
    assert not (tmp_path / "mixed.onnx").exists()
