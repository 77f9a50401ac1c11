"""From a file to a report: the only module that knows the order of the stages.

source -> program -> events -> roles -> adjoints -> findings -> fixes -> report
"""

from __future__ import annotations

import ast
import contextlib
import math
import os
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from types import ModuleType
from typing import Any, Literal

import numpy as np

from backprop_doctor import adjoints, axes, chart, confinement, rules
from backprop_doctor.asides import without_asides
from backprop_doctor.case import Case, Sighting
from backprop_doctor.crashes import Crash
from backprop_doctor.errors import CannotCheckError, CrashError, DoctorError, IdleError, ProgramError
from backprop_doctor.gradients import lively
from backprop_doctor.instrument import Site, instrument
from backprop_doctor.loops import Iteration, carried_by, loops_of
from backprop_doctor.oracles.plain_steps import odd_steps
from backprop_doctor.program import Probe, Program, Surroundings, Trace
from backprop_doctor.proof import prove
from backprop_doctor.records import FileReport, Finding, Fix, LineVerdict, Network, Unchecked
from backprop_doctor.repair import repair
from backprop_doctor.roles import Roles, assign_roles, is_made_of_itself
from backprop_doctor.selection import Selection, sift
from backprop_doctor.source import Project, Source, open_project

__all__ = ["diagnose", "examine", "open_case"]

Sizes = tuple[tuple[int, int], ...]
_Recorded = tuple[Program, Trace, Roles, Probe, list[str]]

# Numbers of images that collide with no usual width; then more, for programs that need more.
# The same number twice is for programs that break as soon as a second set has another size; the thousands are
# multiples of usual batches, for those that break on a remainder.
SIZES = ((97, 83), (97, 97), (1201, 1009), (3200, 1600), (60000, 10000))
# A changed program is examined on other images, and started from another seed; what is to be written into a file
# once more, with weights of another size.
SEARCH_SECONDS = 20.0
# How many trainings are looked at after the first, for how long that may have taken, and how far to go for them.
FURTHER = 3
FURTHER_SECONDS = 10.0
FURTHER_EVENTS = 40_000
FURTHER_START = 20_000
SIZES_OF_TRIALS = ((71, 79), (101, 101), (1213, 1013), (4800, 2400), (60000, 10000))
SIZES_OF_A_GLANCE = ((47, 43), (101, 101), (1213, 1013), (4000, 2000), (60000, 10000))
SIZES_OF_CONFIRMATION = ((103, 79), (103, 103), (1217, 1019), (5600, 2800), (60000, 10000))
SCALE_OF_CONFIRMATION = 0.6
# What is not asked for expressly is only done where one look at the program takes no longer.
QUICK_SECONDS = 5.0
# A file in which so many lines make a value from several others is no mere collection of functions.
STEPS_OF_A_PROGRAM = 4
FUNCTIONS_ALONE = "no loop takes steps that would tell what it is the derivative of: its functions were checked alone"
# Of the time for one program: when the search has to end, and what is kept back for the report.
SHARE_OF_SEARCH = 0.5
MARGIN_SECONDS = 3.0
EVENTS = (2_000, 5_000, 16_000, 45_000, 130_000)
# Ends of a run that more images do not change.
SAME_AT_ANY_SIZE = ("stopped", "Interrupted", "AttributeError", "FileNotFoundError", "ImportError", "KeyError",
                    "ModuleNotFoundError", "NameError", "PermissionError", "RecursionError")  # fmt: skip


