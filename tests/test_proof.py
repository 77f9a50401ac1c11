"""Training to the end proves a fix: quickly, and to the same figure as the program itself comes to."""

from __future__ import annotations

import io
import sys
import time
import types
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from backprop_doctor import confinement, diagnosis, proof
from backprop_doctor.case import Case
from backprop_doctor.forks import side_by_side
from backprop_doctor.mnist import load
from backprop_doctor.source import open_project

IMAGES = (400, 300)

PROGRAM = """
import numpy as np
from tensorflow.keras.datasets import mnist

(_, _), (images, labels) = mnist.load_data()
X = images.reshape(len(images), 784).astype("float32") / 255
Y = np.eye(10)[labels]
np.random.seed(1)
W1, b1 = np.random.randn(784, 20) * 0.05, np.zeros((1, 20))
W2, b2 = np.random.randn(20, 10) * 0.05, np.zeros((1, 10))
for epoch in range(30):
    A1 = np.tanh(X @ W1 + b1)
    E = np.exp(A1 @ W2 + b2)
    A2 = E / np.sum(E, axis=1, keepdims=True)
    cost = -np.sum(Y * np.log(A2)) / len(X)
    dZ2 = (A2 - Y) / len(X)
    dZ1 = dZ2 @ W2.T * (1 - A1**2)
    W2 = W2 - 0.5 * A1.T @ dZ2
    b2 = b2 - 0.5 * np.sum(dZ2, axis=0, keepdims=True)
    W1 = W1 - 0.5 * X.T @ dZ1
    b1 = b1 - 0.5 * np.sum(dZ1, axis=0, keepdims=True)
    correct = 0
    for i in range(len(X)):
        if np.argmax(A2[i]) == np.argmax(Y[i]):
            correct += 1 REST
    accuracy = correct / len(X)
    print(epoch, cost, accuracy)
"""


def printed(text: str) -> float:
    """What a program prints last with the packaged images."""
    datasets = types.ModuleType("tensorflow.keras.datasets")
    sets = tuple(load(split, count) for split, count in zip(("train", "test"), IMAGES, strict=True))
    datasets.mnist = types.SimpleNamespace(load_data=lambda: sets)  # type: ignore[attr-defined]
    names = {name: types.ModuleType(name) for name in ("tensorflow", "tensorflow.keras")}
    said = io.StringIO()
    with mock.patch.dict(sys.modules, names | {"tensorflow.keras.datasets": datasets}), redirect_stdout(said):
        exec(compile(text, "net.py", "exec"), {"__name__": "__main__"})
    return float(said.getvalue().split()[-1])


def trained(text: str, folder: Path) -> tuple[proof.Training, Case]:
    path = folder / "net.py"
    path.write_text(text, encoding="utf-8")
    with confinement.for_path(str(path)) as surroundings, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        case = diagnosis.open_case(open_project(str(path)), surroundings)
        return proof.Training(case, time.monotonic() + 60), case


def test_loops_that_count_hits_rest_until_the_last_turn(tmp_path: Path) -> None:
    training, case = trained(PROGRAM.replace(" REST", ""), tmp_path)
    assert training.pace is not None
    assert training.turns == 30
    assert [case.program.sites[site].line for site in training.pace.resting] == [23]


def test_a_loop_that_changes_what_is_trained_does_not_rest(tmp_path: Path) -> None:
    training, _ = trained(PROGRAM.replace(" REST", "; b2 = b2 * 0.9999"), tmp_path)
    assert training.pace is not None
    assert not training.pace.resting


def test_work_in_children_is_answered_in_order_and_failures_are_none() -> None:
    def fails() -> int:
        raise ValueError

    answers = side_by_side([lambda: 1, fails, lambda: [2.5, "x"], lambda: 4])
    assert answers == [1, None, [2.5, "x"], 4]


@pytest.mark.parametrize("much", [0.0, 1e30])
def test_the_figure_is_that_of_the_program_in_either_precision(
    much: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "MUCH", much)
    monkeypatch.setattr(proof, "IMAGES", IMAGES)
    text = PROGRAM.replace(" REST", "")
    path = tmp_path / "net.py"
    path.write_text(text, encoding="utf-8")
    with confinement.for_path(str(path)) as surroundings, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        case = diagnosis.open_case(open_project(str(path)), surroundings)
        trace, is_single = proof.Training(case, time.monotonic() + 60).run()
    assert case.accuracy is not None
    assert is_single == (much == 0.0)
    found = trace.latest[case.accuracy.event.site]
    weights = [trace.latest[key[0]] for p in case.roles.parameters for key in p.updates]
    assert {np.asarray(w).dtype for w in weights} == {np.dtype("float32" if is_single else "float64")}
    assert abs(float(found) - printed(text)) <= (0.01 if is_single else 0.0)
