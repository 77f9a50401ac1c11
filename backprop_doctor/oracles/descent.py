"""What do the first steps do to the loss, and what would shorter or longer ones do?

The program is run for some turns of its training loop with every step multiplied by a pace: the place of
each new parameter is taken by old + pace * (new - old).  Nothing has to be known of a learning rate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.case import Case
from backprop_doctor.oracles.normalisation import normalised_over
from backprop_doctor.program import Key, Trace
from backprop_doctor.roles import Parameter

__all__ = ["Descent", "descend", "descend_trace", "initial_cross_entropy"]

Array = NDArray[np.float64]
Action = Callable[[Any], Any]


@dataclass(frozen=True)
class Descent:
    """Losses before each of the first steps.

    ``is_full_batch`` says that all are losses of the same samples; else they scatter by themselves.
    """

    losses: tuple[float, ...]
    formula: str
    is_full_batch: bool

    @property
    def first(self) -> float:
        """Loss before the first step; of mini-batches the mean of the first quarter."""
        return self.losses[0] if self.is_full_batch else float(np.mean(self.losses[: self._quarter]))

    @property
    def last(self) -> float:
        """Mean loss of the last quarter of the steps; infinite when one of them is not finite."""
        tail = np.array(self.losses[-self._quarter :])
        return float(tail.mean()) if np.all(np.isfinite(tail)) else float("inf")

    @property
    def _quarter(self) -> int:
        return max(len(self.losses) // 4, 1)

    @property
    def fell(self) -> bool:
        """Whether the loss of the last quarter of the steps is finite and below the first."""
        return bool(np.isfinite(self.last) and self.last < self.first)

    @property
    def climbed(self) -> bool:
        """Whether the loss got out of hand, by more than mini-batches scatter."""
        return not np.isfinite(self.last) or self.last > (1.5 if self.is_full_batch else 10.0) * self.first

    @property
    def share_lost(self) -> float:
        """Share of the first loss that the steps took away."""
        return (self.first - self.losses[-1]) / self.first if self.first > 0 else float("nan")


def descend(
    case: Case, turns: int, *, pace: float = 1.0, actions: Mapping[Key, Action] | None = None
) -> Descent | None:
    """Train for some turns from the program's own weights; None where steps or loss cannot be followed.

    Parameters
    ----------
    case : Case
        The program.
    turns : int
        Steps to take.
    pace : float
        What every step is multiplied by, dimensionless.
    actions : mapping, optional
        What else is done to values on their way, for instance scaling the inputs.
    """
    steps = _paced(case, turns, pace) if pace != 1.0 else {}
    if steps is None:
        return None
    # Labels that are made of the inputs change with them, and only the program's own loss knows of that.
    wanted = _declared_keys(case, turns) if actions else None
    wanted = wanted or _loss_keys(case, turns)
    if wanted is None:
        return None
    keys, loss, formula = wanted
    changes = _joined(actions or {}, steps)
    trace = case.run(changes, keep=frozenset(keys), limit=case.step_limit(turns), brief=True)
    read = [loss(trace.value(key)) for key in keys if trace.value(key) is not None]
    losses = [number for number in read if number is not None]
    if len(losses) < len(read) or (len(losses) < 4 and (not losses or np.isfinite(losses[-1]))):
        return None
    return Descent(tuple(losses), formula, _is_full_batch(case))


def descend_trace(case: Case, turns: int, pace: float, keep: frozenset[Key]) -> Trace | None:
    """The run of some steps at another pace, with the values at some events; None where steps cannot be followed."""
    steps = _paced(case, turns, pace)
    return None if steps is None else case.run(steps, keep=keep, limit=case.step_limit(turns))


def initial_cross_entropy(case: Case, trace: Trace) -> tuple[float, float] | None:
    """Mean cross-entropy of the first output of a run in nats, and ln C, which guessing gives."""
    output, target = case.roles.output, case.judgement.target
    if output is None or target is None or normalised_over(case) != "classes" or trace.value(output.birth) is None:
        return None
    axis = case.axes.output_samples
    assert axis is not None
    if set(np.unique(target)) - {0.0, 1.0} or not np.allclose(target.sum(axis=1 - axis), 1):
        return None
    loss = _cross_entropy(trace.value(output.birth), target)
    return None if loss is None else (loss, float(np.log(target.shape[1 - axis])))


def _is_full_batch(case: Case) -> bool:
    """Whether every step trains on the same samples."""
    return case.roles.step.loop == case.roles.training.loop and case.roles.batch.index < case.roles.step.middle


def _joined(one: Mapping[Key, Action], other: Mapping[Key, Action]) -> dict[Key, Action]:
    """Two sets of actions; where both act on an event, one after the other."""
    both = {key: (lambda v, a=one[key], b=other[key]: b(a(v))) for key in one if key in other}
    return {**one, **other, **both}


def _paced(case: Case, turns: int, pace: float) -> dict[Key, Action] | None:
    actions: dict[Key, Action] = {}
    for parameter in case.roles.parameters:
        if len(parameter.updates) != 1:
            return None
        actions |= _Paced(parameter, pace).actions(turns, case.per_turn(parameter.updates[0]))
    return actions


class _Paced:
    """Remembers a parameter from update to update and shortens or lengthens what happens in between."""

    def __init__(self, parameter: Parameter, pace: float) -> None:
        self._parameter = parameter
        self._pace = pace
        self._value: Array | None = None

    def actions(self, turns: int, per_turn: int) -> dict[Key, Action]:
        site, first = self._parameter.updates[0]
        keys = [(site, first + turn * per_turn) for turn in range(turns)]
        return {self._parameter.birth: self._begin, **dict.fromkeys(keys, self._step)}

    def _begin(self, value: Any) -> Any:
        self._value = np.array(value, np.float64)
        return value

    def _step(self, value: Any) -> Any:
        if self._value is None or np.shape(self._value) != np.shape(value):
            return value
        self._value = self._value + self._pace * (np.asarray(value, np.float64) - self._value)
        return self._value.copy()


def _loss_keys(case: Case, turns: int) -> tuple[list[Key], Callable[[Any], float | None], str] | None:
    """The events that tell the loss of each step, how to read it from them, and its name."""
    output, target = case.roles.output, case.judgement.target
    # Of several outputs, at moments one after the other, the first alone tells little.
    if output is not None and target is not None and _is_full_batch(case) and len(case.roles.meetings) == 1:
        keys = [(output.birth[0], output.birth[1] + t * case.per_turn(output.birth)) for t in range(turns)]
        axis = case.axes.output_samples
        kind = set(np.unique(target)) <= {0.0, 1.0} and axis is not None and target.ndim == 2
        chosen = kind and target.shape[1 - (axis or 0)] > 1 and np.allclose(target.sum(axis=1 - (axis or 0)), 1)
        probabilities = np.asarray(case.value(output), np.float64)
        if chosen and probabilities.min() >= 0 and probabilities.max() <= 1:
            return keys, lambda p: _cross_entropy(p, target), "mean cross-entropy of output and labels"
        return keys, lambda p: _squared(p, target), "mean squared error of output and labels"
    return _declared_keys(case, turns)


def _declared_keys(case: Case, turns: int) -> tuple[list[Key], Callable[[Any], float | None], str] | None:
    loss = case.judgement.declared
    if loss is None:
        return None
    keys = [(loss.birth[0], loss.birth[1] + t * case.per_turn(loss.birth)) for t in range(turns)]
    return keys, lambda v: float(np.squeeze(v)) if np.size(v) == 1 else None, loss.name


def _cross_entropy(output: Any, target: Array) -> float | None:
    """Mean cross-entropy; None for the output of another set."""
    p = np.asarray(output, np.float64)
    if p.shape != target.shape:
        return None
    if not np.all(np.isfinite(p)):
        return float("inf")
    return float(-np.mean(np.log(np.maximum(p[target == 1], 1e-300))))


def _squared(output: Any, target: Array) -> float | None:
    """Mean squared error; None for the output of another set."""
    p = np.asarray(output, np.float64)
    if p.shape != target.shape:
        return None
    with np.errstate(all="ignore"):
        error = float(np.mean((p - target) ** 2))
    return error if np.isfinite(error) else float("inf")
