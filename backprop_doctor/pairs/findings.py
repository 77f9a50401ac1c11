"""What was found in ways of calling, as the report on a file: each fault once, where it stands."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from backprop_doctor import rules
from backprop_doctor.gradient_report import GradientVerdict
from backprop_doctor.pairs.anchors import Function, anchor, common_source, definition, only_run, target_of
from backprop_doctor.pairs.ways import Told, Way, told
from backprop_doctor.records import Evidence, FileReport, Finding, LineVerdict, Network, ParameterVerdict, Unchecked
from backprop_doctor.source import Project

__all__ = ["file_report"]

WHY = "for a small step along a direction d, the output moves by <gradient, d>: so central differences show"
WRONG, CONVENTION = "BD300", "BD201"


@dataclass(frozen=True)
class _Judged:
    """One gradient of one way, and the statement that makes it; ``run`` is the function as far as it was run."""

    way: Way
    verdict: GradientVerdict
    told: Told
    function: Function | None
    node: Any
    run: Function | None = None

    @property
    def name(self) -> str:
        return f"{self.verdict.name} of {self.way.subject}"


def file_report(
    source: Project, ways: Sequence[Way], unchecked: Sequence[Unchecked], *, whole: bool = True
) -> FileReport | None:
    """The report on what a file defines, or None if nothing of it could be tried.

    Parameters
    ----------
    source : Project
        The file.
    ways : sequence of Way
        How what it defines was called.
    unchecked : sequence of Unchecked
        What could not be called.
    whole : bool
        Whether the file is no more than that: else there is a training, of which right activations say nothing.
    """
    if not ways and not unchecked:
        return None
    judged = _without_symptoms(
        _once([_judged(source, way, verdict) for way in ways for verdict in way.report.verdicts])
    )
    told_together = [*_faults(judged)]
    findings = [_finding(source, alike, node) for alike, node in told_together]
    lines = {id(one): f.position.line for (alike, _), f in zip(told_together, findings, strict=True) for one in alike}
    unknown = [Unchecked(f"gradient of {one.name}", one.told.reason) for one in judged if one.told.verdict == "unknown"]
    errors = any(finding.severity == "error" for finding in findings)
    told_of = [one.way for one in judged if one.told.verdict != "unknown"]
    # Functions of one array, activations mostly, speak for a file only if there is nothing else in it.
    known = any(len(way.names) > 1 for way in told_of) or bool(told_of and whole and not unchecked)
    return FileReport(
        path=source.path,
        verdict="faulty" if errors else "healthy" if known else "unknown",
        ran=True,
        seconds=0.0,
        network=Network(parameters=tuple(_parameter(source, one, lines.get(id(one))) for one in judged)),
        lines=tuple(_lines(source, judged)),
        findings=tuple(findings),
        unchecked=(*unchecked, *unknown),
        modules=tuple(source.modules),
        asked=(CONVENTION, WRONG),
        remarks=tuple(f"called as {way.words}" for way in ways),
    )


def _judged(source: Project, way: Way, verdict: GradientVerdict) -> _Judged:
    function = definition(source, way.code) if way.code else None
    run = only_run(function, way.lines) if function is not None and way.lines else function
    node = anchor(run, way.claims.get(verdict.name) or verdict.claim) if run is not None else None
    return _Judged(way, verdict, told(way, verdict), function, function if node is run else node, run)


def _once(judged: Sequence[_Judged]) -> list[_Judged]:
    """One verdict on each gradient: wrong if it is wrong in any form of labels."""
    order = {"wrong": 0, "unknown": 1, "right": 2}
    found: dict[tuple[Any, str], _Judged] = {}
    for one in judged:
        key = (one.way.code, one.name)
        if key not in found or order[one.told.verdict] < order[found[key].told.verdict]:
            found[key] = one
    return list(found.values())


def _without_symptoms(judged: list[_Judged]) -> list[_Judged]:
    """Of a backward pass that calls a wrong one nothing is known: what is wrong there may come from below."""
    wrong = {one.function.name: one.function for one in judged if one.told.verdict == "wrong" and one.function}
    result = []
    for one in judged:
        below = [name for name in _called(one.function) if name in wrong and wrong[name] is not one.function]
        if one.told.verdict == "wrong" and below:
            reason = f"it is wrong, and so is what it calls: mend {below[0]} first ({one.told.reason})"
            one = replace(one, told=Told("unknown", reason))
        result.append(one)
    return result


def _called(function: Function | None) -> list[str]:
    calls = [node.func for node in ast.walk(function) if isinstance(node, ast.Call)] if function else []
    return [call.id for call in calls if isinstance(call, ast.Name)]


def _faults(judged: Sequence[_Judged]) -> Iterator[tuple[Sequence[_Judged], Any]]:
    """The gradients that each fault spoils, and where it is: what is wrong for one reason is told together."""
    functions = {id(one.function): one.function for one in judged if one.function is not None}
    for function in functions.values():
        own = [one for one in judged if one.function is function]
        wrong = [one for one in own if one.told.verdict == "wrong" and one.verdict.kind != "stale"]
        right = [one for one in own if one.told.verdict == "right"]
        run = wrong[0].run if len(wrong) > 1 else None
        shared = common_source(run, [o.node for o in wrong], [o.node for o in right]) if run else None
        if shared is not None:
            yield wrong, shared
        for one in own:
            if one.told.note or (one.told.verdict == "wrong" and (shared is None or one not in wrong)):
                yield [one], one.node


def _finding(source: Project, alike: Sequence[_Judged], node: Any) -> Finding:
    first = alike[0]
    verdict, is_note = first.verdict, first.told.note
    info = rules.find(CONVENTION if is_note else WRONG)
    names = [one.verdict.name for one in alike]
    subject = f"the gradient{'s' if len(alike) > 1 else ''} of {_listed(names)} in {first.way.subject}"
    made = f"; all are made from {target_of(node, '')}" if len(alike) > 1 else ""
    label = f"{verdict.factor} times the gradient" if is_note else f"not the gradient of {verdict.name}"
    return Finding(
        code=info.code,
        name=info.name,
        severity="note" if is_note else "error",
        status="confirmed",
        position=source.position(node),
        message=f"{subject}: {first.told.reason}{made}",
        label=label if len(alike) == 1 else f"from here on wrong: {_listed(names)}",
        why=WHY,
        evidence=tuple(_evidence(one.verdict) for one in alike),
    )


def _evidence(verdict: GradientVerdict) -> Evidence:
    error = "" if verdict.relative_error is None else f"error {verdict.relative_error:.2g}"
    return Evidence(
        f"gradient of {verdict.name} against finite differences",
        f"factor {verdict.factor}" if verdict.factor else error or verdict.kind,
        "factor 1" if verdict.factor else "below 1e-5",
    )


def _parameter(source: Project, one: _Judged, told_at: int | None) -> ParameterVerdict:
    position = source.position(one.node) if one.node is not None else None
    verdict = one.verdict
    return ParameterVerdict(
        name=one.name,
        line=position.line if position else 0,
        shape=verdict.shape,
        axes=(),
        gradient=one.way.claims.get(verdict.name) or verdict.claim or None,
        verdict=one.told.verdict,
        relative_error=verdict.relative_error,
        factor=verdict.factor or ("1" if one.told.verdict == "right" else None),
        reason=f"{WRONG} at line {told_at}: {one.told.reason}" if one.told.verdict == "wrong" else one.told.reason,
        path=position.path if position else source.path,
        cell=position.cell if position else None,
    )


def _lines(source: Project, judged: Sequence[_Judged]) -> Iterator[LineVerdict]:
    """One verdict on each target of a line: wrong if any is."""
    found: dict[tuple[Any, ...], LineVerdict] = {}
    for one in judged:
        if one.node is None or one.told.verdict == "unknown":
            continue
        position = source.position(one.node)
        line = LineVerdict(
            path=position.path,
            line=position.line,
            target=target_of(one.node, f"gradient of {one.verdict.name}"),
            role="backward",
            shape=one.verdict.shape,
            axes=(),
            verdict=one.told.verdict,
            meaning="" if one.told.verdict == "right" else WRONG,
            relative_error=one.verdict.relative_error,
            cell=position.cell,
        )
        key = (line.path, line.cell, line.line, line.target)
        if key not in found or line.verdict == "wrong":
            found[key] = line
    yield from found.values()


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
