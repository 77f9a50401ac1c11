"""Workflow commands: findings as annotations beside the lines of a pull request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from backprop_doctor.records import Finding, Report
from backprop_doctor.reports.view import View
from backprop_doctor.reports.wording import unchecked_sentence

__all__ = ["render"]

COMMANDS = {"error": "error", "warning": "warning", "note": "notice"}


def render(report: Report, view: View) -> str:
    """A command for each finding, and an error for each program that could not be checked."""
    return "\n".join(_commands(report))


def _commands(report: Report) -> Iterator[str]:
    for file in report.files:
        for finding in file.findings:
            yield _annotation(finding)
        if file.verdict == "unknown":
            for unchecked in file.unchecked:
                properties = {"file": file.path, "title": "backprop-doctor could not check this"}
                yield _command("error", properties, unchecked_sentence(file, unchecked))


def _annotation(finding: Finding) -> str:
    position = finding.position
    properties: dict[str, object] = {"file": position.path, "line": position.line, "endLine": position.end_line}
    if position.line == position.end_line:  # columns are taken only within a line, and include the last one
        properties |= {"col": position.column, "endColumn": max(position.column, position.end_column - 1)}
    properties["title"] = f"{finding.code} {finding.name}"
    lines = [finding.message, finding.why, f"fix: {finding.fix.summary}" if finding.fix.summary else ""]
    return _command(COMMANDS[finding.severity], properties, "\n".join(line for line in lines if line))


def _command(name: str, properties: Mapping[str, object], message: str) -> str:
    listed = ",".join(f"{key}={_escape(str(value), ':,')}" for key, value in properties.items())
    return f"::{name} {listed}::{_escape(message)}"


def _escape(text: str, more: str = "") -> str:
    return "".join(f"%{ord(ch):02X}" if ch in f"%\r\n{more}" else ch for ch in text)
