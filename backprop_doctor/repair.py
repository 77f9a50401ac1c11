"""The smallest set of edits with which every check passes, each set proved by running the program with it.

A fix is a claim to be tested.  The edits that rules propose are applied together and the result is examined
like any other program, from another seed and on another number of images than the findings come from.  If it
fails, faults are mended one at a time, each at its line, on top of what is mended already, and only what mends
something and spoils nothing stays.  Where no rule proposes an edit that helps, a table of small edits is
searched at the blamed line.  Of so many edits some will merely hide a fault from the rule that saw it: that a rule
falls silent is enough for its own edit, while one of the table has to turn something that was measured to be wrong
into something that is measured to be right, and to change what the program computes.  What comes out is examined
once more in a setting that the search has not seen, and edits without which it passes as well are taken out again.
"""

from __future__ import annotations

import math
import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

from backprop_doctor.composition import compose, is_second_thought, line_after
from backprop_doctor.errors import DoctorError
from backprop_doctor.forks import side_by_side
from backprop_doctor.records import Edit, FileReport, Finding, Fix, Position, ProgramFix, Severity
from backprop_doctor.serialise import file_from_json, file_to_json
from backprop_doctor.source import Project, Source

__all__ = ["Judge", "repair"]

Judge = Callable[[Project, Collection[str]], FileReport]
Comparison = Callable[[Project], bool]
Edits = tuple[Edit, ...]
Line = tuple[str, int | None, int]

# How many edits that mend a fault but bring others to light are followed, and how far.
TENTATIVE = 4
DEPTH = 3
PROCESSES = 2
# Of a line that is measured to be right, whatever is said of it; and a factor that no formula was found for.
RIGHT_BELOW = 1e-5
NUMBER = re.compile(r"-?\d*\.?\d+(e[-+]?\d+)?")
CONFIRMED = ", and on a third set with weights of another size"


def repair(
    source: Source | Project,
    report: FileReport,
    judge: Judge,
    *,
    confirm: Judge | None = None,
    glance: Judge | None = None,
    is_alike: Comparison = lambda project: False,
    search_seconds: float = 0.0,
    severities: Iterable[Severity] = ("error",),
    wanted: Callable[[Finding], bool] = lambda finding: True,
) -> FileReport:
    """The report with its fixes put to the test.

    Parameters
    ----------
    source : Source or Project
        The program as it stands.
    report : FileReport
        What was found in it, by all rules.
    judge : function of Project and codes to FileReport
        Examines a changed program with the rules of these codes, or with all if there are none; raises
        `DoctorError` where it cannot be run.
    confirm : function of Project and codes to FileReport, optional
        The same in a setting that the search does not see; only what passes there too is accepted.
    glance : function of Project and codes to FileReport, optional
        The same in less time, on fewer images: enough to see that a fault is still there.
    is_alike : function of Project to bool
        Whether a changed program computes nothing but what the given one does.
    search_seconds : float
        How long to look for edits where no rule proposes one that helps.
    severities : iterable of str
        What is to be mended; nothing of that kind may be new.
    wanted : function of Finding to bool
        Which findings are to be mended; the others may stay.

    Returns
    -------
    FileReport
        With ``fix.status`` of each finding ``"verified"`` where it is gone with a set of edits with which
        none is new, and with ``fix`` for the program.
    """
    source = Project.of(source)
    trial = _Trial(source, judge, confirm, glance or judge, is_alike, frozenset(severities), wanted)
    start = _State(source, report)
    if not trial.faults(start):
        return report
    end = trial.together(start) or trial.one_by_one(start)
    search = _Search(trial, time.monotonic() + search_seconds)
    if search_seconds:
        end = search.shrunk(search.run(end))
    findings = tuple(_tested(trial, start, end, finding, search.closest) for finding in report.findings)
    return replace(report, findings=findings, fix=_program_fix(trial, start, end))


@dataclass(frozen=True)
class _Fault:
    """Findings with one cause, whose edits only make sense together."""

    findings: tuple[Finding, ...]

    @property
    def edits(self) -> Edits:
        """What the rules propose."""
        return tuple(edit for finding in self.findings for edit in finding.fix.edits)


