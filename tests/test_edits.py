"""The table of small edits holds what people get wrong, and edits upon edits are what both do."""

from __future__ import annotations

from random import Random

import pytest

from backprop_doctor.composition import compose, line_after
from backprop_doctor.edits import candidates
from backprop_doctor.records import Edit, Position
from backprop_doctor.source import Project, Source

NAMES = "A1 = A2 = Z1 = W1 = W2 = dW1 = dW2 = db1 = b1 = dZ1 = dZ2 = Y = X = rate = 0\nm = X.shape[0]\n"


def results(text: str, line: int) -> list[str]:
    """The texts that the table makes of a text, for what is blamed on a line."""
    source = Source("net.py", text)
    width = len(source.line(line)) + 1
    return [source.apply(edits) for edits in candidates(source, Position("net.py", line, 1, line, width))]


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("db1 = np.sum(dZ1, axis=1)", "db1 = np.sum(dZ1, axis=0)"),
        ("db1 = dZ1.sum(0)", "db1 = dZ1.sum(1)"),
        ("db1 = np.sum(dZ1)", "db1 = np.sum(dZ1, axis=0, keepdims=True)"),
        ("db1 = dZ1", "db1 = np.sum(dZ1, axis=0)"),
        ("s = np.sum(Z1, axis = 1)", "s = np.sum(Z1, axis = 1, keepdims=True)"),
        ("db1 = np.mean(dZ1, axis=0)", "db1 = np.sum(dZ1, axis=0)"),
        ("m = X.shape[1]", "m = X.shape[0]"),
        ("m = np.shape(X)[1]", "m = np.shape(X)[0]"),
        ("dW2 = np.dot(A1, dZ2)", "dW2 = np.dot(A1.T, dZ2)"),
        ("dW2 = dZ2.T @ A1", "dW2 = A1.T @ dZ2"),
        ("dW2 = A1.T * dZ2", "dW2 = A1.T @ dZ2"),
        ("dZ2 = Y - A2", "dZ2 = A2 - Y"),
        ("W1 = W1 + rate * dW1", "W1 = W1 - rate * dW1"),
        ("W1 += rate * dW1", "W1 -= rate * dW1"),
        ("loss = -np.sum(Y)", "loss = np.sum(Y)"),
        ("dZ1 = dZ2 @ W1.T", "dZ1 = dZ2 @ W2.T"),
        ("dZ1 = dZ1 * (1 - Z1 ** 2)", "dZ1 = dZ1 * (1 - A1 ** 2)"),
        ("dW2 = 2 * A1.T @ dZ2", "dW2 = A1.T @ dZ2"),
        ("dW2 = A1.T @ dZ2 / m / m", "dW2 = A1.T @ dZ2 / m"),
        ("dW2 = A1.T @ dZ2", "dW2 = A1.T @ dZ2 / m"),
        ("dW2 = (A1.T ** 2) @ dZ2", "dW2 = (A1.T) @ dZ2"),
        ("db1 = b1 - rate * db1", "b1 = b1 - rate * db1"),
        ("total = hit", "total += hit"),
        ("total =+ hit", "total += hit"),
        ("score = hits // m", "score = hits / m"),
        ("old = W1", "old = W1.copy()"),
        ("e = np.exp(Z1)", "e = np.exp(Z1 - np.max(Z1, axis=1, keepdims=True))"),
        ("c = np.log(A2)", "c = np.log(A2 + 1e-12)"),
        ("W1 = np.zeros((4, 3))", "W1 = np.random.randn(4, 3) * 0.01"),
        ("W1 = np.random.randn(4, 3)", "W1 = np.random.randn(4, 3) / np.sqrt(4)"),
        ("mask = Z1 >= 0", "mask = Z1 > 0"),
        ("d = dZ1[:, 1:]", "d = dZ1[:, :-1]"),
        ("for i in range(1, m): pass", "for i in range(m): pass"),
        ("for i in range(m - 1): pass", "for i in range(m): pass"),
        ("X = X.reshape(784, m)", "X = X.reshape(m, 784).T"),
    ],
)
def test_the_table_holds_what_people_get_wrong(wrong: str, right: str) -> None:
    head = f"import numpy as np\n{NAMES}"
    number = head.count("\n") + 1
    assert f"{head}{right}  # mine\n" in results(f"{head}{wrong}  # mine\n", number)


