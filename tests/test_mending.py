"""The faulty programs of the rules are mended to what they were meant to be: in what they compute, not in text."""

from __future__ import annotations

import shutil
from pathlib import Path

import networks
import pytest
from corrections import CORRECTIONS, corrected
from outcomes import is_same_outcome, outcome

from backprop_doctor.source import open_project

FOLDER = Path(__file__).parent.parent / "fixtures" / "rules"
# Programs that stop are another matter: there is nothing that they come to.
STOPPING = "shapes_do_not_fit"
BAD = sorted(
    path
    for path in FOLDER.glob("*/bad_*.py")
    if path.parent.name != STOPPING and "error" in networks.expected(path).values()
)
# What these need is a choice, or more than a rule can know; what is needed is described.
DESCRIBED = {
    "gradient_wrong/bad_class_weights",
    "gradient_wrong/bad_cut_off_delta",
    "gradient_wrong/bad_noise",
    "norm_statistics_wrong_axis/bad_running_mean_of_each_sample",
    "optimizer_formula/bad_adam_by_name",
    "shuffle_breaks_pairs/bad_with_weights",
}
# New weights are random numbers, and as good as any others.
RANDOM = "symmetric_initialisation"


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


@pytest.mark.parametrize("path", [path for path in BAD if name_of(path) in CORRECTIONS], ids=name_of)
def test_what_a_program_was_meant_to_be_is_another_program(path: Path) -> None:
    text = corrected(path)
    assert text is not None
    meant = outcome(text)
    try:
        found = outcome(path.read_text(encoding="utf-8"))
    except ValueError:
        return  # what has grown in the first step stops the second
    assert not is_same_outcome(meant, found)


@pytest.mark.parametrize("path", [path for path in BAD if name_of(path) not in DESCRIBED], ids=name_of)
def test_a_faulty_program_is_mended_to_what_it_was_meant_to_be(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / path.name
    shutil.copy(path, copy)
    report = networks.diagnosed(copy, fix=True, search_seconds=120)
    assert report.fix is not None
    assert report.fix.status == "verified"
    mended = open_project(str(copy)).edited(report.fix.edits).text
    copy.write_text(mended, encoding="utf-8")
    assert networks.diagnosed(copy).verdict == "healthy"
    text = corrected(path)
    if text is None:
        assert path.parent.name == RANDOM
        return
    assert is_same_outcome(outcome(mended), outcome(text))


@pytest.mark.parametrize("path", [path for path in BAD if name_of(path) in DESCRIBED], ids=name_of)
def test_what_cannot_be_mended_is_left_as_it_is(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / path.name
    shutil.copy(path, copy)
    report = networks.diagnosed(copy, fix=True, search_seconds=10)
    assert report.fix is not None
    assert report.fix.status == "none"
    assert not report.fix.edits