@dataclass(frozen=True)
class _Step:
    """A fault, and the edits that were made for it, in the text as it stood at the start."""

    fault: _Fault
    edits: Edits

    def own(self, edits: Edits) -> Edits:
        """Those of the program's edits that are for this fault."""
        return tuple(edit for edit in edits if any(_overlap(edit.position, e.position) for e in self.edits))


@dataclass(frozen=True)
class _State:
    """The program with some edits, made in rounds, and what is found in it."""

    project: Project
    report: FileReport
    edits: Edits = ()
    steps: tuple[_Step, ...] = ()
    rounds: tuple[Edits, ...] = ()

    def moved(self, finding: Finding, since: int) -> tuple[str, Line]:
        """Code and line of a finding that was made when there were as many rounds as ``since``."""
        position = finding.position
        for edits in self.rounds[since:]:
            position = replace(position, line=line_after(edits, position))
        return finding.code, (position.path, position.cell, position.line)

    @property
    def named(self) -> set[tuple[str, Line]]:
        """Code and line of all findings."""
        return {self.moved(finding, len(self.rounds)) for finding in self.report.findings}


class _Trial:
    """Runs the program with sets of edits, and says whether they mend what they should and spoil nothing."""

    def __init__(
        self,
        source: Project,
        judge: Judge,
        confirm: Judge | None,
        glance: Judge,
        is_alike: Comparison,
        severities: frozenset[Severity],
        wanted: Callable[[Finding], bool],
    ) -> None:
        self.source = source
        self.glance = glance
        self.is_alike = is_alike
        self.severities = severities
        self.wanted = wanted
        self.judges = [judge] if confirm is None else [judge, confirm]
        self._known: dict[tuple[Judge, tuple[str, ...], frozenset[str]], FileReport | None] = {}

    def counts(self, finding: Finding) -> bool:
        """Whether a finding must not be new."""
        return finding.severity == "error" or finding.severity in self.severities

    def faults(self, state: _State) -> list[_Fault]:
        """What is to be mended."""
        groups: dict[tuple[str, str], list[Finding]] = {}
        for finding in state.report.findings:
            if finding.severity in self.severities and self.wanted(finding):
                groups.setdefault((finding.code, finding.message), []).append(finding)
        return [_Fault(tuple(group)) for group in groups.values()]

    def together(self, start: _State) -> _State | None:
        """The program with the edits of all rules, if they mend all that they are for."""
        chosen = [fault for fault in self.faults(start) if fault.edits]
        new = self.after(start, chosen) if chosen else None
        if new is None or self.is_better(start, new, chosen):
            return new
        return self.followed(start, new, chosen) if self.is_gone(start, new, chosen) else None

    def followed(self, state: _State, new: _State, faults: Sequence[_Fault], until: float = math.inf) -> _State | None:
        """The state with what one fault has hidden mended too, as far as rules know how."""
        for _ in range(DEPTH):
            others = [other for other in self.faults(new) if other.edits]
            # An edit that wants to be edited was the wrong one.
            others = [o for o in others if not is_second_thought(self.source, new.edits, o.edits)]
            after = self.after(new, others) if others and time.monotonic() < until else None
            if after is None or self.is_better(state, after, faults):
                return after
            new = after
        return None

    def one_by_one(self, state: _State) -> _State:
        """The program with the edits of those rules that mend what they are for, each added to those before."""
        faults = [fault for fault in self.faults(state) if fault.edits]
        best, chosen = state, list[_Fault]()
        for fault in faults if len(faults) > 1 else ():
            found = self.step(state, [*chosen, fault])
            if found is not None:
                best, chosen = found, [*chosen, fault]
        return best

    def step(self, state: _State, faults: Sequence[_Fault]) -> _State | None:
        """The state after the edits of some faults, if all checks say that it is better."""
        new = self.after(state, faults)
        return new if new is not None and self.is_better(state, new, faults) else None

    def after(self, state: _State, faults: Sequence[_Fault], edits: Edits | None = None) -> _State | None:
        """The state after these edits, by default those of the faults; None where it cannot be told.

        Edits of the table, which are many, are looked at first with the rules only that have to fall silent.
        """
        made = tuple(edit for fault in faults for edit in fault.edits) if edits is None else edits
        try:
            project = state.project.edited(made)
            project.parse()
            whole = compose(self.source, state.edits, made)
            own = [compose(self.source, state.edits, fault.edits if edits is None else edits) for fault in faults]
        except (ValueError, DoctorError):
            return None
        if project.key == state.project.key or (edits is not None and not self._promises(state, project, faults)):
            return None
        report = self._all_asked(project) if edits is None else self._examined(project, self.judges[0])
        if report is None:
            return None
        steps = [_Step(f, tuple(e for e in some if e not in state.edits)) for f, some in zip(faults, own)]
        return _State(project, report, whole, (*state.steps, *steps), (*state.rounds, made))

    def _all_asked(self, project: Project) -> FileReport | None:
        """What the first judge says, with the others asked at the same time: they will be, if it is in favour."""

        def answer(judge: Judge) -> dict[str, Any] | None:
            report = self._examined(project, judge)
            return None if report is None else file_to_json(report)

        others = [judge for judge in self.judges[1:] if (judge, project.key, frozenset[str]()) not in self._known]
        first = partial(self._examined, project, self.judges[0])
        *answers, report = side_by_side([*(partial(answer, judge) for judge in others), first])
        for judge, said in zip(others, answers, strict=True):
            self._known[judge, project.key, frozenset()] = said and file_from_json(said)
        return cast(FileReport | None, report)

    def _promises(self, state: _State, project: Project, faults: Sequence[_Fault]) -> bool:
        """Whether less is found than before by the rules that found the faults."""
        codes = frozenset(finding.code for fault in faults for finding in fault.findings)
        report = self._examined(project, self.judges[0], codes)
        return report is not None and not all(_codes(report)[c] >= _codes(state.report)[c] for c in codes)

    def is_better(self, old: _State, new: _State, faults: Sequence[_Fault]) -> bool:
        """Whether the faults are gone and nothing that passed fails, also where the search has not been."""
        if not self.is_gone(old, new, faults):
            return False
        mended = {finding for fault in faults for finding in fault.findings}
        others = [f for f in old.report.findings if self.counts(f) and f not in mended]
        left = {new.moved(finding, len(old.rounds))[1] for finding in others}
        found = {new.moved(f, len(new.rounds))[1] for f in new.report.findings if self.counts(f)}
        if found - left or not _is_as_good(old.report, new.report):
            return False
        return self.confirms(old, new)

    def is_gone(self, old: _State, new: _State, faults: Iterable[_Fault]) -> bool:
        """Whether no finding of these faults is left."""
        gone = {new.moved(finding, len(old.rounds)) for fault in faults for finding in fault.findings}
        return not gone & new.named

    def confirms(self, old: _State, state: _State) -> bool:
        """Whether the other judges find no more than the first, and gradients that are new have the same factors."""
        known = _factors(old.report)
        for judge in self.judges[1:]:
            report = self._examined(state.project, judge)
            if report is None:
                return False
            found = {_line(f.position) for f in report.findings if self.counts(f)}
            if found - {_line(f.position) for f in state.report.findings if self.counts(f)}:
                return False
            if not _is_as_good(state.report, report):
                return False
            # A gradient that is right up to a number, and another number on other images, is not right.
            here, there = _factors(state.report), _factors(report)
            if any(there.get(name, factor) != factor for name, factor in here.items() if name not in known):
                return False
        return True

    def is_backed(self, old: _State, new: _State) -> bool:
        """Whether more is measured to be right than before, and not only less said to be wrong.

        What was meant brings up no warning that was not there: too long a step, say, by a factor of no meaning.
        """
        if _warned(new.report) - _warned(old.report):
            return False
        before, after = _measured(old.report), _measured(new.report)
        return after[True] > before[True] and after[False] < before[False] and not self.is_alike(new.project)

    def without(self, end: _State, step: _Step) -> _State | None:
        """The program without the edits of one step, if no more is found in it than with all."""
        left = self._left(end, step)
        report = left and self._examined(left[1], self.judges[0])
        if not left or not report:
            return None
        if _codes(report) - _codes(end.report) or not _is_as_good(end.report, report):
            return None
        new = _State(left[1], report, left[0], end.steps, (left[0],))
        return new if self.confirms(end, new) else None

    def is_needed(self, end: _State, step: _Step) -> bool:
        """Whether it is seen at a glance that the fault of a step is there without its edits."""
        left = self._left(end, step)
        codes = frozenset(finding.code for finding in step.fault.findings)
        report = left and self._examined(left[1], self.glance, codes)
        return not report or bool(_codes(report) - _codes(end.report))

    def _left(self, end: _State, step: _Step) -> tuple[Edits, Project] | None:
        """The edits without those of one step alone, and the program; None where that leaves none, or no program."""
        own = step.own(end.edits)
        others = {e for other in end.steps if other is not step for e in other.own(end.edits)}
        left = tuple(edit for edit in end.edits if edit not in own or edit in others)
        if not left or len(left) == len(end.edits):
            return None
        try:
            project = self.source.edited(left)
            project.parse()
        except (ValueError, DoctorError):
            return None
        return left, project

    def _examined(self, project: Project, judge: Judge, codes: frozenset[str] = frozenset()) -> FileReport | None:
        key = (judge, project.key, codes)
        if key not in self._known:
            try:
                self._known[key] = judge(project, codes)
            except DoctorError:
                self._known[key] = None
        return self._known[key]


