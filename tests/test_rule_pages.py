"""The pages that ``explain`` shows: their form, and whether their programs do what they are shown for."""

from __future__ import annotations

import os
import runpy
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from backprop_doctor import rule_tests, rules
from backprop_doctor.rules import RuleInfo

RULES = rules.catalogue(rules.FOLDER)

# Rules about programs that stop.
STOPPED = [rules.info(module) for module in rules.load() if hasattr(module, "examine_crash")]


def programs(wanted: str) -> list[object]:
    """All programs under a heading, as parameters of a test."""
    return [
        pytest.param(rule, text, id=f"{rule.name}-{number}")
        for rule in RULES
        for number, text in enumerate(rule_tests.programs(rule, wanted))
    ]


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
def test_the_page_is_as_it_should_be(rule: RuleInfo) -> None:
    assert rule.code[:3] in rules.FAMILIES
    assert list(rule_tests.page(rule)) == []


@each_example
def test_example_is_a_short_program_that_runs(
    rule: RuleInfo, text: str, tmp_path: Path, process: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 10 <= len(text.splitlines()) <= 30
    if rule in STOPPED:
        with pytest.raises(ValueError, match="shape"):
            run(text, tmp_path)
        return
    run(text, tmp_path)
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
    assert list(rule_tests.example(rule, text)) == []


@each_instead
def test_use_instead_draws_no_error_and_its_rule_is_silent(rule: RuleInfo, text: str, process: None) -> None:
    assert list(rule_tests.instead(rule, text)) == []
