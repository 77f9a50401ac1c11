"""How do the hidden units stand at the program's own weights: alike, saturated, switched off?

Two values of one shape are a unit's argument and its activation if the one is a growing function of the
other, element by element; sorted by the argument, neighbours give the slope of the activation without
any further run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.case import Case
from backprop_doctor.program import Trace
from backprop_doctor.roles import Parameter, Quantity

__all__ = ["Layer", "hidden_layers", "hidden_values", "inputs_of", "spread", "units_of"]

Array = NDArray[np.float64]

ELEMENTS = 8  # fewer pairs of argument and activation say nothing of the function between them
NOISE = 1e-9  # of the range of an array: what counts as no change from one element to the next
FLAT = 0.0099  # share of the largest slope below which a unit hardly learns


@dataclass(frozen=True)
class Layer:
    """An activation of hidden units, with the slope at each of its elements but one."""

    argument: Quantity
    activation: Quantity
    arguments: Array
    activations: Array
    slopes: Array

    @property
    def flat(self) -> float:
        """Share of elements (0 to 1) at which the slope is below a hundredth of the largest."""
        return float(np.mean(self.slopes < FLAT * self.slopes.max()))

    @property
    def has_corner(self) -> bool:
        """Whether the function is exactly constant on one side and straight on the other, as a ReLU."""
        steep = self.slopes[self.slopes > 1e-9]
        # One interval lies across the corner.
        return bool(np.sum(steep < steep.max() * (1 - 1e-6)) <= 1)


def hidden_layers(case: Case, trace: Trace | None = None, turn: int = 0) -> list[Layer]:
    """The layers of hidden units in the first step, or in a later ``turn`` of another run."""
    return case.once(_of_the_first_step) if trace is None else list(_layers(case, trace, turn))


def _of_the_first_step(case: Case) -> list[Layer]:
    return list(_layers(case, case.trace, 0))


def _layers(case: Case, trace: Trace, turn: int) -> Iterator[Layer]:
    output = case.roles.output
    if output is None:
        return
    last = _last_weights(case)
    values: list[tuple[Quantity, Array]] = []
    for quantity in case.judgement.forward:
        value = trace.value((quantity.birth[0], quantity.birth[1] + turn * case.per_turn(quantity.birth)))
        if value is not None and np.size(value) >= ELEMENTS and np.all(np.isfinite(value)):
            values.append((quantity, np.asarray(value, np.float64)))
    taken: set[int] = set()
    ordered = _Ordered([value for _, value in values])
    for i, (argument, before) in enumerate(values):
        if argument.object in taken or argument.index >= output.index:
            continue
        growing, falling = ordered.later(i)
        images = [(*values[j], s) for j in growing if (s := _slopes(before, values[j][1])) is not None]
        if not images:
            continue
        taken |= {values[j][0].object for j in growing if _is_monotone(before, values[j][1])}
        taken |= {values[j][0].object for j in falling if _is_monotone(before, -values[j][1])}
        activation, after, slopes = images[-1]
        hidden = np.squeeze(after).shape != tuple(n for n in output.shape if n != 1) or activation.index < last
        if hidden and activation.object != output.object:
            yield Layer(argument, activation, before, after, slopes)


class _Ordered:
    """Arrays at a few of their elements: what does not grow there with another one does not grow with it.

    An inner loop over pixels or moments makes hundreds of arrays, and each may be a function of each.
    """

    def __init__(self, values: list[Array]) -> None:
        self._values = values
        self._rows: dict[tuple[int, ...], list[int]] = {}
        for i, value in enumerate(values):
            self._rows.setdefault(value.shape, []).append(i)
        self._stacks = {shape: np.stack([values[i].ravel() for i in rows]) for shape, rows in self._rows.items()}
        self._slack = {shape: NOISE * np.ptp(s, axis=1) * s.shape[1] for shape, s in self._stacks.items()}

    def later(self, i: int) -> tuple[list[int], list[int]]:
        """Places of the arrays after one that may be a growing, or a falling, function of it."""
        value = self._values[i]
        order = np.argsort(value, axis=None, kind="stable")
        few = order[np.linspace(0, order.size - 1, min(ELEMENTS, order.size)).astype(int)]
        rows, slack = self._rows[value.shape], self._slack[value.shape]
        rise = np.diff(self._stacks[value.shape][:, few], axis=1)
        slack = np.where(slack > 0, slack, NOISE * order.size)
        grows, falls = rise.min(axis=1) >= -slack, rise.max(axis=1) <= slack
        return (
            [j for j, good in zip(rows, grows, strict=True) if good and j > i],
            [j for j, good in zip(rows, falls, strict=True) if good and j > i],
        )


def hidden_values(case: Case) -> Iterator[Quantity]:
    """Values of the forward pass with one number a hidden unit, in order."""
    output = case.roles.output
    if output is None:
        return
    last, classes = _last_weights(case), tuple(n for n in output.shape if n != 1)
    for quantity in case.judgement.forward:
        hidden = tuple(n for n in quantity.shape if n != 1) != classes or quantity.index < last
        if hidden and quantity.index < output.index and quantity.object != output.object:
            yield quantity


def _slopes(before: Array, after: Array) -> Array | None:
    """Slopes of a growing function with a bend that takes one array to the other; None if there is none."""
    if not _is_monotone(before, after):
        return None
    order = np.argsort(before, axis=None, kind="stable")
    x, y = before.ravel()[order], after.ravel()[order]
    run, rise = np.diff(x), np.diff(y)
    wide = run > 1e-6 * (np.ptp(x) or 1.0)
    slopes: Array = rise[wide] / run[wide]
    if slopes.size < ELEMENTS - 1 or slopes.max() <= 0 or np.ptp(slopes) < 0.01 * slopes.max():
        return None
    return slopes


def _is_monotone(before: Array, after: Array) -> bool:
    """Whether one array is a function of the other, element by element, that nowhere falls."""
    if before.shape != after.shape:
        return False
    order = np.argsort(before, axis=None, kind="stable")
    x, y = before.ravel()[order], after.ravel()[order]
    rise = np.diff(y)
    noise = NOISE * (np.ptp(y) or 1.0)
    return bool(rise.min() >= -noise and not np.any(rise[np.diff(x) <= 0] > noise))


def _last_weights(case: Case) -> int:
    """Index of the event at which the last weight matrix joins the forward pass."""
    output = case.roles.output
    matrices = {p.object for p in case.roles.parameters if sum(n > 1 for n in p.shape) == 2}
    reads = [e.index for e in case.step_events if e.object in matrices and output and e.index < output.index]
    return max(reads, default=0)


def units_of(case: Case, value: Any, units: int | None = None) -> Array | None:
    """Activations as an array of shape (samples, units); None where the sample axis is unknown."""
    array = np.asarray(value, np.float64)
    samples = case.axes.sizes.get("samples")
    if samples is None or case.axes.output_samples is None:
        return array.reshape(1, -1) if sum(n > 1 for n in array.shape) == 1 else None
    if array.ndim != 2 or samples not in array.shape:
        return None
    axis = case.axes.output_samples if array.shape[case.axes.output_samples] == samples else array.shape.index(samples)
    return array if axis == 0 else array.T


def inputs_of(case: Case, parameter: Parameter) -> int:
    """Fan-in of a weight matrix: its longer side where nothing else is known.

    The side that fits the layer before it: features for the first layer.
    """
    features = case.axes.sizes.get("features")
    sides = [n for n in parameter.shape if n > 1] or [1]
    return features if features in sides else max(sides)


def spread(value: Any) -> float:
    """Root mean square of an array."""
    return float(np.sqrt(np.mean(np.square(np.asarray(value, np.float64)))))