class _Search:
    """Looks for edits, fault by fault, those of the rules first and then those of the table."""

    def __init__(self, trial: _Trial, until: float) -> None:
        self.closest: dict[tuple[str, Line], str] = {}
        self._trial = trial
        self._until = until
        self._given_up: set[tuple[str, tuple[Line, ...]]] = set()

    def run(self, state: _State) -> _State:
        """The best state found in time."""
        while time.monotonic() < self._until:
            new = self._next(state)
            if new is None:
                return state
            state = new
        return state

    def shrunk(self, end: _State) -> _State:
        """The state without the edits of those faults that are gone without them too."""
        steps = end.steps if len(end.steps) > 1 else ()
        halves = [steps[number::PROCESSES] for number in range(PROCESSES)]
        found = side_by_side([partial(self._needed, end, half) for half in halves if half])
        needed = {halves[h][i] for h, numbers in enumerate(found) for i in numbers or ()}
        for step in steps:
            if step not in needed and time.monotonic() < self._until:
                end = self._trial.without(end, step) or end
        return end

    def _needed(self, end: _State, steps: Sequence[_Step]) -> list[int]:
        """The numbers of the steps whose edits are needed for sure; without time to look, of all."""
        return [i for i, s in enumerate(steps) if time.monotonic() > self._until or self._trial.is_needed(end, s)]

    def _next(self, state: _State) -> _State | None:
        faults = self._trial.faults(state)
        for fault in faults:
            if fault.edits:
                new = self._mended(state, fault, [fault.edits], self._until, proposed=True)
                if new is not None:
                    return new
        waiting = [fault for fault in faults if _key(fault) not in self._given_up]
        for number, fault in enumerate(waiting):
            now = time.monotonic()
            until = now + (self._until - now) / (len(waiting) - number)
            new = self._mended(state, fault, _table(state.project, fault), until)
            if new is not None:
                self._given_up.clear()
                return new
            self._given_up.add(_key(fault))
        return None

    def _mended(
        self, state: _State, fault: _Fault, proposals: Iterable[Edits], until: float, *, proposed: bool = False
    ) -> _State | None:
        """The state with the first of the proposals, of the rule or of the table, that mends the fault."""
        tentative: list[_State] = []
        for edits in proposals:
            if time.monotonic() > until:
                break
            new = self._trial.after(state, [fault], edits)
            if new is None:
                continue
            if self._trial.is_better(state, new, [fault]):
                if proposed or self._trial.is_backed(state, new):
                    return new
                continue
            if len(tentative) < TENTATIVE and self._trial.is_gone(state, new, [fault]):
                self._remember(state, fault, new, edits)
                tentative.append(new)
        # One fault may hide another: what comes to light is mended too, if its rule knows how.
        followed = (self._trial.followed(state, new, [fault], self._until) for new in tentative)
        ends = (end for end in followed if end is not None)
        return next((end for end in ends if proposed or self._trial.is_backed(state, end)), None)

    def _remember(self, state: _State, fault: _Fault, new: _State, edits: Edits) -> None:
        """Keep what was closest to a fix of a fault of the program as it was given."""
        if not state.steps:
            worse = [f for f in new.report.findings if self._trial.counts(f)]
            why = f"then {worse[0].code} at line {worse[0].position.line}" if worse else "not confirmed on other images"
            for finding in fault.findings:
                self.closest.setdefault((finding.code, _line(finding.position)), f"{_said(edits)} ({why})")


