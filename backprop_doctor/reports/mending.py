"""What a fix does and what it leaves, in words."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from backprop_doctor.records import FileReport, Finding
from backprop_doctor.reports.layout import clean, wrap
from backprop_doctor.reports.view import View
from backprop_doctor.reports.wording import count, percent, place, unchecked_sentence

__all__ = ["remaining", "render"]


def render(file: FileReport, view: View, kept: Sequence[tuple[Path, str]] = ()) -> str:
    """Say what the fix of a program mends, how that was proved, what stays, and how to undo it."""
    if not file.ran:
        return "\n".join(f"{unchecked_sentence(file, unchecked)}" for unchecked in file.unchecked)
    left, mended = _left(file), [finding for finding in file.findings if finding.fix.status == "verified"]
    if not left and not mended:
        return f"{file.path}: nothing to mend"
    written = "" if not kept else " in the file" if len(kept) == 1 else f" in {len(kept)} files"
    lines = [f"{file.path}: {_counted(mended)} mended{written}"]
    fix = file.fix
    if fix and fix.proof:
        lines += _indented(fix.proof, view)
    if fix and fix.accuracy_before is not None and fix.accuracy_after is not None:
        lines += _indented(
            f"trained to its end as written: accuracy {percent(fix.accuracy_before)} before, "
            f"{percent(fix.accuracy_after)} after",
            view,
        )
    elif fix and fix.edits:
        reason = "no accuracy that can be relied on is computed, or training does not end in time"
        lines += _indented(f"not proved by training: {reason}", view)
    for finding in left:
        summary = finding.fix.summary.splitlines()[0] if finding.fix.summary else ""
        advice = f"; closest: {summary}" if summary else ""
        lines += _indented(
            f"no verified fix: {place(finding.position)} {finding.code} {finding.name}: {finding.message}{advice}", view
        )
    for old, path in kept:
        lines += _indented(f"undo: mv {shlex.quote(str(old))} {shlex.quote(path)}", view)
    return "\n".join(clean(line) for line in lines)


def remaining(file: FileReport) -> FileReport:
    """The report of a program once its fix has been written."""
    left = _left(file)
    findings = tuple(f for f in file.findings if f.fix.status != "verified")
    return replace(file, findings=findings, verdict="faulty" if left else "healthy")


def _left(file: FileReport) -> list[Finding]:
    return [f for f in file.findings if f.severity == "error" and f.fix.status != "verified"]


def _counted(findings: Sequence[Finding]) -> str:
    severities = [finding.severity for finding in findings]
    others = [count(severities.count(kind), kind) for kind in ("warning", "note") if kind in severities]
    errors = [count(severities.count("error"), "error")] if "error" in severities or not others else []
    return " and ".join([*errors, *others])


def _indented(text: str, view: View) -> list[str]:
    return [f"  {line}" for line in wrap(text, view.width - 2)]
