"""The fixtures of each rule: faulty programs draw what their comments say, right ones draw nothing."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import networks
import pytest

from backprop_doctor import rules

FOLDER = networks.FOLDER.parent / "rules"
FOLDERS = sorted(path for path in FOLDER.iterdir() if path.is_dir())
PROGRAMS = [path for folder in FOLDERS for path in sorted(folder.glob("*.py"))]


@pytest.fixture(autouse=True)
def numpy_may_warn() -> Iterator[None]:
    """A check lets numpy warn: values that overflow are what some fixtures are about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_folder_belongs_to_a_rule_and_shows_it_three_times_and_its_absence_three_times(folder: Path) -> None:
    assert folder.name in {rule.module for rule in rules.catalogue()}
    kinds = Counter(path.name.partition("_")[0] for path in folder.iterdir() if path.suffix == ".py")
    assert kinds["bad"] >= 3
    assert kinds["good"] >= 3
    assert set(kinds) == {"bad", "good"}


@pytest.mark.parametrize("path", PROGRAMS, ids=name)
def test_a_fixture_draws_what_its_comments_say_and_nothing_else(path: Path) -> None:
    report = networks.diagnosed(path)
    wanted, found = networks.expected(path), networks.seen(report)
    missed = {place for place, severity in wanted.items() if found.get(place) != severity}
    surplus = {place for place, severity in found.items() if severity != "note" and place not in wanted}
    assert (missed, surplus) == (set(), set())
    assert [why for why in report.unchecked if "fault of this tool" in why.why] == []


@pytest.mark.parametrize("path", PROGRAMS, ids=name)
def test_bad_fixtures_show_their_own_rule_and_good_ones_expect_no_error(path: Path) -> None:
    code = next(rule.code for rule in rules.catalogue() if rule.module == path.parent.name)
    wanted = networks.expected(path)
    if path.name.startswith("bad_"):
        assert code in {code for _, code in wanted}
    else:
        assert code not in {code for _, code in wanted}
        assert "error" not in wanted.values()
