"""A gate's report as JUnit XML, the form in which GitLab and Jenkins show the result of a check."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from edgekd.gate.circumstances import identity, machine, setting
from edgekd.gate.report import GateReport
from edgekd.report import Status

_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold in any spelling (its production `Char`)."""


def junit(report: GateReport) -> str:
    r"""Return the report as one test suite: a test case per limit, and one for whether the measurement can be believed.

    A missed limit is a failure, one that is not trustworthy an error; under the policy `neutral` the latter is skipped.
    The case `measurement` carries the time and every doubt that belongs to no limit, so that no suite is all green
    whose verdict is not. Characters that XML cannot hold are written as `\x1b`.
    """
    suite = ET.Element("testsuite", name=_held(f"edgekd gate: {identity(report)}"))
    properties = ET.SubElement(suite, "properties")
    for name, value in _properties(report).items():
        ET.SubElement(properties, "property", name=_held(name), value=_held(value))
    for check in report.verdict.checks:
        _case(suite, check.limit_name, check.status, check.sentence, report)
    _case(suite, "measurement", _own_status(report), "; ".join(report.verdict.reasons), report).set(
        "time", f"{report.seconds:.3f}"
    )
    ET.SubElement(suite, "system-out").text = _held("\n".join([report.verdict.line(), *report.remarks, *report.raw]))
    for kind, counted in (("tests", "testcase"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(kind, str(sum(1 for _ in suite.iter(counted))))
    suite.set("time", f"{report.seconds:.3f}")
    if report.finished_at:
        suite.set("timestamp", _held(report.finished_at))
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _properties(report: GateReport) -> dict[str, str]:
    return {
        "verdict": report.verdict.status,
        "exit_code": str(report.exit_code),
        **setting(report),
        **{f"version.{name}": version for name, version in report.versions.items()},
        **{f"machine.{name}": value for name, value in machine(report).items()},
    }


def _own_status(report: GateReport) -> Status:
    """Return `not trustworthy` where the verdict is that and no limit says so already."""
    said = any(check.status == "not trustworthy" for check in report.verdict.checks)
    return "not trustworthy" if report.verdict.status == "not trustworthy" and not said else "met"


def _case(suite: ET.Element, name: str, status: Status, sentence: str, report: GateReport) -> ET.Element:
    # GitLab shows the class name as the suite, keeps one case of a name in it, and of a failure shows its text; Jenkins
    # shows the attribute `message`.
    case = ET.SubElement(suite, "testcase", name=name, classname=_held(identity(report)), time="0.000")
    if status == "met":
        if sentence:
            ET.SubElement(case, "system-out").text = _held(sentence)
        return case
    kind = "failure" if status == "missed" else "skipped" if report.on_untrusted == "neutral" else "error"
    doubts = report.verdict.reasons if status == "not trustworthy" else ()
    found = ET.SubElement(case, kind, type=status, message=_held(sentence))
    found.text = _held("\n".join(dict.fromkeys([sentence, *doubts])))
    return case


def _held(text: str) -> str:
    """Return a text as XML can hold it."""
    return _FORBIDDEN.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
