"""Records to JSON and back: schema version 1, keys are added and never renamed."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from backprop_doctor.records import (
    DataRole,
    Edit,
    Evidence,
    FileReport,
    Finding,
    Fix,
    LineVerdict,
    Loss,
    Metric,
    Network,
    ParameterVerdict,
    Position,
    ProgramFix,
    Report,
    Unchecked,
)

__all__ = ["file_from_json", "file_to_json", "report_to_json"]

SCHEMA_VERSION = 1


def report_to_json(report: Report, tool_version: str) -> dict[str, Any]:
    """The whole report with its summary."""
    files = report.files
    findings = [f for file in files for f in file.findings]
    return {
        "schema_version": SCHEMA_VERSION,
        "tool_version": tool_version,
        "files": [file_to_json(file) for file in files],
        "summary": {
            **{v: sum(f.verdict == v for f in files) for v in ("healthy", "faulty", "unknown")},
            "errors": sum(f.severity == "error" for f in findings),
            "warnings": sum(f.severity == "warning" for f in findings),
        },
    }


def file_to_json(file: FileReport) -> dict[str, Any]:
    """One program's entry; numbers that are not finite become null."""
    data = _finite(asdict(file))
    assert isinstance(data, dict)
    data["findings"] = [_flat(f) for f in data["findings"]]
    return data


def file_from_json(data: dict[str, Any]) -> FileReport:
    """The inverse of `file_to_json`."""
    network = data.get("network")
    return FileReport(
        path=data["path"],
        verdict=data["verdict"],
        ran=data["ran"],
        seconds=data["seconds"],
        network=_network(network) if network else None,
        lines=tuple(LineVerdict(**_tuples(v)) for v in data["lines"]),
        findings=tuple(_finding(f) for f in data["findings"]),
        fix=ProgramFix(**data["fix"]) if data.get("fix") else None,
        unchecked=tuple(Unchecked(**u) for u in data["unchecked"]),
        remarks=tuple(data.get("remarks", ())),
    )


def _flat(finding: dict[str, Any]) -> dict[str, Any]:
    """Positions lie flat in a finding."""
    position = finding.pop("position")
    return {**finding, **position}


def _finding(data: dict[str, Any]) -> Finding:
    place = ("path", "line", "column", "end_line", "end_column", "cell")
    rest = {k: v for k, v in data.items() if k not in place}
    fix = dict(rest["fix"])
    fix["edits"] = tuple(
        Edit(Position(**e["position"]), e["replacement"]) for e in fix["edits"]
    )
    rest["fix"] = Fix(**fix)
    rest["evidence"] = tuple(Evidence(**e) for e in rest["evidence"])
    rest["symptoms"] = tuple(rest["symptoms"])
    return Finding(position=Position(**{k: data[k] for k in place}), **rest)


def _network(data: dict[str, Any]) -> Network:
    return Network(
        parameters=tuple(ParameterVerdict(**_tuples(p)) for p in data["parameters"]),
        **{k: DataRole(**_tuples(data[k])) if data[k] else None for k in ("inputs", "labels", "output")},
        loss=Loss(**data["loss"]) if data["loss"] else None,
        metric=Metric(**data["metric"]) if data["metric"] else None,
    )


def _tuples(data: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
