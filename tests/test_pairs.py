"""Files that only define layers and losses: what is right is called right, what is wrong is found where it stands."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from backprop_doctor import check, confinement
from backprop_doctor.checks import checks
from backprop_doctor.pairs import check_pairs
from backprop_doctor.records import FileReport
from backprop_doctor.source import open_project

FOLDER = Path(__file__).parents[1] / "fixtures" / "pairs"
EXPECTED = re.compile(r"# expect: (BD\d{3})")

HELPERS = """\
import numpy as np
from course_utils import relu, sigmoid
"""
PAIR = """\
def forward_propagation(X, Y, parameters):
    m = X.shape[1]
    A1 = relu(parameters["W1"] @ X + parameters["b1"])
    A2 = sigmoid(parameters["W2"] @ A1 + parameters["b2"])
    cost = -np.sum(Y * np.log(A2) + (1 - Y) * np.log(1 - A2)) / m
    return cost, (A1, A2, parameters["W2"])

def backward_propagation(X, Y, cache):
    m = X.shape[1]
    A1, A2, W2 = cache
    dZ2 = A2 - Y
    dW2 = dZ2 @ A1.T / m
    db2 = dZ2.sum(axis=1, keepdims=True) / m
    dZ1 = W2.T @ dZ2 * (A1 > 0)
    dW1 = dZ1 @ X.T / m
    db1 = 4 * dZ1.sum(axis=1, keepdims=True) / m
    return {"dW1": dW1, "db1": db1, "dW2": dW2, "db2": db2}
"""

ONCE = """\
import numpy as np

def sigmoid(x):
    return 1 / (1 + np.exp(-x))

def sigmoid_derivative(s):
    return s * (1 - s)

x, t = np.array([[0.5, 0.8]]), np.array([[1.0]])
W1, W2 = np.random.randn(2, 3), np.random.randn(3, 1)
a1 = sigmoid(np.dot(x, W1))
a2 = sigmoid(np.dot(a1, W2))
d2 = (a2 - t) * sigmoid_derivative(a2)
dW2 = np.dot(a1.T, d2)
d1 = np.dot(d2, W2.T)
print(dW2, d1)
"""
TANH = """\
def dense_forward(x, w):
    return np.tanh(x @ w), (x, w, np.tanh(x @ w))

def dense_backward(dout, cache):
    x, w, h = cache
    dz = dout * (1 - h**2)
    return dz @ w.T, x.T @ dz
"""


def checked(path: Path) -> FileReport:
    return check(path).files[0]


def errors(report: FileReport) -> set[tuple[int, str]]:
    return {(f.position.line, f.code) for f in report.findings if f.severity == "error"}


@pytest.mark.parametrize("path", sorted(FOLDER.glob("good_*.py")), ids=lambda path: path.stem)
def test_right_layers_are_right_and_nothing_is_left_out(path: Path) -> None:
    report = checked(path)
    assert report.verdict == "healthy"
    assert not errors(report)
    assert not report.unchecked
    assert report.network is not None
    assert {parameter.verdict for parameter in report.network.parameters} == {"right"}


@pytest.mark.parametrize("path", sorted(FOLDER.glob("bad_*.py")), ids=lambda path: path.stem)
def test_each_wrong_gradient_is_found_at_its_own_line(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    expected = {(n, match[1]) for n, line in enumerate(lines, 1) if (match := EXPECTED.search(line))}
    report = checked(path)
    assert report.verdict == "faulty"
    assert errors(report) == expected


@pytest.mark.parametrize("path", sorted(FOLDER.glob("unknown_*.py")), ids=lambda path: path.stem)
def test_what_is_no_layer_is_not_called_wrong(path: Path) -> None:
    report = checked(path)
    assert report.verdict == "unknown"
    assert not report.findings
    assert report.unchecked


def test_the_report_says_what_was_called_with_which_shapes(tmp_path: Path) -> None:
    path = tmp_path / "layers.py"
    path.write_text(
        "def twice_forward(x):\n    return 2 * x, None\n\ndef twice_backward(dout, cache):\n    return 2 * dout\n"
    )
    assert "called as twice_forward(x (7, 5)) and twice_backward" in checked(path).remarks


@pytest.mark.parametrize("end", ["input('a number: ')", "while True:\n    pass"])
def test_what_is_defined_above_a_line_that_never_ends_is_checked(
    end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backprop_doctor.pairs.definitions.SECONDS_OF_A_PART", 0.5)
    path = tmp_path / "layers.py"
    path.write_text(f"{HELPERS.splitlines()[0]}\n{TANH}\n{end}\n")
    with confinement.for_path(str(path)) as surroundings:
        report = check_pairs(open_project(str(path)), surroundings)
    assert report is not None
    assert report.verdict == "healthy"
    assert report.network is not None
    assert {parameter.verdict for parameter in report.network.parameters} == {"right"}


def test_names_are_not_needed_to_find_a_pair(tmp_path: Path) -> None:
    path = tmp_path / "layers.py"
    path.write_text("def qu(a, c):\n    return a @ c, (a, c)\n\ndef ux(s, t):\n    return s @ t[1].T, t[0].T @ s\n")
    report = checked(path)
    assert report.verdict == "healthy"
    assert report.network is not None
    assert len(report.network.parameters) == 2


def test_a_file_that_only_computes_is_idle_as_before(tmp_path: Path) -> None:
    path = tmp_path / "helpers.py"
    path.write_text("def area(width, height):\n    return width * height\n")
    report = checked(path)
    assert report.verdict == "unknown"
    assert not report.ran


def test_a_layer_may_use_modules_beside_it(tmp_path: Path) -> None:
    (tmp_path / "shared.py").write_text("class Base:\n    def __init__(self):\n        self.cache = None\n")
    path = tmp_path / "layers.py"
    path.write_text(
        "from shared import Base\n\nclass Cube(Base):\n    def forward(self, x):\n        self.cache = x\n"
        "        return x**3\n\n    def backward(self, dout):\n        return 3 * dout * self.cache\n"
    )
    assert errors(checked(path)) == {(9, "BD300")}


def test_a_notebook_is_checked_although_a_helper_of_its_course_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "course.ipynb"
    cells = [
        {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": text}
        for text in (HELPERS, PAIR, "X, Y, parameters = test_case()\n")
    ]
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 4}))
    report = checked(path)
    assert errors(report) == {(16, "BD300")}
    assert report.findings[0].position.cell == 2
    assert "course_utils is not there: an empty module stood in for it" in report.remarks


SHARED = """\
import numpy as np

