"""All runs draw the same numbers, whether they are drawn or looked up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from backprop_doctor.randomness import WORTH_KEEPING, frozen_randomness

DRAWS: dict[str, Callable[[], Any]] = {
    "randn": lambda: np.random.randn(100, 80),
    "rand": lambda: np.random.rand(100, 80),
    "normal": lambda: np.random.normal(2.0, 3.0, (100, 80)),
    "normal_of_arrays": lambda: np.random.normal(np.arange(8000.0), 1.0, (1, 8000)),
    "uniform": lambda: np.random.uniform(-1, 1, size=[100, 80]),
    "standard_normal": lambda: np.random.standard_normal(8000),
    "random": lambda: np.random.random((100, 80)),
}


def drawn(draw: Callable[[], Any], seed: int = 0) -> list[Any]:
    """Numbers that follow each other from the start of a run; the last two are never looked up."""
    with frozen_randomness(seed):
        return [draw(), draw(), np.random.randn(3), np.random.permutation(50)]


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_a_later_run_draws_what_the_first_did(draw: Callable[[], Any]) -> None:
    first, later = drawn(draw), drawn(draw)
    for one, other in zip(first, later, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(first[0], first[1])


def test_what_is_looked_up_is_what_numpy_would_draw() -> None:
    drawn(DRAWS["randn"], 5)
    np.random.seed(5)
    own = [np.random.randn(100, 80), np.random.randn(100, 80), np.random.randn(3), np.random.permutation(50)]
    for one, other in zip(drawn(DRAWS["randn"], 5), own, strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_seed_and_another_order_give_other_numbers() -> None:
    first = drawn(DRAWS["randn"])
    assert not np.array_equal(first[0], drawn(DRAWS["randn"], 1)[0])
    with frozen_randomness(0):
        np.random.rand()
        assert not np.array_equal(first[0], np.random.randn(100, 80))


def test_a_program_may_change_what_it_has_drawn() -> None:
    with frozen_randomness(0):
        weights = np.random.randn(WORTH_KEEPING)
        weights *= 0.0
    with frozen_randomness(0):
        assert np.random.randn(WORTH_KEEPING).any()


def test_new_arrays_without_a_content_hold_zeros() -> None:
    np.full(1000, 3.0)  # it may leave its numbers behind
    with frozen_randomness(0):
        made = np.empty(1000), np.empty_like(np.ones((7, 3))), np.empty((2, 2), dtype=object)
    assert not made[0].any()
    assert not made[1].any()
    assert made[2][0, 0] is None
