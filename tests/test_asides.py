"""Loops of which training hears nothing are left early; all others are followed to their end."""

from __future__ import annotations

import pytest

from backprop_doctor.asides import without_asides
from backprop_doctor.instrument import instrument
from backprop_doctor.program import Probe, Program
from backprop_doctor.source import Project, Source

SETUP = """\
import numpy as np
rng = np.random.default_rng(3)
X, Y = rng.random((97, 3)), rng.random((97, 2))
W = rng.random((3, 2))

def net(x):
    return np.tanh(x @ W)

"""
WRITES = """\
def write(x):
    names = []
    for step in range(200):
        x = x / np.linalg.norm(x)
        y = np.exp(x @ W)
        names.append(int(y.argmax()))
        x = x + y.sum()
    return names

for epoch in range(9):
    if epoch == 0:
        print(' '.join('ab'[name] for name in write(X[0])))
    error = net(X) - Y
    W -= 0.01 * X.T @ (error * (1 - net(X) ** 2))
"""
TRAINS = """\
for epoch in range(9):
    for x, y in zip(X, Y):
        out = np.tanh(x @ W)
        delta = (out - y) * (1 - out ** 2)
        W -= 0.01 * np.outer(x, delta)
    print(epoch)
"""
COUNTS = """\
for epoch in range(9):
    error = net(X) - Y
    W -= 0.01 * X.T @ (error * (1 - net(X) ** 2))
    correct = 0
    for x, y in zip(X, Y):
        out = np.tanh(x @ W)
        correct += int(out.argmax() == y.argmax())
    print(correct)
"""
COLLECTS = """\
for epoch in range(9):
    error = net(X) - Y
    W -= 0.01 * X.T @ (error * (1 - net(X) ** 2))
    chosen = []
    for x in X:
        out = np.tanh(x @ W)
        chosen.append(int(out.argmax()))
    print(sum(a == b for a, b in zip(chosen, Y.argmax(axis=1))) / len(Y))
"""


def shortened(text: str) -> bool:
    program = Program(instrument(Project([Source("net.py", SETUP + text)])))
    probe = Probe(limit=20_000)
    found = without_asides(program, program.run(probe), probe)
    return found is not None


def test_a_loop_that_only_writes_text_is_left() -> None:
    assert shortened(WRITES)


@pytest.mark.parametrize("text", [TRAINS, COUNTS, COLLECTS], ids=["trains", "counts", "collects"])
def test_a_loop_whose_values_are_read_later_is_followed_to_its_end(text: str) -> None:
    assert not shortened(text)
