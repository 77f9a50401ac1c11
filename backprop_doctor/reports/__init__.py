"""A report in the forms that people and machines read; each form is one module with `render`."""

from __future__ import annotations

from importlib import import_module

from backprop_doctor.records import Report
from backprop_doctor.reports.view import View

__all__ = ["FORMATS", "View", "render"]

FORMATS = {
    "text": "text",
    "concise": "concise",
    "json": "json_report",
    "sarif": "sarif",
    "github": "github",
    "junit": "junit",
    "html": "html",
}


def render(report: Report, form: str = "text", view: View | None = None) -> str:
    """The report in one of the `FORMATS`."""
    text: str = import_module(f"{__name__}.{FORMATS[form]}").render(report, view or View())
    return text
