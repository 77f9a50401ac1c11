"""JUnit XML, for test servers and learning platforms: a suite a program, a case a verdict."""

from __future__ import annotations

import re
from xml.etree import ElementTree as xml

from backprop_doctor.records import FileReport, Finding, ParameterVerdict, Report
from backprop_doctor.reports.view import View
from backprop_doctor.reports.wording import axes_text, first_line, place, scientific, unchecked_sentence

__all__ = ["render"]

FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(report: Report, view: View) -> str:
    """Gradients and errors are cases; what cannot be told is skipped, warnings and notes are output."""
    root = xml.Element("testsuites", name="backprop-doctor")
    for file in report.files:
        root.append(_suite(file))
    for counted in ("tests", "failures", "errors", "skipped"):
        root.set(counted, str(sum(int(suite.get(counted, "0")) for suite in root)))
    xml.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + xml.tostring(root, encoding="unicode")


def _suite(file: FileReport) -> xml.Element:
    suite = xml.Element("testsuite", name=_text(file.path))
    _case(suite, file, "runs", *([] if file.ran else ["error", _sentences(file)]))
    judged = {f"gradient of {p.name}" for p in (file.network.parameters if file.network else ())}
    for parameter in file.network.parameters if file.network else ():
        _gradient(suite, file, parameter)
    for finding in file.findings:
        if finding.severity == "error":
            position = finding.position
            name = f"{finding.code} {finding.name}, line {position.line}"
            _case(suite, file, name, "failure", _details(finding))
    if file.ran:
        for unchecked in file.unchecked:
            if unchecked.what not in judged:
                _case(suite, file, unchecked.what, "skipped", unchecked.why)
    for counted, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(counted, str(len(suite.findall(f"testcase/{tag}"))))
    suite.set("tests", str(len(suite)))
    suite.set("time", f"{file.seconds:.3f}")
    said = [f"{f.severity}: {_details(f)}" for f in file.findings if f.severity != "error"]
    if said or file.remarks:
        xml.SubElement(suite, "system-out").text = _text("\n\n".join([*said, *file.remarks]))
    return suite


def _gradient(suite: xml.Element, file: FileReport, parameter: ParameterVerdict) -> None:
    outcome = {"right": [], "wrong": ["failure", parameter.reason], "unknown": ["skipped", parameter.reason]}
    case = _case(suite, file, f"gradient of {parameter.name}", *outcome[parameter.verdict])
    properties = xml.Element("properties")
    for name, value in (
        ("shape", axes_text(parameter.shape, parameter.axes)),
        ("gradient", parameter.gradient),
        ("factor", parameter.factor),
        ("relative_error", None if parameter.relative_error is None else scientific(parameter.relative_error)),
    ):
        if value is not None:
            xml.SubElement(properties, "property", name=name, value=_text(value))
    case.insert(0, properties)


def _case(suite: xml.Element, file: FileReport, name: str, tag: str = "", text: str = "") -> xml.Element:
    case = xml.SubElement(suite, "testcase", classname=_text(file.path), name=_text(name), file=_text(file.path))
    if tag:
        outcome = xml.SubElement(case, tag, message=_text(first_line(text)))
        outcome.text = None if tag == "skipped" else _text(text)
    return case


def _details(finding: Finding) -> str:
    lines = [finding.message, f"at {place(finding.position)}: {finding.code} {finding.name}"]
    lines += [f"{e.what}: {e.seen}, expected {e.expected}" for e in finding.evidence]
    lines += [finding.why] if finding.why else []
    lines += [f"fix: {finding.fix.summary}"] if finding.fix.summary else []
    return "\n".join(lines)


def _sentences(file: FileReport) -> str:
    return "\n".join(unchecked_sentence(file, unchecked) for unchecked in file.unchecked)


def _text(text: str) -> str:
    return FORBIDDEN.sub("?", text)
