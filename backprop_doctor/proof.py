"""Proof by training: the accuracy a program reaches as its author set it up, before and after a fix.

The program runs to its end on all images, with its own hyper-parameters and in its own precision.  Its
accuracy is taken from its own metric, which the oracles have found to be right, or from the metric as mended.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from backprop_doctor.case import Case
from backprop_doctor.errors import DoctorError
from backprop_doctor.instrument import instrument
from backprop_doctor.program import Probe, Program
from backprop_doctor.records import FileReport
from backprop_doctor.source import Project

__all__ = ["prove"]

IMAGES = (60_000, 10_000)
METRIC = "BD5"
SECONDS = 40.0
Work = Callable[[], float | None]
_EXIT = os._exit


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
    runs = [partial(_accuracy, version, open_case, ends) for version in versions]
    before, after = _side_by_side(*runs)
    return replace(report, fix=replace(report.fix, accuracy_before=before, accuracy_after=after))


def _accuracy(source: Project, open_case: Callable[[Project], Case], ends: float) -> float | None:
    """The last accuracy of a whole training run, as a fraction; None where none can be relied on."""
    try:
        case = open_case(source)
    except DoctorError:
        return None
    metric = case.accuracy
    if metric is None or metric.unit not in (1.0, 100.0):
        return None
    site = metric.event.site
    # Only what is needed is probed; the inputs too, since products of float32 and float64 are slow.
    probed = frozenset({site, *(quantity.birth[0] for quantity in case.roles.inputs)})
    program = Program(instrument(source, probed), case.program.surroundings, seed=case.program.seed)
    train, test = IMAGES
    seconds = ends - time.monotonic()
    if seconds <= 0:
        return None
    probe = Probe(keep=frozenset(), limit=10**12, train=train, test=test, seconds=seconds, latest=frozenset({site}))
    trace = program.run(probe)
    # What a run that was cut short had reached is not what it ends with.
    value = None if trace.ended != "finished" else trace.latest.get(site)
    return None if value is None or np.size(value) != 1 else float(np.squeeze(value)) / metric.unit


def _side_by_side(first: Work, second: Work) -> tuple[float | None, float | None]:
    """Do two pieces of work, the first in a forked child where the system has `os.fork`."""
    if not hasattr(os, "fork"):
        return first(), second()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, json.dumps(first()).encode())
        _EXIT(0)
    os.close(writing)
    result = second()
    with os.fdopen(reading) as stream:
        answer = stream.read()
    os.waitpid(child, 0)
    return (json.loads(answer) if answer else None), result