def _table(project: Project, fault: _Fault) -> Iterator[Edits]:
    """Small edits at the lines of a fault."""
    from backprop_doctor.edits import candidates

    for position in dict.fromkeys(finding.position for finding in fault.findings):
        yield from candidates(project.find(position.path, position.cell), position)


def _key(fault: _Fault) -> tuple[str, tuple[Line, ...]]:
    return fault.findings[0].code, tuple(_line(finding.position) for finding in fault.findings)


def _line(position: Position) -> Line:
    return position.path, position.cell, position.line


def _overlap(one: Position, other: Position) -> bool:
    if (one.path, one.cell) != (other.path, other.cell):
        return False
    starts = (one.line, one.column), (other.line, other.column)
    ends = (one.end_line, one.end_column), (other.end_line, other.end_column)
    return starts[0] <= ends[1] and starts[1] <= ends[0]


def _said(edits: Edits) -> str:
    """Edits in a few words: what is written."""
    texts = [" ".join(edit.replacement.split()) for edit in edits]
    return "; ".join(text for text in texts if text) or "take the line away"


def _is_as_good(before: FileReport, after: FileReport) -> bool:
    """Whether each parameter is still there, what was right is right, and what was wrong is not lost sight of."""
    old, new = _verdicts(before, _renamed(before, after)), _verdicts(after, {})
    names = {name for name, _ in old}
    gone = names - {name for name, _ in new}
    unsure = any(verdict == "unknown" and name in names for name, verdict in new - old)
    lost = any(new[name, "right"] < count for (name, verdict), count in old.items() if verdict == "right")
    healthy = not any(finding.severity == "error" for finding in after.findings)
    left = healthy and (after.verdict != "healthy" or any(verdict == "wrong" for _, verdict in new))
    doubts = {unchecked.what for unchecked in after.unchecked} - {unchecked.what for unchecked in before.unchecked}
    return not (gone or unsure or lost or left or doubts or _blind(before, after))


