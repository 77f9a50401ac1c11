"""What would have fitted: small changes where the operands of a crash meet and where they were made, tried by running.

A change is as good as what is found in the program that runs on with it.
"""

from __future__ import annotations

import ast
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Literal

import numpy as np

from backprop_doctor.crashes import Clash, Crash, Operand
from backprop_doctor.errors import DoctorError
from backprop_doctor.instrument import instrument
from backprop_doctor.program import Program
from backprop_doctor.records import Edit, FileReport, Fix, ProgramFix
from backprop_doctor.source import Project

__all__ = ["repair"]

Judge = Callable[[Project], FileReport]

SECONDS = 6.0
TRIALS = 150
JUDGED = 8
MORE_EVENTS = 500
NAME = re.compile(r"[A-Za-z_]\w*")


def repair(crash: Crash, report: FileReport, judge: Judge) -> FileReport:
    """The report with the change that makes the program run on, if there is one, and what is found in it then.

    Parameters
    ----------
    crash : Crash
        The run that stopped.
    report : FileReport
        What is said of it, the crash first.
    judge : function of Project to FileReport
        Examines a changed program; raises `DoctorError` where it cannot be run.
    """
    source = crash.program.source
    if crash.clash is None:
        return report
    best: tuple[tuple[int, int, int], Edit, FileReport] | None = None
    for edit in islice(_running(crash, crash.clash), JUDGED):
        try:
            after = judge(source.edited((edit,)))
        except DoctorError:
            continue
        errors = [finding for finding in after.findings if finding.severity == "error"]
        if after.verdict == "unknown" or any(f.position.line == edit.position.line for f in errors):
            continue
        unknown = len(after.unchecked) + sum(line.verdict == "unknown" for line in after.lines)
        right = sum(p.verdict == "right" for p in after.network.parameters) if after.network else 0
        if best is None or (len(errors), -right, unknown) < best[0]:
            best = (len(errors), -right, unknown), edit, after
        if best[0][0] == best[0][2] == 0:
            break
    if best is None:
        return report
    (wrong, _, _), edit, after = best
    changed = source.edited((edit,))
    diff = source.diff(changed)
    at, home = edit.position, source.find(edit.position.path, edit.position.cell)
    before = home.text_at(at)
    here = report.findings[0].position
    elsewhere = "" if here.line <= at.line <= here.end_line else f" in line {at.line}"
    summary = f"{edit.replacement} in place of {before}{elsewhere}"
    proof = "the program runs on with it" + (f", and has {wrong} more error{'s' * (wrong > 1)}" if wrong else "")
    status: Literal["offered", "verified"] = "offered" if wrong else "verified"
    first = replace(report.findings[0], fix=Fix(status, summary, (edit,), diff, proof))
    # What is found elsewhere holds for the program as it stands, but edits were tried in the changed one.
    others = tuple(replace(f, fix=replace(f.fix, status="none", edits=())) for f in after.findings)
    remark = f"what is said of other lines is said of the program with {summary}, which runs on"
    fixed = ProgramFix(
        "partial" if wrong else "verified",
        diff,
        None,
        None,
        (edit,),
        source.digest({edit.position.path}),
        proof,
    )
    return replace(
        report,
        network=after.network,
        lines=after.lines,
        findings=(first, *report.findings[1:], *others),
        unchecked=after.unchecked,
        remarks=(*report.remarks, remark),
        fix=fixed,
    )


def _running(crash: Crash, clash: Clash) -> Iterator[Edit]:
    """Changes with which the program comes past the line that stopped it, and does not stop for another cause."""
    source, ends = crash.program.source, time.monotonic() + SECONDS
    seen: set[tuple[str, ...]] = set()
    for edit in islice(_candidates(crash, clash), TRIALS):
        changed = source.edited((edit,))
        if changed.key in seen or _only_removes(source, edit):
            continue
        if time.monotonic() > ends:
            return
        seen.add(changed.key)
        try:
            program = Program(instrument(changed), crash.program.surroundings, seed=crash.program.seed)
        except DoctorError:
            continue
        trace = program.run(replace(crash.probe, limit=3 * len(crash.trace.events) + MORE_EVENTS, keep=frozenset()))
        if not trace.failed:
            yield edit


def _only_removes(source: Project, edit: Edit) -> bool:
    """Whether an edit takes a name out and puts none in: a line without its gradient fits, and trains nothing."""
    at, home = edit.position, source.find(edit.position.path, edit.position.cell)
    before = home.text_at(at)
    old, new = Counter(NAME.findall(before)), Counter(NAME.findall(edit.replacement))
    return bool(old - new) and not new - old


