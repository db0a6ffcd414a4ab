"""The comment says the verdict first, renders as what it is meant to be, and no name can break out of its place."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt

from edgekd.figure import Figure
from edgekd.gate.markdown import markdown, marker
from edgekd.gate.report import GateReport, Measured
from edgekd.report import Check
from tests.gate.reports import check, report


class Page(HTMLParser):
    """Rendered Markdown as its tags and, per table, its rows of cell texts."""

    def __init__(self, found: GateReport) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.text = ""
        self.in_cell = False
        self.feed(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(markdown(found)))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in {"td", "th"}:
            self.tables[-1][-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self.in_cell = self.in_cell and tag not in {"td", "th"}

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.in_cell:
            self.tables[-1][-1][-1] += data


def test_the_verdict_comes_first_then_the_limits() -> None:
    counted = Figure(name="size_mb", value=1.25, origin="counted")
    size = Check(limit_name="size_mb", limit=2, figure=counted, status="met", sentence="size is 1.25 MB, limit 2")
    found = report(check("latency_ratio", 1.05, 1.2, "missed"), size, status="missed", reasons=("a remark",))
    lines = markdown(found).splitlines()
    assert lines[0] == marker(found)
    assert lines[1] == "### ❌ edgekd gate: missed"
    assert lines[3] == "missed: model/fp32/onnxruntime: latency_ratio is 1.2, limit 1.05; " + (
        "size is 1.25 MB, limit 2; a remark"
    )
    assert Page(found).tables[0] == [
        ["limit", "allowed", "measured [bounds]", "origin", "rests on", "status"],
        ["latency_ratio", "1.05", "1.2 [1.176, 1.224]", "host", "11 processes, 99.4 %", "❌ missed"],
        ["size_mb", "2", "1.25", "counted", "–", "✅ met"],
    ]


def test_a_reader_finds_what_he_needs_to_believe_it() -> None:
    page = Page(report(remarks=("the governor was powersave",)))
    for fact in (
        "the governor was powersave",
        "Latency is p90 at batch 1 on 1 thread, inputs: random (none were given).",
        "In each of 11 rounds a fresh process of the engine took turns in short blocks with the baseline main.onnx.",
        "Machine: a processor, 2 cores. Versions: onnxruntime 1.2.3, numpy 2.0.",
        "raw/latency.jsonl",
    ):
        assert fact in page.text
    assert page.tables[1] == [
        ["figure", "engine", "baseline", "origin", "rests on"],
        ["latency_ms_p90", "1.94 [1.901, 1.979]", "2 [1.96, 2.04]", "host", "11 processes, 99.4 %"],
    ]


def test_doubt_that_is_declared_neutral_is_not_hidden() -> None:
    page = Page(report(status="not trustworthy", reasons=("a neighbour",), on_untrusted="neutral"))
    assert "not trustworthy" in page.text
    assert "Exit code 0, 5 but for the policy neutral." in page.text


def test_the_marker_names_engine_and_operating_point_but_no_figure() -> None:
    first, again = report(), report(check("latency_ratio", 1.05, 1.2, "missed"), status="missed", seconds=99)
    assert marker(first) == marker(again)
    assert marker(first) != marker(report(percentile=50.0))
    hostile = Measured(key="a-->b<!--c\n--!>", path="p", digest="d", figures=())
    assert marker(report(subject=hostile)).count("--") == 2


@pytest.mark.parametrize(
    "name",
    [
        "a|b\nc",
        "a\\|b",
        "a\\\\|b",
        "`a`",
        "``a",
        "![x](https://example.invalid/x.png)",
        "[x](https://example.invalid)",
        "<script>alert(1)</script>",
        "</details><h1>x</h1>",
        "<!-- x",
        "**x** _y_ ~~z~~ $q$",
        "&lt;b&gt;",
        "# x",
        "- x",
    ],
)
def test_a_name_stays_a_name(name: str) -> None:
    plain = Page(
        report(
            subject=Measured(key="k", path="p", digest="d", figures=()), machine={"k": "v", "cpu": "c"}, remarks=("r",)
        )
    )
    limit = check("size_mb", 2, 1, "met", f"s {name}")
    found = report(
        limit,
        subject=Measured(key=name, path=name, digest="d", figures=()),
        machine={name: name, "cpu": name},
        inputs=name,
        versions={name: name},
        raw=(name,),
        reasons=(name,),
        remarks=(name,),
    )
    page = Page(found)
    shown = " ".join(name.split())
    assert [tag for tag in page.tags if tag != "code"] == [tag for tag in plain.tags if tag != "code"]
    assert page.tables[3][1] == [shown, shown]
    assert page.text.count(shown) >= 9
    assert [len(row) for table in page.tables for row in table] == [len(row) for table in plain.tables for row in table]


def test_a_name_that_is_no_text_can_still_be_written() -> None:
    assert "model\\udcff.onnx" in markdown(report(raw=("model\udcff.onnx",))).encode().decode().replace("&#92;", "\\")
