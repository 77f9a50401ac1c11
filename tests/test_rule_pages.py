"""The pages that ``explain`` shows: their form, and whether their programs do what they are shown for."""

from __future__ import annotations

import os
import re
import runpy
import sys
import tempfile
import textwrap
import warnings
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from pathlib import Path
from unittest import mock

import pytest

from backprop_doctor import confinement, diagnosis, rules
from backprop_doctor.records import FileReport
from backprop_doctor.rules import RuleInfo

RULES = rules.catalogue()
HEADINGS = [
    "What it does",
    "Why it is wrong",
    "Example",
    "Use instead",
    "How it is detected",
    "Fix safety",
    "Known limits",
    "References",
]
LAYOUTS = ([""], ["samples first"], ["samples first", "features first"])
HEADING = re.compile(r"^(?P<title>\S.*)\n(?P<underline>-+)$", re.MULTILINE)
WIDTH = 78  # explain indents by two


def sections(rule: RuleInfo) -> list[tuple[str, str, str]]:
    """Heading, layout (``samples first`` or the like, else empty) and text of each section of a page."""
    found = list(HEADING.finditer(rule.explanation))
    ends = [match.start() for match in found[1:]] + [len(rule.explanation)]
    result = []
    for match, end in zip(found, ends, strict=True):
        heading, _, layout = match["title"].partition(" (")
        result.append((heading, layout.rstrip(")"), rule.explanation[match.end() : end].strip("\n")))
    return result


def program(text: str) -> str:
    """The literal block of a section: the indented lines after the paragraph that ends with two colons."""
    _, _, rest = text.partition("::\n\n")
    lines = rest.splitlines()
    end = next((i for i, line in enumerate(lines) if line.strip() and not line.startswith("    ")), len(lines))
    return textwrap.dedent("\n".join(lines[:end])).strip("\n") + "\n"


def programs(wanted: str) -> list[object]:
    """All programs under a heading, as parameters of a test."""
    return [
        pytest.param(rule, program(text), id=f"{rule.name}-{layout}".rstrip("-").replace(" ", "-"))
        for rule in RULES
        for heading, layout, text in sections(rule)
        if heading == wanted
    ]


def prose(rule: RuleInfo) -> str:
    """A page without its programs and formulas."""
    return "\n".join(line for line in rule.explanation.splitlines() if not line.startswith("    "))


@cache
def checked(text: str) -> FileReport:
    """What the doctor says of a program."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "program.py")
        path.write_text(text, encoding="utf-8")
        with confinement.for_path(str(path)) as surroundings:
            return diagnosis.diagnose(str(path), surroundings)


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a check changes in the process is put back; numpy may warn, as it does in a check."""
    monkeypatch.setattr(sys, "dont_write_bytecode", sys.dont_write_bytecode)
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    with mock.patch.dict(os.environ), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
each_example = pytest.mark.parametrize(("rule", "text"), programs("Example"))
each_instead = pytest.mark.parametrize(("rule", "text"), programs("Use instead"))


def test_codes_and_names_are_unique() -> None:
    assert len({rule.code for rule in RULES}) == len({rule.name for rule in RULES}) == len(RULES)


@each_rule
def test_file_is_named_after_the_rule(rule: RuleInfo) -> None:
    assert rule.module == rule.name.replace("-", "_")


@each_rule
def test_first_line_is_code_name_and_one_sentence(rule: RuleInfo) -> None:
    path = Path(rules.__file__).with_name(f"{rule.module}.py")
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first == f'"""{rule.code} {rule.name}: {rule.summary}'
    assert re.fullmatch(r"[a-z][^.]*\.", rule.summary)


@each_rule
def test_headings_are_all_there_in_order(rule: RuleInfo) -> None:
    found = sections(rule)
    assert [heading for heading, _ in groupby(found, key=lambda section: section[0])] == HEADINGS
    assert all(text.strip() for _, _, text in found)
    assert all(len(match["title"]) == len(match["underline"]) for match in HEADING.finditer(rule.explanation))


@each_rule
def test_each_layout_has_both_programs(rule: RuleInfo) -> None:
    layouts = {heading: [s[1] for s in sections(rule) if s[0] == heading] for heading in HEADINGS}
    assert layouts["Example"] == layouts["Use instead"]
    assert layouts["Example"] in LAYOUTS
    assert all(layouts[heading] == [""] for heading in HEADINGS if heading not in ("Example", "Use instead"))


@each_rule
def test_page_fits_a_narrow_terminal(rule: RuleInfo) -> None:
    assert [line for line in rule.explanation.splitlines() if len(line) > WIDTH and "https://" not in line] == []


@each_rule
def test_page_is_calm_and_names_rules_that_exist(rule: RuleInfo) -> None:
    text = prose(rule)
    assert "!" not in text
    assert set(re.findall(r"BD\d+", text)) <= {other.code for other in RULES}


@each_example
def test_example_is_a_short_program_that_runs(
    rule: RuleInfo, text: str, tmp_path: Path, process: None, capsys: pytest.CaptureFixture[str]
) -> None:
    run(text, tmp_path)
    assert 10 <= len(text.splitlines()) <= 30
    assert len(capsys.readouterr().out.splitlines()) >= 10


@each_instead
def test_use_instead_is_a_short_program_that_runs_without_warnings(
    rule: RuleInfo, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(text, tmp_path)
    assert 10 <= len(text.splitlines()) <= 30
    assert "nan" not in capsys.readouterr().out


def run(text: str, folder: Path) -> None:
    path = folder / "program.py"
    path.write_text(text, encoding="utf-8")
    runpy.run_path(str(path), run_name="__main__")


@each_example
def test_example_draws_its_rule_and_no_other_error(rule: RuleInfo, text: str, process: None) -> None:
    report = checked(text)
    assert rule.code in {finding.code for finding in report.findings}
    assert {finding.code for finding in report.findings if finding.severity == "error"} <= {rule.code}
    # A fault may leave nothing to compare a gradient with; that the tool itself fails is another matter.
    assert [failed for failed in report.unchecked if "fault of this tool" in failed.why] == []


@each_example
def test_fix_of_the_example_is_verified_where_one_is_made(rule: RuleInfo, text: str, process: None) -> None:
    assert {finding.fix.status for finding in checked(text).findings if finding.code == rule.code} <= {
        "verified",
        "none",
    }


@each_instead
def test_use_instead_draws_no_error_and_its_rule_is_silent(rule: RuleInfo, text: str, process: None) -> None:
    report = checked(text)
    assert report.verdict == "healthy"
    assert rule.code not in {finding.code for finding in report.findings}
    assert {finding.code for finding in report.findings if finding.severity == "error"} == set()
    assert report.unchecked == ()