def _candidates(crash: Crash, clash: Clash) -> Iterator[Edit]:
    """What may have been meant, at the operation first, then at the lines its operands come from."""
    from backprop_doctor.edits import candidates

    source = crash.program.source
    yield from (Edit(source.position(node), text) for node, text in _fitting(crash, clash))
    for node in (clash.node, *crash.sources(clash)):
        # Lines in another order would hide the crash, and not mend it.
        yield from (edits[0] for edits in candidates(source.source_of(node), source.position(node)) if len(edits) == 1)


def _fitting(crash: Crash, clash: Clash) -> Iterator[tuple[ast.AST, str]]:
    """Changes of the operands that make their shapes fit."""
    left, right = clash.left, clash.right
    if isinstance(clash.node, ast.Call) and isinstance(clash.node.func, ast.Attribute) and len(clash.node.args) == 1:
        yield from ((clash.node, f"{a}.{clash.node.func.attr}({b})") for a, b in _arranged(left, right))
    for i, (side, other) in enumerate(((left, right), (right, left))):
        yield from _other_names(crash, side, other)
        yield from _other_length(crash, side, side.shape[clash.axes[i]], other.shape[clash.axes[1 - i]])
        if not clash.is_product:
            yield from _as_wide(crash, side, other)


def _arranged(left: Operand, right: Operand) -> Iterator[tuple[str, str]]:
    for one, other in ((right, left), (left, right)):
        yield _bare(one), other.text
        yield _turned(one), other.text
        yield _bare(one), _turned(other)


def _as_wide(crash: Crash, side: Operand, other: Operand) -> Iterator[tuple[ast.AST, str]]:
    """An operand with as many axes as the other, the lengths in the places where they fit."""
    text = crash.program.source.segment
    if len(side.shape) == 1 and len(other.shape) == 2 and side.shape[0] == other.shape[0]:
        if isinstance(side.node, ast.Call) and any(k.arg == "axis" for k in side.node.keywords):
            yield side.node, f"{side.text[:-1]}, keepdims=True)"
        made, n = crash.birth(side.event).node, side.shape[0]
        if isinstance(made, ast.Call) and len(made.args) == 1 and text(made.args[0]) in (f"{n}", f"({n},)"):
            yield made.args[0], f"({n}, 1)"
        if np.asarray(side.event.value).dtype.kind in "iu":
            yield side.node, f"np.eye({other.shape[1]})[{side.text}]"
        yield side.node, f"{_bare(side)}[:, None]"
    if side.shape == other.shape[::-1]:
        yield side.node, _turned(side)


def _other_length(crash: Crash, side: Operand, own: int, other: int) -> Iterator[tuple[ast.AST, str]]:
    """The length that fits, where an operand is made with one that is written out."""
    for part in ast.walk(crash.birth(side.event).node):
        if isinstance(part, ast.Constant) and part.value == own and type(part.value) is int:
            yield part, str(other)


def _other_names(crash: Crash, side: Operand, other: Operand) -> Iterator[tuple[ast.AST, str]]:
    """Arrays read inside an operand, exchanged for others that are known there and have the shape that is needed."""
    scope = next((s.scope for s in crash.program.sites if s.node is side.node), "")
    bound: dict[str, tuple[int, ...]] = {}
    for event in crash.trace.events:
        site = crash.program.sites[event.site]
        if site.target and site.target.isidentifier() and site.scope == scope and isinstance(event.value, np.ndarray):
            bound[site.target] = np.shape(event.value)
    fitting = [name for name, shape in bound.items() if shape == other.shape != side.shape and name != other.text]
    inside = [part for part in ast.walk(side.node) if isinstance(part, ast.Name)]
    for part in inside:
        if bound.get(part.id) == side.shape:
            yield from ((part, name) for name in fitting)
    # Of the labels before something was made of them, say.
    yield from ((side.node, part.id) for part in inside if part.id in fitting)


def _bare(side: Operand) -> str:
    """An operand as it may stand before a dot."""
    return side.text if isinstance(side.node, (ast.Name, ast.Attribute, ast.Call, ast.Subscript)) else f"({side.text})"


def _turned(side: Operand) -> str:
    return side.text[:-2] if side.text.endswith(".T") else f"{_bare(side)}.T"
