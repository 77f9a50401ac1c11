"""How a program is written changes nothing of what is said about it."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import networks
import pytest
import rewriting

from backprop_doctor.records import FileReport

PROGRAMS = (
    "single/samples_first_softmax_over_samples.py",
    "single/features_first_bias_gradient_wrong_axis_hidden.py",
    "single/features_first_update_sign.py",
    "single/features_first_update_before_backprop.py",
    "healthy/xor_four_samples.py",
    "healthy/per_sample_vectors.py",
)
# What is said differently today; each pair that is mended must leave the list.
NOT_YET = {
    ("single/features_first_update_sign.py", "with_named_intermediates"),
    ("single/features_first_update_before_backprop.py", "with_named_intermediates"),
}
WAITING = pytest.mark.xfail(strict=False, reason="not met yet")
PAIRS = [
    pytest.param(name, way, id=f"{Path(name).stem}-{way}", marks=[WAITING] if (name, way) in NOT_YET else [])
    for name in PROGRAMS
    for way in rewriting.REWRITINGS
]
Said = Counter[tuple[str, str, int]]


def said(report: FileReport, origin: dict[int, int]) -> Said:
    """Severity, code and original line of all findings."""
    return Counter((f.severity, f.code, origin.get(f.position.line, -1)) for f in report.findings)


def statements(text: str) -> dict[int, int]:
    """First line of the innermost statement that each line belongs to."""
    found: dict[int, int] = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.stmt):
            found |= dict.fromkeys(range(node.lineno, (node.end_lineno or node.lineno) + 1), node.lineno)
    return found


def verdicts(report: FileReport) -> Counter[str]:
    assert report.network is not None
    return Counter(p.verdict for p in report.network.parameters)


@pytest.fixture(scope="module")
def plain() -> dict[str, FileReport]:
    """What is said about the programs as they are."""
    return {name: networks.diagnosed(networks.FOLDER / name) for name in PROGRAMS}


@pytest.mark.parametrize(("name", "way"), PAIRS)
def test_the_same_program_written_differently_gets_the_same_report(
    name: str, way: str, plain: dict[str, FileReport], tmp_path: Path
) -> None:
    text = (networks.FOLDER / name).read_text(encoding="utf-8")
    rewritten = rewriting.REWRITINGS[way](text)
    path = tmp_path / Path(name).name
    path.write_text(rewritten.text, encoding="utf-8")
    report = networks.diagnosed(path)
    lines = statements(text)
    assert report.verdict == plain[name].verdict
    assert said(report, {new: lines[old] for new, old in rewritten.origins.items() if old in lines}) == said(
        plain[name], lines
    )
    assert verdicts(report) == verdicts(plain[name])


@pytest.mark.parametrize("way", rewriting.REWRITINGS)
def test_every_rewriting_changes_the_text(way: str) -> None:
    text = (networks.FOLDER / PROGRAMS[0]).read_text(encoding="utf-8")
    rewritten = rewriting.REWRITINGS[way](text).text
    compile(rewritten, "rewritten.py", "exec")
    assert rewritten != text
