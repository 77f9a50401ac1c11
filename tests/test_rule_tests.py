"""Rules of others: found by entry points, tested like our own; and one rule that raises."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import networks
import pytest
from click.testing import CliRunner, Result

from backprop_doctor import rule_tests, rules
from backprop_doctor.cli import cli
from backprop_doctor.errors import UsageError

FAULTY = """
    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20))  # samples in rows
    labels = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    W, b = np.zeros((20, 3)), np.zeros((1, 3))
    for step in range(12):
        Z = X @ W + b
        E = np.exp(Z - Z.max(axis=1, keepdims=True))
        A = E / E.sum(axis=1, keepdims=True)
        loss = -np.sum(Y * np.log(A + 1e-12)) / len(X)
        dZ = (A - Y) / len(X)
        dW = X.T @ dZ
        db = dZ.sum(axis=0, keepdims=True)
        W = W - RATE * dW
        b = b - RATE * db
        print(step, loss)
"""

RULE = f'''\
"""MY001 rate-of-one-half: the learning rate is one half.

What it does
------------
Finds a rate of one half.

Why it is wrong
---------------
It is not: this is a rule for tests.

Example (samples first)
-----------------------
The rate is 0.5::
{FAULTY.replace("RATE", "0.5")}
Use instead (samples first)
---------------------------
Any other rate::
{FAULTY.replace("RATE", "0.4")}
How it is detected
------------------
By its digits.

Fix safety
----------
There is no fix.

Known limits
------------
Many.

