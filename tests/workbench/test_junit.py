"""Results as build servers read them."""

from pathlib import Path
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from gatewayd.workbench.case import Case, Expected
from gatewayd.workbench.junit import junit

NOTHING = Expected(readings=None, predictions=None, alerts=None, counts={})


def case(name="n", path="a.cases.yaml", line=1):
    return Case(name=name, path=Path(path), line=line, said=(), wait_ns=0, expected=NOTHING)


def test_one_suite_a_file_one_testcase_a_case():
    results = [
        (case("one"), [], 0.25),
        (case("two", line=7), ["x: expected 1, found 2", "y: <&"], 0.5),
        (case("three", "b.cases.yaml"), [], 0.0),
    ]
    first, second = ET.fromstring(junit(results))
    assert first.attrib == {"name": "a.cases.yaml", "tests": "2", "failures": "1", "time": "0.750"}
    assert second.attrib["tests"] == "1"
    assert [one.attrib["name"] for one in first] == ["one", "two"]
    assert first[1].attrib["line"] == "7"
    (failure,) = first[1]
    assert failure.attrib["message"] == "x: expected 1, found 2"
    assert failure.text == "x: expected 1, found 2\ny: <&"
    assert len(first[0]) == 0


@given(st.text(min_size=1), st.lists(st.text(min_size=1), max_size=3))
def test_whatever_is_said_the_document_stays_one(name, differences):
    (suite,) = ET.fromstring(junit([(case(name), differences, 0.0)]).encode())
    assert len(suite) == 1
    assert len(suite[0]) == bool(differences)


def test_no_case_is_a_document_too():
    assert len(ET.fromstring(junit([]))) == 0