def diagnose(
    path: str,
    surroundings: Surroundings | None = None,
    *,
    seed: int = 0,
    selection: Selection | None = None,
    call: str = "",
    fix: bool = True,
    train: bool = False,
    search_seconds: float = 0.0,
    unsafe: bool = False,
    time_limit_seconds: float = math.inf,
) -> FileReport:
    """Check one file.

    Parameters
    ----------
    path : str
        The program.
    surroundings : function of (train, test, seconds) returning a context manager, optional
        What each run of the program is confined to.
    seed : int
        Start of all randomness the program leaves unseeded.
    selection : Selection, optional
        The rules to apply or to leave out.
    call : str
        Code to run at the end of the file.
    fix : bool
        Whether to put the proposed edits to the test.
    train : bool
        Whether to train the program to its end before and after the fix.
    search_seconds : float
        How long to try small edits where no rule proposes one that helps; what is found is confirmed once more.
    unsafe : bool
        Whether to mend what is a matter of choice too: warnings and notes.
    time_limit_seconds : float
        Wall time for all of it: the search and the proof are cut short where they would not end before.

    Raises
    ------
    CannotCheckError
        If the file cannot be parsed or run, or trains nothing.
    """
    started = time.perf_counter()
    chosen = selection or Selection()
    source = given = open_project(path).calling(call)
    try:
        case = open_case(source, surroundings, seed=seed)
        if case.source.sized:
            source = given = case.source
    except ProgramError as error:
        idle = isinstance(error, IdleError)
        found = _entered(source, surroundings, seed) if idle and not call else None
        if found is None:
            # What a notebook defines can be checked although a cell of it needs what is not there.
            apart = not call and (idle or source.is_notebook)
            whole = idle and not _computes(source)
            layers = _pairs(source, surroundings, seed=seed, whole=whole) if apart else None
            if layers is None or (layers.verdict == "unknown" and not idle):
                crashed = (
                    _crashed(error, source, surroundings, seed, fix=fix) if isinstance(error, CrashError) else None
                )
                if crashed is None:
                    raise
                return replace(_chosen(crashed, source, chosen), seconds=time.perf_counter() - started)
            used = getattr(getattr(surroundings, "stand_ins", None), "used", ())
            why = str(error).removesuffix(f" ({'; '.join(used)})")
            if idle and not whole and layers.verdict == "unknown":
                apart_only = Unchecked("what the file computes itself", FUNCTIONS_ALONE)
                layers = replace(layers, unchecked=(*layers.unchecked, apart_only))
            remarks = (f"it trains nothing: {why}",) if layers.verdict == "unknown" or not idle else ()
            return _apart(layers, source, surroundings, chosen, started, remarks)
        case = found
        source = case.source
    # All rules look, whichever are wanted: a fix must not bring up what another rule would see.
    further = further_cases(case) if time.perf_counter() - started < FURTHER_SECONDS else []
    report = _joined(_examined(case), [(one, _examined(one)) for one in further])
    told = report.network is not None and any(p.verdict != "unknown" for p in report.network.parameters)
    if report.verdict == "unknown" and not told and not call and source is given:
        # A loop that only looks like training, such as a gradient check of its own, is no more than that.
        layers = _pairs(source, surroundings, seed=seed, whole=False)
        if layers is not None and layers.verdict != "unknown":
            site = case.program.sites[case.roles.training.loop]
            remarks = (f"the loop at line {site.line} of {os.path.basename(site.source.name)} seems to train nothing",)
            return _apart(layers, source, surroundings, chosen, started, remarks)
    spent = time.perf_counter() - started
    if fix and not search_seconds and spent > QUICK_SECONDS:
        offered = any(finding.fix.edits for finding in report.findings if finding.severity == "error")
        remark = f"the edits were not tried: it took {spent:.0f} s to look at the program as it is (--diff tries them)"
        report = replace(report, remarks=(*report.remarks, *[remark] * offered))
    elif fix:
        trials = _Trials(case, surroundings, further=len(further))
        report = repair(
            source,
            report,
            partial(trials.examine, SIZES_OF_TRIALS, seed + 1, 1.0),
            confirm=partial(trials.examine, SIZES_OF_CONFIRMATION, seed + 2, SCALE_OF_CONFIRMATION)
            if search_seconds
            else None,
            glance=partial(trials.examine, SIZES_OF_A_GLANCE, seed + 1, 1.0),
            is_alike=partial(trials.is_alike, source, seed + 1),
            search_seconds=min(search_seconds, max(0.0, time_limit_seconds * SHARE_OF_SEARCH - spent)),
            severities=("error", "warning", "note") if unsafe else ("error",),
            wanted=lambda finding: bool(sift([finding], source, chosen)[0]),
        )
    if source is not given:
        report = _beside(report, _pairs(given, surroundings, seed=seed, judged=report.lines))
    report = _chosen(report, source, chosen)
    left = time_limit_seconds - MARGIN_SECONDS - (time.perf_counter() - started)
    if train and left > MARGIN_SECONDS:
        report = prove(source, report, partial(_opened_again, surroundings, seed, case.probe), seconds=left)
    return replace(report, seconds=time.perf_counter() - started)


