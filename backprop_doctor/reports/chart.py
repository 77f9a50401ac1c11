"""The chart: the program's own lines with the meaning of every axis and a verdict on each."""

from __future__ import annotations

from collections.abc import Iterator

from backprop_doctor.records import FileReport, LineVerdict, Network, ParameterVerdict, Report
from backprop_doctor.reports.layout import clean, crop, display_width, pad
from backprop_doctor.reports.view import View
from backprop_doctor.reports.wording import axes_text, percent, scientific

__all__ = ["render", "render_file"]

ROLES = ("forward", "loss", "backward", "update", "metric")
MARKS = {"right": "right", "wrong": "wrong", "unknown": "cannot tell"}
COLOURS = {"right": "green", "wrong": "red", "unknown": "yellow"}
MEANING_WIDTH = 110  # columns from which on the meaning of a line is shown too


def render(report: Report, view: View) -> str:
    """The charts of all programs that ran."""
    return "\n\n".join(render_file(file, view) for file in report.files if file.ran)


def render_file(file: FileReport, view: View) -> str:
    """Network, parameters and lines of one program."""
    blocks = [view.style(clean(file.path), bold=True)]
    if file.network:
        blocks.append("\n".join(_network(file.network, view)))
        if file.network.parameters:
            blocks.append("\n".join(_parameters(file.network.parameters, view)))
    blocks += ["\n".join(lines) for lines in _lines(file, view)]
    return "\n\n".join(blocks)


def _network(network: Network, view: View) -> Iterator[str]:
    rows: list[tuple[str, str, str]] = []
    for label, data in (("inputs", network.inputs), ("labels", network.labels), ("output", network.output)):
        if data:
            rows.append((label, clean(data.name), axes_text(data.shape, data.axes)))
    loss, metric = network.loss, network.metric
    if loss:
        name = clean(loss.name or "none")
        formula = clean(loss.formula or "")
        rows.append(
            (
                "loss",
                name,
                {"declared": formula or "declared", "none": "no loss was found"}.get(
                    loss.kind, f"not computed; the gradients descend {formula}"
                ),
            )
        )
    if metric:
        numbers = (("reported", metric.reported), ("recomputed", metric.recomputed))
        said = [f"{word} {percent(number)}" for word, number in numbers if number is not None]
        rows.append(("metric", clean(metric.name), ", ".join(said)))
    width = max((display_width(name) for _, name, _ in rows), default=0)
    for label, name, text in rows:
        yield crop(f"  {pad(label, 8)}{pad(name, width)}  {text}", view.width, view.ellipsis)


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
            clean(p.reason),
        )
        for p in parameters
    ]
    titles = ("parameter", "line", "shape", "gradient", "verdict", "factor", "error", "")
    widths = [max(display_width(row[column]) for row in [titles, *rows]) for column in range(7)]
    yield view.style("  " + "  ".join(pad(t, w) for t, w in zip(titles, widths, strict=False)).rstrip(), dim=True)
    for parameter, row in zip(parameters, rows, strict=True):
        cells = [pad(cell, width) for cell, width in zip(row, widths, strict=False)]
        left = view.width - sum(widths) - 2 * len(widths) - 2
        cells[4] = view.style(cells[4], fg=COLOURS[parameter.verdict])
        # A reason that says only how a right verdict was reached can be left out.
        reason = crop(row[7], left, view.ellipsis) if left >= 12 else ""
        yield f"  {'  '.join(cells)}  {reason}".rstrip()
        if not reason and parameter.verdict != "right":
            yield f"    {crop(row[7], view.width - 4, view.ellipsis)}"


def _lines(file: FileReport, view: View) -> Iterator[list[str]]:
    if not file.lines:
        return
    shapes = [axes_text(v.shape, v.axes) for v in file.lines]
    shape_width = max(map(display_width, shapes))
    mark_width = max(display_width(_mark(v)) for v in file.lines)
    meaning_width = 0
    if view.width >= MEANING_WIDTH:
        meaning_width = min(36, max(display_width(_meaning(v)) for v in file.lines) + 2)
    number_width = max(len(str(v.line)) for v in file.lines)
    source_width = view.width - 2 - number_width - 3 - shape_width - mark_width - meaning_width - 4
    if source_width < 24:  # narrow: shapes give way before the program does
        shape_width, source_width = shape_width - (24 - source_width), 24
    source_width = min(source_width, max(display_width(_source(v, view)) for v in file.lines))
    several = len({v.path for v in file.lines}) > 1
    for role in ROLES:
        chosen = [v for v in file.lines if v.role == role]
        if not chosen:
            continue
        lines = [view.style(f"  {role}", bold=True)]
        before: tuple[str, int | None, int] | None = None
        path = None if several else chosen[0].path
        for verdict in chosen:
            if verdict.path != path:
                path = verdict.path
                lines.append(view.style(f"  {clean(path)}", dim=True))
            where = (verdict.path, verdict.cell, verdict.line)
            repeated = where == before
            before = where
            number = "" if repeated else str(verdict.line)
            source = f"  {clean(verdict.target)}" if repeated else _source(verdict, view)
            shape = crop(axes_text(verdict.shape, verdict.axes), shape_width, view.ellipsis)
            meaning = crop(_meaning(verdict), meaning_width, view.ellipsis) if meaning_width else ""
            lines.append(
                "  "
                + view.style(f"{number:>{number_width}} | ", dim=True)
                + pad(crop(source, source_width, view.ellipsis), source_width)
                + "  "
                + pad(shape, shape_width)
                + "  "
                + view.style(pad(_mark(verdict), mark_width), fg=COLOURS[verdict.verdict])
                + ("  " + meaning if meaning else "")
            )
            lines[-1] = lines[-1].rstrip()
        yield lines


def _source(verdict: LineVerdict, view: View) -> str:
    line = view.source_line(verdict.path, verdict.line, verdict.cell)
    return clean(line.strip().expandtabs(4)) or clean(verdict.target)


def _mark(verdict: LineVerdict) -> str:
    is_code = verdict.verdict == "wrong" and verdict.meaning.startswith("BD") and " " not in verdict.meaning
    return f"wrong {verdict.meaning}" if is_code else MARKS[verdict.verdict]


def _meaning(verdict: LineVerdict) -> str:
    return "" if _mark(verdict).endswith(verdict.meaning) else clean(verdict.meaning)
