"""One line a finding."""

from __future__ import annotations

from backprop_doctor.records import Report

__all__ = ["render"]


def render(report: Report, **_: object) -> str:
    """``path:line:column: CODE message`` and a line for each program that could not be checked."""
    rows = []
    for file in report.files:
        for f in file.findings:
            p = f.position
            rows.append(f"{p.path}:{p.line}:{p.column}: {f.code} {f.message} ({f.severity})")
        if file.verdict == "unknown":
            rows += [f"{file.path}: not checked: {u.why}" for u in file.unchecked]
    return "\n".join(rows)
