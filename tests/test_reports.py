"""The forms of a report, on reports made by hand.

The files in ``golden`` were read before they were kept: a change in them is a decision.
``BACKPROP_DOCTOR_GOLDEN=write pytest tests/test_reports.py`` writes them anew.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as xml

import click
import handmade
import pytest

from backprop_doctor import reports
from backprop_doctor.records import FileReport, Finding, LineVerdict, Position, Report, Unchecked
from backprop_doctor.reports import View, layout, wording
from backprop_doctor.reports.text import excerpt

GOLDEN = Path(__file__).parent / "golden"
ALL = (handmade.FAULTY, handmade.HEALTHY, handmade.NOT_RUN)


@pytest.fixture(autouse=True)
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The program the reports are about, in the current folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / handmade.PATH
    path.write_text(handmade.PROGRAM, encoding="utf-8")
    return path


def text_of(*files: FileReport, form: str = "text", **wishes: object) -> str:
    return reports.render(Report(files), form, View(**wishes))  # type: ignore[arg-type]


def compare(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("BACKPROP_DOCTOR_GOLDEN") == "write":
        path.write_text(text + "\n", encoding="utf-8")
    assert text + "\n" == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [80, 120])
def test_text_is_as_it_was_read(width: int) -> None:
    compare(f"text_{width}.txt", text_of(handmade.FAULTY, width=width, seed=7))


@pytest.mark.parametrize("width", [80, 120])
def test_chart_is_as_it_was_read(width: int) -> None:
    compare(f"chart_{width}.txt", text_of(handmade.FAULTY, width=width, chart=True, findings=False))


def test_several_programs_end_with_a_summary() -> None:
    compare("several.txt", text_of(*ALL))


@pytest.mark.parametrize("form", ["concise", "github"])
def test_forms_of_one_line_a_finding_are_as_they_were_read(form: str) -> None:
    compare(f"{form}.txt", text_of(*ALL, form=form))


@pytest.mark.parametrize("width", [60, 72, 80, 100, 120, 200])
def test_no_line_of_prose_source_or_chart_is_wider_than_the_terminal(width: int) -> None:
    for line in text_of(*ALL, width=width, chart=True).splitlines():
        is_to_be_copied = re.match(r"\S+:\d+:\d+  BD|  again ", line)
        is_table = width < 80 and re.match(r"  parameter|  [Wb][12] |.* \| ", line)
        assert is_to_be_copied or is_table or layout.display_width(line) <= width, line


def test_errors_come_first_in_the_order_of_lines_then_warnings_then_notes() -> None:
    places = re.findall(r"net\.py:(\d+):\d+ +(BD\d+)", text_of(handmade.FAULTY))
    errors = ["BD102", "BD102", "BD503", "BD101", "BD301", "BD301", "BD502"]
    assert [code for _, code in places] == [*errors, "BD701", "BD506", "BD207"]
    lines = [int(line) for line, _ in places]
    assert lines[:7] == sorted(lines[:7])


def test_the_caret_stands_under_the_finding() -> None:
    for finding in handmade.FINDINGS:
        source, caret = excerpt(finding, View(width=200))[:2]
        marked = handmade.PROGRAM.splitlines()[finding.position.line - 1]
        marked = marked[finding.position.column - 1 : finding.position.end_column - 1]
        start, length = caret.index("^"), caret.count("^")
        assert source[start : start + length] == marked


@pytest.mark.parametrize(
    ("line", "marked"),
    [
        ("\tdb = np.sum(dZ, axis=1)", "axis=1"),
        ("x = '\u6570\u5b57'; db = np.sum(dZ, axis=1)", "axis=1"),
        ("            " * 12 + "db = np.sum(dZ, axis=1)", "axis=1"),
        ("db = " + "a + " * 60 + "np.sum(dZ, axis=1) + " + "b * " * 60 + "c", "axis=1"),
    ],
    ids=["tab", "wide characters", "deep", "long"],
)
@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_caret_stands_right_in_difficult_lines(program: Path, line: str, marked: str, width: int) -> None:
    program.write_text(line + "\n", encoding="utf-8")
    column = line.index(marked) + 1
    position = Position(handmade.PATH, 1, column, 1, column + len(marked))
    finding = dataclasses.replace(handmade.FINDINGS[0], position=position, label="here")
    source, caret = excerpt(finding, View(width=width))
    assert layout.display_width(source) <= width
    before = layout.display_width(source[: source.index(marked)])
    assert caret[before:] == "^" * len(marked) + " here"


def test_a_finding_over_several_lines_is_marked_to_the_end_of_its_first() -> None:
    position = Position(handmade.PATH, 33, 9, 35, 3)
    finding = dataclasses.replace(handmade.FINDINGS[0], position=position)
    source, caret = excerpt(finding, View())
    assert source.endswith("dZ2 = A2 - Y")
    assert caret.count("^") == len("dZ2 = A2 - Y")


def test_a_report_stands_without_the_file_it_is_about(program: Path) -> None:
    program.unlink()
    text = text_of(handmade.FAULTY, chart=True)
    assert "net.py:35:33  BD301 bias-gradient-wrong-axis  (confirmed)" in text
    assert "35 | db2" in text


def test_what_several_lines_have_in_common_is_said_once() -> None:
    text = text_of(handmade.FAULTY)
    assert text.count("every image") == 1
    assert "seen   as at line 13" in text


def test_again_repeats_seed_and_call_and_is_quoted_for_the_shell() -> None:
    file = dataclasses.replace(handmade.FAULTY, path="my net.py", findings=handmade.FINDINGS[3:4])
    text = text_of(file, seed=7, call="train(64, X, Y)")
    wanted = "backprop-doctor check 'my net.py' --select BD301 --call 'train(64, X, Y)' --seed 7"
    assert wanted in text
    assert "--seed" not in text_of(file)


def test_right_lines_are_named_and_wrong_ones_are_not_among_them() -> None:
    right = text_of(handmade.FAULTY, width=200).split("right  nothing")[1].split("cannot tell")[0]
    assert "33 dZ2, 34 dW2, 36 dZ1, 37 dW1" in right
    assert "db2" not in right
    assert "W1 (factor 1/D, error 3e-9)" in right


def test_a_line_with_one_wrong_value_is_not_right() -> None:
    lines = (handmade.judged(33, "dZ2", "backward", "1"), handmade.judged(33, "e", "backward", "1", "wrong"))
    assert "33 dZ2" not in text_of(dataclasses.replace(handmade.FAULTY, lines=lines))


def test_reported_and_true_accuracy_stand_side_by_side() -> None:
    text = text_of(handmade.FAULTY, width=200)
    assert "is reported as 1.03 % after the first epoch of this short run; recomputed" in text
    assert "labels it is 8.12 %" in text


def test_a_program_that_did_not_run_is_one_sentence() -> None:
    assert text_of(handmade.NOT_RUN) == "broken.py:3:7: syntax error: '(' was never closed"
    why = (Unchecked("the program", "it waits for input"),)
    file = dataclasses.replace(handmade.NOT_RUN, unchecked=why)
    assert text_of(file) == "broken.py: could not be checked: it waits for input"


def test_what_cannot_be_told_is_printed_even_among_several_programs() -> None:
    why = (Unchecked("gradient of W1", "two runs differ"),)
    file = dataclasses.replace(handmade.HEALTHY, verdict="unknown", unchecked=why)
    text = text_of(file, handmade.HEALTHY)
    assert "gradient of W1: two runs differ" in text
    assert "healthy.py: cannot tell" in text


def test_control_characters_do_not_reach_the_terminal(program: Path) -> None:
    program.write_text(handmade.PROGRAM.replace("#-> 784", "# \x1b[2J\x07"), encoding="utf-8")
    finding = dataclasses.replace(handmade.FINDINGS[2], message="a\x1b[31mb", label="\x1bc")
    for form in ("text", "concise"):
        text = text_of(dataclasses.replace(handmade.FAULTY, findings=(finding,)), form=form, chart=True)
        assert text.replace("\n", "").isprintable()


def test_colour_is_only_added() -> None:
    coloured = text_of(*ALL, colour=True, chart=True)
    assert "\x1b[" in coloured
    assert click.unstyle(coloured) == text_of(*ALL, chart=True)


class Terminal(io.StringIO):
    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "terminal", "colour"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": "0"}, False, False),
        ({"TERM": "dumb"}, True, False),
    ],
)
def test_colour_follows_terminal_and_environment(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], terminal: bool, colour: bool
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert View.of(Terminal() if terminal else io.StringIO()).colour is colour


def test_a_terminal_without_unicode_gets_ascii() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    view = View.of(stream)
    assert view.ellipsis == "..."
    text = reports.render(Report((handmade.FAULTY,)), "text", dataclasses.replace(view, width=60, chart=True))
    text.encode("ascii")


def test_what_an_encoding_lacks_is_replaced_by_likenesses() -> None:
    assert layout.plain("a \u2192 b\u2026 \u00d7 \u6570", "ascii") == "a -> b... x ?"
    assert layout.plain("a \u2192 \u6570", "utf-8") == "a \u2192 \u6570"


def test_json_is_strict_and_ascii() -> None:
    text = text_of(*ALL, form="json")
    assert text.isascii()
    assert json.loads(text)["summary"]["errors"] == 7


def test_sarif_has_rules_regions_levels_and_fixes() -> None:
    log = json.loads(text_of(*ALL, form="sarif"))
    run = log["runs"][0]
    assert log["version"] == "2.1.0"
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    results = run["results"]
    assert {result["ruleId"] for result in results} <= set(rules)
    assert {result["level"] for result in results} == {"error", "warning", "note"}
    bias = next(result for result in results if result["ruleId"] == "BD301")
    location = bias["locations"][0]["physicalLocation"]
    assert location["artifactLocation"]["uri"] == "net.py"
    assert location["region"] == {"startLine": 35, "startColumn": 33, "endLine": 35, "endColumn": 41}
    change = bias["fixes"][0]["artifactChanges"][0]["replacements"][0]
    assert change == {"deletedRegion": location["region"], "insertedContent": {"text": "axis = 0"}}
    invocation = run["invocations"][0]
    assert invocation["executionSuccessful"] is False
    assert any(n["level"] == "error" and "syntax error" in n["message"]["text"]
               for n in invocation["toolExecutionNotifications"])  # fmt: skip


def test_sarif_paths_are_uris() -> None:
    finding = dataclasses.replace(handmade.FINDINGS[0], position=Position("a b/n\u00e9t.py", 1, 1, 1, 2))
    log = json.loads(text_of(dataclasses.replace(handmade.FAULTY, findings=(finding,)), form="sarif"))
    location = log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert location["artifactLocation"]["uri"] == "a%20b/n%C3%A9t.py"


def test_github_commands_are_escaped() -> None:
    finding = dataclasses.replace(
        handmade.FINDINGS[0],
        message="50 %\nof it",
        why="",
        fix=handmade.Fix(),
        position=Position("a,b:c.py", 2, 1, 3, 4),
    )
    text = text_of(dataclasses.replace(handmade.FAULTY, findings=(finding,)), form="github")
    assert text.splitlines() == [
        "::error file=a%2Cb%3Ac.py,line=2,endLine=3,title=BD102 softmax-over-samples::50 %25%0Aof it"
    ]


def test_junit_has_a_case_for_each_gradient_and_each_error() -> None:
    root = xml.fromstring(text_of(*ALL, form="junit"))
    assert {name: root.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "17", "failures": "9", "errors": "1", "skipped": "1"}  # fmt: skip
    suite = root.find("testsuite[@name='net.py']")
    assert suite is not None
    cases = {case.get("name"): case for case in suite.findall("testcase")}
    assert cases["gradient of W1"].find("failure") is None
    assert cases["gradient of W1"].find("properties/property[@name='factor']").get("value") == "1/D"  # type: ignore[union-attr]
    assert cases["gradient of b2"].find("failure") is not None
    assert cases["BD301 bias-gradient-wrong-axis, line 35"].find("failure") is not None
    assert cases["line 46"].find("skipped") is not None
    assert "BD701" in (suite.findtext("system-out") or "")


def test_junit_survives_characters_that_xml_forbids() -> None:
    finding = dataclasses.replace(handmade.FINDINGS[0], message="a \x00\x1b & <b> \ud800")
    root = xml.fromstring(text_of(dataclasses.replace(handmade.FAULTY, findings=(finding,)), form="junit"))
    assert any("a ?? & <b> ?" in (failure.text or "") for failure in root.iter("failure"))


class Tags(HTMLParser):
    """Checks that tags are closed in order, and collects what is asked from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta",):
            self.open.append(tag)
        self.fetched += [str(value) for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html_is_one_closed_page_that_fetches_nothing() -> None:
    text = text_of(*ALL, form="html")
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert tags.fetched == []
    assert "url(" not in text
    assert "<script" not in text
    assert "prefers-color-scheme: dark" in text
    assert '<mark class="error">axis = 1</mark>' in text


def test_html_escapes_what_comes_from_the_program() -> None:
    finding = dataclasses.replace(handmade.FINDINGS[0], message="<script>alert(1)</script>")
    text = text_of(dataclasses.replace(handmade.FAULTY, findings=(finding,)), form="html")
    assert "<script>" not in text


def test_a_line_that_binds_two_values_is_quoted_once() -> None:
    lines = (handmade.judged(33, "a", "backward", "samples"), handmade.judged(33, "b", "backward", "samples"))
    text = text_of(dataclasses.replace(handmade.FAULTY, lines=lines), chart=True, findings=False)
    assert text.count("33 | dZ2 = A2 - Y") == 1
    assert re.search(r"^ +\|   b +\(samples 97,\)", text, re.MULTILINE)


def test_lines_of_other_files_are_introduced_by_their_path() -> None:
    other = dataclasses.replace(handmade.LINES[0], path="layers.py", line=3, target="out")
    text = text_of(dataclasses.replace(handmade.FAULTY, lines=(handmade.LINES[3], other)), chart=True)
    assert re.search(r"^  layers\.py\n +3 \| out", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("shape", "axes", "text"),
    [
        ((97, 10), ("samples", "classes"), "(samples 97, classes 10)"),
        ((1, 10), ("1", "classes"), "(1, classes 10)"),
        ((3, 5), ("?", "?"), "(3, 5)"),
        ((97,), ("samples",), "(samples 97,)"),
        ((), (), "number"),
        ((2, 3), ("samples",), "(2, 3)"),
    ],
)
def test_axes_are_named_where_they_have_a_name(shape: tuple[int, ...], axes: tuple[str, ...], text: str) -> None:
    assert wording.axes_text(shape, axes) == text


@pytest.mark.parametrize("form", list(reports.FORMATS))
def test_every_form_takes_an_empty_report_and_a_bare_finding(form: str) -> None:
    bare = Finding("BD102", "softmax-over-samples", "error", "suspected", Position("gone.py", 1, 1, 1, 1), "m")
    line = LineVerdict("gone.py", 1, "x", "forward", (), (), "unknown", "")
    file = FileReport("gone.py", "faulty", ran=True, seconds=0.0, findings=(bare,), lines=(line,))
    reports.render(Report(()), form)
    text = reports.render(Report((file,)), form)
    assert "BD102" in text
    assert "!" not in re.sub(r"<![A-Z]|!DOCTYPE", "", text)
