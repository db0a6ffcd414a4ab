"""On real tables: each Jetson board and each network in turn is new, and three networks are measured there."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest

from edgekd.errors import EdgekdError, MeasurementError, UsageError
from edgekd.predict.board import Board, Measured
from edgekd.predict.known_boards import known_boards
from edgekd.predict.roofline import Roofline, bounds_ms
from edgekd.predict.work import TERMS, work
from tests.predict.jetson.tables import Table, boards, kernels, load
from tools.study_roofline import GOAL_ERROR, GOAL_RANK, left_out

TABLES = load("netspresso.csv")
PUBLISHED = {
    # millions of multiplications and of parameters (BatchNorm in or out): timm, torchvision, papers
    "resnet50": (4087, 23.5, 3, 224),
    "mobilenetv3-large": (215.3, 4.206, 3, 224),
    "mixnet-l": (553.7, 5.797, 3, 224),
    "efficientformer-l1": (1287, 11.39, 3, 224),
    "vgg16": (15470, 138.3, 1000, 224),
    "densenet161": (7728, 28.5, 1000, 224),
    "shufflenet_v2_x1_0": (144.9, 2.26, 1000, 224),
    "mnasnet1_3": (526.4, 6.23, 1000, 224),
    "yolox-s": (13400, 9.0, 80, 640),
    "yolox-l": (77800, 54.2, 80, 640),
    "pidnet-s": (23800, 7.6, 19, 1024),
}


def _others(here: Table) -> list[Table]:
    return [table for table in TABLES if table is not here]


@pytest.mark.parametrize("network", PUBLISHED)
def test_the_networks_are_those_of_their_papers(network: str) -> None:
    macs, weights, classes, pixels = PUBLISHED[network]
    found = kernels(network, classes, pixels)
    assert sum(kernel.macs for kernel in found) / 1e6 == pytest.approx(macs, rel=0.012)
    assert sum(prod(kernel.weights) for kernel in found if kernel.weights) / 1e6 == pytest.approx(weights, rel=0.012)


@pytest.mark.parametrize("here", TABLES, ids=lambda table: table.board.name)
def test_a_new_board_and_network_from_three_others_are_predicted_within_ten_per_cent(here: Table) -> None:
    found = left_out(here, _others(here))
    assert found.error <= GOAL_ERROR
    assert found.error < 0.9 * found.scaled_errors.min()  # which has seen the network on the other board
    assert found.rank >= GOAL_RANK
    assert found.covered >= 0.9


def test_three_networks_drawn_blindly_do_as_well_in_the_mean() -> None:
    random = np.random.default_rng(0)
    found = [
        left_out(here, _others(here), tuple(random.choice(here.networks, 3, replace=False)))
        for here in TABLES
        for _ in range(40)
    ]
    assert np.mean([each.error for each in found]) <= GOAL_ERROR
    assert np.mean([each.covered for each in found]) >= 0.9
    assert np.mean([each.error for each in found]) < np.mean([each.scaled_errors.min() for each in found])


def test_it_carries_over_to_other_networks_and_another_version_of_the_runtime() -> None:
    nano, xavier = (left_out(here, TABLES) for here in load("torch2trt.csv"))
    assert nano.error <= 0.15
    assert xavier.error <= 0.15
    assert min(nano.rank, xavier.rank) >= GOAL_RANK


def test_each_figure_narrows_the_interval_and_a_datasheet_alone_gives_an_honest_one() -> None:
    here = TABLES[2]
    known = [table.measured() for table in _others(here)]
    deviations = []
    for count in (0, 1, 3):
        first = Roofline(here.measured(here.networks[:count]), known)
        deviations.append(first(here.works[3:]).deviation.mean())
    assert deviations[0] > 1.5 * deviations[1] > 1.5 * deviations[2]
    lower, upper = bounds_ms(Roofline.uncalibrated(here.board)(here.works))
    assert ((lower < here.latencies_ms) & (here.latencies_ms < upper)).all()


def test_more_work_never_takes_less_time_and_a_faster_board_never_more() -> None:
    nano = boards()["Jetson Nano"]
    works = np.repeat(TABLES[0].works[[6]], len(TERMS) + 1, axis=0)
    works[np.arange(1, len(works)), np.arange(len(TERMS))] *= 2
    twice = Roofline.uncalibrated(Board("twice", 2 * nano.dense_tflops, 2 * nano.vector_tflops, 2 * nano.bandwidth_gbs))
    slow, fast = Roofline.uncalibrated(nano)(works).mean, twice(works).mean
    assert (slow >= slow[0] - 1e-9).all()
    assert (fast < slow).all()


def test_a_figure_says_that_it_is_predicted_and_from_how_many() -> None:
    networks = [kernels(name, 3, 224) for name in ("resnet18", "mixnet-s", "mobilenetv3-large")]
    model = Roofline.calibrated(boards()["Jetson Nano"], networks, [10.9, 22.5, 11.3], known_boards()[1:])
    figure = model.latency_ms(kernels("resnet34", 3, 224), percentile=50)
    assert figure.name == "latency_ms_p50"
    assert figure.origin == "predicted"
    assert figure.samples == 3
    assert figure.lower is not None
    assert figure.upper is not None
    assert figure.lower < 19.5 < figure.upper
    assert figure.value == pytest.approx(19.5, rel=0.15)


def test_the_shipped_boards_are_those_of_the_table() -> None:
    for shipped, table in zip(known_boards(), TABLES, strict=True):
        assert shipped.board == table.board
        np.testing.assert_allclose(shipped.works, table.works, rtol=1e-5)
        np.testing.assert_array_equal(shipped.latencies_ms, table.latencies_ms)


def test_most_telling_are_three_different_ones_of_different_kinds() -> None:
    here = TABLES[0]
    rows = Roofline.uncalibrated(here.board, known_boards()[1:]).most_telling(here.works)
    names = [here.networks[row] for row in rows]
    assert len({name.split("-")[0].rstrip("0123456789") for name in names}) == 3


def test_what_cannot_be_right_is_refused() -> None:
    nano = boards()["Jetson Nano"]
    with pytest.raises(UsageError, match="bandwidth_gbs of the board 'x' is 0; expected a positive number"):
        Board("x", 1, 1, 0)
    with pytest.raises(EdgekdError, match="expected one row of 8 terms a latency"):
        Measured(nano, np.ones((2, 8)), np.ones(3))
    with pytest.raises(MeasurementError, match="not a positive number"):
        Roofline.calibrated(nano, [kernels("resnet18", 3, 224)], [0.0])
    with pytest.raises(EdgekdError, match="at least one kernel"):
        Roofline.uncalibrated(nano)(work([])[None])
