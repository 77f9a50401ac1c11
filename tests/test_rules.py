"""The fixtures of each rule: faulty programs draw what their comments say, right ones draw nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from backprop_doctor import rule_tests, rules
from backprop_doctor.rules import RuleInfo

RULES = rules.catalogue(rules.FOLDER)
FOLDER = Path(__file__).parent.parent / "fixtures" / "rules"
PROGRAMS = [
    pytest.param(rule, path, id=f"{rule.module}/{path.stem}")
    for rule in RULES
    for path in sorted((FOLDER / rule.module).glob("*.py"))
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_is_shown_three_times_and_its_absence_three_times(rule: RuleInfo) -> None:
    assert list(rule_tests.fixtures(FOLDER / rule.module)) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_faulty_programs_are_there_in_the_layouts_of_the_page(rule: RuleInfo) -> None:
    assert list(rule_tests.layouts(rule, FOLDER / rule.module)) == []


def test_each_folder_of_fixtures_belongs_to_a_rule() -> None:
    assert {path.name for path in FOLDER.iterdir()} <= {rule.module for rule in RULES}


def test_codes_and_names_are_unique() -> None:
    assert len({rule.code for rule in RULES}) == len({rule.name for rule in RULES}) == len(RULES)


@pytest.mark.parametrize(("rule", "path"), PROGRAMS)
def test_a_fixture_draws_what_its_comments_say_and_nothing_else(rule: RuleInfo, path: Path) -> None:
    assert list(rule_tests.fixture(rule, path)) == []
