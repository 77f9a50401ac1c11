"""The report for people: findings with their lines, what is right, and the chart."""

from __future__ import annotations

import shlex
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click

from backprop_doctor.records import FileReport, Finding, LineVerdict, Report

__all__ = ["render"]

_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}
_MARKS = {"right": "right", "wrong": "WRONG", "unknown": "cannot tell"}
_MARK_COLOURS = {"right": "green", "wrong": "red", "unknown": "yellow"}


def render(report: Report, *, chart: bool = False, only_chart: bool = False, seed: int = 0, **_: object) -> str:
    """Text for a terminal; colours are taken out later where there is none."""
    width = max(60, min(shutil.get_terminal_size((100, 24)).columns, 120))
    parts = []
    for file in report.files:
        source = _source(file.path)
        rows: list[str] = []
        if not only_chart:
            for finding in file.findings:
                rows += [*_finding(finding, source, width, seed), ""]
        if (chart or only_chart) and file.network:
            rows += [*_network(file), *_chart(file, source, width), ""]
        rows += _verdict(file, width)
        parts.append("\n".join(rows))
    if len(report.files) > 1:
        parts.append(_summary(report))
    return "\n\n".join(parts)


def _source(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _finding(finding: Finding, source: list[str], width: int, seed: int) -> Iterator[str]:
    p = finding.position
    title = f"{finding.code} {finding.name}"
    yield (
        f"{click.style(f'{p.path}:{p.line}:{p.column}', bold=True)}  "
        f"{click.style(title, fg=_COLOURS[finding.severity], bold=True)}  ({finding.severity}, {finding.status})"
    )
    line = source[p.line - 1] if 0 < p.line <= len(source) else ""
    if line:
        indent = len(line) - len(line.lstrip())
        shown = line.strip().expandtabs(1)
        start = p.column - 1 - indent
        end = (p.end_column - 1 if p.end_line == p.line else len(line)) - indent
        yield f"  {p.line:>5} | {shown}"
        carets = "^" * max(1, min(end, len(shown)) - start)
        yield f"        | {' ' * max(0, start)}{click.style(carets, fg=_COLOURS[finding.severity])} {finding.label}"
    yield from _row("seen", finding.message, width)
    if finding.severity != "note":
        for e in finding.evidence:
            yield from _row("", f"{e.what}: {e.seen} (expected {e.expected})", width)
    for symptom in finding.symptoms:
        yield from _row("", symptom, width)
    if finding.why:
        yield from _row("why", finding.why, width)
    if finding.fix.summary:
        proof = f"    {finding.fix.status}: {finding.fix.proof}" if finding.fix.proof else ""
        yield from _row("fix", finding.fix.summary + proof, width)
    if finding.severity == "error":
        command = f"backprop-doctor check {shlex.quote(p.path)} --select {finding.code} --seed {seed}"
        yield f"  again  {command}"


def _row(head: str, text: str, width: int) -> Iterator[str]:
    lines = textwrap.wrap(text, width - 9, break_long_words=False, break_on_hyphens=False) or [""]
    for i, line in enumerate(lines):
        yield f"  {click.style(f'{head if i == 0 else str():<5}', bold=True)}  {line}"


def _network(file: FileReport) -> Iterator[str]:
    network = file.network
    assert network is not None
    yield click.style(f"{file.path}: the network as it ran", bold=True)
    for role in ("inputs", "labels", "output"):
        data = getattr(network, role)
        if data:
            yield f"  {role:<8} {data.name}  {shape_text(data.shape, data.axes)}"
    loss = network.loss
    if loss:
        what = {"declared": f"{loss.name}, line {loss.line}", "implied": f"none computed; descends {loss.formula}",
                "none": "none found"}[loss.kind]
        yield f"  {'loss':<8} {what}"
    metric = network.metric
    if metric:
        figures = [
            f"{word} {value:.1%}"
            for word, value in (("reported", metric.reported), ("recomputed", metric.recomputed))
            if value is not None
        ]
        yield f"  {'metric':<8} {metric.name}, line {metric.line}  first epoch on few images: {', '.join(figures)}"
    for p in network.parameters:
        error = "" if p.relative_error is None else f"error {p.relative_error:.1e}"
        factor = f"factor {p.factor}" if p.factor else ""
        mark = click.style(_MARKS[p.verdict], fg=_MARK_COLOURS[p.verdict])
        numbers = "  ".join(x for x in (factor, error) if x)
        yield f"  {p.name}  {shape_text(p.shape, p.axes)}  {mark}  {numbers}  {p.reason}".rstrip()
    yield ""


def _chart(file: FileReport, source: list[str], width: int) -> Iterator[str]:
    by_line: dict[int, list[LineVerdict]] = {}
    for line in file.lines:
        by_line.setdefault(line.line, []).append(line)
    mark_width, shape_width = 12, 30
    text_width = width - mark_width - shape_width - 8
    for number, verdicts in by_line.items():
        text = (source[number - 1] if number <= len(source) else "").rstrip().expandtabs(4)
        text = text if len(text) <= text_width else text[: text_width - 3] + "..."
        worst = max(verdicts, key=lambda v: ("right", "unknown", "wrong").index(v.verdict))
        shape = shape_text(verdicts[-1].shape, verdicts[-1].axes)
        mark = click.style(f"{_MARKS[worst.verdict]:<{mark_width}}", fg=_MARK_COLOURS[worst.verdict])
        yield f"{number:>5} | {text:<{text_width}} {shape:<{shape_width}} {mark}".rstrip()


def shape_text(shape: tuple[int, ...], axes: tuple[str, ...]) -> str:
    """``(samples 97, classes 10)``."""
    if not shape:
        return "a number"
    return "(" + ", ".join(
        str(n) if a in ("1", "?") else f"{a} {n}" for n, a in zip(shape, axes, strict=True)
    ) + ")"


def _verdict(file: FileReport, width: int) -> Iterator[str]:
    errors = sum(f.severity == "error" for f in file.findings)
    warnings = sum(f.severity == "warning" for f in file.findings)
    if file.verdict == "unknown" and not file.ran:
        yield from textwrap.wrap(f"{file.path}: could not be checked: {file.unchecked[0].why}", width,
                                 break_long_words=False, break_on_hyphens=False)
        return
    right = [v for v in file.lines if v.verdict == "right" and v.role in ("backward", "update")]
    if right:
        names = ", ".join(dict.fromkeys(f"{v.target} (line {v.line})" for v in right if v.role == "backward"))
        if names:
            yield from textwrap.wrap(f"right: {names}", width, subsequent_indent="       ")
    for u in file.unchecked:
        yield from textwrap.wrap(f"cannot tell: {u.what}: {u.why}", width, subsequent_indent="  ")
    for remark in file.remarks:
        yield from textwrap.wrap(f"note: {remark}", width, subsequent_indent="  ")
    colour = {"healthy": "green", "faulty": "red", "unknown": "yellow"}[file.verdict]
    count = f"{errors} error{'s' * (errors != 1)}, {warnings} warning{'s' * (warnings != 1)}"
    judged = [p for p in file.network.parameters if p.verdict != "unknown"] if file.network else []
    total = len(file.network.parameters) if file.network else 0
    yield (
        f"{file.path}: {click.style(file.verdict, fg=colour, bold=True)}: {count}; "
        f"{len(judged)} of {total} gradients judged, {file.seconds:.1f} s"
    )


def _summary(report: Report) -> str:
    counts = {v: sum(f.verdict == v for f in report.files) for v in ("healthy", "faulty", "unknown")}
    return f"{len(report.files)} programs: " + ", ".join(f"{n} {v}" for v, n in counts.items())
