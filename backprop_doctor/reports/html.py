"""One page with findings and charts, without scripts and without anything from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from backprop_doctor.records import FileReport, Finding, LineVerdict, Network, Report
from backprop_doctor.reports import chart
from backprop_doctor.reports.view import View
from backprop_doctor.reports.wording import axes_text, count, place, scientific, unchecked_sentence
from backprop_doctor.serialise import summarise

__all__ = ["render"]

STYLE = """
:root { color-scheme: light dark; --ink: #1d2329; --paper: #fff; --faint: #667; --line: #dde; --box: #f6f7f9;
  --error: #b3261e; --warning: #8a5a00; --note: #00629b; --right: #1a6e35; }
@media (prefers-color-scheme: dark) { :root { --ink: #dfe3e8; --paper: #15181c; --faint: #99a; --line: #334;
  --box: #1d2127; --error: #ff8a80; --warning: #f0b650; --note: #7cc4f5; --right: #7fd49a; } }
body { color: var(--ink); background: var(--paper); font: 16px/1.5 system-ui, sans-serif; max-width: 72rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.15rem; margin-top: 3rem; border-top: 1px solid var(--line);
  padding-top: 1rem; } h3 { font-size: 1rem; margin: 1.5rem 0 .4rem; }
code, pre, td { font: 13px/1.5 ui-monospace, Menlo, Consolas, monospace; }
pre { background: var(--box); padding: .6rem .8rem; overflow-x: auto; border-radius: 4px; margin: .4rem 0; }
mark { background: none; color: inherit; border-bottom: 2px solid currentColor; }
dl { display: grid; grid-template-columns: 4rem 1fr; margin: .4rem 0; } dt { color: var(--faint); }
dd { margin: 0; }
table { border-collapse: collapse; margin: .4rem 0; } td, th { text-align: left; padding: .1rem .9rem .1rem 0;
  vertical-align: top; font-weight: normal; } th { color: var(--faint); font-size: .85rem; }
td.source { white-space: pre; } .scroll { overflow-x: auto; }
.error, .wrong, .faulty { color: var(--error); } .warning, .unknown { color: var(--warning); }
.note { color: var(--note); } .right, .healthy { color: var(--right); } .faint { color: var(--faint); }
"""


def render(report: Report, view: View) -> str:
    """All programs on one page; it follows the light or dark preference of the reader."""
    numbers = summarise(report)
    verdicts = ", ".join(f"{numbers[v]} {v}" for v in ("healthy", "faulty", "unknown") if numbers[v])
    found = f"{count(numbers['errors'], 'error')}, {count(numbers['warnings'], 'warning')}"
    body = "\n".join(line for file in report.files for line in _file(file, view))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>backprop-doctor: {escape(found)}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>backprop-doctor</h1>
<p>{count(len(report.files), "program")}: {verdicts}; {found}</p>
{body}
</body>
</html>"""


def _file(file: FileReport, view: View) -> Iterator[str]:
    word = file.verdict if file.ran else "could not be checked"
    yield f'<section><h2><code>{escape(file.path)}</code> <span class="{file.verdict}">{word}</span></h2>'
    if not file.ran:
        for unchecked in file.unchecked:
            yield f"<pre>{escape(unchecked_sentence(file, unchecked))}</pre>"
    for finding in file.findings:
        yield from _finding(finding, view)
    if file.network:
        yield from _network(file.network)
    if file.lines:
        yield from _chart(file, view)
    if file.ran and file.unchecked:
        yield "<h3>Cannot tell</h3><ul>"
        yield from (f"<li>{escape(u.what)}: {escape(u.why)}</li>" for u in file.unchecked)
        yield "</ul>"
    if file.remarks:
        yield "<h3>Remarks</h3><ul>"
        yield from (f"<li>{escape(remark)}</li>" for remark in file.remarks)
        yield "</ul>"
    yield "</section>"


def _finding(finding: Finding, view: View) -> Iterator[str]:
    position = finding.position
    yield (
        f'<article><h3><span class="{finding.severity}">{finding.code}</span> {escape(finding.name)} '
        f'<code class="faint">{escape(place(position))}</code> '
        f'<span class="faint">({finding.severity}, {finding.status})</span></h3>'
    )
    line = view.source_line(position.path, position.line, position.cell)
    if line.strip():
        start, end = position.column - 1, position.end_column - 1
        end = end if position.end_line == position.line else len(line)
        marked = f'<mark class="{finding.severity}">{escape(line[start:end])}</mark>'
        text = f"{escape(line[:start])}{marked}{escape(line[end:])}".rstrip()
        yield f"<pre>{text}</pre>"
    yield f"<dl><dt>seen</dt><dd>{escape(finding.message)}"
    if finding.evidence:
        yield '<div class="scroll"><table><tr><th></th><th>seen</th><th>expected</th></tr>'
        for evidence in finding.evidence:
            cells = (evidence.what, evidence.seen, evidence.expected)
            yield "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
        yield "</table></div>"
    yield "</dd>"
    rows = [("hence", symptom) for symptom in finding.symptoms] + [("why", finding.why)]
    yield from (f"<dt>{label}</dt><dd>{escape(text)}</dd>" for label, text in rows if text)
    if finding.fix.summary:
        status = {"verified": "verified", "offered": "offered, not yet proved by a run", "none": ""}
        proof = ": ".join(part for part in (status[finding.fix.status], finding.fix.proof) if part)
        summary = escape(finding.fix.summary)
        yield f'<dt>fix</dt><dd><code>{summary}</code> <span class="faint">{escape(proof)}</span></dd>'
    yield "</dl></article>"


def _network(network: Network) -> Iterator[str]:
    yield '<h3>Network</h3><div class="scroll"><table>'
    for label, name, text in chart.network_rows(network):
        yield f"<tr><th>{label}</th><td>{escape(name)}</td><td>{escape(text)}</td></tr>"
    yield '</table></div><div class="scroll"><table>'
    titles = ("parameter", "line", "shape", "gradient", "verdict", "factor", "error", "")
    yield "<tr>" + "".join(f"<th>{title}</th>" for title in titles) + "</tr>"
    for p in network.parameters:
        before = (p.name, str(p.line), axes_text(p.shape, p.axes), p.gradient or "-")
        after = (p.factor or "-", scientific(p.relative_error), p.reason)
        yield "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in before)
        yield f'<td class="{p.verdict}">{chart.MARKS[p.verdict]}</td>'
        yield "".join(f"<td>{escape(cell)}</td>" for cell in after) + "</tr>"
    yield "</table></div>"


def _chart(file: FileReport, view: View) -> Iterator[str]:
    yield '<h3>Lines</h3><div class="scroll"><table>'
    for role in chart.ROLES:
        chosen = [verdict for verdict in file.lines if verdict.role == role]
        if chosen:
            yield f'<tr><th colspan="4">{role}</th></tr>'
            yield from (_row(file, verdict, view) for verdict in chosen)
    yield "</table></div>"


def _row(file: FileReport, verdict: LineVerdict, view: View) -> str:
    return (
        f'<tr><td class="faint">{verdict.line}</td>'
        f'<td class="source">{escape(chart.source_text(verdict, view))}</td>'
        f"<td>{escape(axes_text(verdict.shape, verdict.axes))}</td>"
        f'<td class="{verdict.verdict}">{escape(chart.mark(verdict, file.findings))}</td></tr>'
    )
