"""JUnit XML, which CI services show as tests: a suite per file, a case per finding.

There is no standard; this keeps to the schema of Jenkins' xUnit plugin (junit-10.xsd).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from sacdoctor.report.interface import Format
from sacdoctor.report.results import CheckupResult, ScanResult, WarmupResult

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from sacdoctor.report.looked_at import Looked, Told

_CLEAN = "nothing found"


def _write(result: ScanResult | CheckupResult | WarmupResult, file: TextIO) -> None:
    """Write a failure for each finding that the exit code goes by, a passed case for others."""
    from xml.etree import ElementTree

    from sacdoctor.report.looked_at import looked_at

    root = ElementTree.Element("testsuites", name="sacdoctor")
    root.extend(map(_suite, looked_at(result)))
    _count(root)
    ElementTree.indent(root)
    file.write('<?xml version="1.0" encoding="UTF-8"?>\n')
    file.write(ElementTree.tostring(root, encoding="unicode") + "\n")


def _scan(result: ScanResult, file: TextIO) -> None:
    _write(result, file)


def _checkup(result: CheckupResult, file: TextIO) -> None:
    _write(result, file)


def _warmup(result: WarmupResult, file: TextIO) -> None:
    _write(result, file)


def _suite(looked: Looked) -> Element:
    from xml.etree.ElementTree import Element, SubElement

    suite = Element("testsuite", name=looked.path)
    names: dict[str, int] = {}
    for told in looked.told:
        names[told.title] = names.get(told.title, 0) + 1
        again = f" ({names[told.title]})" if names[told.title] > 1 else ""
        _judge(_case(suite, looked, told.title + again), looked, told)
    if not looked.told:
        SubElement(_case(suite, looked, _CLEAN), "system-out").text = looked.words
    _count(suite)
    suite.set("skipped", str(len(suite.findall(".//skipped"))))
    return suite


def _case(suite: Element, looked: Looked, name: str) -> Element:
    from xml.etree.ElementTree import SubElement

    return SubElement(suite, "testcase", classname=looked.path, name=name)


def _judge(case: Element, looked: Looked, told: Told) -> None:
    """Put what came of a finding into its case: of a file that cannot be read it is an error."""
    from xml.etree.ElementTree import SubElement

    if not looked.is_readable:
        SubElement(case, "error", message=looked.words, type=told.severity).text = told.text
        return
    if told.fails:
        failure = SubElement(case, "failure", message=told.message, type=told.severity)
        failure.text = told.text
        return
    if told.is_known:
        SubElement(case, "skipped", message="the baseline has it")
    SubElement(case, "system-out").text = f"{told.severity}: {told.text}"


def _count(element: Element) -> None:
    for attribute, kind in (("tests", "testcase"), ("failures", "failure"), ("errors", "error")):
        element.set(attribute, str(len(element.findall(f".//{kind}"))))


FORMAT = Format(
    "junit",
    "JUnit XML for CI",
    {ScanResult: _scan, CheckupResult: _checkup, WarmupResult: _warmup},
)
