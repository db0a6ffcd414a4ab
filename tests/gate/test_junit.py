"""JUnit XML has the shape that Jenkins' schema allows and GitLab reads, and no suite is green whose verdict is not."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from edgekd.gate.junit import junit
from edgekd.gate.report import GateReport
from tests.gate.reports import check, report

# After junit-10.xsd of the Jenkins plug-in xunit (MIT): required and allowed attributes, allowed children.
_RESULT = (set(), {"type", "message"}, set())
SHAPE: dict[str, tuple[set[str], set[str], set[str]]] = {
    "testsuites": (set(), {"name", "time", "tests", "failures", "errors"}, {"testsuite"}),
    "testsuite": (
        {"name", "tests", "failures", "errors"},
        {"time", "skipped", "timestamp", "hostname", "id", "package"},
        {"properties", "testcase", "system-out", "system-err"},
    ),
    "properties": (set(), set(), {"property"}),
    "property": ({"name", "value"}, set(), set()),
    "testcase": ({"name"}, {"time", "classname"}, {"skipped", "error", "failure", "system-out", "system-err"}),
    "skipped": _RESULT,
    "error": _RESULT,
    "failure": _RESULT,
    "system-out": (set(), set(), set()),
}


def checked(found: GateReport) -> ET.Element:
    """Return the suite of a report after holding its file against the shape."""
    root = ET.fromstring(junit(found).encode())
    assert root.tag == "testsuites"
    for node in root.iter():
        required, allowed, children = SHAPE[node.tag]
        assert required <= set(node.attrib) <= required | allowed, node.tag
        assert {child.tag for child in node} <= children, node.tag
    (suite,) = root
    for name, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert int(suite.attrib[name]) == len(list(suite.iter(tag))), name
    assert float(suite.attrib["time"]) == pytest.approx(sum(float(c.attrib["time"]) for c in suite.iter("testcase")))
    keys = [(case.attrib["classname"], case.attrib["name"]) for case in suite.iter("testcase")]
    assert len(set(keys)) == len(keys), "GitLab keeps only the first case of a name"
    return suite


def results(suite: ET.Element) -> dict[str, list[str]]:
    """Return per test case what it says besides its output."""
    return {
        case.attrib["name"]: [child.tag for child in case if child.tag != "system-out"]
        for case in suite.iter("testcase")
    }


def test_a_limit_is_a_case_and_a_missed_one_a_failure_that_says_by_how_much() -> None:
    missed = check("size_mb", 2, 3, "missed", "size is 3 MB, limit 2")
    suite = checked(report(check("latency_ratio", 1.05, 0.97), missed, status="missed"))
    assert results(suite) == {"latency_ratio": [], "size_mb": ["failure"], "measurement": []}
    failure = next(suite.iter("failure"))
    assert failure.attrib["message"] == failure.text == "size is 3 MB, limit 2"


@pytest.mark.parametrize(("policy", "tag"), [("fail", "error"), ("retry", "error"), ("neutral", "skipped")])
def test_doubt_is_an_error_or_by_policy_skipped(policy: str, tag: str) -> None:
    doubtful = check("latency_ratio", 1.05, 1.04, "not trustworthy")
    found = report(doubtful, status="not trustworthy", reasons=("the clock jumped",), on_untrusted=policy)
    suite = checked(found)
    assert results(suite) == {"latency_ratio": [tag], "measurement": []}
    assert "the clock jumped" in (next(suite.iter(tag)).text or "")


def test_a_doubt_that_belongs_to_no_limit_has_its_own_case() -> None:
    suite = checked(report(status="not trustworthy", reasons=("the hypervisor took 9 % of the time",)))
    assert results(suite) == {"latency_ratio": [], "measurement": ["error"]}


def test_a_budget_without_limits_still_gives_a_suite_with_a_case() -> None:
    assert results(checked(report().replace(verdict={**report().verdict.model_dump(), "checks": ()}))) == {
        "measurement": []
    }


def test_the_properties_say_operating_point_versions_and_machine() -> None:
    properties = {p.attrib["name"]: p.attrib["value"] for p in checked(report()).iter("property")}
    assert properties["verdict"] == "met"
    assert (properties["batch"], properties["threads"], properties["percentile"]) == ("1", "1", "90")
    assert properties["version.onnxruntime"] == "1.2.3"
    assert properties["machine.state.governor"] == "performance"
    assert properties["machine.state.affinity"] == "0-1, 3"


def test_a_state_that_did_not_change_and_counters_are_not_told() -> None:
    state = {"governor": ["performance"], "ticks": 5, "load": [0.5]}
    found = report(machine={"before": state, "after": {**state, "ticks": 9, "load": [2.0]}, "remarks": ["a remark"]})
    properties = [p.attrib["name"] for p in checked(found).iter("property")]
    assert [name for name in properties if name.startswith("machine.")] == [
        *("machine.before.governor", "machine.before.load", "machine.after.load"),
    ]


def test_what_xml_cannot_hold_is_spelled_out() -> None:
    nasty = "a\x1b[31m<&>\"'\ud800\ufffe\x00 ]]> é 🙂\n\tz"
    suite = checked(report(check("size_mb", 2, 3, "missed", nasty), status="missed", machine={nasty: nasty}))
    expected = "a\\x1b[31m<&>\"'\\xd800\\xfffe\\x00 ]]> é 🙂\n\tz"
    assert next(suite.iter("failure")).attrib["message"] == next(suite.iter("failure")).text == expected
