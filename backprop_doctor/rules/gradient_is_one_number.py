"""BD316 gradient-is-one-number: a gradient is one number, and moves all elements of its parameter alike.

What it does
------------
Finds a parameter of several elements that each step moves by one and the same
number, because its gradient was summed or multiplied down to a number:
an inner product of two vectors where the outer one belongs, or a sum over
the elements of a delta that is one sample's already.

Why it is wrong
---------------
Each element has a derivative of its own.  For one sample with delta d (H,)
and incoming activations a (D,) the weights W (H, D) have the gradient
np.outer(d, a) (H, D); np.dot(d, d) is a number.  NumPy spreads it over the
whole matrix without a word, and all weights move together for ever.

Example
-------
The inner product of the delta and the output::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 5))
    Y = np.eye(3)[(X @ rng.normal(size=(5, 3))).argmax(axis=1)]
    W = 0.3 * rng.normal(size=(3, 5))
    for epoch in range(12):
        loss = 0.0
        for x, y in zip(X, Y):
            z = W @ x
            e = np.exp(z - z.max())
            a = e / e.sum()
            loss -= np.sum(y * np.log(a + 1e-12))
            d = a - y
            dW = np.dot(d, a)
            W = W - 0.1 * dW
        print(epoch, loss)

Use instead
-----------
The outer product of the delta and the input::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 5))
    Y = np.eye(3)[(X @ rng.normal(size=(5, 3))).argmax(axis=1)]
    W = 0.3 * rng.normal(size=(3, 5))
    for epoch in range(12):
        loss = 0.0
        for x, y in zip(X, Y):
            z = W @ x
            e = np.exp(z - z.max())
            a = e / e.sum()
            loss -= np.sum(y * np.log(a + 1e-12))
            d = a - y
            dW = np.outer(d, x)
            W = W - 0.1 * dW
        print(epoch, loss)

How it is detected
------------------
The program is run for one step: what is added to the parameter is the same
number in every element, and the derivative of the loss is not.  The number
itself is found by changing the sign of numbers of the backward pass until
the step changes its own, whatever the optimiser; where its terms cancel, so
that nothing moves, it is the number that the update reads.

Fix safety
----------
The product is written of two arrays that the function has at hand, one of
which the line reads, if it is the derivative of the parameter in this run.
The changed program is examined again from another seed, and the fix is called
verified only if the finding is gone and no error is new.

Known limits
------------
- The loss has to be known: declared, or implied by the gradients of other
  parameters or by output minus labels.
- BD302 speaks of the sum over both axes of a batch.

References
----------
- Nielsen (2015), Neural Networks and Deep Learning, Determination Press,
  chapter 2, equation BP4.
- NumPy reference, numpy.outer:
  https://numpy.org/doc/stable/reference/generated/numpy.outer.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.case import Case, Sighting
from backprop_doctor.program import Event
from backprop_doctor.records import Evidence
from backprop_doctor.roles import Parameter
from backprop_doctor.rules._lines import Line
from backprop_doctor.rules._rewrites import mended

SEVERITY = "error"
LAST_RESORT = 1
NUMBERS_TRIED = 20
ROUNDING = 1e-12


def examine(case: Case) -> Iterator[Sighting]:
    """Parameters that move by one number, where their derivative has several."""
    judgement = case.judgement
    if not judgement.implied and not judgement.declared_fits:
        return
    for parameter in case.roles.parameters:
        gradient = case.gradient(parameter)
        size = int(np.prod(parameter.shape))
        if size < 2 or (gradient is not None and gradient.right):
            continue
        step = _step(case, parameter, None)
        if step is None:
            continue
        moves = np.abs(step).max() > ROUNDING * np.abs(np.asarray(case.value(parameter), np.float64)).max(initial=0)
        if moves and np.ptp(step) > 1e-9 * np.abs(step).max():
            continue
        number = _number(case, parameter, step) if moves else _lost(case, parameter)
        if number is None or not _matters(case, parameter):
            continue
        name = case.program.sites[number.site].target or case.text(case.program.sites[number.site].node)
        better = mended(Line.of_event(case, number, parameter))
        yield Sighting(
            node=case.program.sites[number.site].node,
            message=f"the gradient of {parameter.name} is one number, {name}, for all its {size} elements",
            label="one number",
            why=f"each element of {parameter.name} {case.describe(parameter.shape)} has a derivative of its own",
            evidence=(
                Evidence(f"shape of {name}", "a number", case.describe(parameter.shape)),
                Evidence(
                    f"elements of the first step of {parameter.name}",
                    "all the same" if moves else "all 0, but for rounding",
                    f"{size} numbers",
                ),
            ),
            fix=better.text
            if better
            else "the product that has the shape of the parameter, such as np.outer of delta and input",
            edits=better.edits if better else (),
            objects=(number.object, parameter.successor),
        )


def _step(case: Case, parameter: Parameter, flipped: Event | None) -> NDArray[np.float64] | None:
    """What the first step adds to a parameter, with the sign of one number of the backward pass changed."""
    actions: dict[Any, Any] = {} if flipped is None else {flipped.key: lambda value: -1.0 * value}
    keep = frozenset({parameter.birth, parameter.updates[-1]})
    last = case.trace.by_key[parameter.updates[-1]].index
    trace = case.measurement.moved(frozen=False).run(actions, keep=keep, last=last)
    before, after = trace.value(parameter.birth), trace.value(parameter.updates[-1])
    if after is None or np.shape(after) != np.shape(before):
        return None
    return np.asarray(after, np.float64) - np.asarray(before, np.float64)


def _number(case: Case, parameter: Parameter, step: NDArray[np.float64]) -> Event | None:
    """The number of the backward pass whose sign is the sign of the step, where it is first bound."""
    update = case.trace.by_key[parameter.updates[-1]].index
    numbers = {
        e.object: e
        for e in reversed(case.step_events)
        if e.index < update
        and case.roles.backward(e)
        and np.size(e.value) == 1
        and not isinstance(e.value, (bool, int))
    }
    bound = sorted((e for e in numbers.values() if case.program.sites[e.site].target), key=lambda e: -e.index)
    for event in bound[:NUMBERS_TRIED]:
        changed = _step(case, parameter, event)
        if changed is not None and np.allclose(changed, -step, rtol=1e-6, atol=0):
            return event
    return None


def _lost(case: Case, parameter: Parameter) -> Event | None:
    """The number that a step is made of where it is 0 but for rounding: its terms cancel, and nothing moves."""
    for operand in case.judgement.operands.get(parameter.object, []):
        if np.size(case.value(operand)) == 1 and operand.object in case.binding:
            return case.trace.by_key.get(operand.birth)
    return None


def _matters(case: Case, parameter: Parameter) -> bool:
    """Whether the outputs hang on the parameter, and not on the sum of its elements alone."""
    outputs = [m.output.birth for m in case.roles.meetings]
    value = np.asarray(case.value(parameter), np.float64)
    direction = np.cos(np.arange(value.size, dtype=float)).reshape(value.shape)
    tangent = case.measurement.along(parameter.birth, direction - direction.mean())
    return any(np.any(np.abs(tangent.derivatives.get(key, 0.0)) > 1e-9) for key in outputs)