def cell_forward(x, w, b):
    out = np.tanh(x @ w + b)
    return out, (x, w, out)

def cell_backward(dout, cache):
    x, w, out = cache
    inner = dout * (1 - out)
    dw = x.T @ inner
    db = inner.sum(axis=0)
    dx = inner @ w.T
    return dx, dw, db
"""
ABOVE = """
def twice_forward(x, w, b):
    first, one = cell_forward(x, w, b)
    return 2 * first, one

def twice_backward(dout, cache):
    return cell_backward(2 * dout, cache)
"""


def test_what_is_wrong_for_one_reason_is_told_once_where_the_reason_is(tmp_path: Path) -> None:
    path = tmp_path / "layers.py"
    path.write_text(SHARED)
    report = checked(path)
    assert errors(report) == {(9, "BD300")}
    assert report.network is not None
    assert {parameter.verdict for parameter in report.network.parameters} == {"wrong"}


def test_what_calls_a_wrong_backward_pass_is_not_judged(tmp_path: Path) -> None:
    path = tmp_path / "layers.py"
    path.write_text(SHARED + ABOVE)
    report = checked(path)
    assert errors(report) == {(9, "BD300")}
    assert any("mend cell_backward first" in unchecked.why for unchecked in report.unchecked)


def test_each_wrong_gradient_is_a_check_that_shows_its_finding(tmp_path: Path) -> None:
    path = tmp_path / "layers.py"
    path.write_text(SHARED)
    found = {check.name: check for check in checks(checked(path))}
    assert set(found) == {"runs", *(f"gradient of {name} of cell_forward" for name in "xwb")}
    assert found["gradient of w of cell_forward"].headline == "line 9: from here on wrong: x, w and b (BD300)"


def test_a_report_says_which_rules_looked(tmp_path: Path) -> None:
    path = tmp_path / "layers.py"
    path.write_text(SHARED)
    assert checked(path).asked == ("BD201", "BD300")


def test_right_functions_do_not_speak_for_a_file_that_goes_back_once(tmp_path: Path) -> None:
    path = tmp_path / "once.py"
    path.write_text(ONCE)
    report = checked(path)
    assert report.verdict == "unknown"
    assert "checked alone" in report.unchecked[-1].why


def test_a_backward_pass_for_one_element_is_not_called_wrong_for_several(tmp_path: Path) -> None:
    layer = (FOLDER.parent / "networks" / "forms" / "one_probability_taken_back.py").read_text()
    path = tmp_path / "softmax.py"
    softmax = layer.split("class Softmax")[1].split("\n\n\n")[0]
    path.write_text(f"import numpy as np\n\nrng = np.random.default_rng(3)\n\n\nclass Softmax{softmax}\n")
    report = checked(path)
    assert not report.findings
    assert all("one element alone" in one.why for one in report.unchecked)