def _renamed(before: FileReport, after: FileReport) -> dict[str, str]:
    """New names by old ones: what has two names may go by the other when one of them is a copy."""
    old, new = (r.network.parameters if r.network else () for r in (before, after))
    gone = [p for p in old if p.name not in {q.name for q in new}]
    come = [p for p in new if p.name not in {q.name for q in old}]
    return {p.name: q.name for p in gone for q in come if (p.line, p.shape) == (q.line, q.shape)}


def _blind(before: FileReport, after: FileReport) -> bool:
    """Whether the loss or the metric of a program is out of sight, or a share of hits has become their number."""
    old, new = before.network, after.network
    if old is None or new is None:
        return old is not new
    lost = old.loss is not None and old.loss.kind == "declared" != (new.loss.kind if new.loss else "none")
    if old.metric is not None:
        lost = lost or new.metric is None or (old.metric.is_share and not new.metric.is_share)
    return lost


def _verdicts(report: FileReport, renamed: dict[str, str]) -> Counter[tuple[str, str]]:
    parameters = report.network.parameters if report.network else ()
    return Counter((renamed.get(p.name, p.name), p.verdict) for p in parameters)


def _measured(report: FileReport) -> Counter[bool]:
    """How much agrees with numbers of our own, and how much does not: gradients, backward lines, the metric.

    What is said of a line is left aside: that it is not called wrong any more proves nothing.  That all gradients have
    one factor counts as one thing more.
    """
    factors = [p.factor for p in (report.network.parameters if report.network else ())]
    found = Counter(factor is not None for factor in factors)
    found[len({factor for factor in factors if factor is not None}) == 1] += 1
    found += Counter(x.relative_error < RIGHT_BELOW for x in report.lines if x.relative_error is not None)
    metric = report.network.metric if report.network else None
    if metric is not None:
        found[metric.counts_hits] += 1
    return found