def test_a_statement_is_tried_inside_the_loop_below_and_before_its_own() -> None:
    outside, inside = "hits = 0\nfor i in x:\n    hits += 1\n", "for i in x:\n    hits = 0\n    hits += 1\n"
    assert inside in results(outside, 1)
    assert outside in results(inside, 2)


def test_what_a_line_adds_to_is_set_back_in_each_loop_around_it() -> None:
    text = "d = 0\nfor epoch in e:\n    for x in X:\n        d += x\n    w -= d\n"
    assert "for epoch in e:\n    d = 0\n    for x in X:\n        d += x\n    w -= d\n" in results(text, 4)


def test_what_each_turn_stores_anew_is_summed() -> None:
    text = "for epoch in e:\n    for x in X:\n        d = g(x)\n    w -= d\n"
    assert "for epoch in e:\n    d = 0\n    for x in X:\n        d += g(x)\n    w -= d\n" in results(text, 3)


def test_a_statement_is_tried_below_and_above_its_neighbours() -> None:
    assert "b = 2\na = 1\n" in results("a = 1\nb = 2\n", 1)
    assert "b = 2\na = 1\n" in results("a = 1\nb = 2\n", 2)


def test_small_changes_come_first() -> None:
    text = f"{NAMES}d = np.sum(dZ1, axis=1, keepdims=True) / m\n"
    first = [result.splitlines()[-1] for result in results(text, 3)[:8]]
    assert "d = np.sum(dZ1, axis=0, keepdims=True) / m" in first


def test_what_a_line_updates_stays_part_of_its_new_value() -> None:
    text = f"{NAMES}W1 = W1 - rate * dW1\n"
    written = [line for result in results(text, 3) for line in result.splitlines() if line.startswith("W1 = ")]
    assert written
    assert all("W1" in line.removeprefix("W1 = ") for line in written)
    assert f"{NAMES}W1 += W1 - rate * dW1\n" not in results(text, 3)


def test_no_candidate_leaves_the_text_as_it_is_or_comes_twice() -> None:
    text = f"{NAMES}dZ1 = np.dot(dZ2, W2.T) * (1 - A1 ** 2) / m\n"
    found = results(text, 3)
    assert text not in found
    assert len(found) == len(set(found))


def edit_at(start: int, end: int, replacement: str) -> Edit:
    """An edit of the only line."""
    return Edit(Position("net.py", 1, start + 1, 1, end + 1), replacement)


def drawn(random: Random, text: str) -> list[Edit]:
    """Two edits of a line, apart from each other."""
    places = sorted(random.sample(range(len(text) + 1), 4))
    return [edit_at(*places[i : i + 2], random.choice(["", "X", "YZ"])) for i in (0, 2)]


@pytest.mark.parametrize("seed", range(200))
def test_composed_edits_do_what_both_rounds_do(seed: int) -> None:
    random, source = Random(seed), Source("net.py", "abcdefghij")
    before = drawn(random, source.text)
    once = source.apply(before)
    then = drawn(random, once) if len(once) > 3 else []
    assert source.apply(compose(Project.of(source), before, then)) == Source("net.py", once).apply(then)


def test_edits_apart_from_each_other_stay_apart() -> None:
    source = Project.of(Source("net.py", "a = 1\nb = 2\n"))
    one = Edit(Position("net.py", 1, 5, 1, 6), "100")
    other = Edit(Position("net.py", 2, 1, 2, 2), "c")
    assert compose(source, [one], [other]) == (one, other)


def test_lines_are_followed_across_what_is_put_in_and_taken_out() -> None:
    put_in = Edit(Position("net.py", 2, 1, 2, 1), "new\n")
    taken_out = Edit(Position("net.py", 1, 1, 2, 1), "")
    at = Position("net.py", 3, 1, 3, 2)
    assert line_after([put_in], at) == 4
    assert line_after([taken_out], at) == 2
    assert line_after([put_in, taken_out], at) == 3


def test_what_is_set_together_with_another_is_moved_with_it() -> None:
    text = "d, e = 0, 0\nfor epoch in n:\n    for x in X:\n        d += x\n    w -= d\n"
    assert "for epoch in n:\n    d, e = 0, 0\n    for x in X:\n        d += x\n    w -= d\n" in results(text, 4)
