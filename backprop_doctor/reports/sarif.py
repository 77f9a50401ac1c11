"""SARIF 2.1.0, for code scanning services: findings with their rules and edits."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from backprop_doctor import rules
from backprop_doctor.records import Edit, FileReport, Finding, Position, Report
from backprop_doctor.reports.view import View
from backprop_doctor.reports.wording import unchecked_sentence

__all__ = ["render"]

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def render(report: Report, view: View) -> str:
    """One run with all findings; columns count characters, and regions end after their last one."""
    from backprop_doctor import __version__

    used = {finding.code for file in report.files for finding in file.findings}
    known = [rule for rule in rules.catalogue() if rule.code in used]
    driver = {"name": "backprop-doctor", "version": __version__, "rules": [_rule(rule) for rule in known]}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "invocations": [
            {
                "executionSuccessful": all(file.ran or not file.unchecked for file in report.files),
                "toolExecutionNotifications": [n for file in report.files for n in _notifications(file)],
            }
        ],
        "results": [_result(finding) for file in report.files for finding in file.findings],
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, allow_nan=False)


def _rule(rule: rules.RuleInfo) -> dict[str, Any]:
    return {
        "id": rule.code,
        "name": rule.name,
        "shortDescription": {"text": rule.summary},
        "fullDescription": {"text": rule.explanation or rule.summary},
        "help": {"text": f"backprop-doctor explain {rule.code}\n\n{rule.explanation}".rstrip()},
        "defaultConfiguration": {"level": rule.severity},
        "properties": {"tags": [rule.family]},
    }


def _notifications(file: FileReport) -> Iterable[dict[str, Any]]:
    for unchecked in file.unchecked:
        yield {
            "level": "note" if file.ran else "error",
            "message": {"text": f"{unchecked.what}: {unchecked_sentence(file, unchecked)}"},
            "locations": [{"physicalLocation": {"artifactLocation": {"uri": _uri(file.path)}}}],
        }


def _result(finding: Finding) -> dict[str, Any]:
    text = finding.message
    if finding.why:
        text += f"\n{finding.why}"
    evidence = [f"{e.what}: {e.seen}, expected {e.expected}" for e in finding.evidence]
    location: dict[str, Any] = {
        "physicalLocation": {
            "artifactLocation": {"uri": _uri(finding.position.path)},
            "region": _region(finding.position),
        }
    }
    if finding.position.cell is not None:
        location["logicalLocations"] = [{"name": f"cell {finding.position.cell}", "kind": "module"}]
    result: dict[str, Any] = {
        "ruleId": finding.code,
        "level": finding.severity,
        "message": {"text": "\n".join([text, *evidence])},
        "locations": [location],
        "properties": {"status": finding.status},
    }
    if finding.fix.edits:
        description = finding.fix.summary or "make this edit"
        result["fixes"] = [{"description": {"text": description}, "artifactChanges": _changes(finding.fix.edits)}]
    return result


def _changes(edits: tuple[Edit, ...]) -> list[dict[str, Any]]:
    by_path: dict[str, list[dict[str, Any]]] = {}
    for edit in edits:
        replacement = {"deletedRegion": _region(edit.position), "insertedContent": {"text": edit.replacement}}
        by_path.setdefault(edit.position.path, []).append(replacement)
    return [{"artifactLocation": {"uri": _uri(path)}, "replacements": made} for path, made in by_path.items()]


def _region(position: Position) -> dict[str, int]:
    return {
        "startLine": position.line,
        "startColumn": position.column,
        "endLine": position.end_line,
        "endColumn": position.end_column,
    }


def _uri(path: str) -> str:
    return Path(path).as_uri() if os.path.isabs(path) else quote(Path(path).as_posix())