References
----------
None.
"""

import ast

from backprop_doctor.case import Sighting

SEVERITY = "warning"


def examine(case):
    """Look for the number."""
    for site in case.program.sites:
        for node in ast.walk(site.node) if site.target == "W" and "- 0.5" in case.text(site.node) else ():
            if isinstance(node, ast.BinOp):
                yield Sighting(node, "the rate is 0.5", objects=())
                return
'''


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The catalogue as it was; what is imported for a test is forgotten."""
    monkeypatch.setattr(rules, "_added", [])
    rule_tests.forget()
    modules = set(sys.modules)
    yield
    for name in set(sys.modules) - modules:
        if name.partition(".")[0] in ("my_rules", "rate_of_one_half"):
            del sys.modules[name]
    monkeypatch.undo()
    rules.catalogue.cache_clear()
    rules.load.cache_clear()


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A rule with its fixtures."""
    package = tmp_path / "my_rules"
    package.mkdir()
    (package / "__init__.py").touch()
    path = package / "rate_of_one_half.py"
    path.write_text(RULE, encoding="utf-8")
    programs = tmp_path / "fixtures" / "rate_of_one_half"
    programs.mkdir(parents=True)
    (faulty,) = (text for text in rule_tests.programs(rules.add(path)[0], "Example"))
    for number in range(3):
        right = faulty.replace("0.5", f"0.{number + 1}")
        marked = faulty.replace("W = W - 0.5 * dW", "W = W - 0.5 * dW  # warn: MY001")
        (programs / f"bad_{number}.py").write_text(marked.replace("rng(0)", f"rng({number})"), encoding="utf-8")
        (programs / f"good_{number}.py").write_text(f"# Near miss: another rate.\n{right}", encoding="utf-8")
    return path


def doctor(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments), prog_name="backprop-doctor")


def install(monkeypatch: pytest.MonkeyPatch, folder: Path, value: str) -> None:
    """As if a distribution with that entry point were installed."""
    entry = metadata.EntryPoint("mine", value, rules.GROUP)
    real = metadata.entry_points
    monkeypatch.setattr(
        metadata, "entry_points", lambda **by: (entry,) if by.get("group") == rules.GROUP else real(**by)
    )
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(rules, "_added", [])
    rules.catalogue.cache_clear()
    rules.load.cache_clear()


def test_a_rule_of_ones_own_that_is_as_it_should_be_passes(written: Path) -> None:
    result = doctor("test-rule", str(written))
    assert (result.stdout, result.exit_code) == ("MY001 rate-of-one-half: as it should be\n", 0)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("rate-of-one-half:", "half-a-rate:", "the file is called rate_of_one_half, and has to be called like"),
        ("Known limits\n------------\n", "Limits\n------\n", "the headings are"),
        ("Known limits\n------------\n", "Known limits\n---\n", "Known limits is not underlined"),
        ("There is no fix.", "There is no fix!", "there is an exclamation mark"),
        ("By its digits.", "See BD999.", "there is no rule BD999"),
        ("- 0.5", "- 0.7", "Example: MY001 is not found"),
        ("- 0.5", "- 0.", "Use instead: line 16: MY001 is found"),
        ("    for site in", "    1 / 0\n    for site in", "MY001 rate-of-one-half: a fault of this tool: ZeroDivision"),
        ("import ast\n", "import no_such_module\n", "a fault of this tool: ModuleNotFoundError"),
        ("The rate is 0.5::", "The rate is the half of 1::", None),
    ],
)
def test_what_is_wrong_with_a_rule_is_said(written: Path, old: str, new: str, fault: str | None) -> None:
    head, mark, tail = RULE.partition("\nSEVERITY")
    text = head + mark + tail.replace(old, new) if old in tail else head.replace(old, new) + mark + tail
    written.write_text(text, encoding="utf-8")
    rules._added.clear()
    rules.catalogue.cache_clear()
    result = doctor("test-rule", str(written))
    assert result.exit_code == (0 if fault is None else 1), result.output
    assert (fault or "as it should be") in result.stdout


def test_missing_and_wrong_fixtures_are_said(written: Path) -> None:
    programs = written.parent.parent / "fixtures" / "rate_of_one_half"
    (programs / "good_0.py").unlink()
    (programs / "bad_1.py").write_text((programs / "good_1.py").read_text(encoding="utf-8"), encoding="utf-8")
    said = doctor("test-rule", str(written)).stdout
    assert "rate_of_one_half has 2 fixtures good_*.py, and needs 3" in said
    assert "bad_1.py: it does not expect MY001" in said


@pytest.mark.parametrize("value", ["my_rules", "my_rules.rate_of_one_half"])
def test_rules_of_others_are_found_by_their_entry_point(
    written: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    install(monkeypatch, written.parent.parent, value)
    rule = rules.find("MY001")
    assert (rule.family, rule.severity) == ("rules of my_rules", "warning")
    assert "MY001" in doctor("rules").stdout
    assert rules.resolve(["my0"]) == ("MY0",)
    report = networks.diagnosed(written.parent.parent / "fixtures" / "rate_of_one_half" / "bad_0.py")
    assert "MY001" in {finding.code for finding in report.findings}


def test_an_entry_point_that_leads_nowhere_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, tmp_path, "no_such_rules")
    result = doctor("rules")
    assert result.exit_code == 2
    assert "the entry point mine of backprop_doctor.rules: there is no module no_such_rules" in result.stderr


def test_a_code_that_is_taken_is_refused(written: Path) -> None:
    written.write_text(RULE.replace("MY001", "BD301"), encoding="utf-8")
    rules._added.clear()
    rules.catalogue.cache_clear()
    with pytest.raises(UsageError, match="BD301 stands for two rules"):
        rules.add(written)


def test_one_rule_that_raises_does_not_hide_the_others_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(_: object) -> Iterator[None]:
        raise ZeroDivisionError("a slip of ours")

    failing = next(rule for rule in rules.load() if rules.info(rule).code == "BD101")
    monkeypatch.setattr(failing, "examine", raises)
    report = networks.diagnosed(networks.FOLDER / "single" / "samples_first_bias_gradient_no_axis.py")
    assert "BD302" in {finding.code for finding in report.findings}
    (failure,) = (one for one in report.unchecked if "fault of this tool" in one.why)
    assert failure.what == "BD101 batch-size-from-feature-axis"
    assert failure.why == "a fault of this tool: ZeroDivisionError: a slip of ours"
