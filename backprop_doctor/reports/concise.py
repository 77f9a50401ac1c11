"""One line a finding, for editors and for `grep`."""

from __future__ import annotations

from collections.abc import Iterator

from backprop_doctor.records import Report
from backprop_doctor.reports.layout import clean
from backprop_doctor.reports.view import View
from backprop_doctor.reports.wording import first_line, place, unchecked_sentence

__all__ = ["render"]


def render(report: Report, view: View) -> str:
    """``path:line:column: CODE message``, and a line for each program that could not be checked."""
    return "\n".join(_lines(report))


def _lines(report: Report) -> Iterator[str]:
    for file in report.files:
        for finding in file.findings:
            yield f"{place(finding.position)}: {finding.code} {first_line(finding.message)}"
        if not (file.ran or file.unchecked):
            yield f"{clean(file.path)}: static only: nothing was run"
        if file.verdict == "unknown":
            for unchecked in file.unchecked:
                yield first_line(unchecked_sentence(file, unchecked))
