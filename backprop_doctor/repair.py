"""The smallest set of edits with which every check passes, each set proved by running the program with it.

A fix is a claim to be tested.  The edits that rules propose are applied together and the result is
examined like any other program, from another seed and on another number of images than the findings come from.
If it fails, the edits are tried one fault at a time and only those that mend something stay.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from backprop_doctor.errors import DoctorError
from backprop_doctor.records import Edit, FileReport, Finding, Fix, ProgramFix
from backprop_doctor.source import Source

__all__ = ["Judge", "diff", "repair"]

Judge = Callable[[Source], FileReport]


@dataclass(frozen=True)
class _Fault:
    """Findings with one cause, whose edits only make sense together."""

    findings: tuple[Finding, ...]

    @property
    def edits(self) -> tuple[Edit, ...]:
        return tuple(edit for finding in self.findings for edit in finding.fix.edits)


def repair(source: Source, report: FileReport, judge: Judge, *, search_seconds: float = 0.0) -> FileReport:
    """The report with its fixes put to the test.

    Parameters
    ----------
    source : Source
        The program as it stands.
    report : FileReport
        What was found in it.
    judge : function of Source to FileReport
        Examines a changed program; raises `DoctorError` where it cannot be run.
    search_seconds : float
        How long to look for edits where no rule proposes one that helps.

    Returns
    -------
    FileReport
        With ``fix.status`` of each finding ``"verified"`` where its edits are part of a set with which no
        error stays that they should mend and none is new, and with ``fix`` for the program.
    """
    errors = [finding for finding in report.findings if finding.severity == "error"]
    if not errors:
        return report
    faults = _faults(errors)
    trial = _Trial(source, report, judge)
    chosen = [fault for fault in faults if fault.edits]
    if chosen and not trial.mends(chosen):
        chosen = _one_by_one(trial, chosen)
    left = [fault for fault in faults if not any(fault.findings == c.findings for c in chosen)]
    chosen = _searched(trial, chosen, left, time.monotonic() + search_seconds) if search_seconds else chosen
    tried = {f.position: f for fault in chosen for f in fault.findings}
    findings = tuple(_tested(source, finding, tried.get(finding.position)) for finding in report.findings)
    return replace(report, findings=findings, fix=_together(source, errors, chosen, trial))


def _together(source: Source, errors: list[Finding], chosen: list[_Fault], trial: _Trial) -> ProgramFix:
    if not chosen or trial.proof is None:
        return ProgramFix("none", None, None, None)
    edits = tuple(edit for fault in chosen for edit in fault.edits)
    left = len(errors) - sum(len(fault.findings) for fault in chosen)
    parameters = trial.proof.network.parameters if trial.proof.network else ()
    right = [p for p in parameters if p.verdict == "right"]
    worst = max((p.relative_error or 0.0 for p in right), default=0.0)
    proof = (
        f"run again on other images from another seed: {left or 'no'} error{'' if left == 1 else 's'} left, "
        f"{len(right)} of {len(parameters)} gradients right, error at most {worst:.0e}"
    )
    return ProgramFix(
        "partial" if left else "verified",
        diff(source, source.apply(edits)),
        None,
        None,
        edits,
        hashlib.sha256(source.text.encode(source.encoding)).hexdigest(),
        proof,
    )


def diff(source: Source, text: str) -> str:
    """Unified diff from a program to its changed text."""
    before, after = source.text.splitlines(keepends=True), text.splitlines(keepends=True)
    pieces = difflib.unified_diff(before, after, source.path, source.path, n=2)
    return "".join(piece if piece.endswith("\n") else f"{piece}\n\\ No newline at end of file\n" for piece in pieces)


def _faults(errors: Iterable[Finding]) -> list[_Fault]:
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in errors:
        groups.setdefault((finding.code, finding.message), []).append(finding)
    return [_Fault(tuple(group)) for group in groups.values()]


class _Trial:
    """Runs the program with sets of edits, and says whether they mend what they should and spoil nothing."""

    def __init__(self, source: Source, report: FileReport, judge: Judge) -> None:
        self.source = source
        self.report = report
        self.proof: FileReport | None = None
        self._judge = judge
        self._known: dict[str, FileReport | None] = {}

    def mends(self, faults: list[_Fault]) -> bool:
        """Whether the findings of these faults are gone and nothing that passed fails."""
        edits = [edit for fault in faults for edit in fault.edits]
        try:
            text = self.source.apply(edits)
            ast.parse(text)
        except (ValueError, SyntaxError):
            return False
        after = self._examined(text)
        if after is None:
            return False
        gone = {self._mapped(finding, edits) for fault in faults for finding in fault.findings}
        left = {self._mapped(f, edits) for f in self.report.findings if f.severity == "error"} - gone
        errors = {(f.code, f.position.line) for f in after.findings if f.severity == "error"}
        if errors - left or not _as_good(self.report, after) or len(after.unchecked) > len(self.report.unchecked):
            return False
        self.proof = after
        return True

    def _examined(self, text: str) -> FileReport | None:
        if text not in self._known:
            try:
                self._known[text] = self._judge(replace(self.source, text=text))
            except DoctorError:
                self._known[text] = None
        return self._known[text]

    @staticmethod
    def _mapped(finding: Finding, edits: list[Edit]) -> tuple[str, int]:
        """Code and line of a finding in the changed program."""
        line = finding.position.line
        for edit in {edit for edit in edits if edit.position.line < line}:
            removed = edit.position.end_line - edit.position.line
            line += edit.replacement.count("\n") - removed
        return finding.code, line


def _as_good(before: FileReport, after: FileReport) -> bool:
    """Whether each parameter is still there, what was right is right, and what was wrong is not lost sight of."""
    old, new = _verdicts(before), _verdicts(after)
    gone = {name for name, _ in old} ^ {name for name, _ in new}
    unsure = sum(count for (_, verdict), count in (new - old).items() if verdict == "unknown")
    lost = any(new[name, "right"] < count for (name, verdict), count in old.items() if verdict == "right")
    healthy = not any(finding.severity == "error" for finding in after.findings)
    left = healthy and any(verdict == "wrong" for _, verdict in new)
    return not (gone or unsure or lost or left)


def _verdicts(report: FileReport) -> Counter[tuple[tuple[str, int], str]]:
    parameters = report.network.parameters if report.network else ()
    return Counter(((p.name, len(p.shape)), p.verdict) for p in parameters)


def _one_by_one(trial: _Trial, faults: list[_Fault]) -> list[_Fault]:
    """The faults whose edits mend them, each added to those that did before."""
    chosen: list[_Fault] = []
    for fault in faults:
        if trial.mends([*chosen, fault]):
            chosen.append(fault)
    return chosen


def _searched(trial: _Trial, chosen: list[_Fault], left: list[_Fault], until: float) -> list[_Fault]:
    """For the faults that are left, the first small edit at their lines that mends them."""
    from backprop_doctor.edits import candidates

    for fault in left:
        for edit in (e for f in fault.findings for e in candidates(trial.source, f.position.line)):
            if time.monotonic() > until:
                return chosen
            fix = Fix("offered", edit.replacement, (edit,))
            mended = _Fault((replace(fault.findings[0], fix=fix), *fault.findings[1:]))
            if trial.mends([*chosen, mended]):
                chosen = [*chosen, mended]
                break
    return chosen


def _tested(source: Source, finding: Finding, mended: Finding | None) -> Finding:
    """The finding with its fix and what became of it."""
    same = mended is not None and mended.code == finding.code
    fix = mended.fix if mended is not None and same else finding.fix
    if not fix.edits:
        return replace(finding, fix=replace(fix, status="verified")) if same else finding
    patch = diff(source, source.apply(fix.edits))
    return replace(finding, fix=replace(fix, diff=patch, status="verified" if same else fix.status))
