"""A gate's report as Markdown: the comment under a pull request and the summary of a job."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from edgekd.figure import Figure
from edgekd.gate.circumstances import identity, machine, rests_on, setting
from edgekd.gate.report import GateReport, Measured

_SIGNS = {"met": "✅", "missed": "❌", "not trustworthy": "⚠️"}
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;", "\\": "&#92;", "`": "&#96;"}
"""Of these a backslash would not do: a table is cut into cells before anything else is read."""
_SPECIAL = re.compile(r"[*\[\]~$]|(?<![^\W_])_|_(?![^\W_])")
"""What needs a backslash; an underscore inside a word is none."""


def markdown(report: GateReport) -> str:
    """Return the report: the verdict, the limits, then what a reader needs to believe them.

    The first line is the hidden marker of `marker`, by which a bot finds its own comment. Names are escaped, so that
    none of them can draw a table, a link or an image.
    """
    parts = [*_verdict(report), *_limits(report), *_believe(report), *_details(report)]
    return "\n".join([marker(report), *parts]) + "\n"


def marker(report: GateReport) -> str:
    """Return the hidden line that is the same for every gate of this engine at this operating point."""
    return f"<!-- edgekd-gate:{re.sub(r'[^A-Za-z0-9./]+', '-', identity(report))} -->"


def _verdict(report: GateReport) -> list[str]:
    status, code = report.verdict.status, report.exit_code
    neutral = "" if code == report.verdict.exit_code else f", {report.verdict.exit_code} but for the policy `neutral`"
    return [
        f"### {_SIGNS[status]} edgekd gate: {status}",
        "",
        _prose(report.verdict.line()),
        "",
        f"Exit code {code}{neutral}. Engine {_code(report.subject.path)}.",
        "",
    ]


def _limits(report: GateReport) -> list[str]:
    rows = [
        [_code(c.limit_name), f"{c.limit:g}", _value(c.figure), c.figure.origin, rests_on(c.figure), _sign(c.status)]
        for c in report.verdict.checks
    ]
    return _table(["limit", "allowed", "measured [bounds]", "origin", "rests on", "status"], rows) if rows else []


def _believe(report: GateReport) -> list[str]:
    """Return in a few sentences why these figures are no accident of the moment."""
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    machine_line = f"Machine: {_prose(_cpu(report))}. Versions: {_prose(versions or 'not told')}."
    remarks = [f"Remarks: {_prose('; '.join(report.remarks))}.", ""] if report.remarks else []
    return [*(_latency(report) if report.processes else []), machine_line, "", *remarks]


def _latency(report: GateReport) -> list[str]:
    point, threads = report.operating_point, "thread" if report.operating_point.threads == 1 else "threads"
    others = [f"the baseline {_code(report.baseline.path)}"] if report.baseline else []
    others += ["the anchor engine"] if report.anchor else []
    turns = f"took turns in short blocks with {' and '.join(others)}" if others else "ran"
    return [
        f"Latency is p{report.percentile:g} at batch {point.batch} on {point.threads} {threads}, inputs: "
        f"{_prose(report.inputs)}. In each of {report.processes} rounds a fresh process of the engine {turns}. "
        "The process is the statistical unit: bounds are distribution-free over processes, each at the confidence "
        "given, and hold however often the series was extended.",
        "",
    ]


def _cpu(report: GateReport) -> str:
    told = [str(report.machine[name]) for name in ("cpu", "name", "device") if report.machine.get(name)]
    cores = [f"{report.machine['cores']} cores"] if report.machine.get("cores") else []
    virtual = ["virtual"] if report.machine.get("virtual") is True else []
    return ", ".join([*told, *cores, *virtual]) or "not told"


def _details(report: GateReport) -> list[str]:
    return [
        "<details><summary>Everything that was measured, the machine and the raw data</summary>",
        "",
        *_figures({"engine": report.subject, "baseline": report.baseline, "anchor": report.anchor}),
        *_table(["setting", ""], ([_prose(name), _prose(value)] for name, value in setting(report).items())),
        *_table(["machine", ""], ([_prose(name), _prose(value)] for name, value in machine(report).items())),
        *(["Raw JSON lines, from which every figure can be recomputed:", ""] if report.raw else []),
        *(f"- {_code(path)}" for path in report.raw),
        *([""] if report.raw else []),
        "</details>",
    ]


def _figures(engines: dict[str, Measured | None]) -> list[str]:
    measured = {what: engine for what, engine in engines.items() if engine is not None}
    names = dict.fromkeys(figure.name for engine in measured.values() for figure in engine.figures)
    rows = []
    for name in names:
        figures = [engine.figure(name) for engine in measured.values()]
        first = next(figure for figure in figures if figure is not None)
        rows.append([_code(name), *("–" if f is None else _value(f) for f in figures), first.origin, rests_on(first)])
    return _table(["figure", *measured, "origin", "rests on"], rows)


def _value(figure: Figure) -> str:
    """Return value and bounds; the origin has a column of its own."""
    return figure.text(4).removesuffix(f" ({figure.origin})")


def _sign(status: str) -> str:
    return f"{_SIGNS[status]} {status}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [_row(head), _row(["---"] * len(head)), *map(_row, rows), ""]


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _prose(text: str) -> str:
    """Return a text in which nothing is Markdown or HTML."""
    return _SPECIAL.sub(r"\\\g<0>", "".join(_ENTITIES.get(letter, letter) for letter in _line(text)))


def _code(text: str) -> str:
    """Return a text as code; where a span of backticks could not hold it in a table, as HTML."""
    line = _line(text)
    return f"<code>{_prose(line)}</code>" if any(letter in line for letter in "`|\\") else f"`{line}`"


def _line(text: str) -> str:
    r"""Return a text in one line; bytes of a file name that are no text as `\udcff`, else no file could hold them."""
    return " ".join(text.split()).encode("utf-8", "backslashreplace").decode()
