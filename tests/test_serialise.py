"""Records to JSON and back."""

from __future__ import annotations

import dataclasses
import json
import math

import handmade
import pytest

from backprop_doctor.records import Evidence, FileReport, Finding, Fix, LineVerdict, Position, Report
from backprop_doctor.serialise import file_from_json, file_to_json, report_to_json

ALL = (handmade.FAULTY, handmade.HEALTHY, handmade.NOT_RUN)


@pytest.mark.parametrize("report", ALL, ids=lambda report: report.path)
def test_a_report_comes_back_equal_from_json_text(report: FileReport) -> None:
    text = json.dumps(file_to_json(report), allow_nan=False)
    assert file_from_json(json.loads(text)) == report


def test_positions_in_cells_and_without_defaults_come_back() -> None:
    finding = Finding("BD1", "n", "note", "suspected", Position("a.ipynb", 3, 1, 4, 2, cell=7), "m", fix=Fix("none"))
    report = dataclasses.replace(handmade.HEALTHY, findings=(finding,), network=None)
    assert file_from_json(file_to_json(report)) == report
    assert file_to_json(report)["findings"][0]["cell"] == 7


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_become_null(number: float) -> None:
    line = dataclasses.replace(handmade.LINES[0], relative_error=number)
    report = dataclasses.replace(handmade.HEALTHY, lines=(line,))
    text = json.dumps(file_to_json(report), allow_nan=False)
    assert file_from_json(json.loads(text)).lines[0].relative_error is None


def test_unknown_keys_of_a_later_version_are_passed_over() -> None:
    data = file_to_json(handmade.FAULTY)
    data["later"] = 1
    data["findings"][0]["later"] = [1]
    assert file_from_json(data) == handmade.FAULTY


def test_a_missing_key_is_named() -> None:
    data = file_to_json(handmade.FAULTY)
    del data["lines"][0]["target"]
    with pytest.raises(KeyError, match=r"LineVerdict\.target"):
        file_from_json(data)


def test_whole_numbers_of_other_types_become_integers() -> None:
    class Index:
        def __index__(self) -> int:
            return 97

    line = LineVerdict("a.py", 1, "x", "forward", (Index(),), ("samples",), "right", "")  # type: ignore[arg-type]
    report = dataclasses.replace(handmade.HEALTHY, lines=(line,))
    assert file_to_json(report)["lines"][0]["shape"] == [97]


def test_schema_version_1_has_exactly_these_keys_at_least() -> None:
    """The document other tools rely on: keys may be added, never renamed."""
    data = report_to_json(Report(ALL))
    file = data["files"][0]
    network = file["network"]
    finding = file["findings"][0]
    expected = [
        (data, "schema_version tool_version files summary"),
        (data["summary"], "healthy faulty unknown errors warnings"),
        (file, "path verdict ran seconds network lines findings fix unchecked"),
        (network, "parameters inputs labels output loss metric"),
        (network["parameters"][0], "name line shape axes gradient verdict relative_error factor reason"),
        (network["inputs"], "name shape axes"),
        (network["labels"], "name shape axes"),
        (network["output"], "name shape axes"),
        (network["loss"], "name line kind formula"),
        (network["metric"], "name line reported recomputed"),
        (file["lines"][0], "path cell line target role shape axes verdict meaning relative_error"),
        (finding, "code name severity status path cell line column end_line end_column message evidence fix"),
        (finding["evidence"][0], "what seen expected"),
        (finding["fix"], "status diff"),
        (file["fix"], "status diff accuracy_before accuracy_after"),
        (file["unchecked"][0], "what why"),
    ]
    for given, keys in expected:
        assert set(keys.split()) <= set(given)
    assert data["schema_version"] == 1
    assert "position" not in finding
    assert data["files"][1]["fix"] is None
    assert data["files"][2]["network"] is None


def test_the_summary_counts_programs_and_findings() -> None:
    summary = report_to_json(Report(ALL))["summary"]
    assert summary == {"healthy": 1, "faulty": 1, "unknown": 1, "errors": 7, "warnings": 2}


def test_evidence_keeps_its_text() -> None:
    evidence = Evidence("a \u2265 b", "\x1b[31m", "'\"")
    finding = dataclasses.replace(handmade.FINDINGS[0], evidence=(evidence,))
    report = dataclasses.replace(handmade.FAULTY, findings=(finding,))
    assert file_from_json(json.loads(json.dumps(file_to_json(report)))) == report
