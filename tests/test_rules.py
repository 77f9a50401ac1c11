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
# Rules without fixtures of their own yet, with what shows them instead: whole networks, in each layout, next to their
# healthy twins; faults that networks/forms shows in other forms; or, so far, the programs of their page alone.
IN_SINGLE = (
    "softmax_over_samples", "loss_summed_per_class", "gradient_wrong", "activation_derivative_wrong_argument",
    "parameter_shape_drift", "accuracy_loop_bounds", "accuracy_counter_not_reset", "evaluated_on_training_data",
    "exp_overflow",
)  # fmt: skip
IN_NETWORKS = ("bias_gradient_wrong_reduction", "batch_averaging_missing_or_twice")
ON_THE_PAGE = ("loss_gradient_constant_factor", "printed_loss_not_descended", "gradient_transposed")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_is_shown_three_times_and_its_absence_three_times(rule: RuleInfo) -> None:
    networks = FOLDER.parent / "networks"
    if rule.module in IN_SINGLE:
        assert len(list((networks / "single").glob(f"*_{rule.module}*.py"))) >= 2
    elif rule.module in IN_NETWORKS:
        assert sum(rule.code in path.read_text(encoding="utf-8") for path in networks.rglob("[!u]*.py")) >= 3
    elif rule.module in ON_THE_PAGE:
        assert len(rule_tests.programs(rule, "Example")) == len(rule_tests.programs(rule, "Use instead")) > 0
    else:
        assert list(rule_tests.fixtures(FOLDER / rule.module)) == []
    is_exception = rule.module in (*IN_SINGLE, *IN_NETWORKS, *ON_THE_PAGE)
    assert is_exception != (FOLDER / rule.module).exists(), "an exception that has fixtures is none"


def test_each_folder_of_fixtures_belongs_to_a_rule() -> None:
    assert {path.name for path in FOLDER.iterdir()} <= {rule.module for rule in RULES}


def test_codes_and_names_are_unique() -> None:
    assert len({rule.code for rule in RULES}) == len({rule.name for rule in RULES}) == len(RULES)


@pytest.mark.parametrize(("rule", "path"), PROGRAMS)
def test_a_fixture_draws_what_its_comments_say_and_nothing_else(rule: RuleInfo, path: Path) -> None:
    assert list(rule_tests.fixture(rule, path)) == []
