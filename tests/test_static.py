"""What is suspected from the text alone: something of what a run confirms, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import networks
import pytest
from click.testing import CliRunner, Result

from backprop_doctor import rule_tests, rules, static
from backprop_doctor.cli import cli
from backprop_doctor.source import open_project

FIXTURES = networks.FOLDER.parent
PROGRAMS = sorted(path for path in FIXTURES.rglob("*.py") if path.stem != "undecodable")
# Faults of which the text says nearly all, and how often it does so in the fixtures at least.
SEEN = {
    "BD101": 4, "BD103": 1, "BD110": 0, "BD301": 9, "BD302": 2, "BD401": 2, "BD403": 2, "BD505": 2, "BD602": 1,
    "BD703": 2, "BD801": 4,
}  # fmt: skip
THREE_FACTORS = """\
import numpy as np

def three(A, B, C):
    out = np.zeros((2, 2))
    np.dot(A, B, out)
    np.dot(A, B, C)
    D = np.dot(A, B, out)
    return np.matmul(A, B, C) + D
"""
FAULTY = "single/samples_first_bias_gradient_no_axis.py"


def suspected(path: Path) -> dict[tuple[int, str], str]:
    return networks.seen(static.examine(open_project(path)))


def doctor(*arguments: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(cli, ["check", "--static", *arguments], input=typed, prog_name="backprop-doctor")


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_nothing_is_suspected_that_a_run_does_not_confirm(path: Path) -> None:
    found, wanted = suspected(path), networks.expected(path)
    if any(code == "BD114" for _, code in wanted):
        return  # the run stops before it can confirm anything
    assert {place: severity for place, severity in found.items() if place not in wanted} == {}
    ranks = ("note", "warning", "error")
    assert all(ranks.index(severity) <= ranks.index(wanted[place]) for place, severity in found.items())


def test_each_pattern_belongs_to_a_rule_and_sees_faults_of_the_fixtures() -> None:
    seen = Counter(code for path in PROGRAMS for _, code in suspected(path))
    assert {rules.find(name).code for name in static.patterns()} == set(SEEN)
    assert {code: number for code, number in SEEN.items() if seen[code] < number} == {}


@pytest.mark.parametrize("rule", [rules.find(name) for name in static.patterns()], ids=lambda rule: rule.name)
def test_what_the_page_writes_instead_is_not_suspected(rule: rules.RuleInfo, tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    for text in rule_tests.programs(rule, "Use instead"):
        path.write_text(text, encoding="utf-8")
        assert suspected(path) == {}


def test_a_third_factor_is_suspected_and_a_buffer_is_not(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(THREE_FACTORS, encoding="utf-8")
    assert suspected(path) == {(8, "BD110"): "error"}


def test_standard_input_is_read_and_quoted() -> None:
    result = doctor("-", typed=THREE_FACTORS)
    assert result.exit_code == 1
    assert result.stdout.startswith("<stdin>:8:28  BD110 product-kind-confusion  (suspected)\n")
    assert "return np.matmul(A, B, C)" in result.stdout
    assert "backprop-doctor check --static - --select BD110" in result.stdout


def test_nothing_suspected_is_exit_0_and_says_that_nothing_was_run() -> None:
    for arguments in ((), ("--format", "concise")):
        result = doctor("-", *arguments, typed="a = 1\n")
        assert result.exit_code == 0
        assert "static only: nothing was run" in result.stdout
    file = json.loads(doctor("-", "--format", "json", typed="a = 1\n").stdout)["files"][0]
    assert (file["verdict"], file["ran"]) == ("unknown", False)


def test_suspicions_count_by_their_severity() -> None:
    faulty = str(networks.FOLDER / FAULTY)
    assert doctor(faulty).exit_code == 1
    assert doctor(faulty, "--exit-zero").exit_code == 0
    assert doctor(faulty, "--ignore", "BD302").exit_code == 0


def test_what_does_not_parse_is_exit_3_and_the_others_are_read() -> None:
    result = doctor("-", str(networks.FOLDER / FAULTY), typed="a = = 1\n")
    assert result.exit_code == 3
    assert "<stdin>:1:5: syntax error" in result.stdout
    assert "BD302" in result.stdout


def test_a_line_with_noqa_is_silent_in_the_text_too() -> None:
    typed = THREE_FACTORS.replace("C) + D", "C) + D  # noqa: BD110")
    result = doctor("-", typed=typed)
    assert result.exit_code == 0
    assert "is silenced by # noqa" in result.stdout


@pytest.mark.parametrize("arguments", [("--fix",), ("--diff",), ("--chart",), ("--format", "junit")])
def test_what_takes_a_run_is_refused(arguments: tuple[str, ...]) -> None:
    result = doctor("-", *arguments, typed="")
    assert result.exit_code == 2
    assert "runs nothing" in result.stderr


def test_standard_input_without_static_is_refused() -> None:
    result = CliRunner().invoke(cli, ["check", "-"], prog_name="backprop-doctor")
    assert (result.exit_code, "only be done with --static" in result.stderr) == (2, True)


def test_a_pattern_that_raises_does_not_hide_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(_: object) -> None:
        raise ZeroDivisionError("a slip of ours")

    monkeypatch.setattr(static.patterns()["log_of_zero"], "suspect", raises)
    report = static.examine(open_project(networks.FOLDER / FAULTY))
    assert [finding.code for finding in report.findings] == ["BD302"]
    assert report.unchecked[0].what == "BD703 log-of-zero"
    assert "a fault of this tool: ZeroDivisionError" in report.unchecked[0].why


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys\nfrom backprop_doctor.cli import cli\n"
        f"try: cli(['check', '--static', {str(networks.FOLDER / FAULTY)!r}])\n"
        "except SystemExit: pass\nprint(sorted({'numpy', 'libcst', 'pytest'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines()[-1] == "[]"
