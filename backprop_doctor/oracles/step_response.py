"""How does an optimiser answer to gradients that are known?

The gradient of one parameter is replaced, step after step, by numbers of our own; what is looked at are the
steps.  Steps taken without any gradient (weight decay, say) are taken off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.case import Case, always
from backprop_doctor.program import Event, Key
from backprop_doctor.roles import Parameter

__all__ = ["Response", "memories", "respond"]

Array = NDArray[np.float64]
STEPS = 5


@dataclass(frozen=True)
class Response:
    """Steps of one parameter, flattened, and the gradient they answer to.

    ``impulse`` are the steps after that gradient once and zeros from then on, ``constant`` those after the
    same gradient again and again.
    """

    gradient: Array
    impulse: list[Array]
    constant: list[Array]


def memories(case: Case, parameter: Parameter) -> list[Event]:
    """Arrays of a parameter's shape, made of its gradient in the first step and read again in the second."""
    step, roles = case.roles.step, case.roles
    born: dict[int, Event] = {}
    for event in case.step_events:
        born.setdefault(event.object, event)
    parameters = {p.successor for p in roles.parameters} | {p.object for p in roles.parameters}
    found: dict[int, Event] = {}
    for event in case.trace.events[step.middle : step.end]:
        first = born.get(event.object)
        if first is None or event.object in parameters or case.program.sites[event.site].kind != "load":
            continue
        if np.shape(event.value) == parameter.shape and roles.backward(first) and not roles.is_in_parameter(first):
            found[event.object] = first
    return list(found.values())


def respond(case: Case, parameter: Parameter) -> Response | None:
    """Feed known gradients to the optimiser; None where its steps cannot be followed."""
    adjoint = case.gradient(parameter)
    if adjoint is None or not adjoint.right:
        return None
    gradient = np.random.default_rng(17).standard_normal(adjoint.value.shape)
    zero = np.zeros_like(gradient)
    key, update = adjoint.value.birth, parameter.updates[-1]
    keys = [_later(case, key, turn) for turn in range(STEPS)]
    ends = [_later(case, update, turn) for turn in range(STEPS)]
    runs = [
        _steps(case, parameter, keys, ends, values)
        for values in ([zero] * STEPS, [gradient] + [zero] * (STEPS - 1), [gradient] * STEPS)
    ]
    rest, impulse, constant = runs
    if rest is None or impulse is None or constant is None:
        return None
    return Response(
        gradient.ravel(),
        [a - b for a, b in zip(impulse, rest, strict=True)],
        [a - b for a, b in zip(constant, rest, strict=True)],
    )


def _later(case: Case, key: Key, turn: int) -> Key:
    """The event of a later turn that corresponds to one of the first."""
    return (key[0], key[1] + turn * len(case.made_at(key[0])))


def _steps(
    case: Case, parameter: Parameter, keys: Sequence[Key], ends: Sequence[Key], values: Sequence[Array]
) -> list[Array] | None:
    actions = {key: always(value) for key, value in zip(keys, values, strict=True)}
    turn = case.roles.step.middle - case.roles.step.start
    limit = case.roles.step.start + 3 * STEPS * turn
    trace = case.run(actions, keep=frozenset({parameter.birth, *ends}), limit=limit)
    points = [trace.value(key) for key in (parameter.birth, *ends)]
    if any(point is None or np.shape(point) != parameter.shape for point in points):
        return None
    flat = [np.asarray(point, np.float64).ravel() for point in points]
    return [b - a for a, b in pairwise(flat)]
