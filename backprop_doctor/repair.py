"""The smallest set of edits with which every check passes, each set proved by running the program with it.

A fix is a claim to be tested.  The edits that rules propose are applied together and the result is
examined like any other program, from another seed and on another number of images than the findings come from.
If it fails, the edits are tried one fault at a time and only those that mend something stay.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from backprop_doctor.errors import DoctorError
from backprop_doctor.records import Edit, FileReport, Finding, Fix, ProgramFix
from backprop_doctor.source import Project, Source

__all__ = ["Judge", "repair"]

Judge = Callable[[Project], FileReport]


@dataclass(frozen=True)
class _Fault:
    """Findings with one cause, whose edits only make sense together."""

    findings: tuple[Finding, ...]

    @property
    def edits(self) -> tuple[Edit, ...]:
        return tuple(edit for finding in self.findings for edit in finding.fix.edits)


def repair(source: Source | Project, report: FileReport, judge: Judge, *, search_seconds: float = 0.0) -> FileReport:
    """The report with its fixes put to the test.

    Parameters
    ----------
    source : Source or Project
        The program as it stands.
    report : FileReport
        What was found in it.
    judge : function of Project to FileReport
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
    source = Project.of(source)
    trial = _Trial(source, report, judge)
    chosen = [fault for fault in faults if fault.edits]
    if chosen and not trial.mends(chosen):
        chosen = _one_by_one(trial, chosen)
    left = [fault for fault in faults if not any(fault.findings == c.findings for c in chosen)]
    chosen = _searched(trial, chosen, left, time.monotonic() + search_seconds) if search_seconds else chosen
    tried = {f.position: f for fault in chosen for f in fault.findings}
    findings = tuple(_tested(source, finding, tried.get(finding.position)) for finding in report.findings)
    return replace(report, findings=findings, fix=_together(source, errors, chosen, trial))


def _together(source: Project, errors: list[Finding], chosen: list[_Fault], trial: _Trial) -> ProgramFix:
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
        source.diff(source.edited(edits)),
        None,
        None,
        edits,
        source.digest(edit.position.path for edit in edits),
        proof,
    )


def _faults(errors: Iterable[Finding]) -> list[_Fault]:
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in errors:
        groups.setdefault((finding.code, finding.message), []).append(finding)
    return [_Fault(tuple(group)) for group in groups.values()]


class _Trial:
    """Runs the program with sets of edits, and says whether they mend what they should and spoil nothing."""

    def __init__(self, source: Project, report: FileReport, judge: Judge) -> None:
        self.source = source
        self.report = report
        self.proof: FileReport | None = None
        self._judge = judge
        self._known: dict[tuple[str, ...], FileReport | None] = {}

    def mends(self, faults: list[_Fault]) -> bool:
        """Whether the findings of these faults are gone and nothing that passed fails."""
        edits = [edit for fault in faults for edit in fault.edits]
        try:
            changed = self.source.edited(edits)
            changed.parse()
        except (ValueError, DoctorError):
            return False
        after = self._examined(changed)
        if after is None:
            return False
        gone = {self._mapped(finding, edits) for fault in faults for finding in fault.findings}
        left = {self._mapped(f, edits) for f in self.report.findings if f.severity == "error"} - gone
        errors = {self._mapped(f, []) for f in after.findings if f.severity == "error"}
        if errors - left or not _as_good(self.report, after) or len(after.unchecked) > len(self.report.unchecked):
            return False
        self.proof = after
        return True

    def _examined(self, changed: Project) -> FileReport | None:
        key = changed.key
        if key not in self._known:
            try:
                self._known[key] = self._judge(changed)
            except DoctorError:
                self._known[key] = None
        return self._known[key]

    @staticmethod
    def _mapped(finding: Finding, edits: list[Edit]) -> tuple[str, str, int | None, int]:
        """Code and place of a finding in the changed program."""
        at = finding.position
        line = at.line
        for edit in {e for e in edits if (e.position.path, e.position.cell) == (at.path, at.cell)}:
            if edit.position.line < at.line:
                removed = edit.position.end_line - edit.position.line
                line += edit.replacement.count("\n") - removed
        return finding.code, at.path, at.cell, line


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
    for fault in left:
        for edit in (e for f in fault.findings for e in _near(trial.source, f)):
            if time.monotonic() > until:
                return chosen
            fix = Fix("offered", edit.replacement, (edit,))
            mended = _Fault((replace(fault.findings[0], fix=fix), *fault.findings[1:]))
            if trial.mends([*chosen, mended]):
                chosen = [*chosen, mended]
                break
    return chosen


def _near(source: Project, finding: Finding) -> Iterable[Edit]:
    from backprop_doctor.edits import candidates

    return candidates(source.find(finding.position.path, finding.position.cell), finding.position.line)


def _tested(source: Project, finding: Finding, mended: Finding | None) -> Finding:
    """The finding with its fix and what became of it."""
    same = mended is not None and mended.code == finding.code
    fix = mended.fix if mended is not None and same else finding.fix
    if not fix.edits:
        return replace(finding, fix=replace(fix, status="verified")) if same else finding
    patch = source.diff(source.edited(fix.edits))
    return replace(finding, fix=replace(fix, diff=patch, status="verified" if same else fix.status))
