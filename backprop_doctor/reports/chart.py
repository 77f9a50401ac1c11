"""The chart: the program's own lines with the meaning of every axis and a verdict on each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from backprop_doctor.records import FileReport, Finding, LineVerdict, Loss, Network, ParameterVerdict
from backprop_doctor.reports.layout import clean, crop, display_width, pad
from backprop_doctor.reports.view import View
from backprop_doctor.reports.wording import axes_text, percent, scientific

__all__ = ["MARKS", "ROLES", "mark", "network_rows", "render_file", "source_text"]

ROLES = ("forward", "loss", "backward", "update", "metric")
MARKS = {"right": "right", "wrong": "wrong", "unknown": "cannot tell"}
COLOURS = {"right": "green", "wrong": "red", "unknown": "yellow"}
MEANING_WIDTH = 16  # below this the meaning of a line is left out
REASON_WIDTH = 30
SOURCE_WIDTH = 24  # a line of the program is not cut shorter than this


def render_file(file: FileReport, view: View) -> str:
    """Network, parameters and lines of one program."""
    blocks = [view.style(clean(file.path), bold=True)]
    if file.network:
        rows = network_rows(file.network)
        width = max((display_width(name) for _, name, _ in rows), default=0)
        lines = [f"  {pad(label, 8)}{pad(name, width)}  {text}".rstrip() for label, name, text in rows]
        if lines:
            blocks.append("\n".join(crop(line, view.width, view.ellipsis) for line in lines))
        if file.network.parameters:
            blocks.append("\n".join(_parameters(file.network.parameters, view)))
    if file.lines:
        blocks += ["\n".join(lines) for lines in _lines(file, view)]
    return "\n\n".join(blocks)


def mark(verdict: LineVerdict, findings: Sequence[Finding]) -> str:
    """The verdict in a word, with the code of the error that stands on the line."""
    if verdict.verdict != "wrong":
        return MARKS[verdict.verdict]
    codes = [
        finding.code
        for finding in findings
        if finding.severity == "error"
        and (finding.position.path, finding.position.cell) == (verdict.path, verdict.cell)
        and finding.position.line <= verdict.line <= finding.position.end_line
    ]
    if _is_code(verdict.meaning):
        codes.append(verdict.meaning)
    return f"wrong {codes[0]}" if codes else "wrong"


def source_text(verdict: LineVerdict, view: View) -> str:
    """The line as it stands in the file, without its indentation; else what it binds."""
    line = view.source_line(verdict.path, verdict.line, verdict.cell)
    return clean(line.strip().expandtabs(4)) or clean(verdict.target)


def network_rows(network: Network) -> list[tuple[str, str, str]]:
    """What the network works on, with the name it has in the program, and what it is."""
    rows: list[tuple[str, str, str]] = []
    for label, data in (("inputs", network.inputs), ("labels", network.labels), ("output", network.output)):
        if data:
            rows.append((label, clean(data.name), axes_text(data.shape, data.axes)))
    if network.loss:
        rows.append(("loss", clean(network.loss.name or "-"), _loss(network.loss)))
    if network.metric:
        metric = network.metric
        numbers = (("reported", metric.reported), ("recomputed", metric.recomputed))
        said = [f"{word} {percent(number)}" for word, number in numbers if number is not None]
        rows.append(("metric", clean(metric.name), ", ".join(said)))
    return rows


def _loss(loss: Loss) -> str:
    formula = clean(loss.formula or "")
    if loss.kind == "implied":
        return f"implied: none is computed, the gradients descend {formula}"
    if loss.kind == "none":
        return "none was found"
    return f"declared: {formula}" if formula else "declared"


def _parameters(parameters: tuple[ParameterVerdict, ...], view: View) -> Iterator[str]:
    rows = [
        (
            clean(p.name),
            str(p.line),
            axes_text(p.shape, p.axes),
            clean(p.gradient or "-"),
            MARKS[p.verdict],
            p.factor or "-",
            scientific(p.relative_error),
        )
        for p in parameters
    ]
    titles = ("parameter", "line", "shape", "gradient", "verdict", "factor", "error")
    widths = [max(map(display_width, column)) for column in zip(titles, *rows, strict=True)]
    yield view.style("  " + "  ".join(map(pad, titles, widths)).rstrip(), dim=True)
    left = view.width - sum(widths) - 2 * len(widths) - 2
    for parameter, row in zip(parameters, rows, strict=True):
        cells = list(map(pad, row, widths))
        cells[4] = view.style(cells[4], fg=COLOURS[parameter.verdict])
        reason = clean(parameter.reason)
        beside = reason if display_width(reason) <= left else ""
        if not beside and left >= REASON_WIDTH:
            beside = crop(reason, left, view.ellipsis)
        yield f"  {'  '.join(cells)}  {beside}".rstrip()
        if not beside and parameter.verdict != "right":
            yield f"    {crop(reason, view.width - 4, view.ellipsis)}"


def _lines(file: FileReport, view: View) -> Iterator[list[str]]:
    marks = {id(v): mark(v, file.findings) for v in file.lines}
    sources = {id(v): source_text(v, view) for v in file.lines}
    number_width = max(len(str(v.line)) for v in file.lines)
    shape_width = max(display_width(axes_text(v.shape, v.axes)) for v in file.lines)
    mark_width = max(map(display_width, marks.values()))
    source_width = max(map(display_width, sources.values()))
    left = view.width - number_width - 5 - shape_width - mark_width - 4
    # The source comes first, then what its value means; shapes give way before the source does.
    if left < SOURCE_WIDTH:
        shape_width -= SOURCE_WIDTH - left
        left = SOURCE_WIDTH
    source_width = min(source_width, left)
    meaning_width = left - source_width - 2
    if meaning_width < MEANING_WIDTH:
        meaning_width = 0
    home = file.path
    for role in ROLES:
        chosen = [v for v in file.lines if v.role == role]
        if not chosen:
            continue
        lines = [view.style(f"  {role}", bold=True)]
        before: LineVerdict | None = None
        for verdict in chosen:
            if (verdict.path, verdict.cell) != (before.path if before else home, before.cell if before else None):
                cell = "" if verdict.cell is None else f" cell {verdict.cell}"
                lines.append(view.style(f"  {clean(verdict.path)}{cell}", dim=True))
            is_again = before is not None and _where(before) == _where(verdict)
            before = verdict
            number = "" if is_again else str(verdict.line)
            source = f"  {clean(verdict.target)}" if is_again else sources[id(verdict)]
            shape = crop(axes_text(verdict.shape, verdict.axes), shape_width, view.ellipsis)
            line = (
                f"  {view.style(f'{number:>{number_width}} | ', dim=True)}"
                f"{pad(crop(source, source_width, view.ellipsis), source_width)}  "
                f"{pad(shape, shape_width)}  "
                f"{view.style(marks[id(verdict)], fg=COLOURS[verdict.verdict])}"
            )
            if meaning_width and _meaning(verdict):
                line += " " * (mark_width - display_width(marks[id(verdict)]) + 2)
                line += crop(_meaning(verdict), meaning_width, view.ellipsis)
            lines.append(line)
        yield lines


def _where(verdict: LineVerdict) -> tuple[str, int | None, int]:
    return verdict.path, verdict.cell, verdict.line


def _meaning(verdict: LineVerdict) -> str:
    return "" if _is_code(verdict.meaning) else clean(verdict.meaning)


def _is_code(text: str) -> bool:
    return text.startswith("BD") and " " not in text
