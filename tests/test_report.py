from __future__ import annotations

from pathlib import Path

from edgekd.figure import Figure
from edgekd.report import Check, Round, Row, RunReport, StageLine, Verdict
from edgekd.schema import read_json


def figure(name: str, value: float, **fields: object) -> Figure:
    return Figure.model_validate({"name": name, "value": value, "origin": "device", **fields})


def report() -> RunReport:
    latency = figure("latency_ratio", 0.2, lower=0.19, upper=0.21, confidence=0.99, samples=11)
    check = Check(limit_name="latency_ratio", limit=0.25, figure=latency, status="met", sentence="p90 is 0.2 of it")
    verdict = Verdict(status="met", exit_code=0, engine="pruned/u8w7/openvino", checks=(check,), reasons=("a reason",))
    rows = (
        Row(what="teacher in fp32", engine="teacher/fp32/openvino", figures=(figure("latency_ms_p90", 1.0),)),
        Row(what="pruned", engine="pruned/u8w7/openvino", figures=(figure("macs", 5e6), latency)),
    )
    turn = Round(number=1, verdict=verdict, predicted_ms=0.19, measured_ms=0.2, correction=1.05, kept=True)
    return RunReport(
        verdict=verdict,
        key="k",
        title="a network",
        target="x86-avx2",
        target_resolved_from="cpu",
        bundle="bundle",
        seconds=12.3,
        finished_at="2026-01-01T00:00:00+00:00",
        rows=rows,
        rounds=(turn,),
        stages=(StageLine(name="prune", seconds=3, reused=False, notes={"widths": "a 8 -> 4"}),),
        machine={"cpu": "some"},
        versions={"numpy": "2"},
    )


def test_the_verdict_is_one_line_with_every_check_and_reason() -> None:
    assert report().verdict.line() == "met: pruned/u8w7/openvino: p90 is 0.2 of it; a reason"


def test_markdown_has_the_verdict_first_and_a_column_for_each_network() -> None:
    text = report().markdown()
    assert text.splitlines()[0] == "# a network: met"
    assert "|  | teacher in fp32 | pruned | samples |" in text
    assert "| latency_ms_p90 | 1 | – | 1 |" in text
    assert "| latency_ratio | – | 0.2 [0.19, 0.21] | 11 |" in text
    assert "| 1 (kept) | 0.19 (predicted) | 0.2 | 1.05 | met: " in text
    assert "widths: a 8 -> 4" in text


def test_a_report_survives_its_file(tmp_path: Path) -> None:
    report().write(tmp_path)
    assert read_json(RunReport, tmp_path / "run.json") == report()
    assert (tmp_path / "report.md").read_text() == report().markdown()


def test_a_figure_that_was_predicted_or_measured_elsewhere_says_so() -> None:
    assert figure("latency_ms_p90", 0.12345).text() == "0.123"
    assert figure("latency_ms_p90", 0.5, origin="predicted").text() == "0.5 (predicted)"
    assert figure("x", 0.5, origin="host", lower=0.4, upper=0.6).text() == "0.5 [0.4, 0.6] (host)"
