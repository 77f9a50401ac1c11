"""The examples of the documentation are run, and print what is printed there."""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from backprop_doctor import gradient_check, layer_check, rules
from backprop_doctor.reports import handbook

ROOT = Path(__file__).parent.parent
HAS_ENTRY_POINT = any(e.value == "backprop_doctor.pytest_plugin" for e in metadata.entry_points(group="pytest11"))
PLUGIN = () if HAS_ENTRY_POINT else ("-p", "backprop_doctor.pytest_plugin")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

FUNCTIONS = """
import numpy as np

def relu_forward(x):
    return np.maximum(x, 0), x

def relu_backward(dout, x):
    return dout * (x > 0)

def softmax_loss(scores, y):
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    d = p.copy()
    d[np.arange(len(y)), y] -= 1
    return -np.log(p[np.arange(len(y)), y]).mean(), d
"""


def blocks(name: str) -> list[tuple[str, str]]:
    return BLOCK.findall((ROOT / "docs" / name).read_text(encoding="utf-8"))


def rounded(text: str) -> str:
    """Errors and steps depend on the machine in their digits."""
    return re.sub(r"\d+(\.\d+)?e-\d+|\d+\.\d+", "#", text)


def run(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "pytest", *PLUGIN, "-p", "no:cacheprovider", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False).stdout


def test_the_examples_of_gradcheck_print_what_they_say() -> None:
    names: dict[str, Any] = {}
    printed = ""
    for language, text in blocks("gradcheck.md"):
        if language == "python":
            output = io.StringIO()
            with contextlib.redirect_stdout(output):
                exec(text, names)
            printed = output.getvalue()
        elif language == "text":
            assert rounded(text) == rounded(printed)


@pytest.mark.parametrize("module", [gradient_check, layer_check])
def test_the_examples_of_the_docstrings_are_right(module: Any) -> None:
    result = doctest.testmod(module)
    assert result.attempted > 3
    assert result.failed == 0


def test_the_grading_recipe_gives_the_marks_it_says(tmp_path: Path) -> None:
    (recipe, functions), (marks, finding, student) = (
        [text for language, text in blocks("grading.md") if language == wanted] for wanted in ("python", "text")
    )
    assert len(recipe.splitlines()) <= 10
    (tmp_path / "submission.py").write_bytes((ROOT / "fixtures" / "networks" / "thread_question.py").read_bytes())
    (tmp_path / "test_marks.py").write_text(recipe, encoding="utf-8")
    output = run(tmp_path, "test_marks.py", "-rA", "--junitxml", "marks.xml")
    summary = re.findall(r"^((?:PASSED|FAILED) .*?)(?: - .*)?$", output, re.MULTILINE)
    assert sorted(summary) == sorted(marks.splitlines())
    for line in finding.splitlines():
        assert line.strip() in output
    assert (tmp_path / "marks.xml").read_text(encoding="utf-8").count('name="points"') == 5

    (tmp_path / "submission.py").write_text(FUNCTIONS, encoding="utf-8")
    (tmp_path / "test_functions.py").write_text(functions, encoding="utf-8")
    output = run(tmp_path, "test_functions.py")
    assert "1 failed, 1 passed" in output
    assert rounded(student.strip()) in rounded(output)


def test_the_page_of_rules_is_what_is_made_of_them() -> None:
    made = handbook.markdown(rules.catalogue(rules.FOLDER))
    again = "python -m backprop_doctor.reports.handbook > docs/rules.md"
    assert (ROOT / "docs" / "rules.md").read_text(encoding="utf-8") == made + "\n", f"write it again: {again}"
    for rule in rules.catalogue(rules.FOLDER):
        assert f"## {rule.code} {rule.name}\n" in made
