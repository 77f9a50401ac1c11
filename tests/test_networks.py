"""Programs with one fault, with several, and healthy ones: exactly what they say is found, and nothing else."""

from __future__ import annotations

from pathlib import Path

import networks
import pytest

PROGRAMS = networks.programs(".", "single", "healthy", "metric", "several")


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_what_is_expected_is_found_and_nothing_else(path: Path) -> None:
    report = networks.diagnosed(path)
    wanted, found = networks.expected(path), networks.seen(report)
    missed = {place for place, severity in wanted.items() if found.get(place) != severity}
    surplus = {place for place, severity in found.items() if severity != "note" and place not in wanted}
    assert (missed, surplus) == (set(), set())
    assert report.verdict == ("faulty" if "error" in wanted.values() else "healthy")
    assert report.unchecked == ()


@pytest.mark.parametrize("path", networks.programs("healthy"), ids=lambda path: path.stem)
def test_every_parameter_of_a_healthy_program_is_right(path: Path) -> None:
    network = networks.diagnosed(path).network
    assert network is not None
    assert {p.name: p.verdict for p in network.parameters} == {p.name: "right" for p in network.parameters}
    assert all(p.relative_error is not None and p.relative_error < 1e-5 for p in network.parameters)


@pytest.mark.parametrize("path", networks.programs("near_misses"), ids=lambda path: path.stem)
def test_of_what_looks_wrong_and_is_right_nothing_is_said_but_what_is_stated(path: Path) -> None:
    report = networks.diagnosed(path)
    assert networks.seen(report) == networks.expected(path)
    assert (report.verdict, report.unchecked) == ("healthy", ())
    assert report.network is not None
    assert {p.verdict for p in report.network.parameters} == {"right"}


def test_thirty_programs_look_wrong_and_are_right() -> None:
    assert len(networks.programs("near_misses")) >= 30


def test_renaming_everything_changes_no_verdict(tmp_path: Path) -> None:
    source = (networks.FOLDER / "thread_question.py").read_text(encoding="utf-8")
    nonsense = {"dZ2": "kr", "dZ1": "ob", "dW1": "xu", "dW2": "pe", "db1": "vi", "db2": "mo", "A1": "ta", "A2": "zi",
                "W1": "qa", "W2": "re", "b1": "so", "b2": "lu", "X": "ho", "Y": "gu", "m": "na", "Z1": "fe", "Z2": "ka",
                "correct": "wo", "accuracy": "ys", "loss": "du", "cost": "ji"}  # fmt: skip
    import re

    renamed = re.sub(r"\b\w+\b", lambda word: nonsense.get(word[0], word[0]), source)
    path = tmp_path / "renamed.py"
    path.write_text(renamed, encoding="utf-8")
    one, other = networks.diagnosed(networks.FOLDER / "thread_question.py"), networks.diagnosed(path)
    assert networks.seen(one) == networks.seen(other)
    assert one.network is not None
    assert other.network is not None
    assert [p.verdict for p in one.network.parameters] == [p.verdict for p in other.network.parameters]
