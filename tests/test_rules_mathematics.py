"""The programs of the rules about forward pass, loss, backward pass and update: just what is expected is found."""

from __future__ import annotations

from pathlib import Path

import networks
import pytest

from backprop_doctor import rules

FOLDER = networks.FOLDER.parent / "rules"
FAMILIES = ("BD1", "BD2", "BD3", "BD4")
MODULES = [rule.module for rule in rules.catalogue() if rule.code.startswith(FAMILIES)]
PROGRAMS = [path for module in MODULES for path in sorted((FOLDER / module).glob("*.py"))]


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_just_the_expected_findings_are_made(path: Path) -> None:
    report = networks.diagnosed(path)
    wanted, found = networks.expected(path), networks.seen(report)
    missed = {place for place, severity in wanted.items() if found.get(place) != severity}
    surplus = {place for place, severity in found.items() if severity != "note" and place not in wanted}
    assert (missed, surplus) == (set(), set())
    assert [failed for failed in report.unchecked if "fault of this tool" in failed.why] == []


@pytest.mark.parametrize("path", [p for p in PROGRAMS if p.stem.startswith("bad_")], ids=str)
def test_a_bad_program_expects_its_own_rule_and_no_other_error(path: Path) -> None:
    code, wanted = rules.find(path.parent.name).code, networks.expected(path)
    assert code in {found for _, found in wanted}
    assert {found for (_, found), severity in wanted.items() if severity == "error"} <= {code}


@pytest.mark.parametrize("path", [p for p in PROGRAMS if p.stem.startswith("good_")], ids=str)
def test_a_good_program_never_shows_its_rule(path: Path) -> None:
    code = rules.find(path.parent.name).code
    assert code not in {finding.code for finding in networks.diagnosed(path).findings}
