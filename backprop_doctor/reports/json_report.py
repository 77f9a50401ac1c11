"""The report for tools: strict JSON, schema version 1."""

from __future__ import annotations

import json

from backprop_doctor.records import Report
from backprop_doctor.reports.view import View
from backprop_doctor.serialise import report_to_json

__all__ = ["render"]


def render(report: Report, view: View) -> str:
    """The whole report; only ASCII, so that no encoding can break it."""
    return json.dumps(report_to_json(report), indent=2, allow_nan=False)