def _factors(report: FileReport) -> dict[str, str]:
    """The factors of right gradients that are no formula but plain numbers."""
    parameters = report.network.parameters if report.network else ()
    factors = {p.name: p.factor for p in parameters if p.verdict == "right" and p.factor is not None}
    return {name: factor for name, factor in factors.items() if NUMBER.fullmatch(factor)}


def _warned(report: FileReport) -> set[str]:
    return {finding.code for finding in report.findings if finding.severity == "warning"}


def _codes(report: FileReport) -> Counter[str]:
    return Counter(finding.code for finding in report.findings)


def _program_fix(trial: _Trial, start: _State, end: _State) -> ProgramFix:
    """All edits together, with what was run to prove them."""
    if not end.edits:
        return ProgramFix("none", None, None, None)
    left = [finding for fault in trial.faults(end) for finding in fault.findings]
    errors = sum(finding.severity == "error" for finding in end.report.findings)
    parameters = end.report.network.parameters if end.report.network else ()
    right = [p for p in parameters if p.verdict == "right"]
    worst = max((p.relative_error or 0.0 for p in right), default=0.0)
    proof = (
        f"run again on other images from another seed{CONFIRMED if len(trial.judges) > 1 else ''}: "
        f"{errors or 'no'} error{'' if errors == 1 else 's'} left, "
        f"{len(right)} of {len(parameters)} gradients right, error at most {worst:.0e}"
    )
    return ProgramFix(
        "partial" if left else "verified",
        trial.source.diff(end.project),
        None,
        None,
        end.edits,
        trial.source.digest(edit.position.path for edit in end.edits),
        proof,
    )


def _tested(
    trial: _Trial, start: _State, end: _State, finding: Finding, closest: dict[tuple[str, Line], str]
) -> Finding:
    """The finding with its fix and what became of it."""
    steps = [step for step in end.steps if finding in step.fault.findings]
    edits = tuple(dict.fromkeys(edit for step in steps for edit in step.own(end.edits)))
    if end.edits and trial.counts(finding) and trial.wanted(finding) and _is_mended(trial, end, finding):
        own = finding.fix.edits if finding.fix.edits and set(finding.fix.edits) <= set(end.edits) else edits
        summary = finding.fix.summary or (_said(own) if own else "gone with the edits of other lines")
        diff = trial.source.diff(trial.source.edited(own)) if own else None
        return replace(finding, fix=Fix("verified", summary, own, diff))
    fix = finding.fix
    if fix.edits:
        return replace(finding, fix=replace(fix, diff=trial.source.diff(trial.source.edited(fix.edits))))
    near = closest.get((finding.code, _line(finding.position)), "")
    return replace(finding, fix=replace(fix, summary=fix.summary or near))


def _is_mended(trial: _Trial, end: _State, finding: Finding) -> bool:
    code, line = end.moved(finding, 0)
    left = {end.moved(f, len(end.rounds)) for f in end.report.findings if trial.counts(f)}
    known = any(finding in step.fault.findings for step in end.steps)
    return (code, line) not in left and (known or line not in {at for _, at in left})
