"""The report for tools: JSON, schema version 1."""

from __future__ import annotations

import json

import backprop_doctor
from backprop_doctor.records import Report
from backprop_doctor.serialise import report_to_json

__all__ = ["render"]


def render(report: Report, **_: object) -> str:
    """Strict JSON, indented."""
    return json.dumps(report_to_json(report, backprop_doctor.__version__), indent=2, allow_nan=False)