def _apart(
    layers: FileReport,
    source: Project,
    surroundings: Surroundings | None,
    chosen: Selection,
    started: float,
    remarks: tuple[str, ...],
) -> FileReport:
    """The report on what a file defines, where no training of it could be judged."""
    used = getattr(getattr(surroundings, "stand_ins", None), "used", ())
    remarks = (*_files(source), *layers.remarks, *used, *remarks)
    report = _chosen(replace(layers, remarks=remarks), source, chosen)
    return replace(report, seconds=time.perf_counter() - started)


def _pairs(
    source: Project,
    surroundings: Surroundings | None,
    *,
    seed: int,
    judged: Sequence[LineVerdict] = (),
    whole: bool = True,
) -> FileReport | None:
    """What a file defines, checked pair by pair; most programs need none of that."""
    from backprop_doctor import pairs

    return pairs.check_pairs(source, surroundings, seed=seed, judged=judged, whole=whole)


def _computes(source: Project) -> bool:
    """Whether a file does more than to define things: it computes one value from others, line after line."""
    made: set[str] = set()
    steps = 0
    for statement in (one for part in source.main for one in part.tree.body):
        if isinstance(statement, (ast.Assign, ast.AugAssign, ast.AnnAssign)) and statement.value is not None:
            names = {node.id for node in ast.walk(statement.value) if isinstance(node, ast.Name)}
            steps += len(names & made) > 1
            made |= {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return steps >= STEPS_OF_A_PROGRAM


def _joined(report: FileReport, further: Sequence[tuple[Case, FileReport]]) -> FileReport:
    """The report on the first training of a program, with what is new in those on later ones."""
    for case, other in further:
        assert report.network is not None
        assert other.network is not None
        where = _place(case.program.sites[case.roles.training.loop])
        taken = {(line.path, line.cell, line.line) for line in report.lines}
        known = {(finding.code, finding.position) for finding in report.findings}
        lines = [line for line in other.lines if (line.path, line.cell, line.line) not in taken]
        findings = [finding for finding in other.findings if (finding.code, finding.position) not in known]
        network = replace(report.network, parameters=(*report.network.parameters, *other.network.parameters))
        report = replace(
            report,
            verdict=_verdict((*report.findings, *findings), network),
            network=network,
            lines=(*report.lines, *lines),
            findings=(*report.findings, *findings),
            unchecked=(*report.unchecked, *other.unchecked),
            asked=tuple(code for code in report.asked if code in other.asked),
            remarks=(*report.remarks, f"the loop at {where} trains too: its parameters and lines follow the others"),
        )
    return report


def _place(site: Site) -> str:
    return f"cell {site.source.cell}, line {site.line}" if site.source.cell else f"line {site.line}"


def _beside(report: FileReport, layers: FileReport | None) -> FileReport:
    """The report on a program that was called, with what else its file defines and could be judged."""
    if layers is None or report.network is None or layers.network is None:
        return report
    known = {(f.position.path, f.position.cell, f.position.line) for f in report.findings if f.severity == "error"}
    places = [(f, (f.position.path, f.position.cell, f.position.line)) for f in layers.findings]
    findings = [f for f, place in places if place not in known]
    wrong = {place for f, place in places if f.severity == "error"}
    lines = [line for line in report.lines if (line.path, line.cell, line.line) not in wrong]
    taken = {(line.path, line.cell, line.line) for line in lines}
    lines += [line for line in layers.lines if (line.path, line.cell, line.line) not in taken]
    parameters = [p for p in layers.network.parameters if p.verdict != "unknown"]
    return replace(
        report,
        verdict="faulty" if any(f.severity == "error" for f in findings) else report.verdict,
        network=replace(report.network, parameters=(*report.network.parameters, *parameters)),
        lines=tuple(lines),
        findings=(*report.findings, *findings),
        remarks=(*report.remarks, *layers.remarks),
    )


class _Trials:
    """Examines changed versions of a program."""

    def __init__(self, case: Case, surroundings: Surroundings | None, *, further: int = 0) -> None:
        self._case = case
        self._surroundings = surroundings
        self._further = further
        self._last: tuple[tuple[object, ...], list[Case]] | None = None
        self._given: list[Case] = []

    def examine(self, sizes: Sizes, seed: int, scale: float, changed: Project, codes: Collection[str]) -> FileReport:
        """The report on a changed version, by the rules of these codes, or by all if there are none."""
        case, *further = self._opened(sizes, seed, scale, changed)
        report = _joined(_examined(case, codes), [(one, _examined(one, codes)) for one in further])
        # That takes runs of its own, which only what is to be written into a file is worth.
        odd = odd_steps(case) - self._case.once(odd_steps) if sizes is SIZES_OF_CONFIRMATION else set()
        doubts = [Unchecked(f"step of {name}", "no multiple of its gradient, as others are") for name in sorted(odd)]
        if not codes and case.short.failed and not self._case.short.failed:
            doubts.append(Unchecked("what comes after the first steps", f"it ends there: {case.short.ended}"))
        return replace(report, unchecked=(*report.unchecked, *doubts))

    def is_alike(self, given: Project, seed: int, changed: Project) -> bool:
        """Whether a changed version takes the same steps, counts the same hits and prints the same as the given one."""
        self._given = self._given or self._opened(SIZES_OF_TRIALS, seed, 1.0, given)
        now = self._opened(SIZES_OF_TRIALS, seed, 1.0, changed)
        return [_outcome(case) for case in self._given] == [_outcome(case) for case in now]

    def _opened(self, sizes: Sizes, seed: int, scale: float, changed: Project) -> list[Case]:
        key = (seed, sizes, changed.key)
        if self._last is None or self._last[0] != key:
            case = _opened_again(self._surroundings, seed, self._case.probe, changed, sizes=sizes, scale=scale)
            further = further_cases(case, scale) if self._further else []
            if len(further) < self._further:
                raise ProgramError(f"{changed.path}: what it trained later on, it trains no more")
            self._last = (key, [case, *further])
        return self._last[1]


def _opened_again(
    surroundings: Surroundings | None,
    seed: int,
    given: Probe,
    changed: Project,
    *,
    sizes: Sizes = SIZES_OF_A_GLANCE,
    scale: float = 1.0,
) -> Case:
    """A changed version on about as many images as the given one took, and in a record that is no shorter."""
    like = SIZES.index((given.train, given.test))
    events = EVENTS[EVENTS.index(given.limit) :]
    fitting = sizes[like : like + 1]
    return open_case(changed, surroundings, seed=seed, sizes=fitting, events=events, scale=scale, steady=True)


def _outcome(case: Case) -> list[object]:
    """What a program has done after its first step: the new parameters, as bytes, and what it printed."""
    steps = [case.trace.value(key) for parameter in case.roles.parameters for key in parameter.updates]
    case.run({}, keep=frozenset(), turns=case.cut, limit=case.short_limit)
    guards = getattr(case.program.surroundings, "guards", None)
    printed = guards.output.getvalue() if guards is not None else ""
    return [*(np.asarray(step).tobytes() for step in steps), printed]


def _entered(source: Project, surroundings: Surroundings | None, seed: int) -> Case | None:
    """The case of a program that only defines things, called in the way in which most of it makes sense."""
    from backprop_doctor import entry

    def attempt(called: Project) -> tuple[float, Case] | None:
        try:
            case = open_case(called, surroundings, seed=seed, sizes=SIZES[:1], events=EVENTS[:1])
        except DoctorError:
            return None
        gradients = [case.gradient(parameter) for parameter in case.roles.parameters]
        right = sum(gradient is not None and gradient.right for gradient in gradients)
        return right / max(1, len(gradients)), case

    found = entry.search(source, attempt)
    if found is None:
        return None
    way, case = found
    case.remarks.insert(0, f"the file only defines things; what was checked is {way.words}, with MNIST as images")
    return case


def _crashed(
    error: CrashError, source: Project, surroundings: Surroundings | None, seed: int, *, fix: bool
) -> FileReport | None:
    """The report on a program that stopped, if a rule can tell why; what would make it run on is tried."""
    from backprop_doctor import crash_repair

    crash = error.crash
    seen = [(r, s) for r in rules.load() if hasattr(r, "examine_crash") for s in r.examine_crash(crash)]
    if not seen:
        return None
    report = FileReport(
        path=source.path,
        verdict="faulty",
        ran=True,
        seconds=0.0,
        findings=tuple(_finding(source, rule, sighting) for rule, sighting in seen),
        unchecked=(Unchecked("gradients", str(error)),),
        modules=tuple(source.modules),
        remarks=tuple(_files(source)),
    )
    if not fix:
        return report
    return crash_repair.repair(
        crash, report, lambda changed: _examined(open_case(changed, surroundings, seed=seed + 1))
    )


def _chosen(report: FileReport, source: Project, selection: Selection) -> FileReport:
    """The report with the findings only that are wanted; the chart stays that of the program."""
    findings, silenced = sift(report.findings, source, selection)
    # What nothing is known of remains so, whichever findings are wanted.
    verdict = "unknown" if report.verdict == "unknown" else _verdict(findings, report.network)
    return replace(report, findings=tuple(findings), verdict=verdict, remarks=(*report.remarks, *silenced))


def _verdict(findings: Sequence[Finding], network: Network | None) -> Literal["healthy", "faulty", "unknown"]:
    if any(finding.severity == "error" for finding in findings):
        return "faulty"
    parameters = network.parameters if network is not None else ()
    judged = sum(parameter.verdict != "unknown" for parameter in parameters)
    # What is said of few of the parameters is not said of the program.
    return "healthy" if 2 * judged >= len(parameters) > 0 else "unknown"


def _examined(case: Case, codes: Collection[str] = ()) -> FileReport:
    findings, wrong, unchecked = examine(case, codes)
    report = chart.describe(case, findings, wrong)
    unchecked += case.faults
    unchecked += [Unchecked(f"gradient of {p.name}", p.reason) for p in report.parameters if p.verdict == "unknown"]
    untold = case.roles.untold
    if untold is not None:
        unchecked.append(
            Unchecked(f"gradient of {untold.name}", "training changes it, and it was taken for the inputs")
        )
    return FileReport(
        path=case.source.path,
        verdict=_verdict(findings, report),
        ran=True,
        seconds=0.0,
        network=report,
        lines=chart.lines(case, findings, wrong),
        findings=tuple(findings),
        unchecked=tuple(unchecked),
        modules=tuple(case.source.modules),
        asked=_asked(unchecked, codes),
        remarks=(
            *_files(case.source),
            *case.remarks,
            *getattr(getattr(case.program.surroundings, "stand_ins", None), "used", ()),
        ),
    )


def _asked(unchecked: Sequence[Unchecked], codes: Collection[str]) -> tuple[str, ...]:
    """The rules that looked, but for those that failed."""
    failed = {one.what.partition(" ")[0] for one in unchecked}
    looked = {rules.info(rule).code for rule in rules.load()} - failed
    return tuple(sorted(looked & set(codes) if codes else looked))


def _files(source: Project) -> list[str]:
    """What was read beside the file that was given, and how."""
    folder = os.path.dirname(os.path.realpath(source.path))
    remarks = list(source.remarks)
    modules = [os.path.relpath(os.path.realpath(path), folder) for path in source.modules]
    if modules:
        remarks.append(f"checked with the modules it imports: {', '.join(modules)}")
    old = [os.path.basename(part.name) for part in source.sources if part.is_translated]
    if old:
        how = "it was read as Python 3, in which 1/2 is 0.5 and not 0"
        remarks.append(f"{', '.join(old)}: this looks like Python 2; {how}")
    return remarks


def open_case(
    source: Source | Project,
    surroundings: Surroundings | None = None,
    *,
    seed: int = 0,
    sizes: Sizes = SIZES,
    events: tuple[int, ...] = EVENTS,
    scale: float = 1.0,
    steady: bool = False,
) -> Case:
    """Run a program, find its roles and judge its derivatives, with weights of a size.

    With ``steady`` it is known that undisturbed runs are all alike.
    """
    program = Program(instrument(source), surroundings, seed=seed)
    program, trace, roles, probe, remarks = _recorded(program, sizes, events, steady)
    return _judged(program, trace, roles, probe, scale, remarks)


def further_cases(case: Case, scale: float = 1.0) -> list[Case]:
    """What a program trains after the training that was found, by other lines; each ends where the next begins.

    Parameters
    ----------
    case : Case
        The first training.
    scale : float
        Size of the weights at which derivatives are judged.

    Returns
    -------
    list of Case
        At most `FURTHER`, in order; those only whose roles are found as a whole.
    """
    found = [case]
    while len(found) <= FURTHER:
        following = _following(found, scale)
        if following is None:
            break
        found.append(following)
    return found[1:]


def _following(known: Sequence[Case], scale: float) -> Case | None:
    last = known[-1]
    program, loops = last.program, {site for case in known for site in (case.roles.training.loop, case.roles.step.loop)}
    probe = Probe(train=last.probe.train, test=last.probe.test, turns=last.cut)
    passed = last.short
    if passed.ended == "stopped":
        probe = replace(probe, turns=last.skipped)
        passed = program.run(replace(probe, limit=FURTHER_EVENTS))
    ended = [e.index for e in passed.events if e.object == -1 and e.occurrence < 0 and e.site in loops]
    later = [turns for turns in loops_of(passed) if ended and turns.starts[0] > ended[-1]]
    early = [turns for turns in later if turns.starts[0] <= FURTHER_START]
    if passed.failed or not later:
        return None
    for turns in later if not early else ():
        carried = [passed.first_seen[number].value for number in carried_by(program, passed, turns.iterations[0])]
        if any(np.ndim(value) == 2 for value in carried):
            place = _place(program.sites[turns.loop])
            last.remarks.append(
                f"the loop at {place} may train too, and was not looked at: it comes late in a long run"
            )
            break
    if not early or len(program.unchanged(probe, passed)) < sum(event.object != -1 for event in passed.events):
        return None  # it took more than that to come so far
    try:
        roles = assign_roles(program, passed, probe, after=ended[-1], until=FURTHER_START)
    except ProgramError:
        return None
    # A network that was trained goes on from layer to layer too: its weights may look like data there.
    if not any(is_made_of_itself(program, roles, parameter) for parameter in roles.parameters):
        return None
    last.end_before(roles.training.loop)
    return _judged(program, passed, roles, probe, scale, [])


def _judged(program: Program, trace: Trace, roles: Roles, probe: Probe, scale: float, remarks: list[str]) -> Case:
    measurement = lively(program, roles, probe, scale)
    judgement = adjoints.judge(measurement)
    if roles.in_numbers and not judgement.is_whole:
        # Of a list that is filled number by number, the numbers say at which line it is wrong.
        roles = replace(roles, scalars=True)
        measurement = lively(program, roles, probe, scale)
        judgement = adjoints.judge(measurement)
    return Case(
        program=program,
        probe=probe,
        trace=trace,
        roles=roles,
        measurement=measurement,
        judgement=judgement,
        axes=axes.name_axes(measurement),
        remarks=remarks,
    )


def _recorded(program: Program, sizes: Sizes, events: tuple[int, ...], steady: bool) -> _Recorded:
    """The shortest recorded run in which training shows, and what went wrong on the way to it."""
    remarks: list[str] = []
    failure: CannotCheckError | None = None
    for train, test in sizes:
        # A program that breaks on few images may just say how many there are; all of them take long.
        if (train, test) == SIZES[-1] and isinstance(failure, CrashError):
            try:
                sized = _to_size(program, "all", sizes[: sizes.index((train, test))], events, steady)
            except ProgramError as error:
                sized, failure = None, error
            if sized is not None:
                return sized
        barren: set[tuple[Iteration, Iteration]] = set()
        for limit in events:
            probe = Probe(train=train, test=test, limit=limit)
            trace, notes = confinement.run(program, probe)
            if limit == events[0] and not trace.failed and not steady:
                _repeated(program, trace, probe)
            try:
                last = limit == events[-1] or trace.full or trace.ended != "stopped"
                probe, trace = without_asides(program, trace, probe) or (probe, trace)
                roles = assign_roles(program, trace, replace(probe, limit=Probe.limit), final=last, barren=barren)
                sized = None
                with contextlib.suppress(ProgramError):
                    sized = _to_size(program, "divisors", ((train, test),), events, steady)
                return sized or (program, trace, roles, probe, [*remarks, *_passed_over(trace)])
            except ProgramError as error:
                # A crash says more than the lack of training that it causes.
                if trace.failed or not remarks:
                    idle = trace.ended == "finished" and not notes
                    sentence = confinement.reason(program, trace, notes, str(error))
                    failure = IdleError(sentence) if idle else ProgramError(sentence)
                    if trace.failed:
                        failure = CrashError(sentence, Crash(program, probe, trace))
                if trace.failed:
                    remarks.append(f"with {train} training and {test} test images: {failure}")
            if trace.ended != "stopped" or trace.full:
                break
        stand_ins = getattr(program.surroundings, "stand_ins", None)
        alike = stand_ins is not None and not stand_ins.is_asked
        if alike or trace.ended.startswith(SAME_AT_ANY_SIZE) or "MemoryError" in trace.ended:
            break
    assert failure is not None
    raise failure


def _is_served(program: Program) -> bool:
    """Whether the program was served a number of images."""
    return bool(getattr(getattr(program.surroundings, "stand_ins", None), "is_asked", False))


def _to_size(
    program: Program, sized: Literal["divisors", "all"], sizes: Sizes, events: tuple[int, ...], steady: bool
) -> _Recorded | None:
    """The same of a program whose numbers of images are as many as it is served; None if there is nothing to see."""
    source = program.source.to_size(sized) if _is_served(program) else None
    if source is None:
        return None
    return _recorded(Program(instrument(source), program.surroundings, seed=program.seed), sizes, events, steady)


def _passed_over(trace: Trace) -> list[str]:
    """What the reader of a notebook must know of cells that raised."""
    if not trace.passed_over:
        return []
    more = len(trace.passed_over) - 1
    others = f", and {more} more cell{'s' if more > 1 else ''}" if more else ""
    return [f"{trace.passed_over[0]}{others}; the cells below ran all the same"]


def _repeated(program: Program, trace: Trace, probe: Probe) -> None:
    """Refuse a program that does something else each time: no difference could be told from chance."""
    same = program.unchanged(probe, trace)
    for event in trace.events:
        if event.object != -1 and event.key not in same:
            site = program.sites[event.site]
            text = program.source.segment(site.node)
            raise CannotCheckError(
                f"{site.source.name}:{site.line}: two undisturbed runs differ at {text}: its randomness cannot be "
                "frozen, so nothing can be judged; seed it with a number"
            )


def examine(case: Case, codes: Collection[str] = ()) -> tuple[list[Finding], dict[int, str], list[Unchecked]]:
    """Apply the rules, all or those of some codes; the precise ones first, those that only say *wrong* to the rest.

    Returns
    -------
    findings : list of Finding
    wrong : dict of int to str
        Code of the finding that explains each wrong object.
    unchecked : list of Unchecked
        Rules that failed: faults of this tool.
    """
    findings: list[Finding] = []
    wrong: dict[int, str] = {}
    unchecked: list[Unchecked] = []
    case.errors.clear()
    is_ours = _has_our_data(case.source)
    loaded = sorted(rules.load(), key=lambda r: (getattr(r, "LAST_RESORT", False), rules.info(r).code))
    for rule in loaded:
        info = rules.info(rule)
        if (codes and info.code not in codes) or (is_ours and getattr(rule, "ABOUT_DATA", False)):
            continue
        try:
            sightings = list(rule.examine(case))
        except Exception as error:  # a rule that fails must not hide the others
            unchecked.append(
                Unchecked(f"{info.code} {info.name}", f"a fault of this tool: {type(error).__name__}: {error}")
            )
            continue
        for sighting in sightings:
            if getattr(rule, "LAST_RESORT", False) and any(o in wrong for o in sighting.objects):
                continue
            finding = _finding(case.source, rule, sighting)
            if finding.severity == "error":
                wrong.update(dict.fromkeys(sighting.objects, finding.code))
            known = any((f.code, f.position) == (finding.code, finding.position) for f in findings)
            if not known:
                findings.append(finding)
                case.errors += [finding.code] * (finding.severity == "error")
    order = {"error": 0, "warning": 1, "note": 2}
    findings.sort(key=lambda f: (order[f.severity], f.position.line, f.position.column))
    return findings, wrong, unchecked


def _has_our_data(source: Project) -> bool:
    """Whether the program was called with data that it did not choose: then nothing is said of those."""
    if not source.main[-1].call:
        return False
    from backprop_doctor import entry

    return entry.gives_data(source)


def _finding(source: Project, rule: ModuleType, sighting: Sighting) -> Finding:
    info = rules.info(rule)
    fix = Fix()
    if sighting.fix or sighting.edits:
        fix = Fix("offered" if sighting.edits else "none", sighting.fix, tuple(sighting.edits))
    return Finding(
        code=info.code,
        name=info.name,
        severity=sighting.severity or info.severity,
        status=sighting.status,
        position=source.position(sighting.node),
        message=sighting.message,
        label=sighting.label,
        why=sighting.why,
        evidence=sighting.evidence,
        fix=fix,
        symptoms=sighting.symptoms,
    )


def run_task(task: str, request: dict[str, Any]) -> dict[str, Any]:
    """Entry of the child process: do one task and answer with plain data."""
    from backprop_doctor import serialise

    with confinement.for_path(request["path"], tuple(request.get("arguments") or ())) as surroundings:
        report = diagnose(
            request["path"],
            surroundings,
            seed=int(request.get("seed") or 0),
            selection=Selection(
                select=tuple(request.get("select") or ()),
                ignore=tuple(request.get("ignore") or ()),
                extend_select=tuple(request.get("extend_select") or ()),
                per_file_ignores=tuple((p, tuple(codes)) for p, codes in request.get("per_file_ignores") or ()),
            ),
            call=str(request.get("call") or ""),
            fix=bool(request.get("fix", True)),
            train=bool(request.get("train")),
            search_seconds=SEARCH_SECONDS if request.get("train") else 0.0,
            unsafe=bool(request.get("unsafe")),
            time_limit_seconds=float(request.get("time_limit") or math.inf),
        )
    return {"report": serialise.file_to_json(report)}
