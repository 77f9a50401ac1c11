"""The report for people: each finding at its line, then what is right, then one line that sums up."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator

from backprop_doctor.records import Evidence, FileReport, Finding, Position, Report, Role
from backprop_doctor.reports import chart
from backprop_doctor.reports.layout import clean, crop, display_width, pad, wrap
from backprop_doctor.reports.view import View
from backprop_doctor.reports.wording import count, percent, place, scientific, unchecked_sentence
from backprop_doctor.serialise import summarise

__all__ = ["render", "render_findings"]

INDENT = 9  # "  seen   "
PROSE_WIDTH = 110  # longer lines are hard to read, however wide the terminal
COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}
NOTHING_WAS_RUN = "static only: nothing was run"
ROLES: tuple[Role, ...] = ("forward", "loss", "backward", "update", "metric")


def render(report: Report, view: View) -> str:
    """All programs, one after the other, and a summary if there are several."""
    blocks = [block for file in report.files for block in _file(file, view, alone=len(report.files) == 1)]
    if len(report.files) > 1:
        blocks.append(_summary(report, view))
    return "\n\n".join(blocks)


def render_findings(findings: Iterable[Finding], path: str, view: View) -> Iterator[str]:
    """Findings in a program, each with its source line; what several lines have in common is said at the first."""
    said: dict[tuple[object, ...], Finding] = {}
    for finding in findings:
        common = (finding.code, finding.message, finding.why, finding.evidence)
        yield _finding(finding, path, view, said.get(common))
        said.setdefault(common, finding)


def _file(file: FileReport, view: View, *, alone: bool) -> Iterator[str]:
    if file.unchecked and not file.ran:
        yield _not_run(file, view)
        return
    if view.findings:
        yield from _findings(file, view)
        if alone or file.verdict != "healthy":
            yield from _rest(file, view)
    if view.chart:
        yield chart.render_file(file, view)
    yield _verdict(file, view)


def _prose(view: View) -> int:
    return min(view.width, PROSE_WIDTH)


def _findings(file: FileReport, view: View) -> Iterator[str]:
    """Errors, then warnings."""
    wanted = [
        f for severity in ("error", "warning") for f in sorted(file.findings, key=_where) if f.severity == severity
    ]
    yield from render_findings(wanted, file.path, view)


def _where(finding: Finding) -> tuple[str, int, int, int]:
    position = finding.position
    return position.path, position.cell or 0, position.line, position.column


def _finding(finding: Finding, path: str, view: View, earlier: Finding | None) -> str:
    lines = _head(finding, view)
    if earlier:
        lines += _labelled("seen", f"as at {_line(earlier.position, finding.position)}", view)
        lines += _fix(finding, view) if finding.fix.summary != earlier.fix.summary else []
        return "\n".join(lines)
    lines += [*_labelled("seen", finding.message, view), *_evidence(finding.evidence, view)]
    for symptom in finding.symptoms:
        lines += _labelled("hence", symptom, view)
    if finding.why:
        lines += _labelled("why", finding.why, view)
    lines += _fix(finding, view)
    lines.append(view.style(f"  {pad('again', INDENT - 2)}{view.again(path, finding)}", dim=True))
    return "\n".join(lines)


def _line(position: Position, seen_from: Position) -> str:
    """A line, with its file or cell where that is another than the one it is seen from."""
    if position.path != seen_from.path:
        return place(position)
    cell = "" if position.cell == seen_from.cell else f"cell {position.cell}, "
    return f"{cell}line {position.line}"


def _head(finding: Finding, view: View) -> list[str]:
    colour = COLOURS[finding.severity]
    return [
        f"{view.style(place(finding.position), bold=True)}  "
        f"{view.style(finding.code, fg=colour, bold=True)} {finding.name}  "
        f"{view.style(f'({finding.status})', dim=True)}",
        *excerpt(finding, view),
    ]


def _labelled(label: str, text: str, view: View) -> list[str]:
    lines = wrap(text, _prose(view) - INDENT)
    head = "  " + view.style(label, bold=True) + " " * (INDENT - 2 - len(label))
    return [head + lines[0], *(" " * INDENT + line for line in lines[1:])]


def excerpt(finding: Finding, view: View) -> list[str]:
    """The source line and under it the caret with its remark, cut to the width."""
    position = finding.position
    raw = view.source_line(position.path, position.line, position.cell)
    if not raw.strip():
        return []
    start = len(raw[: position.column - 1].expandtabs(4))
    last = len(raw) if position.end_line > position.line else position.end_column - 1
    end = max(start + 1, len(raw[:last].expandtabs(4)))
    text = clean(raw.expandtabs(4)).rstrip()
    label = clean(finding.label)

    gutter = f"{position.line:>6} | "
    width = view.width - len(gutter)
    before, marked = text[:start], text[start:end]
    if display_width(text) > width:
        before = _cut_left(before, width - min(display_width(marked), width // 2) - 12, view.ellipsis)
    shown = crop(before + text[start:], width, view.ellipsis)
    column = display_width(before)
    carets = "^" * max(1, min(display_width(marked), width - column))
    under = " " * column + carets
    colour = COLOURS[finding.severity]
    bar = " " * (len(gutter) - 2) + "| "
    lines = [view.style(gutter, dim=True) + shown]
    if column + len(carets) + 1 + display_width(label) <= width:
        lines.append(view.style(bar, dim=True) + view.style(f"{under} {label}".rstrip(), fg=colour))
    else:
        lines.append(view.style(bar, dim=True) + view.style(under, fg=colour))
        offset = max(0, min(column, width - display_width(label)))
        lines.append(view.style(bar, dim=True) + view.style(" " * offset + label, fg=colour))
    return lines


def _cut_left(text: str, width: int, ellipsis: str) -> str:
    """Take away indentation first, then the start of the line."""
    stripped = text.lstrip()
    if display_width(stripped) <= width:
        return " " * min(4, width - display_width(stripped)) + stripped
    while stripped and display_width(stripped) + len(ellipsis) > max(width, 0):
        stripped = stripped[1:]
    return ellipsis + stripped


def _evidence(evidence: tuple[Evidence, ...], view: View) -> list[str]:
    if not evidence:
        return []
    rows = [(clean(e.what), clean(e.seen), clean(f"expected {e.expected}")) for e in evidence]
    first, second, third = (max(display_width(row[column]) for row in rows) for column in range(3))
    margin = " " * INDENT
    if INDENT + first + second + third + 6 <= view.width:
        return [f"{margin}{pad(a, first)}   {pad(b, second)}   {view.style(c, dim=True)}" for a, b, c in rows]
    lines = []
    for a, b, c in rows:
        wrapped = wrap(f"{a}: {b}, {c}", _prose(view) - INDENT - 2)
        lines += [margin + wrapped[0], *(f"{margin}  {line}" for line in wrapped[1:])]
    return lines


def _fix(finding: Finding, view: View) -> list[str]:
    fix = finding.fix
    if not fix.summary:
        return []
    proofs = {"verified": "verified by running it", "offered": "offered, not proved by a run", "none": ""}
    proof = f"{fix.status}: {fix.proof}" if fix.proof and fix.status != "none" else fix.proof or proofs[fix.status]
    summary, proof = clean(fix.summary), clean(proof)
    colour = "green" if fix.status == "verified" else None
    if "\n" not in summary and INDENT + display_width(summary) + 8 + display_width(proof) <= _prose(view):
        head = _labelled("fix", summary, view)
        return [f"{head[0]}        {view.style(proof, fg=colour)}".rstrip()]
    lines = _labelled("fix", summary, view)
    if proof:
        lines += [" " * INDENT + view.style(line, fg=colour) for line in wrap(proof, _prose(view) - INDENT)]
    return lines


def _rest(file: FileReport, view: View) -> Iterator[str]:
    """What is below the findings: notes, what is right, what cannot be told, remarks."""
    notes = [finding for finding in file.findings if finding.severity == "note"]
    if notes:
        entries = [f"{place(n.position)}  {n.code} {n.name}: {n.message}" for n in notes]
        yield _section("notes", entries, view)
    right = list(_right(file))
    if right:
        width = max(len(label) for label, _ in right) + 2
        lines = [view.style("right", fg="green", bold=True) + view.style("  nothing to mend at these lines", dim=True)]
        for label, items in right:
            wrapped = wrap_items(items, _prose(view) - 2 - width)
            lines.append("  " + pad(label, width) + wrapped[0])
            lines += [" " * (2 + width) + line for line in wrapped[1:]]
        yield "\n".join(lines)
    if file.unchecked:
        yield _section("cannot tell", [f"{u.what}: {u.why}" for u in file.unchecked], view, fg="yellow")
    yield from _together(file, view)
    facts = [*_accuracy(file), *file.remarks]
    if facts:
        yield _section("remarks", facts, view)


def _together(file: FileReport, view: View) -> Iterator[str]:
    """All verified edits as one fix: what it takes, how it was proved, how to get it."""
    fix = file.fix
    if fix is None or fix.status == "none":
        return
    mended = sum(f.severity == "error" and f.fix.status == "verified" for f in file.findings)
    lines = len({(e.position.path, e.position.cell, e.position.line) for e in fix.edits})
    entries = [f"{count(mended, 'error')} mended by changes at {count(lines, 'line')}; {fix.proof}"]
    if fix.accuracy_before is not None and fix.accuracy_after is not None:
        before, after = percent(fix.accuracy_before), percent(fix.accuracy_after)
        entries.append(f"trained as written: accuracy {before} before, {after} after")
    else:
        entries.append(f"backprop-doctor check --diff {shlex.quote(file.path)} shows the change and trains with it")
    yield _section("fix", entries, view, fg="green")


def _section(title: str, entries: list[str], view: View, **style: str) -> str:
    lines = [view.style(title, bold=True, **style)]
    for entry in entries:
        wrapped = wrap(entry, _prose(view) - 4)
        lines += [f"  {wrapped[0]}", *(f"    {line}" for line in wrapped[1:])]
    return "\n".join(lines)


def _right(file: FileReport) -> Iterator[tuple[str, list[str]]]:
    wrong = {(v.path, v.cell, v.line) for v in file.lines if v.verdict != "right"}
    several = len({(v.path, v.cell) for v in file.lines}) > 1
    for role in ROLES:
        targets: dict[tuple[str, int | None, int], list[str]] = {}
        for verdict in file.lines:
            where = (verdict.path, verdict.cell, verdict.line)
            if verdict.role == role and where not in wrong:
                targets.setdefault(where, []).append(clean(verdict.target))
        if targets:
            yield role, list(_items(targets, several=several))
    if file.network:
        gradients = [
            f"{clean(p.name)} (factor {p.factor}, error {scientific(p.relative_error)})"
            for p in file.network.parameters
            if p.verdict == "right" and p.relative_error is not None
        ]
        if gradients:
            yield "gradients", gradients


def _items(targets: dict[tuple[str, int | None, int], list[str]], *, several: bool) -> Iterator[str]:
    """Lines with what they bind; where there are several files or cells, each is named once."""
    before: tuple[str, int | None] | None = None
    for (path, cell, line), names in targets.items():
        home = "" if not several or before == (path, cell) else _home(path, cell)
        before = path, cell
        yield f"{home}{line} {' '.join(names)}"


def _home(path: str, cell: int | None) -> str:
    return f"{clean(path)}: " if cell is None else f"cell {cell}: "


def wrap_items(items: Iterable[str], width: int) -> list[str]:
    """Items in lines, separated by commas and never broken."""
    glued = ", ".join(item.replace(" ", "\N{NO-BREAK SPACE}") for item in items)
    lines: list[str] = []
    for word in glued.split(" "):
        if lines and display_width(lines[-1]) + 1 + display_width(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]


def _accuracy(file: FileReport) -> Iterator[str]:
    metric = file.network.metric if file.network else None
    if metric and metric.reported is not None and metric.recomputed is not None:
        elsewhere = metric.path not in ("", file.path)
        where = f"{clean(metric.path)} " if elsewhere else f"cell {metric.cell}, " if metric.cell is not None else ""
        yield (
            f"{metric.name} ({where}line {metric.line}) is reported as {percent(metric.reported)} after the first "
            f"epoch of this short run; recomputed from output and labels it is {percent(metric.recomputed)}"
        )


def _not_run(file: FileReport, view: View) -> str:
    lines: list[str] = []
    for unchecked in file.unchecked:
        sentence = unchecked_sentence(file, unchecked)
        if sentence == f"{file.path}: {unchecked.why}":
            sentence = f"{file.path}: could not be checked: {unchecked.why}"
        first, *others = wrap(sentence, _prose(view) - 2)
        lines += [view.style(first, fg="yellow"), *(f"  {line}" for line in others)]
    return "\n".join(lines)


def _verdict(file: FileReport, view: View) -> str:
    colour = {"healthy": "green", "faulty": "red", "unknown": "yellow"}[file.verdict]
    word: str = "cannot tell" if file.verdict == "unknown" else file.verdict
    if not file.ran:
        word = NOTHING_WAS_RUN
    head = f"{view.style(clean(file.path), bold=True)}: {view.style(word, fg=colour, bold=True)}"
    severities = [finding.severity for finding in file.findings]
    parts = [count(severities.count(s), s) for s in ("error", "warning", "note") if s in severities]
    lines = {(v.path, v.cell, v.line): set[str]() for v in file.lines}
    for v in file.lines:
        lines[v.path, v.cell, v.line].add(v.verdict)
    right = sum(verdicts == {"right"} for verdicts in lines.values())
    if lines:
        parts.append(f"{right} of {count(len(lines), 'line')} right")
    unknown = sum("unknown" in verdicts and "wrong" not in verdicts for verdicts in lines.values())
    if unknown:
        parts.append(f"{unknown} cannot tell")
    parts.append(f"{file.seconds:.1f} s")
    if display_width(f"{file.path}: {word}  {', '.join(parts)}") <= view.width:
        return f"{head}  {view.style(', '.join(parts), dim=True)}"
    return "\n".join([head, *(view.style(f"  {line}", dim=True) for line in wrap_items(parts, view.width - 2))])


def _summary(report: Report, view: View) -> str:
    numbers = summarise(report)
    verdicts = [f"{numbers[word]} {word}" for word in ("healthy", "faulty", "unknown") if numbers[word]]
    found = [count(numbers[f"{word}s"], word) for word in ("error", "warning")]
    text = f"{count(len(report.files), 'file')}: {', '.join(verdicts)}; {', '.join(found)}"
    return "\n".join(view.style(line, bold=True) for line in wrap(text, view.width))
