"""Proof by training: the accuracy a program reaches as its author set it up, before and after a fix.

The program runs to its end on all images, with its own hyper-parameters.  Its accuracy is taken from its own metric,
which the oracles have found to be right, or from the metric as mended.  Two things make that quick.  Loops in which
hits are counted image by image only turn in the last turn of training, if a training on a few images ends with the
same parameters and the same metric, bit for bit, with and without that.  And what would take long in double precision
is done in single precision; that is said.
"""

from __future__ import annotations

import ast
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from backprop_doctor.case import Case
from backprop_doctor.errors import DoctorError
from backprop_doctor.forks import side_by_side
from backprop_doctor.instrument import instrument
from backprop_doctor.program import Pace, Probe, Program, Trace
from backprop_doctor.records import FileReport
from backprop_doctor.source import Project
from backprop_doctor.values import is_same

__all__ = ["Training", "prove"]

IMAGES = (60_000, 10_000)
METRIC = "BD5"
SECONDS = 40.0
# How long a training on a few images may take, and how many products of two numbers one in double precision.
SECONDS_FEW = 1.0
MUCH = 3e10


def prove(
    source: Project, report: FileReport, open_case: Callable[[Project], Case], *, seconds: float = SECONDS
) -> FileReport:
    """The report with the accuracy before and after its fix, where the program computes one.

    Parameters
    ----------
    source : Project
        The program as it stands.
    report : FileReport
        With a fix.
    open_case : function of Project to Case
        Runs and judges a program; raises `DoctorError` where it cannot be run.
    seconds : float
        Wall time to spend; a run that takes longer, or than `SECONDS`, proves nothing.
    """
    ends = time.monotonic() + min(seconds, SECONDS)
    if report.fix is None or not report.fix.edits:
        return report
    metric = [f.fix for f in report.findings if f.code.startswith(METRIC) and f.fix.status == "verified"]
    versions = (source.edited(e for fix in metric for e in fix.edits), source.edited(report.fix.edits))
    before, after = (
        answer or (None, False)
        for answer in side_by_side([partial(_accuracy, version, open_case, ends) for version in versions])
    )
    fix = replace(report.fix, accuracy_before=before[0], accuracy_after=after[0])
    if None not in (before[0], after[0]) and (before[1] or after[1]):
        fix = replace(fix, proof=f"{fix.proof}; trained in single precision, to save time")
    return replace(report, fix=fix)


def _accuracy(source: Project, open_case: Callable[[Project], Case], ends: float) -> tuple[float | None, bool]:
    """The last accuracy of a whole training, as a fraction, and whether it was trained in single precision.

    None where there is no accuracy that can be relied on.
    """
    try:
        case = open_case(source)
    except DoctorError:
        return None, False
    metric = case.accuracy
    if metric is None or metric.unit not in (1.0, 100.0):
        return None, False
    trace, is_single = Training(case, ends).run()
    # What a run that was cut short had reached is not what it ends with.
    value = trace.latest.get(metric.event.site) if trace.ended == "finished" else None
    if value is None or np.size(value) != 1:
        return None, is_single
    return float(np.squeeze(value)) / metric.unit, is_single


@dataclass
class Training:
    """A program that is run to its end, with as few probes as will do."""

    case: Case
    ends: float

    def __post_init__(self) -> None:
        case = self.case
        assert case.accuracy is not None
        self.parameters = frozenset(key[0] for p in case.roles.parameters for key in p.updates)
        self.latest = frozenset({case.accuracy.event.site}) | self.parameters
        # What is there before training begins, in the precision it is to be in; products of two are slow.
        births = {event.object: event.site for event in reversed(case.trace.events) if event.object != -1}
        self.given = frozenset(births[number] for number in case.roles.reach if number in births)
        self.turns = 0
        self.pace = self._pace()

    def run(self) -> tuple[Trace, bool]:
        """Train on all images, in single precision where that is much work."""
        is_single = self.pace is not None and self.turns * self._products() > MUCH
        pace = replace(self.pace, is_single=is_single) if self.pace else None
        trace = self._trained(pace, *IMAGES, self.ends - time.monotonic())
        numbers = [trace.latest[site] for site in self.parameters if site in trace.latest]
        if is_single and not all(np.all(np.isfinite(number)) for number in numbers):
            # Too large for single precision, perhaps only for that.
            return self._trained(self.pace, *IMAGES, self.ends - time.monotonic()), False
        return trace, is_single

    def _products(self) -> float:
        """How many numbers the first turn would multiply in products of matrices, if there were all images."""
        case, count = self.case, 0.0
        for event in case.trace.events[case.roles.training.start : case.roles.training.middle]:
            shapes = [np.shape(o.value) for o in case.children(event) if np.ndim(o.value) == 2]
            product = event.object != -1 and len(shapes) == 2 and np.ndim(event.value) == 2
            if product and not set(shapes) & {np.shape(event.value)}:
                count += float(np.sqrt(np.prod(shapes[0]) * np.prod(shapes[1]) * np.size(event.value)))
        served = case.images / case.samples if case.images != case.samples else IMAGES[0] / case.probe.train
        return count * served

    def _trained(self, pace: Pace | None, train: int, test: int, seconds: float) -> Trace:
        if seconds <= 0:
            return Trace([], "stopped")
        case = self.case
        loops = {pace.loop, pace.counted, *pace.resting} if pace else set()
        inputs = {quantity.birth[0] for quantity in case.roles.inputs}
        probed = self.latest | loops | (self.given if pace and pace.is_single else inputs)
        program = Program(instrument(case.source, probed), case.program.surroundings, seed=case.program.seed)
        probe = Probe(
            keep=frozenset(), limit=10**12, train=train, test=test, seconds=seconds, latest=self.latest, pace=pace
        )
        return program.run(probe)

    def _pace(self) -> Pace | None:
        """The training loop, if its turns can be counted, with the loops that may rest."""
        sites = self.case.program.sites
        loop = sites[self.case.roles.training.loop]
        counted = next((s.id for s in sites if isinstance(loop.node, ast.For) and s.node is loop.node.iter), None)
        if counted is None:
            return None
        pace = Pace(loop.id, counted)
        resting = frozenset(self._countings(loop.node))
        few = (self.case.probe.train, self.case.probe.test, SECONDS_FEW)
        one, other = (self._trained(p, *few) for p in (pace, replace(pace, resting=resting)))
        self.turns = other.latest.get(counted, 0)
        same = one.ended == other.ended == "finished" and one.latest.keys() == other.latest.keys()
        same = same and all(is_same(one.latest[site], other.latest[site]) for site in self.latest & one.latest.keys())
        return replace(pace, resting=resting) if same else pace

    def _countings(self, training: ast.AST) -> set[int]:
        """Loops in which hits are counted and nothing is updated."""
        case = self.case
        assert case.accuracy is not None
        counted = {case.program.sites[event.site].statement for event in case.accuracy.chain}
        updates = {case.program.sites[site].statement for site in self.parameters}
        found = set()
        for site in case.program.sites:
            if isinstance(site.node, ast.For) and not site.node.orelse and site.kind == "loop":
                inside = set(ast.walk(site.node))
                if training not in inside and inside & counted and not inside & updates:
                    found.add(site.id)
        return found
